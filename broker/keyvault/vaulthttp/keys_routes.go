package vaulthttp

import (
	"net/http"

	"github.com/keyward/keyward/broker"
)

// The operations on keys, by what they do.
var (
	opCreateKey      = operation{permission: "keys/create/action", hsm: "keys/create", act: (*handler).createKey}
	opImportKey      = operation{permission: "keys/import/action", act: (*handler).importKey}
	opGetKey         = operation{permission: "keys/read", hsm: "keys/read/action", act: (*handler).getKey}
	opUpdateKey      = operation{permission: "keys/update/action", hsm: "keys/write/action", act: (*handler).updateKey}
	opDeleteKey      = operation{permission: "keys/delete", act: (*handler).deleteKey}
	opListKeys       = operation{permission: "keys/read", hsm: "keys/read/action", act: (*handler).listKeys, lists: true}
	opKeyVersions    = operation{permission: "keys/read", hsm: "keys/read/action", act: (*handler).listKeyVersions, lists: true}
	opGetDeletedKey  = operation{permission: "keys/read", hsm: "keys/deletedKeys/read/action", act: (*handler).getDeletedKey}
	opDeletedKeys    = operation{permission: "keys/read", hsm: "keys/deletedKeys/read/action", act: (*handler).listDeletedKeys, lists: true}
	opRecoverKey     = operation{permission: "keys/recover/action", hsm: "keys/deletedKeys/recover/action", act: (*handler).recoverKey}
	opPurgeKey       = operation{permission: "keys/purge/action", hsm: "keys/deletedKeys/delete", act: (*handler).purgeKey}
	opBackupKey      = operation{permission: "keys/backup/action", act: (*handler).backupKey}
	opRestoreKey     = operation{permission: "keys/restore/action", act: (*handler).restoreKey}
	opRotateKey      = operation{permission: "keys/rotate/action", act: (*handler).rotateKey}
	opRotationPolicy = operation{permission: "keyrotationpolicies/read", hsm: "keys/read/action", act: (*handler).getRotationPolicy}
	opSetRotation    = operation{permission: "keyrotationpolicies/write", hsm: "keys/write/action", act: (*handler).updateRotationPolicy}
)

// keyOperations are what the last part of /keys/{name}/… stands for.
var keyOperations = map[string]actions{
	"create":         {http.MethodPost: opCreateKey},
	"rotate":         {http.MethodPost: opRotateKey},
	"backup":         {http.MethodPost: opBackupKey},
	"versions":       {http.MethodGet: opKeyVersions},
	"rotationpolicy": {http.MethodGet: opRotationPolicy, http.MethodPut: opSetRotation},
}

// keyUses are what the last part of /keys/{name}/{version}/… stands for. Without
// a version, or with an empty one, it is the latest.
var keyUses = map[string]actions{
	"sign":      {http.MethodPost: {permission: "keys/sign/action", act: (*handler).sign}},
	"verify":    {http.MethodPost: {permission: "keys/verify/action", act: (*handler).verify}},
	"encrypt":   {http.MethodPost: {permission: "keys/encrypt/action", act: useCipher(broker.KeyStore.Encrypt)}},
	"decrypt":   {http.MethodPost: {permission: "keys/decrypt/action", act: useCipher(broker.KeyStore.Decrypt)}},
	"wrapkey":   {http.MethodPost: {permission: "keys/wrap/action", act: useCipher(broker.KeyStore.WrapKey)}},
	"unwrapkey": {http.MethodPost: {permission: "keys/unwrap/action", act: useCipher(broker.KeyStore.UnwrapKey)}},
}

// matchKeys finds the route of what follows /keys.
func (h *handler) matchKeys(r *http.Request, parts []string) (route, error) {
	switch {
	case len(parts) == 0:
		return pick(r, broker.Name{}, actions{http.MethodGet: opListKeys})
	case len(parts) == 1 && parts[0] == "restore" && r.Method == http.MethodPost:
		// With other methods, it is a key of that name.
		return route{operation: opRestoreKey}, nil
	}
	name, err := h.object(broker.KindKeys, parts[0])
	if err != nil {
		return route{}, err
	}
	if len(parts) == 1 {
		return pick(r, name, actions{
			http.MethodGet:    opGetKey,
			http.MethodPut:    opImportKey,
			http.MethodPatch:  opUpdateKey,
			http.MethodDelete: opDeleteKey,
		})
	}
	last := parts[len(parts)-1]
	if len(parts) == 2 {
		if by, ok := keyOperations[last]; ok {
			return pick(r, name, by)
		}
		if by, ok := keyUses[last]; ok {
			return pick(r, name, by)
		}
	}
	if parts[1] != "" {
		if name, err = versioned(name, parts[1]); err != nil {
			return route{}, err
		}
	}
	if len(parts) == 2 {
		return pick(r, name, actions{http.MethodGet: opGetKey, http.MethodPatch: opUpdateKey})
	}
	if by, ok := keyUses[last]; ok {
		return pick(r, name, by)
	}
	return route{}, errNoSuchPath
}

// matchDeletedKeys finds the route of what follows /deletedkeys.
func (h *handler) matchDeletedKeys(r *http.Request, parts []string) (route, error) {
	return h.matchDeleted(r, broker.KindKeys, parts, deletedOperations{
		list: opDeletedKeys, get: opGetDeletedKey, purge: opPurgeKey, recover: opRecoverKey,
	})
}
