package policy

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// Analysis is an Engine with the texts that it was loaded from: for those who
// write policies and ask why. A broker that serves needs the Engine alone.
type Analysis struct {
	*Engine

	files []source
	// statements are the policies' texts, by where they begin.
	statements map[place]statement
}

type place struct {
	file   string
	offset int
}

type statement struct {
	src    source
	tokens []token
}

// Inspect loads a folder as Load does, with the same errors.
func Inspect(dir string) (*Analysis, error) {
	files, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	return inspect(dir, files)
}

// inspect is Inspect of files that were read in dir.
func inspect(dir string, files []source) (*Analysis, error) {
	e, err := load(dir, files)
	if err != nil {
		return nil, err
	}
	a := &Analysis{Engine: e, files: files, statements: map[place]statement{}}
	for _, f := range files {
		if filepath.Base(f.path) == entitiesFile {
			continue
		}
		for _, st := range statements(tokens(f.text)) {
			a.statements[place{f.path, st[0].offset}] = statement{f, st}
		}
	}
	return a, nil
}

// Policies returns all policies, in the order of the files.
func (a *Analysis) Policies() []broker.PolicyRef {
	refs := make([]broker.PolicyRef, 0, a.Len())
	for _, p := range a.objects.policies {
		refs = append(refs, refOf(p))
	}
	return refs
}

// Text returns a policy as its file has it, from its annotations to the ";", or
// "" if there is none of that id.
func (a *Analysis) Text(id string) string {
	i := slices.IndexFunc(a.objects.policies, func(p namedPolicy) bool { return string(p.id) == id })
	if i < 0 {
		return ""
	}
	st := a.statementOf(a.objects.policies[i])
	return st.src.text[st.tokens[0].offset:st.tokens[len(st.tokens)-1].end()]
}

func (a *Analysis) statementOf(p namedPolicy) statement {
	at := p.policy.position()
	return a.statements[place{at.Filename, at.Offset}]
}

// Condition is a "when" or "unless" of a policy.
type Condition struct {
	// Text is the condition in Cedar, on one line.
	Text string
	// Position is where it begins: the file's base name, line and column.
	Position string
	// Failure tells why it could not be evaluated, if so.
	Failure string
	// BreakGlass: it is the reason that a break-glass policy asks for, which its
	// annotation stands for.
	BreakGlass bool
}

// condition describes p's condition of that number.
func (a *Analysis) condition(p namedPolicy, number int) Condition {
	conds := p.policy.ast.Conditions
	word := "when"
	if conds[number].Condition == ast.ConditionUnless {
		word = "unless"
	}
	c := Condition{
		Text:       fmt.Sprintf("%s { %s }", word, textOf(conjuncts(conds[number].Body)...)),
		Position:   positionText(p.policy),
		BreakGlass: p.breakGlass && number == 0,
	}
	if p.breakGlass {
		number--
	}
	if number < 0 {
		return c
	}
	st := a.statementOf(p)
	depth := 0
	for i, t := range st.tokens {
		switch t.text {
		case "(", "{", "[":
			depth++
		case ")", "}", "]":
			depth--
		case "when", "unless":
			if depth > 0 || i == 0 || st.tokens[i-1].text == "@" {
				continue
			}
			if number == 0 {
				at := st.src.at(t.offset)
				c.Position = fmt.Sprintf("%s:%d:%d", filepath.Base(at.Filename), at.Line, at.Column)
				return c
			}
			number--
		}
	}
	return c
}

// scopeNode returns what a scope says of a variable, such as
// principal == Workload::"dev/billing", or nil where it says nothing.
func scopeNode(p *ast.Policy, variable string) ast.IsNode {
	var s ast.IsScopeNode
	var v ast.Node
	switch variable {
	case "principal":
		s, v = p.Principal, ast.Principal()
	case "action":
		s, v = p.Action, ast.Action()
	default:
		s, v = p.Resource, ast.Resource()
	}
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		v = v.Equal(ast.Value(s.Entity))
	case ast.ScopeTypeIn:
		v = v.In(ast.Value(s.Entity))
	case ast.ScopeTypeInSet:
		elements := make([]ast.Node, 0, len(s.Entities))
		for _, e := range s.Entities {
			elements = append(elements, ast.Value(e))
		}
		v = v.In(ast.Set(elements...))
	case ast.ScopeTypeIs:
		v = v.Is(s.Type)
	case ast.ScopeTypeIsIn:
		v = v.IsIn(s.Type, ast.Value(s.Entity))
	default:
		return nil
	}
	return v.AsIsNode()
}
