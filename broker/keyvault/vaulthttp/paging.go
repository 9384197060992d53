package vaulthttp

import (
	"encoding/base64"
	"net/url"
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

// list returns a page as it is written to the client, with the link to the
// next, which the store asks for with the given token.
func list[T, W any](r request, path string, items []T, write func(T) W, next string, size int) keyvault.List[W] {
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
		l.NextLink = new("https://" + at.Host + path +
			"?api-version=" + url.QueryEscape(r.apiVersion) +
			"&$skiptoken=" + base64.RawURLEncoding.EncodeToString([]byte(next)) +
			"&maxresults=" + strconv.Itoa(size))
	}
	return l
}
