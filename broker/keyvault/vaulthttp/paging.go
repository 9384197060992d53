package vaulthttp

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// page returns what part of a list is asked for.
func (r request) page() (size int, token string, err error) {
	size = broker.MaxStorePage
	if r.query.Has("maxresults") {
		size, err = strconv.Atoi(r.query.Get("maxresults"))
		if err != nil || size < 1 || size > broker.MaxStorePage {
			return 0, "", badParameter("Invalid maxresults: it is a number from 1 to 25.")
		}
	}
	text, err := base64.RawURLEncoding.DecodeString(r.query.Get("$skiptoken"))
	if err != nil {
		return 0, "", badParameter("Invalid $skiptoken.")
	}
	return size, string(text), nil
}

// pageOfVersions returns the part of all that follows token, the last version of
// the page before, and what asks for the next. Versions are ordered by id, as Key
// Vault does, which no client can take for their age.
func pageOfVersions[T any](all []T, version func(T) string, token string, size int) (page []T, next string) {
	all = slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(version(a), version(b)) })
	from, found := slices.BinarySearchFunc(all, token, func(one T, v string) int { return cmp.Compare(version(one), v) })
	if found {
		from++
	}
	all = all[from:]
	if len(all) > size {
		all = all[:size]
		next = version(all[size-1])
	}
	return all, next
}

// list returns a page as it is written to the client, with the link to the
// next, which the store asks for with the given token. A Managed HSM leaves out
// what is null, and its links name no version.
func list[T, W any](r request, path string, items []T, write func(T) W, next string, size int) any {
	l := keyvault.List[W]{Value: make([]W, 0, len(items))}
	for _, item := range items {
		l.Value = append(l.Value, write(item))
	}
	if next != "" {
		// Key Vault names the port even where it is the scheme's own.
		at := url.URL{Host: r.Host}
		if at.Port() == "" {
			at.Host += ":443"
		}
		query := "?api-version=" + url.QueryEscape(r.apiVersion) + "&"
		if r.managedHSM {
			query = "?"
		}
		l.NextLink = new("https://" + at.Host + path + query +
			"$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(next)) +
			"&maxresults=" + strconv.Itoa(size))
	}
	if r.managedHSM && l.NextLink == nil {
		return struct {
			Value []W `json:"value"`
		}{l.Value}
	}
	return l
}
