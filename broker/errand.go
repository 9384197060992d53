package broker

import "context"

// Urgency is how long a call to a vault may be kept waiting behind others.
type Urgency int

const (
	// UrgencyInteractive: a caller waits for this one answer. It is the zero value.
	UrgencyInteractive Urgency = iota
	// UrgencyRefresh: what is known is asked for again before its time, and nobody
	// waits.
	UrgencyRefresh
	// UrgencyScan: one of the many calls of a walk through a list.
	UrgencyScan
)

// Errand is what a store may know of the call that it serves: a vault that has
// little to give serves the urgent first, and none of its callers at the cost of
// the others. It decides nothing else.
type Errand struct {
	// Principal is whose call it is; "" is the broker's own.
	Principal string
	Urgency   Urgency
}

type errandKey struct{}

// errandContext is a context with an errand: one object for both.
type errandContext struct {
	context.Context
	errand Errand
}

// Value implements context.Context.
func (c *errandContext) Value(key any) any {
	if key == (errandKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// WithErrand returns ctx with an errand. It outlives the end of ctx as values do.
func WithErrand(ctx context.Context, e Errand) context.Context {
	return &errandContext{ctx, e}
}

// ErrandOf returns the errand of ctx, or the zero Errand.
func ErrandOf(ctx context.Context) Errand {
	if c, ok := ctx.Value(errandKey{}).(*errandContext); ok {
		return c.errand
	}
	return Errand{}
}

// errand says in ctx that the call is c's.
func (c Caller) errand(ctx context.Context) context.Context {
	e := ErrandOf(ctx)
	e.Principal = c.ID
	return WithErrand(ctx, e)
}
