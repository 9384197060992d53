package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// answer is what is known of a question with yes or no.
type answer int8

const (
	unknown answer = iota
	yes
	no
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

func (a answer) not() answer {
	switch a {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// view is what is known when a policy is looked at without a whole request: all
// of env but for the open variables, and of the variable that it is about what
// is and in say.
type view struct {
	env  eval.Env
	open []string
	// variable is "principal" or "resource", and of is its type.
	variable string
	of       cedar.EntityType
	// is says whether the variable is an entity, in whether it is or is in one.
	is, in func(cedar.EntityUID) answer
}

// residual is what is left of an expression that yields yes or no: its value, a
// failure, or where it is open an expression of the same value.
type residual struct {
	value answer
	fails bool
	node  ast.IsNode // nil unless it is open
}

var fails = residual{fails: true}

func isOpen(n ast.IsNode) residual { return residual{node: n} }

// rest returns what r is as an expression. What fails is the expression that
// does.
func (r residual) rest(n ast.IsNode) ast.IsNode {
	switch {
	case r.fails:
		return n
	case r.value != unknown:
		return ast.NodeValue{Value: cedar.Boolean(r.value == yes)}
	}
	return r.node
}

// reduce evaluates as much of n as is known. The result has n's value in every
// request that fits the view, and fails where n fails.
func (v *view) reduce(n ast.IsNode) residual {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		return v.connect(n.BinaryNode, yes, func(b ast.BinaryNode) ast.IsNode { return ast.NodeTypeAnd{BinaryNode: b} })
	case ast.NodeTypeOr:
		return v.connect(n.BinaryNode, no, func(b ast.BinaryNode) ast.IsNode { return ast.NodeTypeOr{BinaryNode: b} })
	case ast.NodeTypeNot:
		r := v.reduce(n.Arg)
		if r.node != nil {
			if inner, ok := r.node.(ast.NodeTypeNot); ok {
				return isOpen(inner.Arg)
			}
			return isOpen(ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: r.node}})
		}
		r.value = r.value.not()
		return r
	case ast.NodeTypeIfThenElse:
		return v.reduceIf(n)
	}
	if a := v.atom(n); a != unknown {
		return residual{value: a}
	}
	if v.isOpen(n) {
		return isOpen(n)
	}
	value, err := eval.Eval(n, v.env)
	b, ok := value.(cedar.Boolean)
	if err != nil || !ok {
		return fails
	}
	return residual{value: answerOf(bool(b))}
}

// connect reduces && and ||. neutral is the value of the left that leaves it to
// the right.
func (v *view) connect(b ast.BinaryNode, neutral answer, node func(ast.BinaryNode) ast.IsNode) residual {
	left := v.reduce(b.Left)
	switch {
	case left.fails, left.value == neutral.not():
		return left
	case left.value == neutral:
		return v.reduce(b.Right)
	}
	right := v.reduce(b.Right)
	switch {
	case right.value == neutral:
		return left
	case right.value == neutral.not() && !mayFail(left.node):
		return right
	}
	return isOpen(node(ast.BinaryNode{Left: left.node, Right: right.rest(b.Right)}))
}

func (v *view) reduceIf(n ast.NodeTypeIfThenElse) residual {
	cond := v.reduce(n.If)
	switch {
	case cond.fails:
		return cond
	case cond.value == yes:
		return v.reduce(n.Then)
	case cond.value == no:
		return v.reduce(n.Else)
	}
	then, other := v.reduce(n.Then), v.reduce(n.Else)
	if then.value != unknown && then.value == other.value && !mayFail(cond.node) {
		return then
	}
	return isOpen(ast.NodeTypeIfThenElse{If: cond.node, Then: then.rest(n.Then), Else: other.rest(n.Else)})
}

// atom answers what asks about the variable and is answered by is and in.
func (v *view) atom(n ast.IsNode) answer {
	switch n := n.(type) {
	case ast.NodeTypeEquals:
		return v.equals(n.Left, n.Right)
	case ast.NodeTypeNotEquals:
		return v.equals(n.Left, n.Right).not()
	case ast.NodeTypeIs:
		if v.isVariable(n.Left) {
			return answerOf(n.EntityType == v.of)
		}
	case ast.NodeTypeIsIn:
		if v.isVariable(n.Left) {
			if n.EntityType != v.of {
				return no
			}
			return v.inAny(n.Entity)
		}
	case ast.NodeTypeIn:
		if v.isVariable(n.Left) {
			return v.inAny(n.Right)
		}
	case ast.NodeTypeHas:
		// All objects have the same attributes, and a vault has none.
		if v.variable == "resource" && v.isVariable(n.Arg) {
			_, object := kindOf[v.of]
			return answerOf(object && (n.Value == "name" || n.Value == "vault"))
		}
	}
	return unknown
}

func (v *view) isVariable(n ast.IsNode) bool {
	name, ok := n.(ast.NodeTypeVariable)
	return ok && string(name.Name) == v.variable
}

func (v *view) equals(a, b ast.IsNode) answer {
	if !v.isVariable(a) {
		a, b = b, a
	}
	if v.isVariable(a) {
		if uid, ok := literal(b); ok {
			return v.is(uid)
		}
		return unknown
	}
	// resource.vault == "pay", either way round.
	if _, ok := a.(ast.NodeTypeAccess); !ok {
		a, b = b, a
	}
	access, ok := a.(ast.NodeTypeAccess)
	if !ok || v.variable != "resource" || access.Value != "vault" || !v.isVariable(access.Arg) {
		return unknown
	}
	if text, ok := b.(ast.NodeValue); ok {
		if alias, ok := text.Value.(cedar.String); ok {
			return v.in(cedar.NewEntityUID(typeVault, alias))
		}
	}
	return unknown
}

// inAny answers whether the variable is in an entity, or in any of a set.
func (v *view) inAny(n ast.IsNode) answer {
	uids, ok := literals(n)
	if !ok {
		return unknown
	}
	all := no
	for _, uid := range uids {
		switch v.in(uid) {
		case yes:
			return yes
		case unknown:
			all = unknown
		}
	}
	return all
}

func literal(n ast.IsNode) (cedar.EntityUID, bool) {
	if v, ok := n.(ast.NodeValue); ok {
		uid, ok := v.Value.(cedar.EntityUID)
		return uid, ok
	}
	return cedar.EntityUID{}, false
}

// literals returns the entities of a literal or of a set of literals.
func literals(n ast.IsNode) ([]cedar.EntityUID, bool) {
	if uid, ok := literal(n); ok {
		return []cedar.EntityUID{uid}, true
	}
	var uids []cedar.EntityUID
	switch n := n.(type) {
	case ast.NodeTypeSet:
		for _, e := range n.Elements {
			uid, ok := literal(e)
			if !ok {
				return nil, false
			}
			uids = append(uids, uid)
		}
		return uids, true
	case ast.NodeValue:
		set, ok := n.Value.(cedar.Set)
		if !ok {
			return nil, false
		}
		for e := range set.All() {
			uid, ok := e.(cedar.EntityUID)
			if !ok {
				return nil, false
			}
			uids = append(uids, uid)
		}
		return uids, true
	}
	return nil, false
}

// isOpen reports whether the value of n could differ between the requests that
// fit the view. What is asked of a workload that a policy names could be of the
// caller, whose credentials say more than entities.json.
func (v *view) isOpen(n ast.IsNode) bool {
	caller := slices.Contains(v.open, "principal")
	open := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		asked := ast.IsNode(nil)
		switch n := n.(type) {
		case ast.NodeTypeVariable:
			open = open || slices.Contains(v.open, string(n.Name))
		case ast.NodeTypeAccess:
			asked = n.Arg
		case ast.NodeTypeHas:
			asked = n.Arg
		case ast.NodeTypeIn:
			asked = n.Left
		case ast.NodeTypeIsIn:
			asked = n.Left
		}
		if uid, ok := literal(asked); ok && caller {
			open = open || uid.Type == typeWorkload
		}
		return !open
	})
	return open
}

func (r residual) text() string {
	switch {
	case r.fails:
		return "fails"
	case r.node == nil && r.value == yes:
		return "true"
	case r.node == nil:
		return "false"
	}
	return textOf(conjuncts(r.node)...)
}
