package policy

import (
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

type locator struct {
	ts []token
	i  int
	ok bool
}

func (l *locator) peek(text string) bool { return l.i < len(l.ts) && l.ts[l.i].text == text }

// next steps over brackets and commas to a token, and behind it.
func (l *locator) next(text string) int {
	for l.i < len(l.ts) && l.ts[l.i].text != text && strings.Contains("()[]{},", l.ts[l.i].text) {
		l.i++
	}
	if !l.peek(text) {
		l.ok = false
		return 0
	}
	l.i++
	return l.i - 1
}

// sign is next for an operator, whose characters are tokens unless it is a word.
func (l *locator) sign(op string) int {
	if isWord(op[0]) {
		return l.next(op)
	}
	first := l.next(op[:1])
	for i := 1; i < len(op); i++ {
		l.next(op[i : i+1])
	}
	return first
}

// str steps over a string literal, whatever is in it.
func (l *locator) str() int {
	for l.i < len(l.ts) && strings.Contains("()[]{},", l.ts[l.i].text) {
		l.i++
	}
	if l.i >= len(l.ts) || l.ts[l.i].text[0] != '"' {
		l.ok = false
		return 0
	}
	l.i++
	return l.i - 1
}

// word steps over an identifier, or the string that it may be written as.
func (l *locator) word(name string) int {
	j := l.i
	for j < len(l.ts) && strings.Contains("()[]{},", l.ts[j].text) {
		j++
	}
	if j < len(l.ts) && l.ts[j].text[0] == '"' {
		return l.str()
	}
	return l.next(name)
}

// path steps over "A::B" and returns where it begins.
func (l *locator) path(t cedar.EntityType) int {
	parts := strings.Split(string(t), "::")
	first := l.next(parts[0])
	for _, part := range parts[1:] {
		l.sign("::")
		l.next(part)
	}
	return first
}

func (l *locator) uid(uid cedar.EntityUID) *expr {
	e := &expr{node: ast.NodeValue{Value: uid}, from: l.path(uid.Type)}
	e.op = e.from
	l.sign("::")
	e.to = l.str() + 1
	return e
}

// scope returns a part of the scope as the expression that it amounts to.
func (l *locator) scope(name string, n ast.IsScopeNode) *expr {
	variable := &expr{node: ast.NodeTypeVariable{Name: cedar.String(name)}}
	variable.from = l.next(name)
	variable.op, variable.to = variable.from, variable.from+1
	binary := func(sign string, uid cedar.EntityUID) *expr {
		e := &expr{from: variable.from, op: l.sign(sign)}
		right := l.uid(uid)
		e.args, e.to = []*expr{variable, right}, right.to
		return e
	}
	pair := func(e *expr) ast.BinaryNode { return ast.BinaryNode{Left: e.args[0].node, Right: e.args[1].node} }
	is := func(t cedar.EntityType) *expr {
		l.next("is")
		e := &expr{from: variable.from, op: l.path(t), to: l.i, args: []*expr{variable}}
		e.node = ast.NodeTypeIs{Left: variable.node, EntityType: t}
		return e
	}
	switch n := n.(type) {
	case ast.ScopeTypeEq:
		e := binary("==", n.Entity)
		e.node = ast.NodeTypeEquals{BinaryNode: pair(e)}
		return e
	case ast.ScopeTypeIn:
		e := binary("in", n.Entity)
		e.node = ast.NodeTypeIn{BinaryNode: pair(e)}
		return e
	case ast.ScopeTypeInSet:
		e := &expr{from: variable.from, op: l.sign("in")}
		set := &expr{from: l.next("[")}
		set.op = set.from
		nodes := ast.NodeTypeSet{}
		for _, uid := range n.Entities {
			el := l.uid(uid)
			set.args, nodes.Elements = append(set.args, el), append(nodes.Elements, el.node)
		}
		set.to, set.node = l.next("]")+1, nodes
		e.args, e.to = []*expr{variable, set}, set.to
		e.node = ast.NodeTypeIn{BinaryNode: pair(e)}
		return e
	case ast.ScopeTypeIs:
		return is(n.Type)
	case ast.ScopeTypeIsIn:
		e := is(n.Type)
		l.next("in")
		right := l.uid(n.Entity)
		e.args, e.to = append(e.args, right), right.to
		e.node = ast.NodeTypeIsIn{NodeTypeIs: ast.NodeTypeIs{Left: variable.node, EntityType: n.Type}, Entity: right.node}
		return e
	}
	return nil
}

func (l *locator) expr(n ast.IsNode) *expr {
	e := &expr{node: n, from: -1}
	if l.ok {
		l.parts(e)
	}
	if e.from < 0 && len(e.args) > 0 {
		e.from = e.args[0].from
	}
	e.from, e.to = max(e.from, 0), l.i
	return e
}

func (l *locator) arg(e *expr, n ast.IsNode) { e.args = append(e.args, l.expr(n)) }

// parts walks along the tokens of e.
func (l *locator) parts(e *expr) {
	if and, ok := e.node.(ast.NodeTypeAnd); ok {
		l.and(e, and)
		return
	}
	if sign, b, ok := binary(e.node); ok {
		l.arg(e, b.Left)
		e.op = l.sign(sign)
		l.arg(e, b.Right)
		return
	}
	if name, args, ok := method(e.node); ok {
		l.arg(e, args[0])
		l.next(".")
		e.op = l.next(name)
		for _, a := range args[1:] {
			l.arg(e, a)
		}
		l.call()
		return
	}
	switch n := e.node.(type) {
	case ast.NodeValue:
		l.value(e, n.Value)
	case ast.NodeTypeVariable:
		e.from = l.next(string(n.Name))
		e.op = e.from
	case ast.NodeTypeNot:
		e.from = l.next("!")
		e.op = e.from
		l.arg(e, n.Arg)
	case ast.NodeTypeNegate:
		e.from = l.next("-")
		e.op = e.from
		l.arg(e, n.Arg)
	case ast.NodeTypeIfThenElse:
		e.from = l.next("if")
		e.op = e.from
		l.arg(e, n.If)
		l.next("then")
		l.arg(e, n.Then)
		l.next("else")
		l.arg(e, n.Else)
	case ast.NodeTypeHas:
		l.arg(e, n.Arg)
		l.next("has")
		e.op = l.word(string(n.Value))
	case ast.NodeTypeAccess:
		l.arg(e, n.Arg)
		l.access(e, string(n.Value))
	case ast.NodeTypeLike:
		l.arg(e, n.Arg)
		l.next("like")
		e.op = l.str()
	case ast.NodeTypeIs:
		l.arg(e, n.Left)
		l.next("is")
		e.op = l.path(n.EntityType)
	case ast.NodeTypeIsIn:
		l.arg(e, n.Left)
		l.next("is")
		e.op = l.path(n.EntityType)
		l.next("in")
		l.arg(e, n.Entity)
	case ast.NodeTypeSet:
		e.from = l.next("[")
		e.op = e.from
		for _, el := range n.Elements {
			l.arg(e, el)
		}
		l.next("]")
	case ast.NodeTypeRecord:
		e.from = l.next("{")
		e.op = e.from
		for _, el := range n.Elements {
			l.word(string(el.Key))
			l.next(":")
			l.arg(e, el.Value)
		}
		l.next("}")
	case ast.NodeTypeExtensionCall:
		e.from = l.next(string(n.Name))
		e.op = e.from
		for _, a := range n.Args {
			l.arg(e, a)
		}
		l.call()
	default:
		l.ok = false
	}
}

// call steps over the end of a call.
func (l *locator) call() {
	if l.peek("(") {
		l.i++
	}
	l.next(")")
}

// access steps over ".name" or ["name"].
func (l *locator) access(e *expr, name string) {
	for l.peek(")") {
		l.i++
	}
	if l.peek(".") {
		l.i++
		e.op = l.next(name)
		return
	}
	e.op = l.str()
	l.next("]")
}

// and tells "a && b" from "a has b.c", which stands for "a has b && a.b has c".
func (l *locator) and(e *expr, n ast.NodeTypeAnd) {
	l.arg(e, n.Left)
	if !l.peek(".") {
		e.op = l.sign("&&")
		l.arg(e, n.Right)
		return
	}
	l.i++
	has, ok := n.Right.(ast.NodeTypeHas)
	before := e.args[0]
	if _, chain := before.node.(ast.NodeTypeAnd); chain {
		before = before.args[1]
	}
	if !ok || len(before.args) == 0 {
		l.ok = false
		return
	}
	e.op = l.next(string(has.Value))
	of := &expr{node: has.Arg, from: before.from, to: before.to, op: before.op, args: before.args}
	e.args = append(e.args, &expr{node: has, from: before.from, to: l.i, op: e.op, args: []*expr{of}})
}

func (l *locator) value(e *expr, v cedar.Value) {
	switch v := v.(type) {
	case cedar.Boolean:
		e.from = l.next(strconv.FormatBool(bool(v)))
	case cedar.Long:
		digits, negative := strings.CutPrefix(strconv.FormatInt(int64(v), 10), "-")
		if negative {
			e.from = l.next("-")
			l.number(digits)
		} else {
			e.from = l.number(digits)
		}
	case cedar.String:
		e.from = l.str()
	case cedar.EntityUID:
		e.from = l.uid(v).from
	default:
		l.ok = false
	}
	e.op = e.from
}

// number steps over digits, which may begin with zeros.
func (l *locator) number(digits string) int {
	for l.i < len(l.ts) && strings.Contains("()[]{},", l.ts[l.i].text) {
		l.i++
	}
	if l.i < len(l.ts) {
		if text := l.ts[l.i].text; strings.TrimLeft(text, "0") == strings.TrimLeft(digits, "0") {
			return l.next(text)
		}
	}
	l.ok = false
	return 0
}
