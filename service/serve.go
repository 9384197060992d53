package service

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// States of a Server, in their order.
const (
	stateNew int32 = iota
	stateServing
	stateDraining
)

// Serve serves gRPC and REST until ctx ends, and then drains: it is not ready
// any more and serves on for Config.DrainNotice; then it takes no new connection
// and lets the calls in flight end, for as long as Config.DrainTimeout. It closes
// both listeners, and returns nil after a drain, or the error that ended it
// before, or that calls did not end even when they were cut off. A Server serves
// once.
func (s *Server) Serve(ctx context.Context, grpcListener, httpListener net.Listener) error {
	if !s.state.CompareAndSwap(stateNew, stateServing) {
		return errors.New("service: a Server serves once; make a new one")
	}
	errs := make(chan error, 2)
	go func() {
		err := s.grpc.Serve(s.strangers.listen(grpcListener))
		if errors.Is(err, grpc.ErrServerStopped) {
			err = nil
		}
		errs <- err
	}()
	go func() {
		err := s.http.ServeTLS(s.strangers.listen(httpListener), "", "")
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		errs <- err
	}()
	s.setHealth(grpc_health_v1.HealthCheckResponse_SERVING)

	var err error
	running := 2
	select {
	case <-ctx.Done():
	case err = <-errs:
		running--
	}
	s.drain(context.WithoutCancel(ctx))
	for range running {
		select {
		case e := <-errs:
			err = cmp.Or(err, e)
		case <-time.After(time.Second): // both have ended, unless drain gave up
			return cmp.Or(err, errLeftBehind)
		}
	}
	return err
}

var errLeftBehind = errors.New("service: calls did not end, though they were cut off")

func (s *Server) drain(ctx context.Context) {
	s.log.InfoContext(ctx, "draining", "notice", s.drainNotice, "timeout", s.drainTimeout)
	s.state.Store(stateDraining)
	s.health.Shutdown()
	time.Sleep(s.drainNotice)
	s.startDrain()
	ctx, cancel := context.WithTimeout(ctx, s.drainTimeout)
	defer cancel()

	var wg sync.WaitGroup
	wg.Go(func() {
		done := make(chan struct{})
		go func() { s.grpc.GracefulStop(); close(done) }()
		select {
		case <-done:
		case <-ctx.Done():
			s.log.WarnContext(ctx, "gRPC calls were cut off at the end of the drain timeout")
			go s.grpc.Stop()
			select {
			case <-done:
			case <-time.After(cutOff):
				s.log.ErrorContext(ctx, "gRPC calls do not end, though they were cut off; they are left behind")
			}
		}
	})
	wg.Go(func() {
		if err := s.http.Shutdown(ctx); err != nil {
			s.log.WarnContext(ctx, "REST calls were cut off at the end of the drain timeout", "error", err)
			_ = s.http.Close()
		}
		// Neither waits for the handlers of those who have gone, and what came of
		// their calls is to be recorded.
		select {
		case <-s.restCalls.close():
		case <-time.After(cutOff):
			s.log.ErrorContext(ctx, "REST calls do not end, though they were cut off; they are left behind")
		}
	})
	wg.Wait()
	s.log.InfoContext(ctx, "drained")
}

// handlers counts the calls that are in one, until it is closed.
type handlers struct {
	mu     sync.Mutex
	n      int
	closed bool
	none   chan struct{} // closed once closed is set and n is 0
}

// enter reports whether a call may begin.
func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.n++
	}
	return !h.closed
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.closed && h.n == 0 {
		close(h.none)
	}
}

// close lets no other call begin. What it returns is closed behind the last one.
func (h *handlers) close() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed, h.none = true, make(chan struct{})
	if h.n == 0 {
		close(h.none)
	}
	return h.none
}

// Ready returns nil while the server takes new calls.
func (s *Server) Ready() error {
	switch s.state.Load() {
	case stateServing:
		return nil
	case stateDraining:
		return errors.New("draining")
	}
	return errors.New("not serving yet")
}

func (s *Server) setHealth(st grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", st)
	for _, sd := range services() {
		s.health.SetServingStatus(string(sd.FullName()), st)
	}
}
