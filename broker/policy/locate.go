package policy

import (
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// expr is an expression of a policy and where it stands, which cedar-go does
// not say. Its fields count tokens of the statement.
type expr struct {
	node ast.IsNode
	// from and to are its first token and the one behind its last, without the
	// parentheses around it.
	from, to int
	// op is what names it: an operator, an attribute, a method, a type.
	op   int
	args []*expr
	// said is what to call one that the file does not have.
	said string
}

// located is a parsed policy with the tokens that it was parsed from.
type located struct {
	src source
	ts  []token
	ast *ast.Policy
	// effect is the token of permit or forbid.
	effect int
	// principal, action and resource are the scope as expressions, nil where it
	// takes all; conditions are in the order of the policy.
	principal, action, resource *expr
	conditions                  []*expr
	// found: all of it was found. Otherwise problems stand where the policy
	// begins.
	found bool
}

func (s *located) at(t int) cedar.Position {
	if !s.found {
		t = 0
	}
	return s.src.at(s.ts[t].offset)
}

func (s *located) problem(t int, msg string) problem { return problem{at: s.at(t), msg: msg} }

// text returns what e is in the file, on one line. What began in parentheses
// gets them back.
func (s *located) text(e *expr) string {
	from, to, open := e.from, e.to, 0
	for _, t := range s.ts[from:to] {
		switch t.text {
		case "(":
			open++
		case ")":
			open--
		}
		if open < 0 && from > 0 && s.ts[from-1].text == "(" {
			from, open = from-1, open+1
		}
	}
	for open > 0 && to < len(s.ts) && s.ts[to].text == ")" {
		to, open = to+1, open-1
	}
	return strings.Join(strings.Fields(s.src.text[s.ts[from].offset:s.ts[to-1].end()]), " ")
}

// locate finds the parts of p in the tokens that it was parsed from: both are in
// the same order, so it walks along them together.
func locate(src source, ts []token, p *ast.Policy) *located {
	s := &located{src: src, ts: ts, ast: p}
	l := &locator{ts: ts, ok: true}
	for l.peek("@") {
		l.i += 2
		if l.peek("(") {
			l.i += 3
		}
	}
	s.effect = l.i
	l.i++
	s.principal = l.scope("principal", p.Principal)
	s.action = l.scope("action", p.Action)
	s.resource = l.scope("resource", p.Resource)
	for _, c := range p.Conditions {
		l.next(map[ast.Condition]string{ast.ConditionWhen: "when", ast.ConditionUnless: "unless"}[c.Condition])
		s.conditions = append(s.conditions, l.expr(c.Body))
	}
	if s.found = l.ok; !l.ok {
		s.principal, s.action, s.resource, s.conditions = nil, nil, nil, nil
	}
	return s
}

// binary returns the parts of an operator between two operands.
func binary(n ast.IsNode) (op string, b ast.BinaryNode, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeOr:
		return "||", n.BinaryNode, true
	case ast.NodeTypeAnd:
		return "&&", n.BinaryNode, true
	case ast.NodeTypeEquals:
		return "==", n.BinaryNode, true
	case ast.NodeTypeNotEquals:
		return "!=", n.BinaryNode, true
	case ast.NodeTypeLessThan:
		return "<", n.BinaryNode, true
	case ast.NodeTypeLessThanOrEqual:
		return "<=", n.BinaryNode, true
	case ast.NodeTypeGreaterThan:
		return ">", n.BinaryNode, true
	case ast.NodeTypeGreaterThanOrEqual:
		return ">=", n.BinaryNode, true
	case ast.NodeTypeIn:
		return "in", n.BinaryNode, true
	case ast.NodeTypeAdd:
		return "+", n.BinaryNode, true
	case ast.NodeTypeSub:
		return "-", n.BinaryNode, true
	case ast.NodeTypeMult:
		return "*", n.BinaryNode, true
	}
	return "", ast.BinaryNode{}, false
}

// method returns the parts of a call on its first argument.
func method(n ast.IsNode) (name string, args []ast.IsNode, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeContains:
		return "contains", []ast.IsNode{n.Left, n.Right}, true
	case ast.NodeTypeContainsAll:
		return "containsAll", []ast.IsNode{n.Left, n.Right}, true
	case ast.NodeTypeContainsAny:
		return "containsAny", []ast.IsNode{n.Left, n.Right}, true
	case ast.NodeTypeHasTag:
		return "hasTag", []ast.IsNode{n.Left, n.Right}, true
	case ast.NodeTypeGetTag:
		return "getTag", []ast.IsNode{n.Left, n.Right}, true
	case ast.NodeTypeIsEmpty:
		return "isEmpty", []ast.IsNode{n.Arg}, true
	case ast.NodeTypeExtensionCall:
		if _, constructor := constructors[string(n.Name)]; !constructor {
			return string(n.Name), n.Args, true
		}
	}
	return "", nil, false
}
