package policy

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	schema *validate.Validator
	// ids are where each policy was first seen.
	ids map[cedar.PolicyID]cedar.Position
}

func newChecker(s *resolved.Schema) *checker {
	return &checker{schema: validate.New(s), ids: map[cedar.PolicyID]cedar.Position{}}
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
		p.AST().Position = positionOf(at)
		id := cedar.PolicyID(fmt.Sprintf("%s:%d:%d", filepath.Base(src.path), at.Line, at.Column))
		if given, ok := p.Annotations()["id"]; ok {
			id = cedar.PolicyID(given)
		}
		problems = append(problems, c.checkID(id, at)...)
		problems = append(problems, c.checkSchema(src, st, p)...)
		problems = append(problems, checkResources(src, st, p)...)
		policies = append(policies, namedPolicy{id: id, policy: p})
	}
	return policies, problems
}

func positionOf(p cedar.Position) ast.Position { return ast.Position(p) }

// parse parses one statement.
func parse(src source, st []token) (*cedar.Policy, *problem) {
	if len(st) > maxTokens {
		return nil, &problem{at: src.at(st[0].offset), msg: fmt.Sprintf("a policy has at most %d words and signs; put a group in place of a long list", maxTokens)}
	}
	var parsed cedar.PolicyList
	err := parsed.UnmarshalCedar([]byte(src.text[st[0].offset:st[len(st)-1].end()]))
	if err != nil {
		return nil, syntaxProblem(src, st, err)
	}
	if len(parsed) != 1 {
		return nil, &problem{at: src.at(st[0].offset), msg: fmt.Sprintf("want one policy before the \";\", found %d", len(parsed))}
	}
	return parsed[0], nil
}

// syntax is what cedar-go says of an error. The position is from the beginning
// of what was parsed.
var syntax = regexp.MustCompile(`(?s)^parser error: (parse error at )?<input>:(\d+):(\d+):? (?:"(?:[^"\\]|\\.)*": )?(.*)$`)

func syntaxProblem(src source, st []token, err error) *problem {
	m := syntax.FindStringSubmatch(err.Error())
	if m == nil {
		msg := strings.TrimPrefix(err.Error(), "parser error: ")
		return &problem{at: src.at(st[0].offset), msg: msg}
	}
	line, _ := strconv.Atoi(m[2])
	column, _ := strconv.Atoi(m[3])
	msg := m[4]
	begin := src.at(st[0].offset)
	if line == 1 {
		column += begin.Column - 1
	}
	offset := src.offset(line+begin.Line-1, column)
	// The token there, or the end.
	i, _ := slices.BinarySearchFunc(st, offset, func(t token, o int) int { return t.offset - o })
	// The parser has often stepped over the token that it did not expect.
	if found, want, ok := strings.Cut(strings.TrimPrefix(msg, "exact "), " want "); ok && strings.HasPrefix(found, "got ") {
		found = strings.TrimPrefix(found, "got ")
		if i > 0 && st[i-1].text == found {
			i--
		}
		msg = fmt.Sprintf("found %q, want %q", found, want)
		if found == "" {
			msg = fmt.Sprintf("the policy ends here, want %q", want)
		}
	} else if m[1] != "" && i > 0 {
		i--
	}
	if i == len(st) {
		return &problem{at: src.at(st[i-1].end()), msg: msg}
	}
	return &problem{at: src.at(st[i].offset), msg: msg}
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

const notApplicable = "unable to find an applicable action given the policy scope constraints"

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	// perAction is said again for each action.
	perAction = regexp.MustCompile(` for Action::"\w+"`)
)

// checkSchema checks p against the schema.
func (c *checker) checkSchema(src source, st []token, p *cedar.Policy) []problem {
	err := c.schema.Policy("", (*ast.Policy)(p.AST()))
	if err == nil {
		return nil
	}
	var problems []problem
	msgs := strings.Split(err.Error(), "\n")
	for _, msg := range msgs {
		if msg == notApplicable {
			if len(msgs) > 1 {
				continue // it follows from another
			}
			msg = `no action in its scope applies to its principal and resource; a group of actions takes "in"`
		}
		msg = perAction.ReplaceAllString(msg, "")
		at := st[0]
		if m := quoted.FindStringSubmatch(msg); m != nil {
			at = named(st, m[1])
		}
		problems = append(problems, problem{at: src.at(at.offset), msg: msg})
	}
	return problems
}

// named returns the first token of what a message names, or of st. An attribute
// follows a dot, or else "has".
func named(st []token, name string) token {
	for _, before := range []string{".", "has "} {
		if i, ok := find(st, before+name); ok {
			return st[i+1]
		}
	}
	i, _ := find(st, name)
	return st[i]
}

// checkResources checks that the resources that p names could be asked for.
func checkResources(src source, st []token, p *cedar.Policy) []problem {
	var problems []problem
	for _, uid := range uids((*ast.Policy)(p.AST())) {
		msg := checkResource(uid)
		if msg == "" {
			continue
		}
		i, _ := find(st, uid.String())
		problems = append(problems, problem{at: src.at(st[i].offset), msg: msg})
	}
	return problems
}

// uids returns the entities that p names in its resource and its conditions.
func uids(p *ast.Policy) []cedar.EntityUID {
	var all []cedar.EntityUID
	switch s := p.Resource.(type) {
	case ast.ScopeTypeEq:
		all = append(all, s.Entity)
	case ast.ScopeTypeIn:
		all = append(all, s.Entity)
	case ast.ScopeTypeIsIn:
		all = append(all, s.Entity)
	}
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			if v, ok := n.(ast.NodeValue); ok {
				if uid, ok := v.Value.(cedar.EntityUID); ok {
					all = append(all, uid)
				}
			}
			return true
		})
	}
	return all
}

// checkResource returns what is wrong with the id of a vault or an object, or
// "".
func checkResource(uid cedar.EntityUID) string {
	id := string(uid.ID)
	canonical, err := canonicalID(uid.Type, id)
	if err == nil && canonical == id {
		return ""
	}
	if err != nil {
		canonical, err = canonicalID(uid.Type, strings.ToLower(id))
	}
	if err != nil {
		return fmt.Sprintf("%s can never match; write %s", uid, form[uid.Type])
	}
	return fmt.Sprintf("%s can never match: names are compared in lower case and without a version; write %s",
		uid, cedar.NewEntityUID(uid.Type, cedar.String(canonical)))
}

// form is what ids look like.
var form = map[cedar.EntityType]string{
	typeVault:       `Vault::"{alias}", of [a-z0-9-]`,
	typeSecret:      `Secret::"vaults/{alias}/secrets/{name}", of [a-z0-9-]`,
	typeCertificate: `Certificate::"vaults/{alias}/certificates/{name}", of [a-z0-9-]`,
}

func canonicalID(t cedar.EntityType, id string) (string, error) {
	if kind, ok := kindOf[t]; ok {
		n, err := broker.ParseName(kind, id)
		return n.Base().String(), err
	}
	if t == typeVault {
		n, err := broker.VaultName(id)
		return n.VaultAlias(), err
	}
	return id, nil
}
