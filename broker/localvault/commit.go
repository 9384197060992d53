package localvault

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// maxGroup is how many writes share a commit at most. One that fails makes the
// others run again.
const maxGroup = 128

// change is a write on its way to the file.
type change struct {
	ctx  context.Context //nolint:containedctx // the caller's, who waits meanwhile
	fn   func(*bbolt.Tx) error
	err  error
	done chan struct{} // closed once err is what became of it
}

// commits has the writes that wait while a commit is on its way to the disk: they
// share the next one. A commit costs two syncs, however many writes are in it.
type commits struct {
	turn chan struct{} // of one: who holds it commits for all who wait

	mu      sync.Mutex
	waiting []*change
	// expected is how many wrote at the same time by the last commit, and until
	// is how long the next one is put off for them.
	expected int
	until    time.Time
	enough   chan struct{} // closed once so many wait; nil if nobody wants to know
}

// update runs fn in a transaction that writes, which others may share. Once it
// returned nil, the change is on the disk. fn may be run again, after it failed or
// did not: what it leaves behind must be of the last run alone.
func (v *Vault) update(ctx context.Context, fn func(*bbolt.Tx) error) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	w := &change{ctx: ctx, fn: fn, done: make(chan struct{})}
	v.commits.join(w)
	for {
		select {
		case <-w.done:
			return v.asError(ctx, w.err)
		case v.commits.turn <- struct{}{}:
			if !w.answered() {
				v.commitNext()
			}
			<-v.commits.turn
		}
	}
}

// answered: the one whose turn it was before has committed for w.
func (w *change) answered() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// commitNext commits for those who wait. It is called in turn.
func (v *Vault) commitNext() {
	group := v.commits.gather()
	began := time.Now()
	v.commit(group)
	v.commits.committed(group, time.Since(began))
}

func (c *commits) join(w *change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, w)
	if c.enough != nil && len(c.waiting) >= min(c.expected, maxGroup) {
		close(c.enough)
		c.enough = nil
	}
}

// gather takes those who wait. Whoever was answered just now often writes again at
// once, and would otherwise come too late by a moment, each time.
func (c *commits) gather() []*change {
	c.mu.Lock()
	defer c.mu.Unlock()
	if patience := time.Until(c.until); patience > 0 && len(c.waiting) > 0 && len(c.waiting) < min(c.expected, maxGroup) {
		enough := make(chan struct{})
		c.enough = enough
		c.mu.Unlock()
		late := time.NewTimer(patience)
		select {
		case <-enough:
		case <-late.C:
		}
		late.Stop()
		c.mu.Lock()
		c.enough = nil
	}
	n := min(len(c.waiting), maxGroup)
	group := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	return group
}

// committed tells the group.
func (c *commits) committed(group []*change, took time.Duration) {
	c.mu.Lock()
	c.expected = len(group) + len(c.waiting)
	c.until = time.Now().Add(took / 2)
	c.mu.Unlock()
	for _, w := range group {
		close(w.done)
	}
}

var errAborted = errors.New("a write of the group failed")

// commit runs a group of writes in one transaction. Those that fail are taken out,
// and run alone behind it: what they saw of the others was not yet on the disk, and
// what they changed before they failed must not be.
func (v *Vault) commit(group []*change) {
	var failed []*change
	for together := group; len(together) > 0; {
		if !errors.Is(v.transact(together), errAborted) {
			break
		}
		var well []*change
		for _, w := range together {
			if w.err != nil {
				failed = append(failed, w)
			} else {
				well = append(well, w)
			}
		}
		together = well
	}
	if len(group) == 1 {
		return // it was alone
	}
	for _, w := range failed {
		_ = v.transact([]*change{w})
	}
}

// transact runs all writes in one transaction, and leaves with each what became of
// it. If one of them fails, it changes nothing and returns errAborted.
func (v *Vault) transact(group []*change) error {
	committing, id := false, 0
	err := guard(func() error {
		return v.db.Update(func(tx *bbolt.Tx) error {
			id, committing = tx.ID(), true
			for _, w := range group {
				w.err = guard(func() error {
					// The wait for other writers may have outlasted the caller.
					if err := v.ready(w.ctx); err != nil {
						return err
					}
					return w.fn(tx)
				})
				committing = committing && w.err == nil
			}
			if !committing {
				return errAborted
			}
			return nil
		})
	})
	if errors.Is(err, errAborted) {
		return err
	}
	for _, w := range group {
		w.err = err
	}
	// After a failed commit the file may hold the change or not, and a later sync
	// that succeeds would say nothing about the earlier one.
	if err != nil && committing && !v.full(err, id) {
		v.failed.Store(true)
		v.log.Error("the local vault could not write to its file and stops; see to the disk, then start again", "error", err)
	}
	return err
}

// full reports whether all that kept the commit of that id from the file is that
// the disk has no room: a write was refused, not a sync, and the file still names
// the commit before. What was written till then is where nothing lies.
func (v *Vault) full(err error, id int) bool {
	p, ok := errors.AsType[*fs.PathError](err)
	if !ok || p.Op != "write" || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	last := 0
	err = guard(func() error {
		return v.db.View(func(tx *bbolt.Tx) error {
			last = tx.ID()
			return nil
		})
	})
	return err == nil && last == id-1
}

func (v *Vault) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return broker.AsError(err)
	}
	if v.failed.Load() {
		return &broker.Error{Code: broker.CodeVaultUnavailable, Err: errors.New("an earlier write to the vault's file failed")}
	}
	return nil
}
