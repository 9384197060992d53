package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

var _ broker.Explainer = (*Engine)(nil)

// Explain implements broker.Explainer. Where Authorize would return an error, so
// does Explain, with the same decision.
func (e *Engine) Explain(ctx context.Context, r broker.Request) (broker.Explanation, error) {
	d, err := e.Authorize(ctx, r)
	x := broker.Explanation{Decision: d}
	for _, id := range d.Policies {
		i := slices.IndexFunc(e.objects.policies, func(p namedPolicy) bool { return string(p.id) == id })
		x.Refs = append(x.Refs, refOf(e.objects.policies[i]))
	}
	return x, err
}

func refOf(p namedPolicy) broker.PolicyRef {
	return broker.PolicyRef{ID: string(p.id), Position: positionText(p.policy)}
}

// Grants implements broker.Explainer. Subjects are the workloads and groups that
// policies or entities.json name, and anyone. What credentials may add is not
// known: attributes, and for a token groups of its issuer. So a permit that asks
// for them is shown with that condition, as is one that asks for the context.
//
// It lists everybody: whoever Authorize permits is the subject of a grant, meets
// its conditions and is none of its exceptions. And whoever is the subject of a
// grant without conditions, and none of its exceptions, is permitted. A workload
// that has it as one of a group by credentials, or as anyone has it, has no
// grant of its own.
func (e *Engine) Grants(_ context.Context, a broker.Action, resource broker.Name) ([]broker.Grant, error) {
	s, err := e.principals(a, resource)
	if err != nil {
		return nil, err
	}
	permits, forbids := s.rules(e.objects.policies)
	s.individuals, s.classes = e.subjects(mentioned(slices.Concat(permits, forbids)...))
	var grants []broker.Grant
	for _, l := range s.lines(permits, forbids) {
		g := broker.Grant{Subject: subjectOf(l.one), Via: string(l.via.ID), Conditions: l.conditions}
		for _, p := range l.permits {
			g.Policies = append(g.Policies, refOf(p.namedPolicy))
		}
		for _, x := range l.except {
			subject := g.Subject
			if x.uid != anything {
				subject = subjectOf(one{uid: x.uid, individual: x.uid.Type == typeWorkload})
			}
			g.Except = append(g.Except, broker.Exception{Subject: subject, Condition: x.condition, Policy: refOf(x.by.namedPolicy)})
		}
		grants = append(grants, g)
	}
	return grants, nil
}

func subjectOf(o one) broker.Subject {
	switch {
	case o.uid == anything:
		return broker.Subject{Kind: broker.SubjectAnyone}
	case o.individual:
		return broker.Subject{Kind: broker.SubjectWorkload, ID: string(o.uid.ID)}
	}
	return broker.Subject{Kind: broker.SubjectGroup, ID: string(o.uid.ID)}
}

// principals is the side of those who could do a on resource.
func (e *Engine) principals(a broker.Action, resource broker.Name) (*side, error) {
	if resource.Kind() != "" && resource.ObjectName() == "" {
		return nil, fmt.Errorf("policy: %s is decided on each of %s: name one", a, resource)
	}
	q := &query{shared: e.entities}
	if err := q.on(resource); err != nil {
		return nil, err
	}
	if t := q.request.Resource.Type; !slices.Contains(e.resources[a], t) {
		return nil, fmt.Errorf("policy: the schema has no action %q on a %s", a, t)
	}
	return &side{base: view{
		env: eval.Env{
			Entities: q,
			Action:   cedar.NewEntityUID(typeAction, cedar.String(a)),
			Resource: q.request.Resource,
		},
		open:     []string{"principal", "context"},
		variable: "principal",
		of:       typeWorkload,
	}}, nil
}

// subjects returns the workloads and groups among the named, and those that
// entities.json puts into them.
func (e *Engine) subjects(named []cedar.EntityUID) (workloads, groups []one) {
	is := make(map[cedar.EntityUID]bool, len(named))
	for _, uid := range named {
		is[uid] = true
	}
	for uid := range e.entities {
		if slices.ContainsFunc(e.ancestors[uid], func(g cedar.EntityUID) bool { return is[g] }) {
			named = append(named, uid)
		}
	}
	slices.SortFunc(named, compareUIDs)
	for _, uid := range slices.Compact(named) {
		within := slices.DeleteFunc(slices.Clone(e.ancestors[uid]), func(g cedar.EntityUID) bool { return g == uid })
		slices.SortFunc(within, compareUIDs)
		switch uid.Type {
		case typeWorkload:
			workloads = append(workloads, one{uid: uid, individual: true, within: within, may: e.credentialGroups(uid)})
		case typeGroup:
			groups = append(groups, one{uid: uid, within: append(within, uid)})
		}
	}
	return workloads, groups
}

// credentialGroups says into which groups a workload's credentials could put it:
// none for a certificate, and for a token those of its issuer and what these are
// in. Nil stands for any, where the id does not tell.
func (e *Engine) credentialGroups(workload cedar.EntityUID) func(cedar.EntityUID) bool {
	id := string(workload.ID)
	if strings.HasPrefix(id, "spiffe://") {
		return func(cedar.EntityUID) bool { return false }
	}
	issuer, _, ok := strings.Cut(id, "/")
	if _, err := broker.VaultName(issuer); !ok || err != nil { // an issuer's name has the same pattern
		return nil
	}
	ofIssuer := func(group cedar.EntityUID) bool { return strings.HasPrefix(string(group.ID), issuer+"/") }
	reached := map[cedar.EntityUID]bool{}
	for uid := range e.entities {
		if uid.Type == typeGroup && ofIssuer(uid) {
			for _, g := range e.ancestors[uid] {
				reached[g] = true
			}
		}
	}
	return func(group cedar.EntityUID) bool { return ofIssuer(group) || reached[group] }
}

// Kind returns the kind of the objects that an action is decided on, which is ""
// for a vault, or false if there is no such action.
func (e *Engine) Kind(a broker.Action) (broker.Kind, bool) {
	types, ok := e.resources[a]
	if !ok || len(types) == 0 {
		return "", false
	}
	return kindOf[types[0]], true
}

// ActionGroups returns the groups of actions, each with its actions in order.
func (e *Engine) ActionGroups() map[string][]broker.Action {
	groups := map[string][]broker.Action{}
	for _, a := range e.Actions() {
		for _, g := range e.ancestors[cedar.NewEntityUID(typeAction, cedar.String(a))] {
			groups[string(g.ID)] = append(groups[string(g.ID)], a)
		}
	}
	return groups
}

var _ broker.Explainer = (*Folder)(nil)

// Explain implements broker.Explainer, by the set in force.
func (f *Folder) Explain(ctx context.Context, r broker.Request) (broker.Explanation, error) {
	return f.Engine().Explain(ctx, r)
}

// Grants implements broker.Explainer, by the set in force.
func (f *Folder) Grants(ctx context.Context, a broker.Action, resource broker.Name) ([]broker.Grant, error) {
	return f.Engine().Grants(ctx, a, resource)
}
