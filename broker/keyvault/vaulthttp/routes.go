package vaulthttp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// route is what a method and a path ask for.
type route struct {
	name broker.Name // of the secret, with its version if the path has one
	act  func(h *handler, ctx context.Context, r request) (any, error)
}

// match finds the route of a request:
//
//	GET    /secrets
//	GET    /secrets/{name}            also with a slash at its end
//	GET    /secrets/{name}/{version}
//	GET    /secrets/{name}/versions
//	PUT    /secrets/{name}
//	DELETE /secrets/{name}
//
// The path is split before it is unescaped, so that an escaped slash is part of
// a name, and refused there.
func (h *handler) match(r *http.Request) (route, error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if !ok || parts[0] != "secrets" || len(parts) > 3 {
		return route{}, &refusal{
			status: http.StatusNotFound, code: keyvault.ErrorNotFound,
			message: "The requested path does not exist.",
		}
	}
	if len(parts) == 1 {
		return pick(r, broker.Name{}, actions{http.MethodGet: (*handler).listSecrets})
	}
	object, err := url.PathUnescape(parts[1])
	if err != nil {
		object = parts[1]
	}
	name, err := h.Vault.Object(broker.KindSecrets, object)
	if err != nil {
		return route{}, badParameter("The request URI contains an invalid name: " + shorten(object))
	}
	if len(parts) == 2 {
		return pick(r, name, actions{
			http.MethodGet:    (*handler).getSecret,
			http.MethodPut:    (*handler).setSecret,
			http.MethodDelete: (*handler).deleteSecret,
		})
	}
	if parts[2] == "versions" {
		return pick(r, name, actions{http.MethodGet: (*handler).listVersions})
	}
	// Ids are compared without case.
	version, err := name.WithVersion(strings.ToLower(parts[2]))
	if err != nil {
		return route{}, badParameter("The request URI contains an invalid version: " + shorten(parts[2]))
	}
	return pick(r, version, actions{http.MethodGet: (*handler).getSecret})
}

type actions map[string]func(*handler, context.Context, request) (any, error)

func pick(r *http.Request, name broker.Name, by actions) (route, error) {
	act, ok := by[r.Method]
	if !ok {
		return route{}, &refusal{
			status: http.StatusMethodNotAllowed, code: keyvault.ErrorMethodNotAllowed,
			message: fmt.Sprintf("HTTP %s not allowed", shorten(r.Method)),
		}
	}
	return route{name: name, act: act}, nil
}
