package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/keyward/keyward/broker"
)

// AllowAll is an Authorizer that permits everything.
type AllowAll struct{}

// Authorize implements broker.Authorizer.
func (AllowAll) Authorize(context.Context, broker.Request) (broker.Decision, error) {
	return broker.Decision{Allowed: true, Policies: []string{"allow-all"}}, nil
}

// AuthorizerFunc is an Authorizer made of a function.
type AuthorizerFunc func(ctx context.Context, r broker.Request) (broker.Decision, error)

// Authorize implements broker.Authorizer.
func (f AuthorizerFunc) Authorize(ctx context.Context, r broker.Request) (broker.Decision, error) {
	return f(ctx, r)
}

// Auditor keeps what it is told to record. The zero Auditor is ready, and its
// methods may be called concurrently.
type Auditor struct {
	mu     sync.Mutex
	events []broker.Event
	refuse func(broker.Event) error
}

var _ broker.Auditor = (*Auditor)(nil)

// Record implements broker.Auditor.
func (a *Auditor) Record(_ context.Context, e broker.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		if err := a.refuse(e); err != nil {
			return err
		}
	}
	a.events = append(a.events, e)
	return nil
}

// Refuse makes Record fail with what f returns, unless that is nil. A nil f
// ends it. f must not call the Auditor.
func (a *Auditor) Refuse(f func(broker.Event) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = f
}

// Events returns what was recorded so far, in order.
func (a *Auditor) Events() []broker.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events)
}

// Explainer explains an Authorizer: each policy of a Decision stands in
// "test.cedar", and Granted is who could be permitted, whatever is asked.
type Explainer struct {
	broker.Authorizer
	Granted []broker.Grant
}

var _ broker.Explainer = Explainer{}

// Explain implements broker.Explainer.
func (e Explainer) Explain(ctx context.Context, r broker.Request) (broker.Explanation, error) {
	d, err := e.Authorize(ctx, r)
	x := broker.Explanation{Decision: d}
	for i, id := range d.Policies {
		x.Refs = append(x.Refs, broker.PolicyRef{ID: id, Position: fmt.Sprintf("test.cedar:%d:1", i+1)})
	}
	return x, err
}

// Grants implements broker.Explainer.
func (e Explainer) Grants(context.Context, broker.Action, broker.Name) ([]broker.Grant, error) {
	return e.Granted, nil
}
