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
		for _, uid := range uids((*ast.Policy)(p.policy.AST())) {
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
				at := p.policy.Position()
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
