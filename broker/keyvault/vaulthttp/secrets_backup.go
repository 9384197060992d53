package vaulthttp

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// backupSecret reads no body: clients send an empty one, or none.
func (h *handler) backupSecret(ctx context.Context, r request) (any, error) {
	blob, err := h.Secrets.BackupSecret(ctx, r.route.name)
	return backupOr(blob, err)
}

// backupOr returns a backup as it is written to the client, if there is no error.
func backupOr(blob broker.Value, err error) (any, error) {
	if broker.CodeOf(err) == broker.CodeValueTooLarge {
		return nil, &refusal{
			status: http.StatusBadRequest, code: keyvault.ErrorBackupTooLarge,
			message: "The backup is larger than 1 MiB.",
		}
	}
	if err != nil {
		return nil, err
	}
	return keyvault.Backup{Value: &keyvault.Blob{Value: blob}}, nil
}

func (h *handler) restoreSecret(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request, maxBackupBodyLen)
	if err != nil {
		return nil, err
	}
	var w keyvault.Backup
	if json.Unmarshal(body, &w) != nil || w.Value == nil || w.Value.Len() == 0 {
		return nil, errMalformedBackup
	}
	s, err := h.Secrets.RestoreSecret(ctx, h.Vault, w.Value.Value)
	if broker.CodeOf(err) == broker.CodeBadField {
		return nil, errMalformedBackup
	}
	if err != nil {
		return nil, err
	}
	return r.secret(s), nil
}

var errMalformedBackup = &refusal{
	status: http.StatusBadRequest, code: keyvault.ErrorMalformedBackup,
	message: "Malformed backup blob",
}
