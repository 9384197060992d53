package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// explainedStream is explained for streams. The deadline is that of the begin:
// until the server's headers, which it sends once it has let the call in.
func explainedStream(e explainer) grpc.StreamClientInterceptor {
	return func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		id := rand.Text()
		ctx, cancel := context.WithCancelCause(metadata.AppendToOutgoingContext(ctx, "x-request-id", id))
		s := &stream{
			late:   time.AfterFunc(e.timeout, func() { cancel(context.DeadlineExceeded) }),
			cancel: cancel,
			explain: func(err error) error {
				if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					err = status.FromContextError(context.DeadlineExceeded).Err()
				}
				return e.explain(err, id)
			},
		}
		var err error
		if s.ClientStream, err = streamer(ctx, desc, conn, method, opts...); err != nil {
			return nil, s.failed(err)
		}
		return s, nil
	}
}

// stream is a stream whose errors are explained.
type stream struct {
	grpc.ClientStream

	late    *time.Timer // ends a stream that does not begin
	cancel  context.CancelCauseFunc
	explain func(error) error
}

// Header implements grpc.ClientStream. It waits until the stream has begun.
// Without one and without an error it has not, and RecvMsg says why.
func (s *stream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil {
		return nil, s.failed(err)
	}
	s.late.Stop()
	return md, nil
}

// RecvMsg implements grpc.ClientStream.
func (s *stream) RecvMsg(m any) error {
	if _, err := s.Header(); err != nil {
		return err
	}
	err := s.ClientStream.RecvMsg(m)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF): // the good end
		s.cancel(nil)
		return err
	}
	return s.failed(err)
}

// failed explains the error that ended the stream.
func (s *stream) failed(err error) error {
	err = s.explain(err)
	s.late.Stop()
	s.cancel(nil)
	return err
}
