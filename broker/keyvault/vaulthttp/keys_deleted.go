package vaulthttp

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) deleteKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.DeleteKey(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return h.deletedKey(ctx, r, k), nil
}

func (h *handler) getDeletedKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.GetDeletedKey(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeletedKey(err)
	}
	return h.deletedKey(ctx, r, k), nil
}

func (h *handler) listDeletedKeys(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Keys.ListDeletedKeys(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	item := func(k broker.DeletedKey) keyvault.DeletedKeyItem {
		return keyvault.DeletedKeyItem{Deletion: r.deletion(k), KeyItem: r.keyItem(k.Key)}
	}
	return list(r, "/deletedkeys", page.Keys, item, page.Next, size), nil
}

// recoverKey reads no body: clients send an empty one, or none.
func (h *handler) recoverKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.RecoverKey(ctx, r.route.name)
	return r.keyOr(k, r.refuseDeletedKey(err))
}

func (h *handler) purgeKey(ctx context.Context, r request) (any, error) {
	err := h.Keys.PurgeKey(ctx, r.route.name)
	if broker.CodeOf(err) == broker.CodeNotSupported {
		return nil, h.purgeProtected()
	}
	return nil, r.refuseDeletedKey(err)
}

// backupKey reads no body: clients send an empty one, or none.
func (h *handler) backupKey(ctx context.Context, r request) (any, error) {
	blob, err := h.Keys.BackupKey(ctx, r.route.name)
	return backupOr(blob, err)
}

func (h *handler) restoreKey(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request, maxBackupBodyLen)
	if err != nil {
		return nil, err
	}
	var w keyvault.Backup
	if json.Unmarshal(body, &w) != nil || w.Value == nil || w.Value.Len() == 0 {
		return nil, h.malformedBackup()
	}
	k, err := h.Keys.RestoreKey(ctx, h.Vault, w.Value.Value)
	if broker.CodeOf(err) == broker.CodeBadField {
		return nil, h.malformedBackup()
	}
	return r.keyOr(k, err)
}

// malformedBackup is what is no backup, in the vault's spelling.
func (h *handler) malformedBackup() error {
	if h.ManagedHSM {
		return &refusal{status: http.StatusBadRequest, code: keyvault.ErrorMalformedBackupHSM, message: errMalformedBackup.message}
	}
	return errMalformedBackup
}

// refuseDeletedKey returns a store's error about a soft-deleted key. Key Vault
// has words of its own for one that is not there.
func (r request) refuseDeletedKey(err error) error {
	if broker.CodeOf(err) == broker.CodeKeyNotFound {
		return &refusal{
			status: http.StatusNotFound, code: keyvault.ErrorKeyNotFound,
			message: "Deleted Key not found: " + r.route.name.ObjectName(),
		}
	}
	return err
}

// deletedKey returns k as the reply about one key has it: its id has a version.
func (h *handler) deletedKey(ctx context.Context, r request, k broker.DeletedKey) keyvault.DeletedKeyBundle {
	w := keyvault.DeletedKeyBundle{Deletion: r.deletion(k), KeyBundle: r.key(k.Key)}
	if h.keyVersions != nil {
		// A key that was purged or recovered meanwhile has its old id.
		if v, err := h.keyVersions.DeletedVersion(ctx, k.Name); err == nil {
			w.Key.KeyID += "/" + v
		}
	}
	return w
}

func (r request) deletion(k broker.DeletedKey) keyvault.Deletion {
	return keyvault.Deletion{
		RecoveryID:         r.origin() + "/deletedkeys/" + k.Name.ObjectName(),
		DeletedDate:        keyvault.NewUnixTime(k.Deleted),
		ScheduledPurgeDate: keyvault.NewUnixTime(k.Purges),
	}
}
