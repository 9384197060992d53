package keyvault

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/keyward/keyward/broker"
)

const (
	maxNextLen = 4 << 10
	// maxPages bounds the walk through the versions of one secret or key.
	maxPages = 1000
)

// list gets a page of k's list, and what asks for the next. Only the link to
// the next page tells whether there is more: a page may be empty.
func list[W, T any](ctx context.Context, c *Client, k call, p broker.Page, convert func(W) (T, error)) ([]T, string, error) {
	k.limit = maxListLen
	size := broker.MaxStorePage
	if p.Size > 0 {
		size = min(p.Size, size)
	}
	k.query = "maxresults=" + strconv.Itoa(size)
	if p.Token != "" {
		if !validNext(p.Token) {
			return nil, "", badPageToken(nil)
		}
		k.query = p.Token + "&" + k.query
	}
	var next string
	items, err := invoke(ctx, c, k, func(w List[W]) ([]T, error) {
		if w.Value == nil {
			return nil, errors.New("a list without its items")
		}
		if len(w.Value) > size {
			return nil, errors.New("a page with more items than were asked for")
		}
		items := make([]T, 0, len(w.Value))
		for _, item := range w.Value {
			converted, err := convert(item)
			if err != nil {
				return nil, err
			}
			items = append(items, converted)
		}
		link, err := nextQuery(c.origin, k.path, w.NextLink)
		if err != nil {
			return nil, err
		}
		if link != "" && link == p.Token {
			return nil, errors.New("a page that leads to itself")
		}
		next = link
		return items, nil
	})
	return items, next, err
}

// listAll gets all pages of k's list.
func listAll[W, T any](ctx context.Context, c *Client, k call, convert func(W) (T, error)) ([]T, error) {
	var all []T
	p := broker.Page{Size: broker.MaxStorePage}
	for range maxPages {
		items, next, err := list(ctx, c, k, p, convert)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		p.Token = next
	}
	return nil, unusable(errors.New("a list of versions that does not end"))
}

// badTokenOf returns the error of a list that began at p. A vault that refuses
// a field then has nothing else to refuse than the caller's token.
func badTokenOf(p broker.Page, err error) error {
	if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.CodeBadField && p.Token != "" {
		return badPageToken(e)
	}
	return err
}

func badPageToken(cause error) *broker.Error {
	return &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token", Message: "begin the list again", Err: cause}
}

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
