package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log" //nolint:depguard // net/http takes no other
	"log/slog"
	"net"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/credentials"

	"github.com/keyward/keyward/broker"
)

// handshakes counts and logs TLS handshakes that failed: a client whose
// certificate is expired or of another CA gets no further, and nobody would see
// why. There is no caller yet, and so no audit record.
type handshakes struct {
	failed metric.Int64Counter
	log    *slog.Logger
}

func newHandshakes(mp metric.MeterProvider, l *slog.Logger) (handshakes, error) {
	failed, err := mp.Meter(scope).Int64Counter("keyward.handshakes.failed",
		metric.WithDescription("TLS handshakes that failed, by transport."))
	return handshakes{failed: failed, log: l}, err
}

func (h handshakes) fail(transport string, attrs ...any) {
	ctx := context.Background()
	h.failed.Add(ctx, 1, metric.WithAttributes(attribute.String("transport", transport)))
	h.log.InfoContext(ctx, "a TLS handshake failed", append([]any{"transport", transport}, attrs...)...)
}

// grpc watches the handshakes of c.
func (h handshakes) grpc(c credentials.TransportCredentials) credentials.TransportCredentials {
	return watchedCredentials{c, h}
}

type watchedCredentials struct {
	credentials.TransportCredentials

	handshakes handshakes
}

// ServerHandshake implements credentials.TransportCredentials.
func (w watchedCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ServerHandshake(raw)
	if err != nil && !errors.Is(err, io.EOF) { // a probe that connects and leaves
		w.handshakes.fail(broker.TransportGRPC, "peer", raw.RemoteAddr().String(), "error", err)
	}
	if t, ok := info.(credentials.TLSInfo); ok && err == nil {
		on := connOf(raw.RemoteAddr())
		if on != nil {
			on.tls = &t.State
		}
		if len(t.State.VerifiedChains) > 0 {
			on.known() // clients keep connections that they do not use yet
		}
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (w watchedCredentials) Clone() credentials.TransportCredentials {
	return watchedCredentials{w.TransportCredentials.Clone(), w.handshakes}
}

// http is the error log of an http.Server, which tells of handshakes there and
// nowhere else. The rest of what it says is for debugging.
func (h handshakes) http() *log.Logger { return log.New(httpErrors{h}, "", 0) }

type httpErrors struct{ handshakes }

// Write implements io.Writer: p is one entry.
func (e httpErrors) Write(p []byte) (int, error) {
	text := string(bytes.TrimSpace(p))
	if why, ok := bytes.CutPrefix(p, []byte("http: TLS handshake error from ")); ok {
		if !bytes.HasSuffix(bytes.TrimSpace(why), []byte(": EOF")) {
			e.fail(broker.TransportREST, "error", string(bytes.TrimSpace(why)))
		}
	} else {
		e.log.DebugContext(context.Background(), "the REST server", "says", text)
	}
	return len(p), nil
}
