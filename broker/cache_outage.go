package broker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// probeEvery is how long an outage is taken for granted before one load tries
	// again: half of it at least, and the whole at most.
	probeEvery = 4 * time.Second
	// maxProbeWait bounds what a vault may ask for.
	maxProbeWait = time.Minute
	// patience is how long one who could have an old answer waits for a new one.
	patience = time.Second
)

// outage is what a cache knows of a vault that cannot be asked. While it lasts,
// old answers are served at once, and one load at a time tries the vault.
//
// It begins with any load that the vault does not answer, and ends with any that
// it does.
type outage struct {
	mu   sync.Mutex
	on   bool
	next time.Time // when the next load may try
}

// failed tells of a load that failed with err, which may be nil for one that
// takes too long.
func (o *outage) failed(err error) {
	wait := probeEvery/2 + rand.N(probeEvery/2) //nolint:gosec // no secret
	if err != nil {
		wait = max(wait, min(AsError(err).RetryAfter, maxProbeWait))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	next := time.Now().Add(wait)
	if !o.on || next.After(o.next) {
		o.next = next
	}
	o.on = true
}

// over tells that the vault has answered.
func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = false
}

func (o *outage) lasts() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.on
}

// mayAsk reports whether a load for which nobody waits may begin. In an outage it
// is then the only one, until it fails or its time is over.
func (o *outage) mayAsk() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.on {
		return true
	}
	now := time.Now()
	if now.Before(o.next) {
		return false
	}
	o.next = now.Add(loadTimeout)
	return true
}

// unanswered reports whether a vault could not be asked, or could not answer. Of
// what was asked for, err says nothing.
func unanswered(err error) bool {
	switch e := AsError(err); e.Code {
	case CodeVaultUnavailable, CodeVaultThrottled:
		return true
	case CodeVaultAuthentication:
		return e.Unasked
	}
	return false
}

// answered reports whether err is a vault's own word on what was asked for.
func answered(err error) bool {
	switch CodeOf(err) {
	case CodeInternal, CodeDeadlineExceeded, CodeCanceled:
		return false
	}
	return !unanswered(err)
}

// patienceOf is how long the caller of ctx waits for a new answer if it could
// have an old one: never to its own deadline.
func patienceOf(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(patience, time.Until(deadline)/2)
	}
	return patience
}
