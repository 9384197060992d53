package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// What happens to a call on its way to a handler, over gRPC and REST alike. The
// two differ only in where they find things: see interceptors.go and gateway.go.

// call is one call on its way, and its context. It is made where the call comes in
// and filled as more becomes known, by one goroutine at a time.
type call struct {
	deadline

	// method is the full gRPC method, or noMethod.
	method string
	// caller has a principal only once authenticated is true.
	caller        broker.Caller
	authenticated bool
	credentials   authn.Credentials
	// conn is the connection that it came on; nil for none of ours.
	conn *conn
	// knownETags are those of If-None-Match. maskFilled says that the gateway
	// filled an update_mask with what was sent. Both are REST's.
	knownETags []string
	maskFilled bool
	began      time.Time
	span       trace.Span
	// code is the answer's.
	code codes.Code
}

// noMethod is the method of a call that reached none.
const noMethod = "unknown"

type callKey struct{}

// Value implements context.Context.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.deadline.Value(key)
}

// callIn returns the call that ctx belongs to, or nil.
func callIn(ctx context.Context) *call {
	if c, ok := ctx.(*call); ok {
		return c
	}
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// caller returns the authenticated caller. It panics if there is none: a
// handler that can be reached without authentication must not serve.
func caller(ctx context.Context) broker.Caller {
	c := callIn(ctx)
	if c == nil || !c.authenticated {
		panic("service: a call without a caller")
	}
	return c.caller
}

// vet lets the call in ctx through to its handler, or not: it names the caller,
// holds it to its limit, and takes the reason that the headers give.
func (s *Server) vet(ctx context.Context, creds authn.Credentials, reasons []string) error {
	c := callIn(ctx)
	c.credentials = creds
	if err := s.authenticate(ctx); err != nil {
		return err
	}
	if err := s.admission.Load().limits.call(ctx, c.caller); err != nil {
		return err
	}
	var err error
	c.caller.Reason, err = reasonOf(reasons)
	return err
}

// authenticate names the caller of the call in ctx, or once more if that lasts. A
// refusal is recorded before it is told.
func (s *Server) authenticate(ctx context.Context) error {
	c := callIn(ctx)
	p, err := s.admission.Load().authenticator.Authenticate(ctx, c.credentials)
	if err == nil && p.ID == "" {
		err = &broker.Error{Code: broker.CodeInternal, Err: errors.New("service: the authenticator named nobody")}
	}
	if err != nil {
		return s.refuseCaller(ctx, err)
	}
	c.caller.Principal, c.authenticated = p, true
	c.conn.known()
	return nil
}

// refuseCaller records that the call in ctx names no caller because of err, and
// returns what it is answered with. Of a flood, the limit's part is recorded.
func (s *Server) refuseCaller(ctx context.Context, err error) error {
	c := callIn(ctx).caller
	limits := s.admission.Load().limits
	record, err := limits.failure(ctx, c, err)
	if !record {
		return err
	}
	if rerr := s.broker.RefuseCaller(ctx, c, broker.CodeOf(err)); rerr != nil {
		limits.unrecorded(c)
		return rerr
	}
	return err
}

// recovered returns the error for a panic. The panic's text is left out: it
// could quote a value.
func recovered(p any) error {
	return &broker.Error{Code: broker.CodeInternal, Err: fmt.Errorf("panic in a call: %T\n%s", p, debug.Stack())}
}

// requestID returns the client's x-request-id if it is 1 to 128 of
// [A-Za-z0-9._-], or else a new one: whatever else a client writes has no
// business in logs and audit records.
func requestID(given []string) string {
	if len(given) == 1 && given[0] != "" && len(given[0]) <= 128 {
		ok := true
		for _, c := range []byte(given[0]) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			default:
				ok = false
			}
		}
		if ok {
			return given[0]
		}
	}
	return newRequestID()
}

// newRequestID returns 26 letters and digits of 130 random bits. They tell calls apart
// and keep no secret, so they need not come from the kernel.
func newRequestID() string {
	const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var id [26]byte
	for i := 0; i < len(id); i += 13 {
		n := rand.Uint64() //nolint:gosec // no secret
		for j := range 13 {
			id[i+j] = base32[n%32]
			n /= 32
		}
	}
	return string(id[:])
}

// peerAddr returns the address of "host:port", or the zero Addr.
func peerAddr(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
