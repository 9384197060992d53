package keyvault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

const secretsPath = "/secrets"

// GetSecret implements broker.SecretStore.
func (c *Client) GetSecret(ctx context.Context, name broker.Name) (broker.SecretValue, error) {
	asked := time.Now()
	k := call{operation: "GetSecret", method: http.MethodGet, path: versionPath(name), repeat: ifFailed, limit: maxReplyLen}
	v, err := invoke(ctx, c, k, func(w Secret) (broker.SecretValue, error) {
		s, err := versionOf(name, w)
		if err != nil {
			return broker.SecretValue{}, err
		}
		if w.Value == nil {
			return broker.SecretValue{}, errors.New("a secret without its value")
		}
		return broker.SecretValue{Secret: s, Value: w.Value.Value, Fetched: asked}, nil
	})
	return v, c.moves.judge(name, live, asked, err)
}

// SetSecret implements broker.SecretStore. It is never tried twice: after
// VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) SetSecret(ctx context.Context, name broker.Name, s broker.NewSecret) (broker.Secret, error) {
	body, err := json.Marshal(FromNewSecret(s))
	if err != nil {
		return broker.Secret{}, &broker.Error{Code: broker.CodeInternal, Err: errors.New("the secret cannot be encoded")}
	}
	k := call{operation: "SetSecret", method: http.MethodPut, path: secretPath(name), body: body, repeat: never, limit: maxReplyLen}
	made, err := invoke(ctx, c, k, func(w Secret) (broker.Secret, error) { return versionOf(name.Base(), w) })
	if err == nil {
		c.moves.forget(name)
	}
	return made, err
}

// UpdateSecret implements broker.SecretStore.
func (c *Client) UpdateSecret(ctx context.Context, name broker.Name, u broker.SecretUpdate) (broker.Secret, error) {
	asked := time.Now()
	body, err := json.Marshal(FromSecretUpdate(u))
	if err != nil {
		return broker.Secret{}, &broker.Error{Code: broker.CodeInternal, Err: errors.New("the update cannot be encoded")}
	}
	k := call{
		operation: "UpdateSecret", method: http.MethodPatch, path: versionPath(name), body: body,
		repeat: ifFailed, limit: maxReplyLen,
	}
	s, err := invoke(ctx, c, k, func(w Secret) (broker.Secret, error) { return versionOf(name, w) })
	return s, c.moves.judge(name, live, asked, err)
}

// DeleteSecret implements broker.SecretStore. After VAULT_UNAVAILABLE it may
// have happened.
func (c *Client) DeleteSecret(ctx context.Context, name broker.Name) (broker.DeletedSecret, error) {
	asked := time.Now()
	k := call{operation: "DeleteSecret", method: http.MethodDelete, path: secretPath(name), repeat: ifThrottled, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedSecret) (broker.DeletedSecret, error) { return deletedOf(name, w) })
	if err == nil {
		c.moves.made(name, deleted)
	}
	return d, c.moves.judge(name, live, asked, err)
}

// ListSecrets implements broker.SecretStore. A page's Next is what the vault's
// nextLink has beside the vault's address.
func (c *Client) ListSecrets(ctx context.Context, vault broker.Name, p broker.Page) (broker.SecretPage, error) {
	k := call{operation: "ListSecrets", method: http.MethodGet, path: secretsPath, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w Secret) (broker.Secret, error) {
		n, err := secretName(vault.Vault(), w.ID)
		return w.As(n.Base()), err
	})
	return broker.SecretPage{Secrets: items, Next: next}, badTokenOf(p, err)
}

// ListSecretVersions implements broker.SecretStore. Key Vault orders versions by
// id, which is random, and so all are read before the first is returned.
func (c *Client) ListSecretVersions(ctx context.Context, name broker.Name) ([]broker.Secret, error) {
	asked := time.Now()
	all, err := c.listVersions(ctx, name.Base())
	return all, c.moves.judge(name, live, asked, err)
}

func (c *Client) listVersions(ctx context.Context, name broker.Name) ([]broker.Secret, error) {
	k := call{operation: "ListSecretVersions", method: http.MethodGet, path: secretPath(name) + "/versions", repeat: ifFailed}
	all, err := listAll(ctx, c, k, func(w Secret) (broker.Secret, error) { return versionOf(name, w) })
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		// A secret has a version.
		return nil, &broker.Error{Code: broker.CodeSecretNotFound}
	}
	slices.SortFunc(all, func(a, b broker.Secret) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name.Version(), a.Name.Version()))
	})
	return all, nil
}

// versionOf returns w, which must be a version of name, and the very one if
// name has a version. The name is that of the request; only the version is the
// vault's.
func versionOf(name broker.Name, w Secret) (broker.Secret, error) {
	n, err := secretName(name.Vault(), w.ID)
	if err != nil {
		return broker.Secret{}, err
	}
	if n.Base() != name.Base() || n.Version() == "" || (name.Version() != "" && n != name) {
		return broker.Secret{}, errOtherSecret
	}
	return w.As(n), nil
}

var errOtherSecret = errors.New("another secret, or another version, than was asked for")

func secretPath(n broker.Name) string { return secretsPath + "/" + n.ObjectName() }

func versionPath(n broker.Name) string {
	if n.Version() == "" {
		return secretPath(n)
	}
	return secretPath(n) + "/" + n.Version()
}
