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

const (
	keysPath = "/keys"
	// makingTimeout bounds one try of what makes a key, or packs or unpacks all its
	// versions: a long one in an HSM takes its time.
	makingTimeout = 30 * time.Second
)

const (
	createKey = "CreateKey"
	importKey = "ImportKey"
)

// CreateKey implements broker.KeyStore. It is never tried twice: after
// VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) CreateKey(ctx context.Context, name broker.Name, n broker.NewKey) (broker.Key, error) {
	k := call{operation: createKey, method: http.MethodPost, path: keyPath(name) + "/create"}
	return c.makeKey(ctx, name, k, FromNewKey(n), func(made broker.JWK) error { return fits(n, made) })
}

// ImportKey implements broker.KeyStore, as CreateKey does.
func (c *Client) ImportKey(ctx context.Context, name broker.Name, i broker.KeyImport) (broker.Key, error) {
	w, err := fromImport(i)
	if err != nil {
		return broker.Key{}, &broker.Error{Code: broker.CodeBadField, Field: "jwk", Message: importRefused, Err: err}
	}
	defer clear(w.Key)
	k := call{operation: importKey, method: http.MethodPut, path: keyPath(name)}
	return c.makeKey(ctx, name, k, w, func(made broker.JWK) error { return fitsImport(w, made) })
}

// makeKey performs a call that makes a version. fit says whether the key is the
// one that was asked for.
func (c *Client) makeKey(ctx context.Context, name broker.Name, k call, body any, fit func(broker.JWK) error) (broker.Key, error) {
	k, err := k.with(body)
	if err != nil {
		return broker.Key{}, err
	}
	k.keys, k.repeat, k.timeout, k.limit = true, never, makingTimeout, maxReplyLen
	made, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) {
		made, err := c.keyOf(name.Base(), w)
		if err == nil {
			err = fit(made.JWK)
		}
		return made, err
	})
	if err == nil {
		c.moves.forget(name)
	}
	return made, err
}

// GetKey implements broker.KeyStore.
func (c *Client) GetKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	asked := time.Now()
	k := call{operation: "GetKey", method: http.MethodGet, path: keyVersionPath(name), keys: true, repeat: ifFailed, limit: maxReplyLen}
	got, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) { return c.keyOf(name, w) })
	return got, c.moves.judge(name, live, asked, err)
}

// UpdateKey implements broker.KeyStore.
func (c *Client) UpdateKey(ctx context.Context, name broker.Name, u broker.KeyUpdate) (broker.Key, error) {
	asked := time.Now()
	k, err := call{
		operation: "UpdateKey", method: http.MethodPatch, path: keyVersionPath(name), keys: true, repeat: ifFailed, limit: maxReplyLen,
	}.with(FromKeyUpdate(u))
	if err != nil {
		return broker.Key{}, err
	}
	updated, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) { return c.keyOf(name, w) })
	return updated, c.moves.judge(name, live, asked, err)
}

// DeleteKey implements broker.KeyStore. After VAULT_UNAVAILABLE it may have
// happened.
func (c *Client) DeleteKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	asked := time.Now()
	k := call{operation: "DeleteKey", method: http.MethodDelete, path: keyPath(name), keys: true, repeat: ifThrottled, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedKeyBundle) (broker.DeletedKey, error) { return c.deletedKeyOf(name, w) })
	if err == nil {
		c.moves.made(name, deleted)
	}
	return d, c.moves.judge(name, live, asked, err)
}

// ListKeys implements broker.KeyStore, as ListSecrets does.
func (c *Client) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.KeyPage, error) {
	k := call{operation: "ListKeys", method: http.MethodGet, path: keysPath, keys: true, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w KeyItem) (broker.Key, error) {
		n, err := c.keyName(vault, w.KeyID)
		return w.As(n.Base()), err
	})
	return broker.KeyPage{Keys: items, Next: next}, badTokenOf(p, err)
}

// ListKeyVersions implements broker.KeyStore, as ListSecretVersions does.
func (c *Client) ListKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	asked := time.Now()
	all, err := c.listKeyVersions(ctx, name.Base())
	return all, c.moves.judge(name, live, asked, err)
}

func (c *Client) listKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	k := call{operation: "ListKeyVersions", method: http.MethodGet, path: keyPath(name) + "/versions", keys: true, repeat: ifFailed}
	all, err := listAll(ctx, c, k, func(w KeyItem) (broker.Key, error) {
		n, err := c.keyVersion(name, w.KeyID)
		return w.As(n), err
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		// A key has a version.
		return nil, &broker.Error{Code: broker.CodeKeyNotFound}
	}
	slices.SortFunc(all, func(a, b broker.Key) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name.Version(), a.Name.Version()))
	})
	return all, nil
}

// with returns k with a body.
func (k call) with(body any) (call, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return call{}, &broker.Error{Code: broker.CodeInternal, Err: errors.New("the request cannot be encoded")}
	}
	k.body = text
	return k, nil
}

func keyPath(n broker.Name) string { return keysPath + "/" + n.ObjectName() }

func keyVersionPath(n broker.Name) string {
	if n.Version() == "" {
		return keyPath(n)
	}
	return keyPath(n) + "/" + n.Version()
}
