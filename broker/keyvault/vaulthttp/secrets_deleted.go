package vaulthttp

import (
	"context"
	"net/http"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) getDeleted(ctx context.Context, r request) (any, error) {
	s, err := h.Secrets.GetDeletedSecret(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeleted(err)
	}
	return h.deletedBundle(ctx, r, s), nil
}

func (h *handler) listDeleted(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Secrets.ListDeletedSecrets(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	return list(r, "/deletedsecrets", page.Secrets, r.deleted, page.Next, size), nil
}

// recoverSecret reads no body: clients send an empty one, or none.
func (h *handler) recoverSecret(ctx context.Context, r request) (any, error) {
	s, err := h.Secrets.RecoverSecret(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeleted(err)
	}
	return r.secret(s), nil
}

func (h *handler) purgeSecret(ctx context.Context, r request) (any, error) {
	err := h.Secrets.PurgeSecret(ctx, r.route.name)
	if broker.CodeOf(err) == broker.CodeNotSupported {
		return nil, h.purgeProtected()
	}
	return nil, r.refuseDeleted(err)
}

func (h *handler) purgeProtected() error {
	return &refusal{
		status: http.StatusForbidden, code: keyvault.ErrorForbidden,
		message: `Operation "purge" is not allowed because purge protection is enabled for this vault. ` +
			"Key Vault service will automatically purge it after the retention period has passed." +
			"\r\nVault: " + h.Vault.VaultAlias() + ";location=" + region,
	}
}

// refuseDeleted returns a store's error about a soft-deleted secret. Key Vault
// has words of its own for one that is not there.
func (r request) refuseDeleted(err error) error {
	if broker.CodeOf(err) == broker.CodeSecretNotFound {
		return &refusal{
			status: http.StatusNotFound, code: keyvault.ErrorSecretNotFound,
			message: "Deleted Secret not found: " + r.route.name.ObjectName(),
		}
	}
	return err
}

// A DeletedVersioner is a broker.SecretStore that tells the latest version of
// what it keeps soft-deleted. Key Vault's replies about one secret name it in
// the id; without it, the id has none.
type DeletedVersioner interface {
	// DeletedVersion fails as GetDeletedSecret does. It may be called
	// concurrently.
	DeletedVersion(ctx context.Context, name broker.Name) (string, error)
}

// deletedBundle returns s as the reply about one secret has it: unlike in
// lists, the id has a version.
func (h *handler) deletedBundle(ctx context.Context, r request, s broker.DeletedSecret) keyvault.DeletedSecret {
	w := r.deleted(s)
	if h.versions != nil {
		// A secret that was purged or recovered meanwhile has its old id.
		if v, err := h.versions.DeletedVersion(ctx, s.Name); err == nil {
			w.ID += "/" + v
		}
	}
	return w
}

// deleted returns s as it is written to the client.
func (r request) deleted(s broker.DeletedSecret) keyvault.DeletedSecret {
	return keyvault.DeletedSecret{
		RecoveryID:         r.origin() + "/deletedsecrets/" + s.Name.ObjectName(),
		DeletedDate:        keyvault.NewUnixTime(s.Deleted),
		ScheduledPurgeDate: keyvault.NewUnixTime(s.Purges),
		Secret:             r.secret(s.Secret),
	}
}
