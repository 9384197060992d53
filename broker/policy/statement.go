package policy

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/keyward/keyward/broker"
)

// Span is a part of a file's text: the bytes from From up to To.
type Span struct {
	File     string
	From, To int
}

// Edit puts Text in the place of a Span.
type Edit struct {
	Span

	Text string
}

// Statement is a policy as its file has it: what those need who change the text
// and leave the rest of the file as it was written.
type Statement struct {
	Policy broker.PolicyRef
	// Permit and BreakGlass tell what it is.
	Permit, BreakGlass bool
	// Whole is from its annotations to its ";".
	Whole Span
	// Principal, Action and Resource are the parts of the scope.
	Principal, Action, Resource Span
	// Names are where it demands of an object's name that it is like a pattern:
	// resource.name like "db-*".
	Names []Span
	// Begins is the time before which it permits nothing, if it says one.
	Begins time.Time
}

// Statements returns all policies, in the order of the files.
func (a *Analysis) Statements() []Statement {
	all := make([]Statement, 0, a.Len())
	for _, p := range a.objects.policies {
		all = append(all, a.statement(p))
	}
	return all
}

func (a *Analysis) statement(p namedPolicy) Statement {
	st := a.statementOf(p)
	span := func(from, to int) Span { // tokens, the last included
		return Span{st.src.path, st.tokens[from].offset, st.tokens[to].end()}
	}
	s := Statement{
		Policy: refOf(p), Permit: p.policy.effect() == cedar.Permit, BreakGlass: p.breakGlass,
		Whole: span(0, len(st.tokens)-1), Begins: beginOf(p),
	}
	i := effectAt(st.tokens)
	parts := []*Span{&s.Principal, &s.Action, &s.Resource}
	depth, from := 1, i+2
	for i = from; depth > 0 && i < len(st.tokens) && len(parts) > 0; i++ {
		switch st.tokens[i].text {
		case "[":
			depth++
		case "]":
			depth--
		case ",", ")":
			if depth == 1 {
				*parts[0], parts, from = span(from, i-1), parts[1:], i+1
			}
		}
	}
	if !p.breakGlass {
		s.Names = namePatterns(locate(st.src, st.tokens, p.policy.ast), span)
	}
	return s
}

// effectAt returns the token behind the annotations.
func effectAt(ts []token) int {
	i := 0
	for ts[i].text == "@" {
		if i += 2; ts[i].text == "(" {
			i += 3
		}
	}
	return i
}

// namePatterns finds the patterns among what must hold.
func namePatterns(s *located, span func(from, to int) Span) []Span {
	var names []Span
	var visit func(e *expr)
	visit = func(e *expr) {
		switch n := e.node.(type) {
		case ast.NodeTypeAnd:
			for _, part := range e.args {
				visit(part)
			}
		case ast.NodeTypeLike:
			access, ok := n.Arg.(ast.NodeTypeAccess)
			if !ok || access.Value != "name" {
				return
			}
			if v, ok := access.Arg.(ast.NodeTypeVariable); ok && v.Name == "resource" {
				names = append(names, span(e.from, e.to-1))
			}
		}
	}
	for i, c := range s.conditions {
		if s.ast.Conditions[i].Condition == ast.ConditionWhen {
			visit(c)
		}
	}
	return names
}

// beginOf returns the latest time that p demands to be past.
func beginOf(p namedPolicy) (begin time.Time) {
	for _, c := range conjuncts(eval.PolicyToNode(p.policy.ast).AsIsNode()) {
		early := ast.IsNode(nil)
		switch n := c.(type) {
		case ast.NodeTypeGreaterThan:
			early = boundOf(n.Left, n.Right)
		case ast.NodeTypeGreaterThanOrEqual:
			early = boundOf(n.Left, n.Right)
		case ast.NodeTypeLessThan:
			early = boundOf(n.Right, n.Left)
		case ast.NodeTypeLessThanOrEqual:
			early = boundOf(n.Right, n.Left)
		}
		if early == nil {
			continue
		}
		value, err := eval.Eval(early, eval.Env{})
		if t, ok := value.(cedar.Datetime); err == nil && ok && t.Time().After(begin) {
			begin = t.Time().UTC()
		}
	}
	return begin
}

// Texts returns the files by their paths.
func (a *Analysis) Texts() map[string]string {
	texts := make(map[string]string, len(a.files))
	for _, f := range a.files {
		texts[f.path] = f.text
	}
	return texts
}

// Rewrite returns the text with the edits made that are in file. They do not
// overlap.
func Rewrite(file, text string, edits []Edit) string {
	here := slices.DeleteFunc(slices.Clone(edits), func(e Edit) bool { return e.File != file })
	slices.SortStableFunc(here, func(a, b Edit) int { return a.From - b.From })
	var out strings.Builder
	at := 0
	for _, e := range here {
		out.WriteString(text[at:e.From])
		out.WriteString(e.Text)
		at = e.To
	}
	out.WriteString(text[at:])
	return out.String()
}

// Edited returns what the folder would be with the edits made. It is loaded as
// Inspect would, from memory.
func (a *Analysis) Edited(edits []Edit) (*Analysis, error) {
	files := make([]source, 0, len(a.files))
	for _, f := range a.files {
		files = append(files, newSource(f.path, Rewrite(f.path, f.text, edits)))
	}
	return inspect(filepath.Dir(a.files[0].path), files)
}

// Alone returns an Engine of that one policy, with edits that are in it made,
// over the same entities: it tells what the policy does by itself.
func (a *Analysis) Alone(s Statement, edits ...Edit) (*Engine, error) {
	sch, err := loadSchema()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(a.files, func(f source) bool { return f.path == s.Whole.File })
	if i < 0 {
		return nil, fmt.Errorf("policy: there is no file %s", s.Whole.File)
	}
	text := a.files[i].text
	moved := slices.Clone(edits)
	for i := range moved {
		moved[i].From, moved[i].To = moved[i].From-s.Whole.From, moved[i].To-s.Whole.From
	}
	c := newChecker(sch)
	found, problems := c.policies(newSource(s.Whole.File, Rewrite(s.Whole.File, text[s.Whole.From:s.Whole.To], moved)))
	if problems = append(problems, c.unknownGroups(a.entities)...); len(problems) > 0 {
		return nil, joinProblems(problems)
	}
	e := *a.Engine
	e.put(found)
	return &e, nil
}

// Workloads returns the ids of the workloads that entities.json and the policies
// name, sorted.
func (a *Analysis) Workloads() []string {
	ids := map[string]bool{}
	add := func(uid cedar.EntityUID) {
		if uid.Type == typeWorkload {
			ids[string(uid.ID)] = true
		}
	}
	for uid := range a.entities {
		add(uid)
	}
	for _, p := range a.objects.policies {
		for _, uid := range mentioned(rule{namedPolicy: p, node: eval.PolicyToNode(p.policy.ast).AsIsNode()}) {
			add(uid)
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// GroupsOf returns all groups that p is in, by its credentials and by
// entities.json, and those that these are in, sorted.
func (e *Engine) GroupsOf(p broker.Principal) []string {
	groups := map[string]bool{}
	for g := range e.principalEntity(p).Parents.All() {
		groups[string(g.ID)] = true
		for _, up := range e.ancestors[g] {
			groups[string(up.ID)] = true
		}
	}
	return slices.Sorted(maps.Keys(groups))
}
