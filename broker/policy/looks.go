package policy

import (
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// Looks says which parts of a call's context could matter to a decision: those
// that a condition asks for. Two requests that differ in others are decided
// alike.
type Looks struct{ Time, Peer, Transport, Reason bool }

// Or returns what a or b looks at.
func (a Looks) Or(b Looks) Looks {
	return Looks{a.Time || b.Time, a.Peer || b.Peer, a.Transport || b.Transport, a.Reason || b.Reason}
}

// Looks returns what the policies look at whose scope may take r. An error is
// that of Authorize.
func (e *Engine) Looks(r broker.Request) (Looks, error) {
	q, err := e.newQuery(r)
	if err != nil {
		return Looks{}, err
	}
	x := &e.objects
	if q.collection {
		x = e.collections()
	}
	var looks Looks
	for _, i := range inOrder(x.find(nil, q.principals, q.resources())) {
		for _, c := range x.policies[i].policy.ast.Conditions {
			looks = looks.Or(looksOf(c.Body))
		}
	}
	return looks, nil
}

func looksOf(body ast.IsNode) Looks {
	var looks Looks
	named := 0
	look := func(of ast.IsNode, name string) {
		if v, ok := of.(ast.NodeTypeVariable); !ok || v.Name != "context" {
			return
		}
		named++
		switch name {
		case "time":
			looks.Time = true
		case "peer":
			looks.Peer = true
		case "transport":
			looks.Transport = true
		case "reason":
			looks.Reason = true
		}
	}
	all := 0
	ast.Inspect(ast.NewNode(body), func(n ast.IsNode) bool {
		switch n := n.(type) {
		case ast.NodeTypeAccess:
			look(n.Arg, string(n.Value))
		case ast.NodeTypeHas:
			look(n.Arg, string(n.Value))
		case ast.NodeTypeVariable:
			if n.Name == "context" {
				all++
			}
		}
		return true
	})
	if all > named { // the context as a whole
		return Looks{true, true, true, true}
	}
	return looks
}
