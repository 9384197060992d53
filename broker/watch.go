package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// MaxWatchTargets is the most secrets of one watch.
	MaxWatchTargets = 100
	// watchRecheck is how often a watch is decided anew while nothing happens.
	watchRecheck = 5 * time.Second
	// A watch looks at a secret every tenth of its cache's time to live, and
	// between these. Without a time to live each look is a call to the vault.
	minWatchPoll, maxWatchPoll = 100 * time.Millisecond, 10 * time.Second
	uncachedWatchPoll          = 30 * time.Second
)

// WatchTarget is a secret that is watched.
type WatchTarget struct {
	Name Name // without a version
	// KnownVersion is the latest version that the caller knows of; "" is none.
	KnownVersion string
}

// SecretState is what a watch tells of a secret.
type SecretState string

const (
	// SecretChanged: it has a latest version that is enabled.
	SecretChanged SecretState = "changed"
	// SecretGone: there is none of this name, or it was deleted.
	SecretGone SecretState = "deleted"
	// SecretOff: its latest version is disabled, or may not be used at this time.
	SecretOff SecretState = "disabled"
)

// SecretEvent says what has become of a secret. Its name has the version if, and
// only if, the state is SecretChanged.
type SecretEvent struct {
	Name  Name
	State SecretState
}

// A Watcher is who watches. Its methods are called by one goroutine at a time.
type Watcher interface {
	// Caller names the caller, or returns why nobody is named any more. It is
	// asked at the begin, every few seconds and before each event.
	Caller(ctx context.Context) (Caller, error)
	// Begun is called once, when all is allowed and recorded. What changes after
	// it is sent.
	Begun() error
	// Send sends one event. Meanwhile no other is looked for, and of one secret
	// the latest state alone is kept.
	Send(e SecretEvent) error
}

// WatchSecrets tells w of the changes of 1 to MaxWatchTargets secrets until ctx
// ends, w fails, or one of the targets is denied. It always returns an error:
// ctx's cause if that ended it.
//
// A change through this Broker is told at once, one that was made elsewhere
// within the cache's time to live. A target that is not as w knows it at the
// begin is told at once, so nothing is missed between two watches. While a vault
// does not answer, nothing is told of its secrets.
//
// Each target is decided at the begin, every few seconds and before each event.
// Its begin and each event are recorded before they are told.
func (b *Broker) WatchSecrets(ctx context.Context, w Watcher, targets []WatchTarget) error {
	if err := checkTargets(targets); err != nil {
		return err
	}
	c, err := w.Caller(ctx)
	if err != nil {
		return err
	}
	for _, t := range targets {
		ev, err := b.enter(ctx, c, ActionWatchSecret, t.Name)
		if err != nil {
			return err
		}
		if _, err := b.secrets(t.Name); err != nil {
			ev.Outcome = outcome(err)
			if rerr := b.record(ctx, ev); rerr != nil {
				return rerr
			}
			return err
		}
		ev.Outcome = OutcomeOK
		if err := b.record(ctx, ev); err != nil {
			return err
		}
	}
	if err := w.Begun(); err != nil {
		return err
	}

	looking, stop := context.WithCancel(c.errand(ctx))
	var lookers sync.WaitGroup
	defer lookers.Wait()
	defer stop()
	seen := make(chan sight)
	for _, t := range targets {
		lookers.Go(func() { b.follow(looking, t, seen) })
	}
	recheck := time.NewTicker(watchRecheck)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return AsError(context.Cause(ctx))
		case s := <-seen:
			if s.err != nil {
				return s.err
			}
			if err := b.tell(ctx, w, s); err != nil {
				return err
			}
		case <-recheck.C:
			if err := b.stillAllowed(ctx, w, targets); err != nil {
				return err
			}
		}
	}
}

func checkTargets(targets []WatchTarget) error {
	if len(targets) == 0 || len(targets) > MaxWatchTargets {
		return &Error{Code: CodeBadField, Field: "targets", Message: fmt.Sprintf("a watch has 1 to %d targets", MaxWatchTargets)}
	}
	named := make(map[Name]bool, len(targets))
	for i, t := range targets {
		field := fmt.Sprintf("targets[%d].", i)
		switch {
		case t.Name.version != "":
			return &Error{Code: CodeBadName, Field: field + "name", Message: "a watch takes names without a version"}
		case named[t.Name]:
			return &Error{Code: CodeBadField, Field: field + "name", Message: "this name was given before"}
		case t.KnownVersion != "" && !validVersion(t.KnownVersion):
			return &Error{Code: CodeBadField, Field: field + "known_version", Message: "a version is 32 lower-case hexadecimal digits"}
		}
		named[t.Name] = true
	}
	return nil
}

// sight is what was seen of a target, or the error that ends the watch.
type sight struct {
	SecretEvent

	cached, stale bool
	err           error
}

// tell records and sends what was seen, if that is still allowed.
func (b *Broker) tell(ctx context.Context, w Watcher, s sight) error {
	c, err := w.Caller(ctx)
	if err != nil {
		return err
	}
	ev, err := b.enter(ctx, c, ActionWatchSecret, s.Name)
	if err != nil {
		return err
	}
	ev.Outcome, ev.Cached, ev.Stale = OutcomeOK, s.cached, s.stale
	if err := b.record(ctx, ev); err != nil {
		return err
	}
	return w.Send(s.SecretEvent)
}

// stillAllowed decides every target anew. That is no act of the caller's: only a
// denial is counted and recorded.
func (b *Broker) stillAllowed(ctx context.Context, w Watcher, targets []WatchTarget) error {
	c, err := w.Caller(ctx)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if d, err := b.authorize(ctx, c.request(ActionWatchSecret), t.Name); err == nil && d.Allowed {
			continue
		}
		if _, err := b.enter(ctx, c, ActionWatchSecret, t.Name); err != nil {
			return err
		}
	}
	return nil
}

// follow looks at t until ctx ends, and sends to seen whatever differs from what
// was sent before.
func (b *Broker) follow(ctx context.Context, t WatchTarget, seen chan<- sight) {
	told := SecretEvent{Name: t.Name, State: SecretGone}
	if t.KnownVersion != "" {
		told.Name.version, told.State = t.KnownVersion, SecretChanged
	}
	// From before the first look, so that no change is between the two.
	sub, end := b.changes.subscribe(t.Name)
	defer end()
	began, sure := time.Now(), t.KnownVersion == ""
	calm := WithErrand(ctx, Errand{Principal: ErrandOf(ctx).Principal, Urgency: UrgencyRefresh})
	for at := ctx; ; at = calm {
		s, every := b.look(at, t.Name, nil)
		if !sure && s.SecretEvent != told {
			// Who watched elsewhere may know what is younger than what is kept here.
			// Twice: the first may share a call that began before.
			for range 2 {
				s, every = b.look(at, t.Name, new(time.Since(began)))
			}
		}
		sure = sure || s.State != ""
		if s.err != nil || s.State != "" && s.SecretEvent != told {
			select {
			case seen <- s:
				told = s.SecretEvent
				continue // that may have taken long
			case <-ctx.Done():
				return
			}
		}
		// Spread, so that all who watch do not look at once.
		poll := time.NewTimer(every - rand.N(every/4)) //nolint:gosec // no secret
		select {
		case <-sub.changed:
		case <-poll.C:
		case <-ctx.Done():
		}
		poll.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// look returns how the named secret is, without a state if that cannot be said,
// as while the vault does not answer; and when to look again. The answer is at most
// maxAge old, if that is given, or so old that the next look is in time.
func (b *Broker) look(ctx context.Context, name Name, maxAge *time.Duration) (s sight, every time.Duration) {
	defer contain(&s.err)
	defer b.join().leave() // a watch outlasts many a set of vaults, a look does not
	store, err := b.secrets(name)
	if err != nil {
		return sight{err: err}, maxWatchPoll // it is not served any more
	}
	every = uncachedWatchPoll
	later := every
	if fresh, ok := store.(FreshReader); ok && fresh.TTL() > 0 {
		// Who looks so often finds an answer before it is as old as the time to
		// live, and has it asked for anew at the last look before that.
		ttl := fresh.TTL()
		every = min(max(ttl/10, minWatchPoll), maxWatchPoll)
		later = max(ttl-every, ttl/2)
		if maxAge == nil {
			maxAge = &later
		}
	}
	v, err := readWithin(ctx, store, name, maxAge)
	switch CodeOf(err) {
	case "":
		return sight{SecretEvent: SecretEvent{v.Name, SecretChanged}, cached: v.Cached, stale: v.Stale}, every
	case CodeSecretNotFound:
		s.SecretEvent = SecretEvent{name, SecretGone}
	case CodeSecretDisabled:
		s.SecretEvent = SecretEvent{name, SecretOff}
	default:
		return s, every
	}
	return s, later // no answer is kept: each look is a call
}
