package service

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// callTimeout is the time for a call that brings no deadline of its own.
	callTimeout = 10 * time.Second
	// maxCallTimeout is the most that a caller can have: a call does not outlast
	// many a drain.
	maxCallTimeout = time.Minute
)

// deadline is a context that ends at a time, if it has one, or with its parent. It is
// context.WithDeadline, but for the timer: that is started for who first waits for
// the end, and a call that is answered from memory waits for nothing.
type deadline struct {
	context.Context // the parent

	at    time.Time // zero if it is the parent's
	timed atomic.Pointer[timed]

	mu   sync.Mutex
	over bool // end was called
}

// timed is a deadline that somebody waits for.
type timed struct {
	ctx  context.Context //nolint:containedctx // it is what a deadline becomes
	stop context.CancelFunc
}

// limit gives d a time if its parent has none, or a nearer one if that is far; now is
// about that. Who calls it does so before anybody else has d, and end behind them.
func (d *deadline) limit(now time.Time) {
	at, ok := d.Context.Deadline()
	switch {
	case !ok:
		d.at = now.Add(callTimeout)
	case at.Sub(now) > maxCallTimeout:
		d.at = now.Add(maxCallTimeout)
	}
}

func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if t := d.timed.Load(); t != nil {
		t.stop()
	}
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if d.at.IsZero() {
		return d.Context.Deadline()
	}
	return d.at, true
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	if d.at.IsZero() {
		return d.Context.Done()
	}
	if t := d.timed.Load(); t != nil {
		return t.ctx.Done()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.timed.Load()
	if t == nil {
		t = &timed{}
		t.ctx, t.stop = context.WithDeadline(d.Context, d.at)
		if d.over {
			t.stop()
		}
		d.timed.Store(t)
	}
	return t.ctx.Done()
}

// Err implements context.Context.
func (d *deadline) Err() error {
	if t := d.timed.Load(); t != nil {
		return t.ctx.Err()
	}
	if err := d.Context.Err(); err != nil || d.at.IsZero() {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over:
		return context.Canceled
	case !time.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. Package context finds in it what to hang a
// child on: once there is a timer, that is what has it.
func (d *deadline) Value(key any) any {
	if t := d.timed.Load(); t != nil {
		return t.ctx.Value(key)
	}
	return d.Context.Value(key)
}
