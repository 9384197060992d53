package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const (
	// defaultMaxWatches bounds the watches of one principal. Each is one stream, of
	// up to broker.MaxWatchTargets secrets; replicas of a workload share a principal.
	defaultMaxWatches = 1000
	// defaultReaderPatience is how long an event waits for its caller to read.
	defaultReaderPatience = 10 * time.Second
	// A connection is told to go at connectionAge, up to a tenth sooner or later as
	// grpc-go spreads it, and is cut off connectionGrace after that.
	connectionAge   = 10 * time.Minute
	connectionGrace = 30 * time.Second
	// watchSpread is how much sooner than it must a watch ends, at most, so that
	// not all come back at once.
	watchSpread = time.Minute
)

// errExpired ends a stream whose time is over, or whose server drains.
var errExpired = &broker.Error{Code: broker.CodeStreamExpired}

// watches are the watches that are open.
type watches struct {
	// identify names the caller of the call in ctx anew.
	identify func(ctx context.Context) error
	max      int
	patience time.Duration
	open     metric.Int64UpDownCounter
	events   metric.Int64Counter

	mu sync.Mutex
	of map[string]int // by the principal's id
}

func newWatches(c Config, identify func(context.Context) error) (*watches, error) {
	m := c.MeterProvider.Meter(scope)
	open, err1 := m.Int64UpDownCounter("keyward.watches",
		metric.WithDescription("Watches of secrets that are open, by transport."))
	events, err2 := m.Int64Counter("keyward.watch.events",
		metric.WithDescription("Events that watches were sent, by type and transport."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return &watches{
		identify: identify,
		max:      cmp.Or(c.maxWatches, defaultMaxWatches),
		patience: cmp.Or(c.readerPatience, defaultReaderPatience),
		open:     open,
		events:   events,
		of:       make(map[string]int),
	}, nil
}

// enter counts a watch of the caller, unless that has too many. The function that
// it returns ends it.
func (w *watches) enter(ctx context.Context, c broker.Caller) (leave func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of[c.ID] >= w.max {
		return nil, &broker.Error{
			Code:       broker.CodeCallerRateLimited,
			Message:    fmt.Sprintf("too many watches; a caller has %d at a time, and each takes %d secrets", w.max, broker.MaxWatchTargets),
			RetryAfter: time.Minute,
		}
	}
	w.of[c.ID]++
	transport := metric.WithAttributes(attribute.String("transport", c.Transport))
	w.open.Add(ctx, 1, transport)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.of[c.ID]--; w.of[c.ID] == 0 {
			delete(w.of, c.ID)
		}
		w.open.Add(context.WithoutCancel(ctx), -1, transport)
	}, nil
}

// watchStream is where a watch's events go.
type watchStream interface {
	// begin says that the watch is on.
	begin() error
	// send sends one event, or fails after some time or with ctx.
	send(ctx context.Context, e *keywardv1.SecretEvent) error
}

// WatchSecrets implements keywardv1.SecretServiceServer. The gateway has its own
// way to watch.
func (s *secretService) WatchSecrets(req *keywardv1.WatchSecretsRequest, stream grpc.ServerStreamingServer[keywardv1.SecretEvent]) error {
	ctx := stream.Context()
	return s.watch(ctx, req, connectionLeft(ctx), grpcWatch{stream, s.watches.patience})
}

// watch sends the events of a watch to stream, for as long as it may last.
func (s *secretService) watch(ctx context.Context, req *keywardv1.WatchSecretsRequest, life time.Duration, stream watchStream) error {
	targets := make([]broker.WatchTarget, len(req.GetTargets()))
	for i, t := range req.GetTargets() {
		name, err := broker.ParseName(broker.KindSecrets, t.GetName())
		if err != nil {
			e := *broker.AsError(err)
			e.Field = fmt.Sprintf("targets[%d].name", i)
			return &e
		}
		targets[i] = broker.WatchTarget{Name: name, KnownVersion: t.GetKnownVersion()}
	}
	leave, err := s.watches.enter(ctx, caller(ctx))
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(ctx, life-rand.N(min(watchSpread, life/5)), errExpired) //nolint:gosec // no secret
	defer cancel()
	return s.broker.WatchSecrets(ctx, watcher{s.watches, ctx, stream}, targets)
}

// watcher is a broker.Watcher over a stream.
type watcher struct {
	watches *watches
	ctx     context.Context //nolint:containedctx // the stream's own
	stream  watchStream
}

// Caller implements broker.Watcher: credentials that have expired since the stream
// began name nobody.
func (w watcher) Caller(ctx context.Context) (broker.Caller, error) {
	if err := w.watches.identify(ctx); err != nil {
		return broker.Caller{}, err
	}
	return caller(ctx), nil
}

// Begun implements broker.Watcher.
func (w watcher) Begun() error { return w.stream.begin() }

// eventTypes are the states of a secret on the wire.
var eventTypes = map[broker.SecretState]keywardv1.SecretEvent_Type{
	broker.SecretChanged: keywardv1.SecretEvent_TYPE_CHANGED,
	broker.SecretGone:    keywardv1.SecretEvent_TYPE_DELETED,
	broker.SecretOff:     keywardv1.SecretEvent_TYPE_DISABLED,
}

// Send implements broker.Watcher.
func (w watcher) Send(e broker.SecretEvent) error {
	p := &keywardv1.SecretEvent{Name: e.Name.Base().String(), Version: e.Name.Version(), Type: eventTypes[e.State]}
	if err := w.stream.send(w.ctx, p); err != nil {
		return err
	}
	w.watches.events.Add(w.ctx, 1, metric.WithAttributes(
		attribute.String("type", string(e.State)), attribute.String("transport", caller(w.ctx).Transport)))
	return nil
}

// grpcWatch sends over gRPC.
type grpcWatch struct {
	stream   grpc.ServerStreamingServer[keywardv1.SecretEvent]
	patience time.Duration
}

func (g grpcWatch) begin() error { return g.stream.SendHeader(metadata.MD{}) }

func (g grpcWatch) send(ctx context.Context, e *keywardv1.SecretEvent) error {
	// A send that waits for its reader waits for the stream's end too, which the
	// return of the handler makes.
	sent := make(chan error, 1)
	go func() { sent <- g.stream.Send(e) }()
	patience := time.NewTimer(g.patience)
	defer patience.Stop()
	select {
	case err := <-sent:
		if err != nil {
			return &broker.Error{Code: broker.CodeCanceled, Err: err} // the stream is over
		}
		return nil
	case <-patience.C:
		return &broker.Error{Code: broker.CodeReaderTooSlow}
	case <-ctx.Done():
		return broker.AsError(context.Cause(ctx))
	}
}

// soonestAge is the age at which a gRPC connection may first be told to go: grpc-go
// spreads the configured one by a tenth. A stream over REST has as long.
const soonestAge = connectionAge - connectionAge/10

// connectionLeft is for how long a gRPC stream that begins now is sure to have its
// connection. On one that may be told to go at any moment that is less than the
// grace that it then has.
func connectionLeft(ctx context.Context) time.Duration {
	c := callIn(ctx).conn
	if c == nil {
		return soonestAge
	}
	return max(soonestAge-time.Since(c.since), connectionGrace-5*time.Second)
}

// restWatch sends over REST, a line of JSON for each event.
type restWatch struct {
	form *jsonForm
	w    http.ResponseWriter
	rc   *http.ResponseController
	on   bool

	patience time.Duration
}

// begin implements watchStream.
func (r *restWatch) begin() error {
	// The server's time-outs are for calls: that for reading would end this one.
	if err := errors.Join(r.rc.SetReadDeadline(time.Time{}), r.rc.SetWriteDeadline(time.Time{})); err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	r.w.Header().Set("Content-Type", "application/x-ndjson")
	r.w.WriteHeader(http.StatusOK)
	r.on = true
	return r.flush()
}

// send implements watchStream.
func (r *restWatch) send(_ context.Context, e *keywardv1.SecretEvent) error {
	line, err := r.form.Marshal(e)
	if err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	return r.write(line)
}

// end sends the error that ended a watch that was on, as its last line.
func (r *restWatch) end(st *statuspb.Status) {
	body, err := r.form.Marshal(st)
	if err != nil {
		return
	}
	line := append([]byte(`{"error":`), body[:len(body)-1]...)
	_ = r.write(append(line, '}', '\n')) // the client may have gone
}

func (r *restWatch) write(line []byte) error {
	if err := r.rc.SetWriteDeadline(time.Now().Add(r.patience)); err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	if _, err := r.w.Write(line); err != nil {
		return unread(err)
	}
	if err := r.flush(); err != nil {
		return err
	}
	// A deadline that has passed would end an HTTP/2 stream though nobody writes.
	if err := r.rc.SetWriteDeadline(time.Time{}); err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	return nil
}

func (r *restWatch) flush() error {
	if err := r.rc.Flush(); err != nil {
		return unread(err)
	}
	return nil
}

// unread is why a line could not be written.
func unread(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &broker.Error{Code: broker.CodeReaderTooSlow, Err: err}
	}
	return &broker.Error{Code: broker.CodeCanceled, Err: err}
}

// watch is the REST route of WatchSecrets: the gateway's own code cannot stream
// from a service in its process.
func (g *gateway) watch(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(g.draining, func() { cancel(errExpired) })()
	stream := &restWatch{form: g.form, w: w, rc: http.NewResponseController(w), patience: g.secrets.watches.patience}
	req := new(keywardv1.WatchSecretsRequest)
	err := g.form.NewDecoder(r.Body).Decode(req)
	if err == nil {
		err = g.secrets.watch(ctx, req, soonestAge, stream)
	}
	if !stream.on {
		g.refuseCall(ctx, g.mux, nil, w, r, err)
		return
	}
	st := g.refuse(ctx, err)
	callIn(ctx).code = st.Code()
	stream.end(st.Proto())
}
