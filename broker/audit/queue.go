package audit

import (
	"slices"
	"sync"
	"time"
)

// queue is who waits for the writer, each for no longer than timeout. It has one
// timer for all of them, and a lock that is held for a moment: what a channel and a
// timer for each would cost is more than the record itself.
type queue struct {
	mu      sync.Mutex
	waiting []*entry // in the order in which they came
	writing []*entry // those that the writer has taken
	closed  bool
	some    chan struct{} // holds one while somebody waits

	// late fires when the one who waits longest has waited too long, or did when it
	// was set. It is stopped if nobody did.
	late  *time.Timer
	armed bool
	slow  func(n int) // told before those n are
}

// entry is a record on its way to the file.
type entry struct {
	toWrite

	since time.Time
	told  bool // what became of it; of the queue's lock
	done  chan error
	buf   []byte // for the record
}

func newQueue(slow func(n int)) *queue {
	q := &queue{some: make(chan struct{}, 1), slow: slow}
	q.late = time.AfterFunc(timeout, q.expire)
	q.late.Stop()
	return q
}

// put has e wait, and reports whether it can: then e.done tells what became of it.
func (q *queue) put(e *entry) bool {
	e.since, e.told = time.Now(), false
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, e)
	if !q.armed {
		q.armed = true
		q.late.Reset(timeout)
	}
	if len(q.waiting) == 1 {
		q.signal()
	}
	return true
}

func (q *queue) signal() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// take moves up to maxBatch of those who wait to batch, which is empty, for the
// writer.
func (q *queue) take(batch []*entry) []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	batch = append(batch, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.writing = batch
	if len(q.waiting) > 0 {
		q.signal()
	}
	return batch
}

// written returns those of whom the writer has taken that still wait. It is to tell
// them what became of them.
func (q *queue) written() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := q.writing
	q.writing = nil
	batch = slices.DeleteFunc(batch, func(e *entry) bool { return e.told })
	for _, e := range batch {
		e.told = true
	}
	return batch
}

// expire tells those who have waited too long.
func (q *queue) expire() {
	q.mu.Lock()
	now := time.Now()
	var late []*entry
	var next time.Time // since when the others wait
	look := func(e *entry) {
		switch {
		case e.told:
		case now.Sub(e.since) >= timeout:
			e.told = true
			late = append(late, e)
		case next.IsZero() || e.since.Before(next):
			next = e.since
		}
	}
	for _, e := range q.writing {
		look(e)
	}
	for _, e := range q.waiting {
		look(e)
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(e *entry) bool { return e.told })
	if q.armed = !next.IsZero(); q.armed {
		q.late.Reset(next.Add(timeout).Sub(now))
	}
	q.mu.Unlock()
	if len(late) == 0 {
		return
	}
	q.slow(len(late))
	for _, e := range late {
		e.done <- errSlow
	}
}

// close has put refuse. Those who wait still do.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
