package broker

import (
	"context"
	"slices"
	"sync"
	"time"
)

// walkTimeout bounds a walk of a vault's list, which no caller's deadline does:
// 400 calls for 10,000 names.
const walkTimeout = 2 * time.Minute

// wholeList keeps the whole list of a vault's objects of a kind, or of the soft-deleted
// ones.
//
// One walk at a time goes through the store's pages, detached from all who wait
// for it. What a write did is put over the list that is kept, and over the
// result of a walk that began before the write was over; a walk that begins
// later sees it for itself. So a list that begins behind a write shows it, and
// the vault need not be walked anew.
type wholeList[T listed] struct {
	pages pages[T]
	ttl   time.Duration

	mu   sync.Mutex
	kept *keptList[T] // nil for none
	walk *listWalk[T] // the one under way, nil for none
}

type keptList[T listed] struct {
	// items are sorted, and never changed: a write makes others.
	items []T
	// asked is when the walk began, so that no item is taken for younger than
	// it is. It carries a monotonic reading.
	asked time.Time
	// renewed: a walk has been begun to replace it.
	renewed bool
}

type listWalk[T listed] struct {
	ctx  context.Context // of who wanted it first, without its end
	done chan struct{}
	// items and err are what came of it, to be read behind done.
	items []T
	err   error

	// The list's lock guards the rest.

	asked time.Time
	// written are the items that writes have put since it began, and the zero T
	// for those that they took away.
	written map[string]T
	// doubtful: a write ended since it began of which nobody knows what it did.
	// Who comes later waits for next.
	doubtful bool
	next     *listWalk[T]
}

// all returns the list: the kept one if it is young enough, or what a walk
// finds.
func (l *wholeList[T]) all(ctx context.Context) (Whole[T], error) {
	if err := ctx.Err(); err != nil {
		return Whole[T]{}, AsError(err)
	}
	l.mu.Lock()
	if k := l.kept; k != nil && time.Since(k.asked) < l.ttl {
		defer l.mu.Unlock()
		// In the last quarter of its life, once: what fails now is tried again
		// when it must be.
		if !k.renewed && time.Since(k.asked) >= l.ttl-l.ttl/4 {
			k.renewed = true
			l.join(ctx)
		}
		return Whole[T]{Items: k.items, Cached: true}, nil
	}
	w, led := l.join(ctx)
	l.mu.Unlock()
	select {
	case <-w.done:
		return Whole[T]{Items: w.items, Cached: !led}, w.err
	case <-ctx.Done():
		return Whole[T]{}, AsError(ctx.Err())
	}
}

// join returns the walk that shows every write so far, and whether it was begun
// for this caller. The lock is held.
func (l *wholeList[T]) join(ctx context.Context) (w *listWalk[T], led bool) {
	switch {
	case l.walk == nil:
		w = newListWalk[T](ctx)
		l.begin(w)
		return w, true
	case !l.walk.doubtful:
		return l.walk, false
	case l.walk.next == nil:
		l.walk.next = newListWalk[T](ctx)
		return l.walk.next, true
	}
	return l.walk.next, false
}

func newListWalk[T listed](ctx context.Context) *listWalk[T] {
	return &listWalk[T]{ctx: context.WithoutCancel(ctx), done: make(chan struct{}), written: make(map[string]T)}
}

// begin sets out on w. The lock is held.
func (l *wholeList[T]) begin(w *listWalk[T]) {
	w.asked = time.Now()
	l.walk = w
	go func() {
		items, err := l.load(w.ctx)
		l.end(w, items, err)
	}()
}

func (l *wholeList[T]) load(ctx context.Context) (items []T, err error) {
	defer contain(&err)
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	return l.pages.walk(ctx)
}

// end tells all who wait what came of w, and keeps it. What failed is not kept,
// nor is the part that was found.
func (l *wholeList[T]) end(w *listWalk[T], items []T, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.err = err; err == nil {
		for object, item := range w.written {
			items = with(items, object, item)
		}
		w.items = items
		if l.ttl > 0 && !w.doubtful {
			l.kept = &keptList[T]{items: items, asked: w.asked}
		}
	}
	close(w.done)
	l.walk = nil
	if w.next != nil {
		l.begin(w.next)
	}
}

// put shows that an item is as a write left it.
func (l *wholeList[T]) put(item T) { l.write(item.listedAs().object, item) }

// drop shows that the named item was taken away.
func (l *wholeList[T]) drop(n Name) {
	var none T
	l.write(n.object, none)
}

func (l *wholeList[T]) write(object string, item T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept != nil {
		l.kept.items = with(slices.Clone(l.kept.items), object, item)
	}
	if l.walk != nil {
		l.walk.written[object] = item
	}
}

// doubt ends what is known: nobody knows what a write did.
func (l *wholeList[T]) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = nil
	if l.walk != nil {
		l.walk.doubtful = true
	}
}

// item returns the kept item of the name, or the zero T.
func (l *wholeList[T]) item(n Name) (item T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil {
		return item
	}
	if i, ok := find(l.kept.items, n.object); ok {
		item = l.kept.items[i]
	}
	return item
}

// with puts an item into sorted items, or takes it away if it is the zero T.
func with[T listed](items []T, object string, item T) []T {
	i, there := find(items, object)
	var none T
	switch {
	case item != none && there:
		items[i] = item
	case item != none:
		return slices.Insert(items, i, item)
	case there:
		return slices.Delete(items, i, i+1)
	}
	return items
}
