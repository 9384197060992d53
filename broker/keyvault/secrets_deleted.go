package keyvault

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	deletedPath = "/deletedsecrets"
	purgeSecret = "PurgeSecret"
)

// GetDeletedSecret implements broker.SecretStore.
func (c *Client) GetDeletedSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	asked := time.Now()
	k := call{operation: "GetDeletedSecret", method: http.MethodGet, path: deletedSecretPath(name), repeat: ifFailed, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedSecret) (broker.DeletedSecret, error) { return deletedOf(name, w) })
	return d, c.moves.judge(name, deleted, asked, err)
}

// ListDeletedSecrets implements broker.SecretStore, as ListSecrets does. A
// secret whose delete settles is not in it yet.
func (c *Client) ListDeletedSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedSecretPage, error) {
	k := call{operation: "ListDeletedSecrets", method: http.MethodGet, path: deletedPath, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w DeletedSecret) (broker.DeletedSecret, error) {
		n, err := secretName(vault.Vault(), w.ID)
		return w.As(n), err
	})
	return broker.DeletedSecretPage{Secrets: items, Next: next}, badTokenOf(p, err)
}

// RecoverSecret implements broker.SecretStore. After VAULT_UNAVAILABLE it may
// have happened.
func (c *Client) RecoverSecret(ctx context.Context, name broker.Name) (broker.Secret, error) {
	asked := time.Now()
	k := call{
		operation: "RecoverSecret", method: http.MethodPost, path: deletedSecretPath(name) + "/recover",
		repeat: ifThrottled, limit: maxReplyLen,
	}
	s, err := invoke(ctx, c, k, func(w Secret) (broker.Secret, error) { return versionOf(name.Base(), w) })
	if err == nil {
		c.moves.made(name, live)
	}
	return s, c.moves.judge(name, deleted, asked, err)
}

// PurgeSecret implements broker.SecretStore. After VAULT_UNAVAILABLE it may
// have happened.
func (c *Client) PurgeSecret(ctx context.Context, name broker.Name) error {
	asked := time.Now()
	k := call{
		operation: purgeSecret, method: http.MethodDelete, path: deletedSecretPath(name),
		repeat: ifThrottled, done: http.StatusNoContent, limit: maxReplyLen,
	}
	err := c.perform(ctx, k, func([]byte) error { return nil })
	return c.moves.judge(name, deleted, asked, err)
}

// deletedOf returns w, which must be the soft-deleted secret of name.
func deletedOf(name broker.Name, w DeletedSecret) (broker.DeletedSecret, error) {
	n, err := secretName(name.Vault(), w.ID)
	if err != nil {
		return broker.DeletedSecret{}, err
	}
	if n.Base() != name.Base() {
		return broker.DeletedSecret{}, errOtherSecret
	}
	return w.As(n), nil
}

func deletedSecretPath(n broker.Name) string { return deletedPath + "/" + n.ObjectName() }
