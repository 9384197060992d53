package service

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
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

// answerUnary is outermost: it counts the call and turns its error into a
// status.
func (s *Server) answerUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	err = s.answer(ctx, info.FullMethod, func(ctx context.Context) error {
		resp, err = next(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (s *Server) answerStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return s.answer(stream.Context(), info.FullMethod, func(ctx context.Context) error {
		// A stream, such as a watch of our health, would hold up the drain.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.draining, cancel)()
		return next(srv, callStream{stream, ctx})
	})
}

// callStream is a stream whose context has the call.
type callStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // a ServerStream carries its context
}

func (s callStream) Context() context.Context { return s.ctx }

func (s *Server) answer(ctx context.Context, method string, next func(context.Context) error) error {
	began := time.Now()
	c := &call{method: method, caller: grpcCaller(ctx)}
	ctx = withCall(ctx, c)
	err := next(ctx)
	// The open services are grpc-go's own, and make their statuses themselves.
	if _, ours := errors.AsType[*broker.Error](err); err != nil && (ours || !open(method)) {
		err = s.refuse(ctx, err).Err()
	}
	c.code = status.Code(err)
	s.metrics.observe(ctx, c, began)
	return err
}

func recoverUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, recovered(p)
		}
	}()
	return next(ctx, req)
}

func recoverStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p)
		}
	}()
	return next(srv, stream)
}

func deadlineUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	return next(ctx, req)
}

func (s *Server) vetUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !open(info.FullMethod) {
		if err := s.vet(ctx, credentialsOf(ctx), metadata.ValueFromIncomingContext(ctx, reasonHeader)); err != nil {
			return nil, err
		}
	}
	return next(ctx, req)
}

func (s *Server) vetStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !open(info.FullMethod) {
		ctx := stream.Context()
		if err := s.vet(ctx, credentialsOf(ctx), metadata.ValueFromIncomingContext(ctx, reasonHeader)); err != nil {
			return err
		}
	}
	return next(srv, stream)
}

func credentialsOf(ctx context.Context) authn.Credentials {
	c := authn.Credentials{Authorization: metadata.ValueFromIncomingContext(ctx, "authorization")}
	if p, ok := peer.FromContext(ctx); ok {
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			c.TLS = &t.State
		}
	}
	return c
}

func grpcCaller(ctx context.Context) broker.Caller {
	c := broker.Caller{
		Transport: broker.TransportGRPC,
		RequestID: requestID(metadata.ValueFromIncomingContext(ctx, "x-request-id")),
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		c.Peer = peerAddr(p.Addr.String())
	}
	return c
}

// noGzip refuses what a client compressed: to inflate it would cost before the
// caller is known. Without it, grpc-go takes whatever any package of the process
// has registered, as exporters of telemetry do with gzip.
type noGzip struct{}

func (noGzip) Do(io.Reader) ([]byte, error) {
	return nil, errors.New("compressed messages are not taken")
}

func (noGzip) Type() string { return "gzip" }
