package keyvault

import (
	linked "container/list"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	urgencies = int(broker.UrgencyScan) + 1
	// passedOver is how many more urgent calls go before one that waits behind
	// them goes all the same: a scan progresses, slowly.
	passedOver = 20
)

// kept is the part of a stored budget that calls of an urgency leave for those
// of a greater one.
var kept = [urgencies]float64{broker.UrgencyRefresh: 0.25, broker.UrgencyScan: 0.5}

// waiter is a call that waits at a gate.
type waiter struct {
	errand   broker.Errand
	cost     float64
	reason   string
	deadline time.Time // of its caller, if bounded
	bounded  bool
	// done is closed when one of these is set, and not before.
	done    chan struct{}
	passed  pass
	refused *broker.Error

	lane *lane
	at   *linked.Element
}

// waiters are the calls at a gate, in the order in which they go: the urgent
// first, and of each urgency one of every principal's in turn.
type waiters struct {
	count int
	by    [urgencies]turns
}

// turns are the waiters of one urgency.
type turns struct {
	lanes map[string]*lane // of principals that have any
	order linked.List      // of *lane, the next in turn in front
	over  int              // how many more urgent calls went meanwhile
}

// lane is the calls of one principal, in the order they came.
type lane struct {
	calls linked.List // of *waiter
	cost  float64     // of all
	turn  *linked.Element
}

func (q *waiters) add(w *waiter) {
	t := &q.by[w.errand.Urgency]
	l := t.lanes[w.errand.Principal]
	if l == nil {
		if t.lanes == nil {
			t.lanes = make(map[string]*lane)
		}
		l = &lane{}
		l.turn = t.order.PushBack(l)
		t.lanes[w.errand.Principal] = l
	}
	w.lane, w.at = l, l.calls.PushBack(w)
	l.cost += w.cost
	q.count++
}

// remove takes w out. Its principal has had its turn then.
func (q *waiters) remove(w *waiter) {
	t := &q.by[w.errand.Urgency]
	w.lane.calls.Remove(w.at)
	w.lane.cost -= w.cost
	q.count--
	if w.lane.calls.Len() == 0 {
		t.order.Remove(w.lane.turn)
		delete(t.lanes, w.errand.Principal)
	}
	if t.order.Len() == 0 {
		t.over = 0
	}
}

// next returns who goes next, or nil, and which part of what is stored it leaves.
func (q *waiters) next() (*waiter, float64) {
	var first *turns
	part := 0.0
	for u := range q.by {
		t := &q.by[u]
		if t.order.Len() == 0 {
			continue
		}
		switch {
		case first == nil:
			first, part = t, kept[u]
		case t.over >= passedOver:
			first, part = t, 0
		}
	}
	if first == nil {
		return nil, 0
	}
	return first.order.Front().Value.(*lane).calls.Front().Value.(*waiter), part //nolint:forcetypeassert // lists of nothing else
}

// went takes out who next returned, and puts its principal last.
func (q *waiters) went(w *waiter) {
	t := &q.by[w.errand.Urgency]
	t.order.MoveToBack(w.lane.turn)
	t.over = 0
	q.remove(w)
	for u := int(w.errand.Urgency) + 1; u < urgencies; u++ {
		if q.by[u].order.Len() > 0 {
			q.by[u].over++
		}
	}
}

// ahead returns what goes before a call of e's that costs so much, if nobody
// else comes.
func (q *waiters) ahead(e broker.Errand, cost float64) float64 {
	sum := 0.0
	for u := range e.Urgency {
		for _, l := range q.by[u].lanes {
			sum += l.cost
		}
	}
	t := &q.by[e.Urgency]
	own := 0.0
	if l := t.lanes[e.Principal]; l != nil {
		own = l.cost
	}
	for p, l := range t.lanes {
		if p != e.Principal {
			sum += min(l.cost, own+cost)
		}
	}
	return sum + own
}

// each calls f with all, which may take out the one it is given.
func (q *waiters) each(f func(*waiter)) {
	for u := range q.by {
		for _, l := range q.by[u].lanes {
			for e := l.calls.Front(); e != nil; {
				next := e.Next()
				f(e.Value.(*waiter)) //nolint:forcetypeassert // as above
				e = next
			}
		}
	}
}
