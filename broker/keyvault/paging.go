package keyvault

import (
	"errors"
	"net/url"
	"strings"
)

const maxNextLen = 4 << 10

// nextQuery returns the query that asks for the page after one whose nextLink
// is link, or "" if there is none. It is the link's own query, untouched, but
// for api-version and maxresults, which each request sets itself: Managed HSM
// leaves the former out.
//
// The link must lead to where the page came from. Another host would get the
// token.
func nextQuery(origin url.URL, path string, link *string) (string, error) {
	if link == nil || *link == "" {
		return "", nil
	}
	u, err := url.Parse(*link)
	if err != nil {
		return "", errors.New("the link to the next page is no URL")
	}
	if u.Scheme != origin.Scheme || u.User != nil || hostPort(*u) != hostPort(origin) || !strings.EqualFold(strings.TrimSuffix(u.Path, "/"), path) {
		return "", errors.New("the link to the next page leads elsewhere")
	}
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		key, _, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			return "", errors.New("the link to the next page has a malformed query")
		}
		if key != "" && !strings.EqualFold(key, "api-version") && !strings.EqualFold(key, "maxresults") {
			kept = append(kept, part)
		}
	}
	next := strings.Join(kept, "&")
	if next == "" {
		return "", errors.New("the link to the next page leads to the first")
	}
	if !validNext(next) {
		return "", errors.New("the link to the next page is too long or malformed")
	}
	return next, nil
}

// validNext reports whether s can be what nextQuery returned: printable, and no
// way out of a query.
func validNext(s string) bool {
	if s == "" || len(s) > maxNextLen {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	_, err := url.ParseQuery(s)
	return err == nil
}
