package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

// Resources are what an Ability is on: one object or vault, all objects of a
// vault, or all there are.
type Resources struct {
	// Type is the schema's: "Secret", "Certificate" or "Vault".
	Type string
	// Name is that of one, or "": "vaults/pay/secrets/db", "vaults/pay".
	Name string
	// Vault is the alias of the vault that they are in, or "" for all vaults.
	Vault string
}

// Ability is what a principal could be permitted.
type Ability struct {
	Resources

	// Actions are sorted as the API lists them.
	Actions []broker.Action
	// Policies permit it.
	Policies []broker.PolicyRef
	// Conditions, in Cedar, are what must hold beside: one of them. None means
	// that nothing else must.
	Conditions []string
	// Except are those of the resources that are forbidden.
	Except []AbilityException
}

// AbilityException is what is forbidden, always or under a condition in Cedar.
type AbilityException struct {
	Resources

	Condition string
	Policy    broker.PolicyRef
}

// Abilities returns all that p could be permitted: p's id, groups and attributes
// are taken as they are given, with what entities.json adds. The resources are
// those that policies name, objects and vaults, and any. What must hold of the
// name or of the context is in the conditions.
func (e *Engine) Abilities(_ context.Context, p broker.Principal) ([]Ability, error) {
	if p.ID == "" {
		return nil, errors.New("policy: there is no principal")
	}
	principal := e.principalEntity(p)
	var all []Ability
	for _, a := range e.Actions() {
		for _, t := range e.resources[a] {
			all = append(all, e.abilities(principal, a, t)...)
		}
	}
	return joinActions(all), nil
}

// Actions returns the actions that are decided, in the order of the alphabet.
func (e *Engine) Actions() []broker.Action {
	actions := make([]broker.Action, 0, len(e.resources))
	for a := range e.resources {
		actions = append(actions, a)
	}
	slices.Sort(actions)
	return actions
}

func (e *Engine) abilities(principal cedar.Entity, a broker.Action, t cedar.EntityType) []Ability {
	s := &side{
		base: view{
			env: eval.Env{
				Entities:  &query{shared: e.entities, principal: principal},
				Principal: principal.UID,
				Action:    cedar.NewEntityUID(typeAction, cedar.String(a)),
			},
			open:     []string{"resource", "context"},
			variable: "resource",
			of:       t,
		},
		exclusive: true,
		known:     true,
	}
	permits, forbids := s.rules(e.objects.policies)
	for _, uid := range mentioned(slices.Concat(permits, forbids)...) {
		switch {
		case uid.Type == typeVault && t != typeVault:
			s.classes = append(s.classes, one{uid: uid, within: []cedar.EntityUID{uid}})
		case uid.Type == t && t == typeVault:
			s.individuals = append(s.individuals, one{uid: uid, individual: true})
		case uid.Type == t && vaultOf(uid) != anything:
			s.individuals = append(s.individuals, one{uid: uid, individual: true, within: []cedar.EntityUID{vaultOf(uid)}})
		}
	}
	var all []Ability
	for _, l := range s.lines(permits, forbids) {
		b := Ability{Resources: resourcesOf(t, l.uid), Actions: []broker.Action{a}, Conditions: l.conditions}
		for _, p := range l.permits {
			b.Policies = append(b.Policies, refOf(p.namedPolicy))
		}
		for _, x := range l.except {
			res := b.Resources
			if x.uid != anything {
				res = resourcesOf(t, x.uid)
			}
			b.Except = append(b.Except, AbilityException{Resources: res, Condition: x.condition, Policy: refOf(x.by.namedPolicy)})
		}
		all = append(all, b)
	}
	return all
}

func resourcesOf(t cedar.EntityType, uid cedar.EntityUID) Resources {
	r := Resources{Type: string(t)}
	switch {
	case uid == anything:
	case uid.Type == typeVault && t == typeVault:
		r.Name, r.Vault = "vaults/"+string(uid.ID), string(uid.ID)
	case uid.Type == typeVault:
		r.Vault = string(uid.ID)
	default:
		r.Name, r.Vault = string(uid.ID), string(vaultOf(uid).ID)
	}
	return r
}

// joinActions puts into one what differs in its actions only, and sorts: what is
// widest comes last, as in Grants.
func joinActions(all []Ability) []Ability {
	var out []Ability
	at := map[string]int{}
	for _, b := range all {
		key := fmt.Sprintf("%#v %#v %#v %#v", b.Resources, b.Policies, b.Conditions, b.Except)
		if i, ok := at[key]; ok {
			out[i].Actions = append(out[i].Actions, b.Actions...)
			continue
		}
		at[key] = len(out)
		out = append(out, b)
	}
	slices.SortStableFunc(out, func(a, b Ability) int {
		return cmp.Or(
			strings.Compare(a.Type, b.Type)*-1,
			cmp.Compare(width(a.Resources), width(b.Resources)),
			strings.Compare(a.Vault, b.Vault),
			strings.Compare(a.Name, b.Name),
			strings.Compare(string(a.Actions[0]), string(b.Actions[0])),
		)
	})
	return out
}

func width(r Resources) int {
	switch {
	case r.Name != "":
		return 0
	case r.Vault != "":
		return 1
	}
	return 2
}
