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
	name broker.Name // of the secret, key or certificate, with its version if the path has one
	operation
}

// operation is what is done with what a path names.
type operation struct {
	// permission is the data action that Azure's roles give, without the
	// provider before it.
	permission string
	// hsm is what a Managed HSM calls it where that is something else.
	hsm   string
	act   action
	lists bool
}

type action func(h *handler, ctx context.Context, r request) (any, error)

// The operations, by what they do.
var (
	opSet         = operation{permission: "secrets/setSecret/action", act: (*handler).setSecret}
	opGet         = operation{permission: "secrets/getSecret/action", act: (*handler).getSecret}
	opUpdate      = operation{permission: "secrets/update/action", act: (*handler).updateSecret}
	opDelete      = operation{permission: "secrets/delete", act: (*handler).deleteSecret}
	opList        = operation{permission: "secrets/readMetadata/action", act: (*handler).listSecrets, lists: true}
	opVersions    = operation{permission: "secrets/readMetadata/action", act: (*handler).listVersions, lists: true}
	opBackup      = operation{permission: "secrets/backup/action", act: (*handler).backupSecret}
	opRestore     = operation{permission: "secrets/restore/action", act: (*handler).restoreSecret}
	opGetDeleted  = operation{permission: "secrets/readMetadata/action", act: (*handler).getDeleted}
	opListDeleted = operation{permission: "secrets/readMetadata/action", act: (*handler).listDeleted, lists: true}
	opRecover     = operation{permission: "secrets/recover/action", act: (*handler).recoverSecret}
	opPurge       = operation{permission: "secrets/purge/action", act: (*handler).purgeSecret}
)

// match finds the route of a request:
//
//	GET    /secrets
//	POST   /secrets/restore
//	GET    /secrets/{name}            also with one slash at its end, or two:
//	                                  an empty version is the latest
//	PUT    /secrets/{name}
//	PATCH  /secrets/{name}
//	DELETE /secrets/{name}
//	GET    /secrets/{name}/{version}
//	PATCH  /secrets/{name}/{version}
//	GET    /secrets/{name}/versions
//	POST   /secrets/{name}/backup
//	GET    /deletedsecrets
//	GET    /deletedsecrets/{name}
//	DELETE /deletedsecrets/{name}
//	POST   /deletedsecrets/{name}/recover
//
// Keys have the same, but for PUT, which imports, and for lists under
// /deletedkeys. They have more, of which those of the second line take a version
// before their last part, or an empty one:
//
//	/keys/{name}/  create rotate rotationpolicy
//	/keys/{name}/  sign verify encrypt decrypt wrapkey unwrapkey
//
// Certificates have the same, but for PUT: see matchCertificates.
//
// The path is split before it is unescaped, so that an escaped slash is part of
// a name, and refused there.
func (h *handler) match(r *http.Request) (route, error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if len(parts) == 3 && (parts[0] == "secrets" || parts[0] == "keys" || parts[0] == "certificates") && parts[2] == "" {
		parts = parts[:2]
	}
	switch short := len(parts) <= 3; {
	case !ok:
	case parts[0] == "secrets" && short && h.Secrets != nil:
		return h.matchSecrets(r, parts[1:])
	case parts[0] == "deletedsecrets" && short && h.Secrets != nil:
		return h.matchDeleted(r, broker.KindSecrets, parts[1:], deletedOperations{
			list: opListDeleted, get: opGetDeleted, purge: opPurge, recover: opRecover,
		})
	case parts[0] == "keys" && len(parts) <= 4 && h.Keys != nil:
		return h.matchKeys(r, parts[1:])
	case parts[0] == "deletedkeys" && short && h.Keys != nil:
		return h.matchDeletedKeys(r, parts[1:])
	case parts[0] == "certificates" && len(parts) <= 4 && h.Certificates != nil:
		return h.matchCertificates(r, parts[1:])
	case parts[0] == "deletedcertificates" && short && h.Certificates != nil:
		return h.matchDeletedCertificates(r, parts[1:])
	}
	return route{}, errNoSuchPath
}

func (h *handler) matchSecrets(r *http.Request, parts []string) (route, error) {
	switch {
	case len(parts) == 0:
		return pick(r, broker.Name{}, actions{http.MethodGet: opList})
	case len(parts) == 1 && parts[0] == "restore" && r.Method == http.MethodPost:
		// With other methods, it is a secret of that name.
		return route{operation: opRestore}, nil
	}
	name, err := h.object(broker.KindSecrets, parts[0])
	if err != nil {
		return route{}, err
	}
	if len(parts) == 1 {
		return pick(r, name, actions{
			http.MethodGet:    opGet,
			http.MethodPut:    opSet,
			http.MethodPatch:  opUpdate,
			http.MethodDelete: opDelete,
		})
	}
	switch parts[1] {
	case "versions":
		return pick(r, name, actions{http.MethodGet: opVersions})
	case "backup":
		return pick(r, name, actions{http.MethodPost: opBackup})
	}
	version, err := versioned(name, parts[1])
	if err != nil {
		return route{}, err
	}
	return pick(r, version, actions{
		http.MethodGet:   opGet,
		http.MethodPatch: opUpdate,
	})
}

// deletedOperations are those on what is soft-deleted, of one kind.
type deletedOperations struct{ list, get, purge, recover operation }

func (h *handler) matchDeleted(r *http.Request, kind broker.Kind, parts []string, ops deletedOperations) (route, error) {
	if len(parts) == 0 {
		return pick(r, broker.Name{}, actions{http.MethodGet: ops.list})
	}
	name, err := h.object(kind, parts[0])
	switch {
	case err != nil:
		return route{}, err
	case len(parts) == 1:
		return pick(r, name, actions{
			http.MethodGet:    ops.get,
			http.MethodDelete: ops.purge,
		})
	case parts[1] == "recover":
		return pick(r, name, actions{http.MethodPost: ops.recover})
	}
	return route{}, errNoSuchPath
}

// versioned returns name with the version that a segment of a path stands for.
// Ids are compared without case.
func versioned(name broker.Name, segment string) (broker.Name, error) {
	version, err := name.WithVersion(strings.ToLower(segment))
	if err != nil {
		return broker.Name{}, badParameter("The request URI contains an invalid version: " + shorten(segment))
	}
	return version, nil
}

// object returns the name that a segment of a path stands for.
func (h *handler) object(kind broker.Kind, segment string) (broker.Name, error) {
	object, err := url.PathUnescape(segment)
	if err != nil {
		object = segment
	}
	name, err := h.Vault.Object(kind, object)
	if err != nil {
		return broker.Name{}, badParameter("The request URI contains an invalid name: " + shorten(object))
	}
	return name, nil
}

var errNoSuchPath = &refusal{
	status: http.StatusNotFound, code: keyvault.ErrorNotFound,
	message: "The requested path does not exist.",
}

type actions map[string]operation

func pick(r *http.Request, name broker.Name, by actions) (route, error) {
	op, ok := by[r.Method]
	if !ok {
		return route{}, &refusal{
			status: http.StatusMethodNotAllowed, code: keyvault.ErrorMethodNotAllowed,
			message: fmt.Sprintf("HTTP %s not allowed", shorten(r.Method)),
		}
	}
	return route{name: name, operation: op}, nil
}
