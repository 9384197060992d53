package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// Vaults returns the aliases of the vaults that policies name, sorted, each with
// where it is first named. What is configured is not known here: a policy for a
// vault that is not there can never match.
func (e *Engine) Vaults() []NamedVault {
	first := map[string]string{}
	for _, p := range e.objects.policies {
		for _, uid := range uids(p.policy.ast) {
			alias := string(uid.ID)
			if kind, ok := kindOf[uid.Type]; ok {
				n, err := broker.ParseName(kind, alias)
				if err != nil {
					continue // not loaded: see checkResource
				}
				alias = n.VaultAlias()
			} else if uid.Type != typeVault {
				continue
			}
			if _, ok := first[alias]; !ok {
				at := p.policy.position()
				first[alias] = problem{at: at, msg: string(p.id)}.String()
			}
		}
	}
	var all []NamedVault
	for _, alias := range slices.Sorted(maps.Keys(first)) {
		all = append(all, NamedVault{Alias: alias, Where: first[alias]})
	}
	return all
}

// NamedVault is a vault that a policy names, and the first policy that does:
// "policy/pay.cedar:3:1: the policy's id".
type NamedVault struct{ Alias, Where string }

// MayPermit reports whether some policy could permit somebody something with an
// object of that kind in the vault. Forbids and conditions are not looked at.
func (e *Engine) MayPermit(vault broker.Name, kind broker.Kind) bool {
	for action, types := range e.resources {
		t := slices.IndexFunc(types, func(t cedar.EntityType) bool { return kindOf[t] == kind })
		if t < 0 {
			continue
		}
		var at []int
		for i, p := range e.objects.policies {
			if p.policy.effect() == cedar.Permit && takesVault(p.policy.ast.Resource, types[t], vaultUID(vault)) {
				at = append(at, i)
			}
		}
		if len(e.concerning(cedar.NewEntityUID(typeAction, cedar.String(action)), at)) > 0 {
			return true
		}
	}
	return false
}

// takesVault reports whether an object of type t in the vault could be in the
// scope s.
func takesVault(s ast.IsResourceScopeNode, t cedar.EntityType, vault cedar.EntityUID) bool {
	wide, _ := widen(s)
	switch s := wide.(type) {
	case ast.ScopeTypeEq:
		return false // of a vault itself
	case ast.ScopeTypeIn:
		return s.Entity == vault
	case ast.ScopeTypeIs:
		return s.Type == t
	case ast.ScopeTypeIsIn:
		return s.Type == t && s.Entity == vault
	}
	return true
}

// uids returns the entities that p names in its resource and its conditions.
func uids(p *ast.Policy) []cedar.EntityUID {
	var all []cedar.EntityUID
	switch s := p.Resource.(type) {
	case ast.ScopeTypeEq:
		all = append(all, s.Entity)
	case ast.ScopeTypeIn:
		all = append(all, s.Entity)
	case ast.ScopeTypeIsIn:
		all = append(all, s.Entity)
	}
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				if uid, ok := v.Value.(cedar.EntityUID); ok {
					all = append(all, uid)
				}
			}
			return true
		})
	}
	return all
}
