package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// What happens to a call on its way to a handler, over gRPC and REST alike. The
// two differ only in where they find things: see interceptors.go and gateway.go.

const (
	// callTimeout is the time for a call that brings no deadline of its own.
	callTimeout = 10 * time.Second
	// maxCallTimeout is the most that a caller can have: a call does not outlast
	// many a drain.
	maxCallTimeout = time.Minute
)

// call is one call on its way. It is made where the call comes in and filled as
// more becomes known, by one goroutine at a time.
type call struct {
	// method is the full gRPC method, or noMethod.
	method string
	// caller has a principal only once authenticated is true.
	caller        broker.Caller
	authenticated bool
	// knownETags are those of If-None-Match. maskFilled says that the gateway
	// filled an update_mask with what was sent. Both are REST's.
	knownETags []string
	maskFilled bool
	// code is the answer's.
	code codes.Code
}

// noMethod is the method of a call that reached none.
const noMethod = "unknown"

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// callIn returns the call that ctx belongs to, or nil.
func callIn(ctx context.Context) *call {
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
	if err := s.authenticate(ctx, creds); err != nil {
		return err
	}
	c := callIn(ctx)
	if err := s.limits.call(ctx, c.caller); err != nil {
		return err
	}
	var err error
	c.caller.Reason, err = reasonOf(reasons)
	return err
}

// authenticate names the caller of the call in ctx. A refusal is recorded
// before it is told.
func (s *Server) authenticate(ctx context.Context, creds authn.Credentials) error {
	c := callIn(ctx)
	p, err := s.authenticator.Authenticate(ctx, creds)
	if err == nil && p.ID == "" {
		err = &broker.Error{Code: broker.CodeInternal, Err: errors.New("service: the authenticator named nobody")}
	}
	if err != nil {
		return s.refuseCaller(ctx, err)
	}
	c.caller.Principal, c.authenticated = p, true
	return nil
}

// refuseCaller records that the call in ctx names no caller because of err, and
// returns what it is answered with. Of a flood, the limit's part is recorded.
func (s *Server) refuseCaller(ctx context.Context, err error) error {
	c := callIn(ctx).caller
	record, err := s.limits.failure(ctx, c, err)
	if !record {
		return err
	}
	if rerr := s.broker.RefuseCaller(ctx, c, broker.CodeOf(err)); rerr != nil {
		s.limits.unrecorded(c)
		return rerr
	}
	return err
}

// withDeadline gives ctx a deadline if it has none, and a nearer one if it is
// far.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	d, ok := ctx.Deadline()
	switch {
	case !ok:
		return context.WithTimeout(ctx, callTimeout)
	case time.Until(d) > maxCallTimeout:
		return context.WithTimeout(ctx, maxCallTimeout)
	}
	return ctx, func() {}
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
	return rand.Text()
}

// peerAddr returns the address of "host:port", or the zero Addr.
func peerAddr(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// callMetrics counts and times calls.
type callMetrics struct {
	calls    metric.Int64Counter
	duration metric.Float64Histogram
}

func newCallMetrics(mp metric.MeterProvider) (callMetrics, error) {
	m := mp.Meter(scope)
	calls, err1 := m.Int64Counter("keyward.calls",
		metric.WithDescription("Calls, by method, status code and transport."))
	duration, err2 := m.Float64Histogram("keyward.call.duration",
		metric.WithUnit("s"),
		metric.WithDescription("The time from a call's arrival to its answer, by method and transport."),
		metric.WithExplicitBucketBoundaries(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	return callMetrics{calls, duration}, errors.Join(err1, err2)
}

// observe counts c, which began then. Its method is one that the server has, or
// noMethod: never what a client sent.
func (m callMetrics) observe(ctx context.Context, c *call, began time.Time) {
	method, transport := attribute.String("method", c.method), attribute.String("transport", c.caller.Transport)
	m.calls.Add(ctx, 1, metric.WithAttributes(method, transport, attribute.String("code", codeName(c.code))))
	m.duration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(method, transport))
}

// codeName returns the name of a status code as google.rpc spells it, such as
// PERMISSION_DENIED.
func codeName(c codes.Code) string { return rpccode.Code(c).String() } //nolint:gosec // 0 to 16
