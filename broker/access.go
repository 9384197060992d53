package broker

import (
	"context"
	"time"
)

// AccessQuestion is whether a principal may do an action on a resource.
type AccessQuestion struct {
	Action Action
	// Resource is what the action is decided on: see Action.ParseResource.
	Resource Name
	// Principal is whom the question is about, as credentials would name them.
	// The caller's own ID or none, without groups and attributes, is the caller.
	Principal Principal
}

// about reports whether the question is about c as it calls.
func (q AccessQuestion) about(c Caller) bool {
	p := q.Principal
	return (p.ID == "" || p.ID == c.ID) && len(p.Groups) == 0 && len(p.Attributes) == 0
}

// CheckAccess decides an action without doing it. What cannot be decided is
// denied, as it would be.
//
// A caller may always ask about itself, and the answer is for this very call.
// Asking about others takes ActionExplainAccess on the vault; the answer is for
// a call at the present time from nowhere, without a transport, a peer and a
// reason. No vault is asked.
func (b *Broker) CheckAccess(ctx context.Context, c Caller, q AccessQuestion) (Explanation, error) {
	if q.about(c) {
		// No policy decides whether one may ask about oneself.
		ev := Event{Caller: c, Action: ActionCheckAccess, Resource: q.Resource.Vault(), Decision: Decision{Allowed: true}}
		return disclose(ctx, b, ev, func(ctx context.Context, ev *Event) (Explanation, error) {
			r := c.request(q.Action)
			r.Resource = q.Resource
			return b.explain(ctx, ev, r)
		})
	}
	if q.Principal.ID == "" {
		return Explanation{}, &Error{Code: CodeBadField, Field: "principal", Message: "name the principal that has these groups and attributes"}
	}
	return read(ctx, b, c, ActionExplainAccess, q.Resource.Vault(), func(ctx context.Context, ev *Event) (Explanation, error) {
		if err := b.known(q.Resource); err != nil {
			return Explanation{}, err
		}
		return b.explain(ctx, ev, Request{Principal: q.Principal, Action: q.Action, Resource: q.Resource, Time: time.Now()})
	})
}

// explain decides r, and adds question and answer to the event.
func (b *Broker) explain(ctx context.Context, ev *Event, r Request) (Explanation, error) {
	explainer, err := b.explainer()
	if err != nil {
		return Explanation{}, err
	}
	answer, err := explainer.Explain(ctx, r)
	if err != nil {
		b.log.ErrorContext(ctx, "the policy could not be evaluated; answered as denied", "action", r.Action, "error", err)
		answer.Allowed, answer.BreakGlass = false, false
	}
	ev.Question = &Question{Action: r.Action, Resource: r.Resource, Principal: r.Principal, Answer: &answer.Decision}
	if ev.Decision.PolicySet == "" {
		ev.Decision.PolicySet = answer.PolicySet
	}
	return answer, nil
}

// ListGrants returns who could be permitted the action on the resource, which is
// what the action is decided on. It takes ActionExplainAccess on the vault, and
// asks no vault.
func (b *Broker) ListGrants(ctx context.Context, c Caller, a Action, resource Name) ([]Grant, error) {
	return read(ctx, b, c, ActionExplainAccess, resource.Vault(), func(ctx context.Context, ev *Event) ([]Grant, error) {
		if err := b.known(resource); err != nil {
			return nil, err
		}
		explainer, err := b.explainer()
		if err != nil {
			return nil, err
		}
		grants, err := explainer.Grants(ctx, a, resource)
		if err != nil {
			return nil, err
		}
		ev.Question = &Question{Action: a, Resource: resource}
		return grants, nil
	})
}

// known returns an error unless n is in a vault of the configuration.
func (b *Broker) known(n Name) error {
	_, err := b.vault(n)
	return err
}

func (b *Broker) explainer() (Explainer, error) {
	e, ok := b.authz.(Explainer)
	if !ok {
		return nil, &Error{Code: CodeNotSupported, Message: "what decides in this broker cannot explain itself"}
	}
	return e, nil
}
