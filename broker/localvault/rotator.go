package localvault

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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

// rotator gives keys and certificates new versions when their policies say so, for
// as long as the vault is open. What fell due while it was not is made up for at
// once: one version, however often it would have been rotated.
type rotator struct {
	stores []rotating
	log    *slog.Logger
	woken  chan struct{} // holds one wake
	cancel context.CancelFunc
	done   chan struct{}
}

// rotating is a store whose objects get new versions by themselves.
type rotating interface {
	// schedule returns when each is due.
	schedule(ctx context.Context) (map[broker.Name]time.Time, error)
	// rotateDue makes the new version, unless it is not due any more: errNotDue.
	rotateDue(ctx context.Context, name broker.Name) (broker.Name, error)
	// outOfUse are the codes of what is to be left alone until somebody changes it.
	outOfUse() []broker.Code
}

func startRotator(v *Vault) *rotator {
	ctx, cancel := context.WithCancel(context.Background())
	r := &rotator{
		stores: []rotating{rotatingKeys{v.keys()}, rotatingCertificates{v.certificates()}}, log: v.log,
		woken: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
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
	for _, store := range r.stores {
		schedule, err := store.schedule(ctx)
		if err != nil {
			soonest(time.Now().Add(rotatorRetry))
			continue
		}
		for name, due := range schedule {
			if time.Now().Before(due) {
				soonest(due)
				continue
			}
			made, err := store.rotateDue(ctx, name)
			switch {
			case slices.Contains(store.outOfUse(), broker.CodeOf(err)):
				// Whatever brings it back wakes the rotator.
			case errors.Is(err, errNotDue):
				soonest(time.Now().Add(rotatorRetry)) // it was changed since, or the clock was set
			case err != nil:
				if ctx.Err() == nil {
					r.log.WarnContext(ctx, "what is due could not be rotated, and will be tried again", "name", name.String(), "error", err)
				}
				soonest(time.Now().Add(rotatorRetry))
			default:
				r.log.InfoContext(ctx, "rotated by its policy", "name", name.String(), "version", made.Version())
				// When the new version is due is known once all are looked at again.
				soonest(time.Now())
			}
		}
	}
	return next, ok
}

var errNotDue = errors.New("it is not due any more")

// stillDue permits to rotate what due says is due.
func stillDue(due func(*head, metadata) (time.Time, bool)) func(*head, metadata) error {
	return func(h *head, m metadata) error {
		if at, ok := due(h, m); !ok || time.Now().Before(at) {
			return &broker.Error{Code: broker.CodeInternal, Err: errNotDue}
		}
		return nil
	}
}

// schedule returns when each live object is due. Damaged ones were or will be logged
// where they are used.
func (s objects) schedule(ctx context.Context, due func(*head, metadata) (time.Time, bool)) (map[broker.Name]time.Time, error) {
	all := make(map[broker.Name]time.Time)
	alias, err := broker.VaultName("local") // a vault does not know its alias
	if err != nil {
		return nil, err
	}
	return all, s.v.view(ctx, func(tx *bbolt.Tx) error {
		return tx.Bucket(s.shelf.heads).ForEach(func(k, stored []byte) error {
			h, err := s.v.openHead(s.shelf, string(k), stored)
			if err != nil || h.state.Deleted != 0 || (h.state.Rotation == nil && h.state.Policy == nil) {
				return nil //nolint:nilerr // a damaged one is not rotated; the others are
			}
			m, err := h.metadata(tx, h.state.Latest)
			if err != nil {
				return nil //nolint:nilerr // as above, or it has no version yet
			}
			name, err := alias.Object(s.shelf.kind, h.name)
			if err != nil {
				return err
			}
			if at, ok := due(h, m); ok {
				all[name] = at
			}
			return nil
		})
	})
}
