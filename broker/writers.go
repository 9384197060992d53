package broker

import (
	"context"
	"strings"
	"sync"
)

// writers lets one writer of a name at a time go on. The zero value is ready.
type writers struct {
	mu    sync.Mutex
	names map[Name]*turn
}

// turn is one name's lock, while somebody holds it or waits.
type turn struct {
	held  chan struct{} // has room while nobody holds it
	count int           // holder and waiters
}

// lock waits for its turn, or for ctx to end. Turns are not in order.
func (w *writers) lock(ctx context.Context, n Name) (unlock func(), err error) {
	w.mu.Lock()
	if w.names == nil {
		w.names = make(map[Name]*turn)
	}
	t := w.names[n]
	if t == nil {
		t = &turn{held: make(chan struct{}, 1)}
		w.names[n] = t
	}
	t.count++
	w.mu.Unlock()

	leave := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if t.count--; t.count == 0 {
			delete(w.names, n)
		}
	}
	select {
	case t.held <- struct{}{}:
		return func() { <-t.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, AsError(ctx.Err())
	}
}

// turn waits until no other writer of the name is at work in this Broker, and
// compares etag, if any, with what now returns of it.
func (b *Broker) turn(ctx context.Context, name Name, etag string, now func() (string, error)) (unlock func(), err error) {
	unlock, err = b.writers.lock(ctx, name.Base())
	if err != nil || etag == "" {
		return unlock, err
	}
	got, err := now()
	if err == nil && got == etag {
		return unlock, nil
	}
	unlock()
	switch CodeOf(err) {
	case "", CodeKeyNotFound, CodeCertificateNotFound:
		noun := strings.TrimSuffix(string(name.Kind()), "s")
		err = &Error{Code: CodeETagMismatch, Message: "the " + noun + " has changed since its etag was read; read it again"}
	}
	return nil, err
}

// changeWhole guards a change of an object as a whole. writer waits for the
// object's turn and returns its store.
func changeWhole[S, T any](
	ctx context.Context, b *Broker, c Caller, a Action, name Name, etag string,
	writer func(ctx context.Context, name Name, etag string) (S, func(), error),
	act func(context.Context, S) (T, error),
) (T, error) {
	if err := wantBase(name); err != nil {
		var none T
		return none, err
	}
	return change(ctx, b, c, a, name, func(ctx context.Context, _ *Event) (T, error) {
		store, unlock, err := writer(ctx, name, etag)
		if err != nil {
			var none T
			return none, err
		}
		defer unlock()
		return act(ctx, store)
	})
}
