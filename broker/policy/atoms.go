package policy

import (
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/keyward/keyward/broker"
)

// members is the choice of one of a set that is written out.
func (v *solver) members(g goal, set *expr, each func(*expr) *expr) choice {
	var es []*expr
	for _, of := range set.args {
		es = append(es, each(of))
	}
	return either(g.want, true, es...)
}

// typeOf returns the type of an entity.
func (v *solver) typeOf(e *expr) (cedar.EntityType, bool) {
	if n, ok := e.node.(ast.NodeTypeVariable); ok {
		t := map[cedar.String]cedar.EntityType{"principal": v.env.principal, "resource": v.env.resource, "action": v.env.action.Type}[n.Name]
		return t, t != ""
	}
	uid, ok := uidOf(e.node)
	return uid.Type, ok
}

// value returns the value of a literal, or nil.
func value(e *expr) cedar.Value {
	switch n := e.node.(type) {
	case ast.NodeValue:
		return n.Value
	case ast.NodeTypeExtensionCall:
		c, ok := constructors[string(n.Name)]
		if !ok || len(e.args) != 1 {
			return nil
		}
		if s, ok := value(e.args[0]).(cedar.String); ok {
			if val, err := c.parse(string(s)); err == nil {
				return val
			}
		}
	}
	return nil
}

func isVariable(e *expr, name cedar.String) bool {
	n, ok := e.node.(ast.NodeTypeVariable)
	return ok && n.Name == name
}

// equal is "==", or if not same, "!=".
func (v *solver) equal(g goal, same bool) choice {
	a, b := g.e.args[0], g.e.args[1]
	left, right := value(a), value(b)
	if left != nil && right != nil {
		return v.is(g, left.Equal(right) == (same == g.want), "the two are not the same")
	}
	if left != nil {
		a, right = b, left
	}
	switch x := right.(type) {
	case cedar.Boolean:
		return choice{{goal{e: a, want: same == bool(x)}}}
	case cedar.String:
		return asks(g, key(a.node), v.strings(a), equals{string(x), !same})
	case cedar.EntityUID:
		return v.entity(g, a, x, same)
	case cedar.IPAddr:
		if isPeer(a) {
			return v.peer(g, x, same)
		}
	case cedar.Long, cedar.Datetime, cedar.Duration:
		n, _ := number(x)
		if !same {
			return asks(g, key(a.node), v.numbers(a), differs{n})
		}
		return asks(g, key(a.node), v.numbers(a), between{n, n})
	}
	if t, ok := v.typeOf(a); ok {
		if of, ok := v.typeOf(b); ok && t != of {
			return v.is(g, same != g.want, fmt.Sprintf("%s is never %s", article(t), article(of)))
		}
	}
	x, y := key(a.node), key(b.node)
	if x == y {
		return v.is(g, same == g.want, "")
	}
	g2 := g
	g2.want = same
	rows := opaque(g2, min(x, y)+"=="+max(x, y))
	rows[0][0].want = g.want
	return rows
}

// entity is whether e is that one.
func (v *solver) entity(g goal, e *expr, uid cedar.EntityUID, same bool) choice {
	t, ok := v.typeOf(e)
	if ok && t != uid.Type {
		why := "it is " + article(t)
		if isVariable(e, "principal") && uid.Type == typeGroup {
			why = fmt.Sprintf("a principal is a Workload, never the Group itself; write principal in %s", uid)
		} else if isVariable(e, "resource") && uid.Type == typeVault {
			why = fmt.Sprintf("the resource is a %s; write resource in %s", t, uid)
		}
		return v.is(g, same != g.want, why)
	}
	switch {
	case isVariable(e, "principal"):
		return asks(g, "principal", strs{}, equals{string(uid.ID), !same})
	case isVariable(e, "action"):
		return v.is(g, (uid == v.env.action) == (same == g.want), fmt.Sprintf("the action is %s", v.env.action.ID))
	case isVariable(e, "resource"):
		return v.object(g, uid, same)
	}
	g2 := g
	g2.want = same
	rows := opaque(g2, key(e.node)+"=="+uid.String())
	rows[0][0].want = g.want
	return rows
}

// object is whether the resource is the one of that name. What is known of a
// resource is its vault and its name.
func (v *solver) object(g goal, uid cedar.EntityUID, same bool) choice {
	const vault, name = `resource."vault"`, `resource."name"`
	if uid.Type == typeVault {
		return asks(g, vault, vaultNames, equals{string(uid.ID), !same})
	}
	n, err := objectOf(uid)
	if err != nil {
		return choice{{}} // told of elsewhere
	}
	inVault := asks(g, vault, vaultNames, equals{n.VaultAlias(), !same})
	named := asks(g, name, objectNames, equals{n.ObjectName(), !same})
	if same {
		return choice{append(inVault[0], named[0]...)}
	}
	return append(inVault, named...)
}

func objectOf(uid cedar.EntityUID) (broker.Name, error) {
	return broker.ParseName(kindOf[uid.Type], string(uid.ID))
}

func (v *solver) in(g goal) choice {
	a, of := g.e.args[0], g.e.args[1]
	if set, ok := of.node.(ast.NodeTypeSet); ok && len(set.Elements) > 0 {
		return v.members(g, of, func(of *expr) *expr {
			b := ast.BinaryNode{Left: a.node, Right: of.node}
			return &expr{node: ast.NodeTypeIn{BinaryNode: b}, from: of.from, to: of.to, op: of.op, args: []*expr{a, of}}
		})
	}
	uid, ok := uidOf(of.node)
	t, typed := v.typeOf(a)
	switch {
	case !ok || !typed:
	case !typeIn(v.sch, t, uid.Type):
		return v.is(g, false, fmt.Sprintf("%s is in no %s", article(t), uid.Type))
	case isVariable(a, "action"):
		return v.is(g, actionIn(v.sch, v.env.action, uid), fmt.Sprintf("the action is %s", v.env.action.ID))
	case isVariable(a, "resource") && uid.Type == typeVault, t == uid.Type && t != typeGroup && t != typeAction:
		return v.entityIn(g, a, uid)
	}
	return opaque(g, key(a.node)+" in "+key(of.node))
}

// entityIn is of what is in itself and, if it is an object, in its vault.
func (v *solver) entityIn(g goal, a *expr, uid cedar.EntityUID) choice {
	if isVariable(a, "resource") && uid.Type == typeVault {
		return v.object(g, uid, g.want)
	}
	return v.entity(g, a, uid, g.want)
}

func (v *solver) has(g goal, n ast.NodeTypeHas) choice {
	of, ok := g.e.args[0].node.(ast.NodeTypeVariable)
	if ok {
		var shape resolved.RecordType
		what := "the context"
		if of.Name == "context" {
			shape = v.env.context
		} else {
			t, _ := v.typeOf(g.e.args[0])
			shape, what = v.sch.Entities[t].Shape, article(t)
		}
		a, has := shape[n.Value]
		switch {
		case !has:
			return v.is(g, false, fmt.Sprintf("%s has no %s", what, n.Value))
		case !a.Optional:
			return v.is(g, true, fmt.Sprintf("%s always has a %s", what, n.Value))
		}
	}
	return opaque(g, key(n))
}

// strings returns what is known of a string.
func (v *solver) strings(e *expr) domain {
	n, _ := e.node.(ast.NodeTypeAccess)
	of, ok := n.Arg.(ast.NodeTypeVariable)
	if !ok {
		return strs{}
	}
	switch string(of.Name) + "." + string(n.Value) {
	case "resource.name":
		return objectNames
	case "resource.vault":
		return vaultNames
	case "context.transport":
		return oneOf(broker.TransportGRPC, broker.TransportREST)
	case "context.reason":
		return notEmpty
	}
	if of.Name == "principal" {
		return notEmpty
	}
	return strs{}
}

func (v *solver) like(g goal, n ast.NodeTypeLike) choice {
	pattern, ok := runes(n.Value)
	if !ok {
		return opaque(g, key(n))
	}
	if s, ok := value(g.e.args[0]).(cedar.String); ok {
		return v.is(g, n.Value.Match(s), "")
	}
	return asks(g, key(n.Arg), v.strings(g.e.args[0]), like{pattern, !g.want})
}
