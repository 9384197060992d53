package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// breakGlass is the annotation of a permit for emergencies, with the words why
// it is there:
//
//	@breakglass("the on-call engineer may read anything, and says why")
//
// It permits only who gives a reason with the call. The reason is recorded, and
// a metric counts what such a permit alone allowed.
const breakGlass = "breakglass"

// withReason returns p with the condition that a reason is given, before its
// own.
func withReason(p *lazyPolicy) *lazyPolicy {
	c := *p.ast // shallow: only fields of the policy itself are replaced
	given := ast.ConditionType{Condition: ast.ConditionWhen, Body: ast.Context().Has("reason").AsIsNode()}
	c.Conditions = slices.Concat([]ast.ConditionType{given}, c.Conditions)
	return &lazyPolicy{ast: &c}
}
