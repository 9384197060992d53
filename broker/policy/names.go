package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/keyward/keyward/broker"
)

// Ids are compared as they are, so one that nothing can have never matches,
// wherever it is named.

// groupAt is a group that a policy names.
type groupAt struct {
	uid cedar.EntityUID
	at  cedar.Position
}

// checkNames checks the ids that s names. Groups are for unknownGroups.
func (c *checker) checkNames(s *located) []problem {
	var problems []problem
	check := func(e *expr) {
		uid, ok := uidOf(e.node)
		if !ok {
			return
		}
		msg := ""
		switch uid.Type {
		case typeGroup:
			c.groups = append(c.groups, groupAt{uid, s.at(e.from)})
		case typeWorkload:
			msg = checkWorkload(uid)
		default:
			msg = checkResource(uid)
		}
		if msg != "" {
			problems = append(problems, s.problem(e.from, msg))
		}
	}
	for _, e := range append([]*expr{s.principal, s.resource}, s.conditions...) {
		if e != nil {
			e.walk(check)
		}
	}
	return problems
}

// unknownGroups finds the groups that neither an issuer nor entities.json could
// put anyone into.
func (c *checker) unknownGroups(entities cedar.EntityMap) []problem {
	known := map[cedar.EntityUID]bool{}
	var names []string
	know := func(uid cedar.EntityUID) {
		if uid.Type == typeGroup && !known[uid] {
			known[uid] = true
			names = append(names, string(uid.ID))
		}
	}
	for uid, e := range entities {
		know(uid)
		for parent := range e.Parents.All() {
			know(parent)
		}
	}
	var problems []problem
	for _, g := range c.groups {
		id := string(g.uid.ID)
		if known[g.uid] || ofIssuer.MatchString(id) {
			continue
		}
		msg := fmt.Sprintf("%s can never match: it is not in %s, and an issuer's group is Group::\"{issuer}/{group}\"", g.uid, entitiesFile)
		if n := broker.Nearest(id, names); n != "" {
			msg += fmt.Sprintf("; did you mean %s?", cedar.NewEntityUID(typeGroup, cedar.String(n)))
		}
		problems = append(problems, problem{at: g.at, msg: msg})
	}
	return problems
}

var (
	// ofIssuer are the ids that an issuer's name begins.
	ofIssuer = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}/.`)
	// spiffe are SPIFFE IDs, but for segments of dots alone.
	spiffe = regexp.MustCompile(`^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$`)
	dots   = regexp.MustCompile(`/\.\.?(/|$)`)
)

func validWorkload(id string) bool {
	return ofIssuer.MatchString(id) || spiffe.MatchString(id) && !dots.MatchString(id)
}

// checkWorkload returns what is wrong with the id of a workload, or "".
func checkWorkload(uid cedar.EntityUID) string {
	id := string(uid.ID)
	if validWorkload(id) {
		return ""
	}
	// The case of what is compared in lower case, and nothing else.
	scheme, rest, isURI := strings.Cut(id, "://")
	head, tail, _ := strings.Cut(rest, "/")
	fixed := strings.ToLower(scheme) + "://" + strings.ToLower(head) + "/" + strings.TrimRight(tail, "/")
	if !isURI {
		issuer, subject, _ := strings.Cut(id, "/")
		fixed = strings.ToLower(issuer) + "/" + subject
	}
	if validWorkload(fixed) {
		return fmt.Sprintf("%s can never match; write %s", uid, cedar.NewEntityUID(typeWorkload, cedar.String(fixed)))
	}
	return fmt.Sprintf(`%s can never match: a workload's id is its SPIFFE ID, Workload::"spiffe://{domain}/{path}", or Workload::"{issuer}/{subject}"`, uid)
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
	typeKey:         `Key::"vaults/{alias}/keys/{name}", of [a-z0-9-]`,
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
