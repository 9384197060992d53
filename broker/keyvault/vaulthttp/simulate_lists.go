package vaulthttp

import (
	"context"
	"encoding/base64"
	"maps"
	"strings"
)

// afterEmpty marks a page's token for which an empty page was given. No token
// of a list begins like this: they are names or versions.
const afterEmpty = "+"

// emptyFirst puts an empty page before each page of a list: Key Vault's pages
// may be empty and yet have a link to the next.
func emptyFirst(next action) action {
	return func(h *handler, ctx context.Context, r request) (any, error) {
		size, token, err := r.page()
		if err != nil {
			return nil, err
		}
		if token, ok := strings.CutPrefix(token, afterEmpty); ok {
			r.query = maps.Clone(r.query)
			r.query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(token)))
			return next(h, ctx, r)
		}
		none := func(struct{}) struct{} { return struct{}{} }
		return list(r, strings.TrimSuffix(r.URL.EscapedPath(), "/"), nil, none, afterEmpty+token, size), nil
	}
}
