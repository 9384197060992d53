package vaulthttp

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
)

// The operations on keys, by what they do.
var (
	opCreateKey      = operation{permission: "keys/create/action", act: (*handler).createKey}
	opImportKey      = operation{permission: "keys/import/action", act: (*handler).importKey}
	opGetKey         = operation{permission: "keys/read", act: (*handler).getKey}
	opUpdateKey      = operation{permission: "keys/update/action", act: (*handler).updateKey}
	opDeleteKey      = operation{permission: "keys/delete", act: (*handler).deleteKey}
	opListKeys       = operation{permission: "keys/read", act: (*handler).listKeys, lists: true}
	opKeyVersions    = operation{permission: "keys/read", act: (*handler).listKeyVersions, lists: true}
	opBackupKey      = operation{permission: "keys/backup/action", act: (*handler).backupKey}
	opRestoreKey     = operation{permission: "keys/restore/action", act: (*handler).restoreKey}
	opRotateKey      = operation{permission: "keys/rotate/action", act: (*handler).rotateKey}
	opGetRotation    = operation{permission: "keyrotationpolicies/read", act: (*handler).getRotationPolicy}
	opSetRotation    = operation{permission: "keyrotationpolicies/write", act: (*handler).setRotationPolicy}
	opGetDeletedKey  = operation{permission: "keys/read", act: (*handler).getDeletedKey}
	opListDeletedKey = operation{permission: "keys/read", act: (*handler).listDeletedKeys, lists: true}
	opRecoverKey     = operation{permission: "keys/recover/action", act: (*handler).recoverKey}
	opPurgeKey       = operation{permission: "keys/purge/action", act: (*handler).purgeKey}
)

// keyUses are the operations that a key is used for, by the last segment of
// their paths.
var keyUses = map[string]operation{
	"encrypt":   {permission: "keys/encrypt/action", act: useKey(broker.KeyStore.Encrypt)},
	"decrypt":   {permission: "keys/decrypt/action", act: useKey(broker.KeyStore.Decrypt)},
	"wrapkey":   {permission: "keys/wrap/action", act: useKey(broker.KeyStore.WrapKey)},
	"unwrapkey": {permission: "keys/unwrap/action", act: useKey(broker.KeyStore.UnwrapKey)},
	"sign":      {permission: "keys/sign/action", act: (*handler).sign},
	"verify":    {permission: "keys/verify/action", act: (*handler).verify},
}

// matchKeys finds the routes of keys. Beside those that secrets have too:
//
//	PUT    /keys/{name}                     imports
//	POST   /keys/{name}/create
//	POST   /keys/{name}/rotate
//	GET    /keys/{name}/rotationpolicy      and PUT
//	POST   /keys/{name}/{version}/sign      and the other uses; without a version, or
//	                                        with an empty one, of the latest
func (h *handler) matchKeys(r *http.Request, parts []string) (route, error) {
	switch {
	case len(parts) == 0:
		return pick(r, broker.Name{}, actions{http.MethodGet: opListKeys})
	case len(parts) == 1 && parts[0] == "restore" && r.Method == http.MethodPost:
		return route{operation: opRestoreKey}, nil
	}
	name, err := h.object(broker.KindKeys, parts[0])
	if err != nil {
		return route{}, err
	}
	// An empty version is the latest.
	parts = slices.DeleteFunc(slices.Clone(parts[1:]), func(p string) bool { return p == "" })
	if len(parts) == 0 {
		return pick(r, name, actions{
			http.MethodGet:    opGetKey,
			http.MethodPut:    opImportKey,
			http.MethodPatch:  opUpdateKey,
			http.MethodDelete: opDeleteKey,
		})
	}
	if len(parts) == 1 {
		if use, ok := keyUses[parts[0]]; ok {
			return pick(r, name, actions{http.MethodPost: use})
		}
		switch parts[0] {
		case "create":
			return pick(r, name, actions{http.MethodPost: opCreateKey})
		case "versions":
			return pick(r, name, actions{http.MethodGet: opKeyVersions})
		case "backup":
			return pick(r, name, actions{http.MethodPost: opBackupKey})
		case "rotate":
			return pick(r, name, actions{http.MethodPost: opRotateKey})
		case "rotationpolicy":
			return pick(r, name, actions{http.MethodGet: opGetRotation, http.MethodPut: opSetRotation})
		}
	}
	// Ids are compared without case.
	version, err := name.WithVersion(strings.ToLower(parts[0]))
	if err != nil {
		return route{}, badParameter("The request URI contains an invalid version: " + shorten(parts[0]))
	}
	if len(parts) == 1 {
		return pick(r, version, actions{http.MethodGet: opGetKey, http.MethodPatch: opUpdateKey})
	}
	if use, ok := keyUses[parts[1]]; ok && len(parts) == 2 {
		return pick(r, version, actions{http.MethodPost: use})
	}
	return route{}, errNoSuchPath
}

func (h *handler) matchDeletedKeys(r *http.Request, parts []string) (route, error) {
	return h.matchDeletedOf(r, broker.KindKeys, parts, deletedOps{
		list: opListDeletedKey, get: opGetDeletedKey, purge: opPurgeKey, recover: opRecoverKey,
	})
}
