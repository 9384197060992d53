package policy

import (
	"sync"

	"github.com/cedar-policy/cedar-go"
	public "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// lazyPolicy is a policy as it was read, and compiled from when somebody is first
// decided on by it: few are by each of ten thousand, and each run of the garbage
// collector would go through all that is kept compiled. It may be used concurrently,
// and ast is not to be changed.
type lazyPolicy struct {
	ast     *ast.Policy
	compile sync.Once
	made    *cedar.Policy
}

// compiled returns what Cedar evaluates.
func (p *lazyPolicy) compiled() *cedar.Policy {
	p.compile.Do(func() { p.made = cedar.NewPolicyFromAST((*public.Policy)(p.ast)) })
	return p.made
}

func (p *lazyPolicy) effect() cedar.Effect { return cedar.Effect(p.ast.Effect) }

func (p *lazyPolicy) position() cedar.Position { return cedar.Position(p.ast.Position) }

// annotation returns the last of that name, which is Cedar's too.
func (p *lazyPolicy) annotation(name string) (value string, ok bool) {
	for _, a := range p.ast.Annotations {
		if string(a.Key) == name {
			value, ok = string(a.Value), true
		}
	}
	return value, ok
}
