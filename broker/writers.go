package broker

import (
	"context"
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
