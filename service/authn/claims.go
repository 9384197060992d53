package authn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSubjectLen bounds a subject, each group and each attribute, in bytes.
const maxSubjectLen = 512

// claims are those of a verified token.
type claims map[string]any

// claimPath leads to a claim, from object to object.
type claimPath []string

// parseClaim reads how a configuration names a claim. As it stands that is one
// claim of the token, dots, colons and slashes and all; behind a leading slash
// it is a JSON Pointer, for a claim within another: "/kubernetes.io/namespace".
func parseClaim(name string) (claimPath, error) {
	if name == "" || strings.ContainsFunc(name, unprintable) {
		return nil, errors.New("a claim's name is not empty and printable")
	}
	pointer, ok := strings.CutPrefix(name, "/")
	if !ok {
		return claimPath{name}, nil
	}
	path := strings.Split(pointer, "/")
	for i, part := range path {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(part), "~") {
			return nil, fmt.Errorf("in %q a ~ is neither ~0 (for ~) nor ~1 (for /)", name)
		}
		path[i] = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
	}
	return path, nil
}

// at returns the claim that path leads to, nil if there is none.
func (c claims) at(path claimPath) any {
	var v any = map[string]any(c)
	for _, part := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part]
	}
	return v
}

// text returns a claim that must be there, as a subject's part.
func (c claims) text(path ...string) (string, error) {
	s, ok := c.at(path).(string)
	if !ok || !validText(s) {
		return "", fmt.Errorf("authn: the claim %s is not 1 to 512 printable bytes", strings.Join(path, "/"))
	}
	return s, nil
}

// optional returns a claim, or "" if there is none. One that is there and is no
// fit text is an error: a policy may forbid by what it would have said.
func (c claims) optional(path ...string) (string, error) {
	if v := c.at(path); v == nil || v == "" {
		return "", nil
	}
	return c.text(path...)
}

// list returns a claim's strings, of which there may be none, or one alone. A
// list that cannot be read is an error: a policy may forbid by group.
func (c claims) list(path claimPath) ([]string, error) {
	var list []string
	switch v := c.at(path).(type) {
	case nil:
	case string:
		list = []string{v}
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("authn: a group is no string")
			}
			list = append(list, s)
		}
	default:
		return nil, errors.New("authn: the groups claim is no list of strings")
	}
	if slices.ContainsFunc(list, func(s string) bool { return !validText(s) }) {
		return nil, errors.New("authn: a group is not 1 to 512 printable bytes")
	}
	return list, nil
}

func validText(s string) bool {
	return s != "" && len(s) <= maxSubjectLen && utf8.ValidString(s) && !strings.ContainsFunc(s, unprintable)
}

// unprintable counts the replacement character in: a decoder of JSON puts it
// for whatever is no Unicode, so that different names would become one.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// template makes a subject of claims: text, claim, text, claim, …, text.
type template struct {
	text   []string // one more than claims
	claims []claimPath
}

// parseTemplate reads "{sub}" or "{/kubernetes.io/namespace}:{sub}".
func parseTemplate(s string) (template, error) {
	var t template
	for {
		before, rest, ok := strings.Cut(s, "{")
		if strings.Contains(before, "}") || strings.ContainsFunc(before, unprintable) {
			return template{}, errors.New("want text and claims in braces, for example {sub}")
		}
		t.text = append(t.text, before)
		if !ok {
			break
		}
		if before == "" && len(t.claims) > 0 {
			return template{}, errors.New("put a separator between two claims: ab and c would make the same as a and bc")
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok || strings.Contains(name, "{") {
			return template{}, errors.New("a brace is not closed; want claims in braces, for example {sub}")
		}
		path, err := parseClaim(name)
		if err != nil {
			return template{}, err
		}
		t.claims, s = append(t.claims, path), after
	}
	if len(t.claims) == 0 {
		return template{}, errors.New("without a claim all the issuer's tokens would be one principal; want one in braces, for example {sub}")
	}
	return t, nil
}

// subject fills the template. No two lists of claims make the same subject: a
// claim must not hold the text that would end it.
func (t template) subject(c claims) (string, error) {
	var b strings.Builder
	b.WriteString(t.text[0])
	for i, path := range t.claims {
		v, err := c.text(path...)
		if err != nil {
			return "", err
		}
		after := t.text[i+1]
		if i < len(t.claims)-1 && strings.Index(v+after, after) != len(v) {
			return "", fmt.Errorf("authn: the claim %s holds the separator that follows it in the subject", strings.Join(path, "/"))
		}
		b.WriteString(v)
		b.WriteString(after)
	}
	if b.Len() > maxSubjectLen {
		return "", errors.New("authn: the subject is longer than 512 bytes")
	}
	return b.String(), nil
}
