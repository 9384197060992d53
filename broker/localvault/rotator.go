package localvault

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

const (
	// rotatorLook bounds the wait for the next rotation: a timer does not run while
	// the machine sleeps, and the clock may be set.
	rotatorLook = time.Hour
	// rotatorRetry is the wait after a rotation that failed.
	rotatorRetry = time.Minute
)

// rotator gives keys new versions when their policies say so, for as long as the
// vault is open. What fell due while it was not is made up for at once: one
// version, however often it would have been rotated.
type rotator struct {
	keys   keys
	woken  chan struct{} // holds one wake
	cancel context.CancelFunc
	done   chan struct{}
}

func startRotator(k keys) *rotator {
	ctx, cancel := context.WithCancel(context.Background())
	r := &rotator{keys: k, woken: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go r.run(ctx)
	return r
}

// stop ends the rotator, and returns once it did.
func (r *rotator) stop() {
	r.cancel()
	<-r.done
}

// wake makes the rotator look at all policies anew.
func (r *rotator) wake() {
	select {
	case r.woken <- struct{}{}:
	default: // it will
	}
}

func (r *rotator) run(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		next, ok := r.rotateDue(ctx)
		r.wait(ctx, next, ok)
	}
}

// wait returns when it is time, or when the policies may have changed.
func (r *rotator) wait(ctx context.Context, next time.Time, ok bool) {
	for {
		var timer <-chan time.Time
		if ok {
			left := time.Until(next) // by the clock on the wall: next comes from the file
			if left <= 0 {
				return
			}
			timer = time.After(min(left, rotatorLook))
		}
		select {
		case <-ctx.Done():
			return
		case <-r.woken:
			return
		case <-timer:
		}
	}
}

// rotateDue rotates what is due, and returns when to look again, if ever.
func (r *rotator) rotateDue(ctx context.Context) (next time.Time, ok bool) {
	soonest := func(t time.Time) {
		if !ok || t.Before(next) {
			next, ok = t, true
		}
	}
	schedule, err := r.schedule(ctx)
	if err != nil {
		return time.Now().Add(rotatorRetry), true
	}
	for name, due := range schedule {
		if time.Now().Before(due) {
			soonest(due)
			continue
		}
		k, err := r.keys.rotate(ctx, name, stillDue)
		switch {
		case broker.CodeOf(err) == broker.CodeKeyNotFound, broker.CodeOf(err) == broker.CodeKeyDisabled:
			// Somebody took it out of use. Whatever brings it back wakes the rotator.
		case errors.Is(err, errNotDue):
			soonest(time.Now().Add(rotatorRetry)) // it was changed since, or the clock was set
		case err != nil:
			if ctx.Err() == nil {
				r.keys.v.log.WarnContext(ctx, "a key that is due could not be rotated, and will be tried again",
					"key", name.ObjectName(), "error", err)
			}
			soonest(time.Now().Add(rotatorRetry))
		default:
			r.keys.v.log.InfoContext(ctx, "rotated a key by its policy", "key", name.ObjectName(), "version", k.Name.Version())
			// When the new version is due is known once all are looked at again.
			soonest(time.Now())
		}
	}
	return next, ok
}

var errNotDue = errors.New("the key is not due any more")

func stillDue(h *head, m metadata) error {
	if due, ok := h.state.Rotation.due(m); !ok || time.Now().Before(due) {
		return &broker.Error{Code: broker.CodeInternal, Err: errNotDue}
	}
	return nil
}

// schedule returns when each live key is due. Damaged ones were or will be logged
// where they are used.
func (r *rotator) schedule(ctx context.Context) (map[broker.Name]time.Time, error) {
	due := make(map[broker.Name]time.Time)
	v := r.keys.v
	alias, err := broker.VaultName("local") // a vault does not know its alias
	if err != nil {
		return nil, err
	}
	return due, v.view(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket(r.keys.shelf.heads).ForEach(func(k, stored []byte) error {
			h, err := v.openHead(r.keys.shelf, string(k), stored)
			if err != nil || h.state.Deleted != 0 || h.state.Rotation == nil {
				return nil //nolint:nilerr // a damaged key is not rotated; the others are
			}
			m, err := h.metadata(tx, h.state.Latest)
			if err != nil {
				return nil //nolint:nilerr // as above
			}
			name, err := alias.Object(r.keys.shelf.kind, h.name)
			if err != nil {
				return err
			}
			if t, ok := h.state.Rotation.due(m); ok {
				due[name] = t
			}
			return nil
		})
	})
}
