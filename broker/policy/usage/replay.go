package usage

import (
	"context"
	"slices"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// Change is what another set decides otherwise: one principal's action on one
// resource.
type Change struct {
	Principal string
	Action    broker.Action
	Resource  broker.Name
	// Allowed is the other set's decision; the past's was the opposite.
	Allowed bool
	// Count is how often it was decided, BreakGlass how often of these by
	// break-glass alone.
	Count, BreakGlass int
	First, Last       Sight
	// Request is that of Last.
	Request broker.Request
	// Explanation is the other set's, of Request.
	Explanation broker.Explanation
	// Err: a forbid of the other set could not be evaluated.
	Err error
}

// Replay is what another set decides on the past.
type Replay struct {
	// Decisions were held against it, in Questions that differ.
	Decisions, Questions int
	// Used counts the decisions that were allowed.
	Used int
	// Denied and Allowed are what is newly denied or allowed, by principal,
	// resource and action.
	Denied, Allowed []Change
}

// Counts returns how many decisions would newly be denied and allowed.
func (r *Replay) Counts() (denied, allowed int) {
	for _, c := range r.Denied {
		denied += c.Count
	}
	for _, c := range r.Allowed {
		allowed += c.Count
	}
	return denied, allowed
}

// Replay decides the past again. What is new is held against before, or if that
// is nil, against what was recorded. Each question is decided once.
func (p *Past) Replay(before, after *policy.Engine) *Replay {
	return p.replay(func(u *Use) bool {
		if before != nil {
			return allows(before, u.Request)
		}
		return u.Allowed
	}, after)
}

// replay is Replay where was says what was allowed.
func (p *Past) replay(was func(*Use) bool, after *policy.Engine) *Replay {
	out := &Replay{Decisions: p.Decisions, Questions: len(p.uses)}
	type subject struct {
		principal string
		action    broker.Action
		resource  broker.Name
		allowed   bool
	}
	at := map[subject]*Change{}
	for _, u := range p.uses {
		was := was(u)
		if was {
			out.Used += u.Count
		}
		is := allows(after, u.Request)
		if is == was {
			continue
		}
		k := subject{u.Request.Principal.ID, u.Request.Action, u.Request.Resource, is}
		c := at[k]
		if c == nil {
			c = &Change{Principal: k.principal, Action: k.action, Resource: k.resource, Allowed: is, First: u.First}
			at[k] = c
		}
		c.Count += u.Count
		if u.BreakGlass {
			c.BreakGlass += u.Count
		}
		if u.First.Time.Before(c.First.Time) {
			c.First = u.First
		}
		if !u.Last.Time.Before(c.Last.Time) {
			c.Last, c.Request = u.Last, u.Request
		}
	}
	for _, c := range at {
		c.Explanation, c.Err = after.Explain(context.Background(), c.Request)
		if c.Allowed {
			out.Allowed = append(out.Allowed, *c)
		} else {
			out.Denied = append(out.Denied, *c)
		}
	}
	for _, list := range [][]Change{out.Denied, out.Allowed} {
		slices.SortFunc(list, func(a, b Change) int { return compareRequests(a.Request, b.Request) })
	}
	return out
}

// allows decides as a broker would: what cannot be decided is denied.
func allows(e *policy.Engine, r broker.Request) bool {
	d, err := e.Authorize(context.Background(), r)
	return d.Allowed && err == nil
}
