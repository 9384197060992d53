package usage

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// narrowing is one permit that was used, and how to narrow it. What is in its
// reach is asked of the policy itself, alone: of each known principal and object,
// and each action, whether it would have been permitted what somebody else was.
type narrowing struct {
	*tightening
	policy.Statement

	uses []*Use
	// samples are a use of each action.
	samples []*Use
	alone   *policy.Engine
	// agreed are the proposals so far, each of which was tried with those before.
	agreed []Finding
	// did is what was done on what.
	did map[act]bool
}

type act struct {
	action   broker.Action
	resource broker.Name
}

// actions finds the actions that nobody used.
func (n *narrowing) actions() (Finding, bool) {
	f := n.finding(n.Statement, Actions)
	used := map[broker.Action]bool{}
	for _, s := range n.samples {
		used[s.Request.Action] = true
	}
	reached := map[broker.Action]bool{}
	for _, a := range n.all.Actions() {
		reached[a] = used[a] || n.reaches(a)
		switch {
		case used[a]:
			f.Used = append(f.Used, string(a))
		case reached[a]:
			f.Unused = append(f.Unused, string(a))
		}
	}
	if len(f.Unused) == 0 {
		return f, false
	}
	text := "action == " + entity("Action", f.Used[0])
	if len(f.Used) > 1 {
		text = "action in " + listOf("Action", f.Used, "")
		for _, group := range slices.Sorted(keys(n.groups)) {
			if members := n.groups[group]; len(members) == len(f.Used) && !slices.ContainsFunc(members, func(a broker.Action) bool { return !used[a] }) {
				text = "action in " + entity("Action", group)
			}
		}
	}
	return n.replace(f, n.Action, text), true
}

// reaches reports whether the policy would permit the action to one of those who
// used another, on the same thing or on what the action is decided on.
func (n *narrowing) reaches(a broker.Action) bool {
	kind, _ := n.all.Kind(a)
	return slices.ContainsFunc(n.uses[:min(len(n.uses), maxTried)], func(u *Use) bool {
		r := u.Request
		r.Action = a
		switch {
		case kind == "":
			r.Resource = r.Resource.Vault()
		case r.Resource.ObjectName() != "":
			r.Resource = r.Resource.As(kind)
		default:
			r.Resource = r.Resource.Collection(kind)
		}
		return allows(n.alone, r)
	})
}

// maxTried bounds the uses that are tried with another action.
const maxTried = 64

// principals finds those who could have used the policy and did not.
func (n *narrowing) principals() (Finding, bool) {
	f := n.finding(n.Statement, Principals)
	users := map[string]bool{}
	var credentials []broker.Principal // of those who used it
	for _, u := range n.uses {
		users[u.Request.Principal.ID] = true
		credentials = append(credentials, u.Request.Principal)
	}
	f.Used = slices.Sorted(keys(users))
	f.Unused = n.otherCallers(n.alone, users)
	if len(f.Unused) == 0 {
		return f, false
	}
	scope := n.text(n.Principal)
	if strings.Contains(scope, "==") {
		return f, false
	}
	group, inGroup := scopeGroup(scope)
	if !inGroup && !anyPrincipal.MatchString(scope) {
		f.Why = "its scope is written in a way that is left alone"
		return f, true
	}
	// Who is in a group by credentials comes and goes with them, and the log knows
	// only who came: those are told by a narrower group, or not at all.
	byCredentials := inGroup && slices.ContainsFunc(credentials, func(p broker.Principal) bool {
		return !slices.Contains(n.all.GroupsOf(broker.Principal{ID: p.ID}), group)
	})
	narrower, left := "", len(f.Unused)
	if !byCredentials || len(users) > 1 { // one user is in too many groups by chance
		narrower, left = n.narrowerGroup(credentials, users, group, left)
	}
	byName := !byCredentials && len(users) <= maxNamed
	switch {
	case byName && len(users) == 1:
		return n.replace(f, n.Principal, "principal == "+entity("Workload", f.Used[0])), true
	case narrower != "" && (left == 0 || !byName):
		if !inGroup || slices.Contains(n.all.GroupsOf(broker.Principal{Groups: []string{narrower}}), group) {
			return n.replace(f, n.Principal, "principal in "+entity("Group", narrower)), true
		}
		return n.add(f, "principal in "+entity("Group", narrower)), true
	case byName:
		return n.add(f, "principal in "+listOf("Workload", f.Used, "  ")), true
	case byCredentials && len(users) == 1:
		f.Why = "credentials put them into the group, and one user does not tell which narrower group is meant"
	case byCredentials:
		f.Why = "credentials put them into the group, and no narrower group is known that those who used it are all in"
	default:
		f.Why = "they are too many to name, and no narrower group is known that they are all in"
	}
	return f, true
}

// otherCallers returns who could have used a policy beside those, by id.
func (n *narrowing) otherCallers(e *policy.Engine, users map[string]bool) []string {
	others := map[string]bool{}
	for _, c := range n.callers {
		if users[c.ID] || others[c.ID] {
			continue
		}
		others[c.ID] = slices.ContainsFunc(n.samples, func(u *Use) bool {
			r := u.Request
			r.Principal = c
			return allows(e, r)
		})
	}
	ids := slices.Sorted(keys(others))
	return slices.DeleteFunc(ids, func(id string) bool { return !others[id] })
}

// narrowerGroup returns the group with the fewest others among those that all
// users are in, if these are fewer than now.
func (n *narrowing) narrowerGroup(credentials []broker.Principal, users map[string]bool, now string, others int) (group string, left int) {
	var common []string
	for i, c := range credentials {
		groups := n.all.GroupsOf(c)
		if i == 0 {
			common = groups
			continue
		}
		common = slices.DeleteFunc(slices.Clone(common), func(g string) bool { return !slices.Contains(groups, g) })
	}
	left = others
	for _, g := range common {
		if g == now {
			continue
		}
		e, err := n.all.Alone(n.Statement, n.edits([]Finding{n.add(Finding{}, "principal in "+entity("Group", g))})...)
		if err != nil {
			continue
		}
		if still := len(n.otherCallers(e, users)); still < left {
			group, left = g, still
		}
	}
	return group, left
}

// resources finds the objects that could have been used and were not.
func (n *narrowing) resources() (Finding, bool) {
	f := n.finding(n.Statement, Resources)
	used := map[broker.Name]bool{}
	vaults := map[string]bool{}
	var kinds []broker.Kind
	onVault := false
	for _, u := range n.uses {
		name := u.Request.Resource
		vaults[name.VaultAlias()] = true
		onVault = onVault || name.Kind() == ""
		if name.ObjectName() != "" {
			used[name] = true
		}
		if name.Kind() != "" && !slices.Contains(kinds, name.Kind()) {
			kinds = append(kinds, name.Kind())
		}
	}
	known := 0
	partly := map[broker.Action]int{} // on how many of the used it was not
	for _, o := range n.objects {
		left := n.unusedFor(o)
		switch {
		case used[o]:
			known++
			for _, a := range left {
				partly[a]++
			}
		case len(left) > 0:
			f.Unused = append(f.Unused, o.String())
		}
	}
	for name := range used {
		f.Used = append(f.Used, name.String())
	}
	slices.Sort(f.Used)
	scope := n.text(n.Resource)
	if len(f.Used) == 0 || strings.Contains(scope, "==") {
		return f, false
	}
	if len(f.Unused) == 0 {
		var each []string
		for _, a := range slices.Sorted(keys(partly)) {
			each = append(each, fmt.Sprintf("%s on %d of them", a, known-partly[a]))
		}
		f.Why = "each action has a reach of its own: " + strings.Join(each, ", ") + "; split it to narrow it"
		return f, len(each) > 0
	}
	anyVault := !strings.Contains(scope, "::")
	inVault := ""
	if anyVault && len(vaults) == 1 {
		inVault = n.inVault(scope, slices.Collect(keys(vaults))[0])
	}
	switch {
	case onVault || len(kinds) > 1:
		f.Why = "it was used on the vault itself or on several kinds of objects: split it first"
	case len(f.Used) == 1:
		return n.replace(f, n.Resource, "resource == "+objectEntity(f.Used[0])), true
	case len(f.Used) <= maxNamed && len(n.Names) == 1:
		return n.replace(f, n.Names[0], listOf("", objectNames(f.Used), "")+".contains(resource.name)"), true
	case len(f.Used) <= maxNamed:
		return n.add(f, "resource in "+objectList(f.Used, "  ")), true
	}
	if inVault != "" {
		return n.replace(f, n.Resource, inVault), true
	}
	if f.Why == "" {
		f.Why = "they are too many to name one by one"
	}
	return f, true
}

// unusedFor returns those of the actions that were used which the policy permits
// on an object and that nobody did on it.
func (n *narrowing) unusedFor(o broker.Name) []broker.Action {
	var left []broker.Action
	for _, s := range n.samples {
		r := s.Request
		kind, _ := n.all.Kind(r.Action)
		r.Resource = o
		if kind == o.Kind() && !n.did[act{r.Action, o}] && allows(n.alone, r) {
			left = append(left, r.Action)
		}
	}
	return left
}

var isType = regexp.MustCompile(`^resource\s+is\s+(\w+)$`)

// inVault is a scope without a vault, within one.
func (n *narrowing) inVault(scope, vault string) string {
	if m := isType.FindStringSubmatch(scope); m != nil {
		return "resource is " + m[1] + " in " + entity("Vault", vault)
	}
	return "resource in " + entity("Vault", vault)
}

// What a scope says of the principal, if it is anyone or those of a group.
var (
	anyPrincipal = regexp.MustCompile(`^principal(?:\s+is\s+Workload)?$`)
	groupScope   = regexp.MustCompile(`^principal\s+(?:is\s+Workload\s+)?in\s+Group::("(?:[^"\\]|\\.)*")$`)
)

func scopeGroup(scope string) (string, bool) {
	m := groupScope.FindStringSubmatch(scope)
	if m == nil {
		return "", false
	}
	id, err := strconv.Unquote(m[1])
	return id, err == nil
}

// keeps reports whether the policy with the edits made permits all that it was
// used for.
func (n *narrowing) keeps(edits []policy.Edit) bool {
	e, err := n.all.Alone(n.Statement, edits...)
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(n.uses, func(u *Use) bool { return n.permits(n.alone, u) && !n.permits(e, u) })
}

func (n *narrowing) permits(e *policy.Engine, u *Use) bool {
	d, err := e.Authorize(context.Background(), u.Request)
	return d.Allowed && err == nil
}

var literal = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// replace proposes text in the place of a part, unless that would lose a comment
// or deny what was used.
func (n *narrowing) replace(f Finding, part policy.Span, text string) Finding {
	if old := literal.ReplaceAllString(n.text(part), ""); strings.Contains(old, "//") || strings.Contains(old, "/*") {
		f.Why = "there is a comment in what would be replaced"
		return f
	}
	f.Proposal, f.edits = text, []policy.Edit{{Span: part, Text: n.indented(part, text)}}
	return n.tried(f)
}

// add proposes a condition more.
func (n *narrowing) add(f Finding, condition string) Finding {
	f.Proposal, f.conditions = "when { "+condition+" }", []string{condition}
	if strings.Contains(condition, "\n") {
		f.Proposal = "when {\n  " + condition + "\n}"
	}
	return n.tried(f)
}

func (n *narrowing) tried(f Finding) Finding {
	if !n.keeps(n.edits(append(slices.Clone(n.agreed), f))) {
		f.withdraw("what would be narrower denies what was used")
	}
	return f
}
