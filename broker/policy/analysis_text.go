package policy

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	public "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// mayFail reports whether an expression that fits the schema could fail to be
// evaluated: by an overflow, or by a text that is no date or address.
func mayFail(n ast.IsNode) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeTypeAdd, ast.NodeTypeSub, ast.NodeTypeMult, ast.NodeTypeNegate:
			found = true
		case ast.NodeTypeExtensionCall:
			switch n.Name {
			case "offset", "durationSince", "toDate":
				found = true
			case "ip", "decimal", "datetime", "duration":
				_, constant := n.Args[0].(ast.NodeValue)
				if constant {
					_, err := eval.Eval(n, eval.Env{})
					found = found || err != nil
				} else {
					found = true
				}
			}
		}
		return !found
	})
	return found
}

// conjuncts splits at &&, alternatives at ||.
func conjuncts(n ast.IsNode) []ast.IsNode {
	if and, ok := n.(ast.NodeTypeAnd); ok {
		return append(conjuncts(and.Left), conjuncts(and.Right)...)
	}
	return []ast.IsNode{n}
}

func alternatives(n ast.IsNode) []ast.IsNode {
	if or, ok := n.(ast.NodeTypeOr); ok {
		return append(alternatives(or.Left), alternatives(or.Right)...)
	}
	return []ast.IsNode{n}
}

// textOf returns the conjunction of ns as Cedar on one line; "" where there are
// none.
func textOf(ns ...ast.IsNode) string {
	if len(ns) == 0 {
		return ""
	}
	all := ast.NewNode(ns[0])
	for _, n := range ns[1:] {
		all = all.And(ast.NewNode(n))
	}
	p := cedar.NewPolicyFromAST((*public.Policy)(ast.Permit().When(all)))
	_, text, _ := strings.Cut(string(p.MarshalCedar()), "when { ")
	return strings.TrimSuffix(text, " };")
}
