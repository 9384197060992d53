package policy

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/keyward/keyward/broker"
)

// maxTokens bounds a policy, because what reads it recurses.
const maxTokens = 100_000

// checker parses files, and says what is wrong with them.
type checker struct {
	resolved *resolved.Schema
	schema   *validate.Validator
	// situations are all that a policy could be evaluated in.
	situations []env
	// ids are where each policy was first seen.
	ids map[cedar.PolicyID]cedar.Position
	// groups are what policies name as one, to be looked up at the end.
	groups []groupAt
}

func newChecker(s *resolved.Schema) *checker {
	return &checker{resolved: s, schema: validate.New(s), situations: situations(s), ids: map[cedar.PolicyID]cedar.Position{}}
}

// policies returns the policies of a file. It goes on behind a problem.
func (c *checker) policies(src source) (policySet, []problem) {
	var policies policySet
	var problems []problem
	for _, st := range statements(tokens(src.text)) {
		at := src.at(st[0].offset)
		p, err := parse(src, st)
		if err != nil {
			problems = append(problems, *err)
			continue
		}
		p.ast.Position = ast.Position(at)
		id := cedar.PolicyID(fmt.Sprintf("%s:%d:%d", filepath.Base(src.path), at.Line, at.Column))
		if given, ok := p.annotation("id"); ok {
			id = cedar.PolicyID(given)
		}
		problems = append(problems, c.checkID(id, at)...)
		problems = append(problems, c.check(locate(src, st, p.ast))...)
		policies = append(policies, namedPolicy{id: id, policy: p})
	}
	return policies, problems
}

// check says what is wrong with s: what it means is asked once all its words
// are known, and whether it can match once it has a meaning.
func (c *checker) check(s *located) []problem {
	problems := checkAnnotations(s)
	words := append(c.checkSchema(s), c.checkNames(s)...)
	if len(words) == 0 {
		words = c.checkNever(s)
	}
	return append(problems, words...)
}

func (c *checker) checkID(id cedar.PolicyID, at cedar.Position) []problem {
	if strings.TrimSpace(string(id)) == "" {
		return []problem{{at: at, msg: "@id is empty: name the policy, or leave @id out"}}
	}
	if first, dup := c.ids[id]; dup {
		return []problem{{at: at, msg: fmt.Sprintf("@id(%q) is taken by the policy at %s:%d:%d", id, first.Filename, first.Line, first.Column)}}
	}
	c.ids[id] = at
	return nil
}

// checkAnnotations checks those that mean something here. Others are the
// user's own, unless they look like one of ours.
func checkAnnotations(s *located) []problem {
	var problems []problem
	for i := 0; i+1 < s.effect; i++ {
		if s.ts[i].text != "@" {
			continue
		}
		switch name := s.ts[i+1].text; {
		case name == "id":
		case name == breakGlass:
			text, _ := s.annotation(name)
			switch {
			case s.ast.Effect == ast.EffectForbid:
				problems = append(problems, s.problem(i, "@breakglass is for a permit, which then asks for a reason; a forbid asks for none: remove it"))
			case strings.TrimSpace(text) == "":
				problems = append(problems, s.problem(i, `@breakglass is empty: write what it is for, such as @breakglass("on-call may read anything")`))
			}
		case strings.EqualFold(name, "id"), broker.Nearest(name, []string{breakGlass}) != "":
			problems = append(problems, s.problem(i, fmt.Sprintf("@%s means nothing; did you mean @%s?", name, broker.Nearest(name, []string{"id", breakGlass}))))
		}
	}
	return problems
}

func (s *located) annotation(name string) (string, bool) {
	for _, a := range s.ast.Annotations {
		if string(a.Key) == name {
			return string(a.Value), true
		}
	}
	return "", false
}
