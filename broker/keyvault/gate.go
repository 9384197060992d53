package keyvault

import (
	"context"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// breakAfter failures in a row, the breaker opens; breakFor is until its probe.
	breakAfter = 5
	breakFor   = 10 * time.Second
	// longestWait is what a call waits whose caller names no deadline.
	longestWait = time.Minute
	// hungAfter is how long a vault had to answer when its silence tells something.
	hungAfter = tryTimeout / 2

	// probeHungAfter is the same of a probe. It is shorter, so that impatient
	// callers do not probe one after the other.
	probeHungAfter = hungAfter / 4

	// A retry is paid for by so many calls, and what savedRetries cost can be
	// saved up.
	callsPerRetry = 10
	savedRetries  = 10
)

// Why a call waited at the gate, or was refused there.
const (
	gateBudget    = "budget"
	gateThrottled = "throttled"
	gateBreaker   = "breaker"
	gateRetries   = "retries"
)

// gateState is what a gate lets pass. Its number is that of the metric.
type gateState int

const (
	gateOpen gateState = iota
	// gateHeld: the vault throttles. Who has the time waits.
	gateHeld
	// gateBroken: the vault fails. Nobody waits.
	gateBroken
)

// verdict is what a try says of the vault.
type verdict int

const (
	// verdictUnknown: the vault was not asked, or its caller did not wait for an answer.
	verdictUnknown verdict = iota
	verdictAnswered
	verdictThrottled
	verdictFailed
)

// gate is what each try of a vault's calls passes, so that the vault is not asked
// for more than it can give, and not at all while it can give nothing.
//
// It holds calls to a budget. When the vault throttles it closes for as long as
// the vault says, and when the vault fails again and again for breakFor; one probe
// goes then for all, and opens it if the vault answers. gobreaker would refuse who
// may wait, and knows no time that a vault names; and two gates in a row would
// need two probes.
type gate struct {
	mu     sync.Mutex
	budget *bucket
	queue  waiters
	timer  *time.Timer // of dispatch, while somebody waits
	state  gateState
	// until is when a probe may go, where state is not gateOpen.
	until   time.Time
	probing bool
	// throttles and failures are in a row; the latter since failing.
	throttles, failures int
	failing             time.Time
	saved               int // calls that no retry has used
}

func newGate(b *bucket) *gate { return &gate{budget: b, saved: savedRetries * callsPerRetry} }

// is returns the gate's state.
func (g *gate) is() gateState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}

// pass is leave for one try. came must be told what came of it.
type pass struct {
	began  time.Time
	probe  bool
	waited time.Duration
	reason string // why it waited, or was refused
}

// enter waits until a call that costs so much may go. Its errors are notSentError,
// or what became of ctx.
func (g *gate) enter(ctx context.Context, cost float64) (pass, *broker.Error) {
	now := time.Now()
	e := broker.ErrandOf(ctx)
	if e.Urgency < 0 || int(e.Urgency) >= urgencies {
		e.Urgency = broker.UrgencyScan
	}
	g.mu.Lock()
	if g.state == gateOpen && g.queue.count == 0 && g.budget.wait(now, 0, cost, kept[e.Urgency]) == 0 {
		g.budget.spend(now, cost)
		g.mu.Unlock()
		return pass{began: now}, nil
	}
	w, refused := g.wait(ctx, now, e, cost)
	g.mu.Unlock()
	if refused != nil {
		return pass{reason: w.reason}, refused
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		select {
		case <-w.done:
		default:
			g.queue.remove(w)
			g.dispatch()
			return pass{waited: time.Since(now), reason: w.reason}, broker.AsError(ctx.Err())
		}
	}
	p := w.passed
	p.waited, p.reason = time.Since(now), w.reason
	if p.waited == 0 && w.refused == nil {
		p.reason = ""
	}
	return p, w.refused
}

// wait queues a call, or refuses it if it cannot pass in time.
func (g *gate) wait(ctx context.Context, now time.Time, e broker.Errand, cost float64) (*waiter, *broker.Error) {
	w := &waiter{errand: e, cost: cost, reason: gateBudget}
	closed := time.Duration(0)
	if g.state != gateOpen {
		closed = g.until.Sub(now)
	}
	switch {
	case g.state == gateBroken && (closed > 0 || g.probing):
		w.reason = gateBreaker
		return w, g.refusal(w.reason, closed)
	case g.state == gateHeld:
		w.reason = gateThrottled
	}
	d := max(closed, g.budget.wait(now, g.queue.ahead(e, cost), cost, kept[e.Urgency]))
	if d > longestWait || !fitsIn(ctx, now, d) {
		return w, g.refusal(w.reason, d)
	}
	w.done = make(chan struct{})
	w.deadline, w.bounded = ctx.Deadline()
	g.queue.add(w)
	g.dispatch()
	return w, nil
}

// fitsIn reports whether a wait leaves ctx any time.
func fitsIn(ctx context.Context, now time.Time, d time.Duration) bool {
	deadline, bounded := ctx.Deadline()
	return !bounded || d == 0 || deadline.Sub(now) > d
}

// refusal is what a call is told that does not go, by the reason.
func (g *gate) refusal(reason string, d time.Duration) *broker.Error {
	e := &broker.Error{Code: broker.CodeVaultThrottled, RetryAfter: min(max(d, soon), maxRetryAfter), Err: notSentError(reason)}
	if reason == gateBreaker {
		e.Code = broker.CodeVaultUnavailable
	}
	return e
}

// notSentError says in the log that it was the gate, and not the vault.
type notSentError string

func (e notSentError) Error() string { return "not sent to the vault: " + string(e) }

// dispatch lets go who may, and comes back when the next may.
func (g *gate) dispatch() {
	for {
		w, part := g.queue.next()
		if w == nil {
			if g.timer != nil {
				g.timer.Stop()
			}
			return
		}
		now := time.Now()
		probe := g.state != gateOpen
		switch {
		case probe && g.probing:
			return // came comes back
		case probe && now.Before(g.until):
			g.comeBack(g.until.Sub(now))
			return
		case !probe:
			// A probe needs no more than its turn: the vault said when.
			if d := g.budget.wait(now, 0, w.cost, part); d > 0 {
				g.comeBack(d)
				return
			}
		}
		g.budget.spend(now, w.cost)
		g.queue.went(w)
		g.probing = probe
		w.passed = pass{began: now, probe: probe}
		close(w.done)
	}
}

func (g *gate) comeBack(d time.Duration) {
	if g.timer != nil {
		g.timer.Reset(d)
		return
	}
	g.timer = time.AfterFunc(d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dispatch()
	})
}

// came says what came of a try, and how long the vault asks to be left alone, if
// it does. It returns how long the gate is closed for.
func (g *gate) came(p pass, v verdict, wait time.Duration, asked bool) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if p.probe {
		g.probing = false
	}
	// What was sent before the gate closed says little of now.
	current := p.probe || g.state == gateOpen
	switch {
	case v == verdictAnswered && current:
		g.throttles, g.failures = 0, 0
		g.state = gateOpen
	case v == verdictThrottled && current:
		g.failures = 0
		g.throttles++
		if !asked {
			wait = min(backoff(min(g.throttles, 7), true), maxRetryAfter)
		}
		g.budget.empty(now)
		g.close(gateHeld, now.Add(wait))
	case v == verdictThrottled && asked && g.state == gateHeld && now.Add(wait).After(g.until):
		g.close(gateHeld, now.Add(wait))
	case v == verdictFailed && p.probe:
		g.close(gateBroken, now.Add(breakFor))
	case v == verdictFailed && current:
		g.fails(p, now)
	}
	if g.queue.count > 0 {
		g.dispatch()
	}
	if g.state == gateOpen {
		return 0
	}
	return max(g.until.Sub(now), 0)
}

// fails counts a failure, if it is one more in the row: all the calls of a
// connection that is lost are one.
func (g *gate) fails(p pass, now time.Time) {
	if g.failures > 0 && p.began.Before(g.failing) {
		return
	}
	if g.failures == 0 {
		g.failing = now
	}
	if g.failures++; g.failures >= breakAfter {
		g.close(gateBroken, now.Add(breakFor))
	}
}

// close closes the gate, and sends away who cannot wait for it.
func (g *gate) close(s gateState, until time.Time) {
	g.until = until
	g.state = s
	g.queue.each(func(w *waiter) {
		switch {
		case s == gateBroken:
			w.reason = gateBreaker
		case w.bounded && !w.deadline.After(until):
			w.reason = gateThrottled
		default:
			return
		}
		g.queue.remove(w)
		w.refused = g.refusal(w.reason, time.Until(until))
		close(w.done)
	})
}

// called counts a call, which pays for a part of a retry.
func (g *gate) called() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.saved = min(g.saved+1, savedRetries*callsPerRetry)
}

// again reports whether a call may be tried again. A vault that fails now and
// then gets few more tries than there are calls, however many fail.
func (g *gate) again() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.saved < callsPerRetry {
		return false
	}
	g.saved -= callsPerRetry
	return true
}
