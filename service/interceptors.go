package service

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// open reports whether a method is served without credentials: health, and
// reflection where it is registered.
func open(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/"+grpc_health_v1.Health_ServiceDesc.ServiceName+"/") ||
		strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// unary is all that a call passes on its way to its method.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, method grpc.UnaryHandler) (resp any, err error) {
	c := s.begin(ctx, info.FullMethod)
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p)
		}
		if err = s.end(c, err); err != nil {
			resp = nil
		}
	}()
	c.limit(c.began)
	defer c.end()
	if err := s.vetGRPC(c); err != nil {
		return nil, err
	}
	if err := boundOf(c.method).check(req); err != nil {
		return nil, err
	}
	return method(c, req)
}

// stream is unary for a stream, which has no deadline but its caller's. One, such as a
// watch of our health, would hold up the drain.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, method grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	c := s.begin(ctx, info.FullMethod)
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p)
		}
		err = s.end(c, err)
	}()
	defer context.AfterFunc(s.draining, func() { cancel(errExpired) })()
	if err := s.vetGRPC(c); err != nil {
		return err
	}
	return method(srv, boundedStream{callStream{stream, c}, boundOf(c.method)})
}

// callStream is a stream whose context is the call.
type callStream struct {
	grpc.ServerStream
	call *call
}

func (s callStream) Context() context.Context { return s.call }

// begin makes the call of ctx, and starts its span.
func (s *Server) begin(ctx context.Context, method string) *call {
	c := &call{method: method, began: time.Now()}
	c.caller, c.conn = grpcCaller(ctx)
	c.span = noSpan
	if !open(method) {
		ctx, c.span = s.startSpan(ctx, incoming{ctx}, method[1:])
		if c.span.IsRecording() {
			c.span.SetAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", method[1:]))
		}
	}
	c.Context = ctx
	return c
}

// end counts the call and turns its error into a status.
func (s *Server) end(c *call, err error) error {
	// The open services are grpc-go's own, and make their statuses themselves.
	if _, ours := errors.AsType[*broker.Error](err); err != nil && (ours || !open(c.method)) {
		err = s.refuse(c, err).Err()
	}
	c.code = status.Code(err)
	s.observe(c)
	return err
}

func (s *Server) vetGRPC(c *call) error {
	if open(c.method) {
		return nil
	}
	return s.vet(c, credentialsOf(c), metadata.ValueFromIncomingContext(c, reasonHeader))
}

func credentialsOf(c *call) authn.Credentials {
	given := authn.Credentials{Authorization: metadata.ValueFromIncomingContext(c, "authorization")}
	if c.conn != nil {
		given.TLS = c.conn.tls
	}
	return given
}

func grpcCaller(ctx context.Context) (broker.Caller, *conn) {
	c := broker.Caller{
		Transport: broker.TransportGRPC,
		RequestID: requestID(metadata.ValueFromIncomingContext(ctx, "x-request-id")),
	}
	var on *conn
	if p, ok := peer.FromContext(ctx); ok {
		if on = connOf(p.Addr); on != nil {
			c.Peer = on.peer
		}
	}
	return c, on
}

// noGzip refuses what a client compressed: to inflate it would cost before the
// caller is known. Without it, grpc-go takes whatever any package of the process
// has registered, as exporters of telemetry do with gzip.
type noGzip struct{}

func (noGzip) Do(io.Reader) ([]byte, error) {
	return nil, errors.New("compressed messages are not taken")
}

func (noGzip) Type() string { return "gzip" }
