package policy

import (
	"maps"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"

	"github.com/keyward/keyward/broker"
)

// maxRemembered bounds the decisions that are remembered: some three megabytes.
const maxRemembered = 1 << 13

// memo remembers decisions in which the call's context has no part. They depend on
// who asks for what, and on the policies and entities in force; an Engine has the
// same ones for ever, and with another one in its place its memo is gone. So what is
// remembered is what would be decided now.
type memo struct {
	kept func() *otter.Cache[question, *remembered] // an Engine that is only looked at has none
}

// question is what a decision is remembered by. The rest of what is known of the
// principal is compared.
type question struct {
	principal string
	action    broker.Action
	resource  broker.Name
	// all: it is about all objects of the collection resource that no policy names.
	// Where no policy asks of the resource either, they are decided alike, and a
	// hundred thousand of them take one answer.
	all bool
}

func about(r broker.Request, all bool) question {
	q := question{r.Principal.ID, r.Action, r.Resource, all}
	if all {
		q.resource = r.Resource.Collection(r.Resource.Kind())
	}
	return q
}

type remembered struct {
	groups     []string
	attributes map[string]string
	decision   broker.Decision
}

func newMemo() *memo {
	return &memo{kept: sync.OnceValue(func() *otter.Cache[question, *remembered] {
		return otter.Must(&otter.Options[question, *remembered]{MaximumSize: maxRemembered, Logger: &otter.NoopLogger{}})
	})}
}

// decision returns what was decided on r, or if it is about an object that no policy
// names, on any like it.
func (m *memo) decision(r broker.Request, alike bool) (d broker.Decision, ok bool) {
	if alike {
		d, ok = m.answer(r, true)
	}
	if !ok {
		d, ok = m.answer(r, false)
	}
	return d, ok
}

func (m *memo) answer(r broker.Request, all bool) (broker.Decision, bool) {
	k, ok := m.kept().GetIfPresent(about(r, all))
	if !ok || r.Time.IsZero() || !slices.Equal(k.groups, r.Principal.Groups) || !maps.Equal(k.attributes, r.Principal.Attributes) {
		return broker.Decision{}, false
	}
	return k.decision, true
}

// remember keeps d for the next of the same principal, on r's resource or on all that
// are alike.
func (m *memo) remember(r broker.Request, d broker.Decision, all bool) {
	d.Policies = slices.Clip(d.Policies) // who appends to them has a copy
	q := about(r, all)
	q.resource = q.resource.Own()
	m.kept().Set(q, &remembered{
		slices.Clone(r.Principal.Groups), maps.Clone(r.Principal.Attributes), d,
	})
}
