package keyvault

import (
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	deletedKeysPath = "/deletedkeys"
	purgeKey        = "PurgeKey"
	restoreKey      = "RestoreKey"
)

// GetDeletedKey implements broker.KeyStore.
func (c *Client) GetDeletedKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	asked := time.Now()
	k := call{operation: "GetDeletedKey", method: http.MethodGet, path: deletedKeyPath(name), keys: true, repeat: ifFailed, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedKeyBundle) (broker.DeletedKey, error) { return c.deletedKeyOf(name, w) })
	return d, c.moves.judge(name, deleted, asked, err)
}

// ListDeletedKeys implements broker.KeyStore, as ListDeletedSecrets does.
func (c *Client) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedKeyPage, error) {
	k := call{operation: "ListDeletedKeys", method: http.MethodGet, path: deletedKeysPath, keys: true, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w DeletedKeyItem) (broker.DeletedKey, error) {
		n, err := c.keyName(vault, w.KeyID)
		return w.Deletion.As(w.KeyItem.As(n)), err
	})
	return broker.DeletedKeyPage{Keys: items, Next: next}, badTokenOf(p, err)
}

// RecoverKey implements broker.KeyStore. After VAULT_UNAVAILABLE it may have
// happened.
func (c *Client) RecoverKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	asked := time.Now()
	k := call{
		operation: "RecoverKey", method: http.MethodPost, path: deletedKeyPath(name) + "/recover",
		keys: true, repeat: ifThrottled, limit: maxReplyLen,
	}
	got, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) { return c.keyOf(name.Base(), w) })
	if err == nil {
		c.moves.made(name, live)
	}
	return got, c.moves.judge(name, deleted, asked, err)
}

// PurgeKey implements broker.KeyStore. After VAULT_UNAVAILABLE it may have
// happened.
func (c *Client) PurgeKey(ctx context.Context, name broker.Name) error {
	asked := time.Now()
	k := call{
		operation: purgeKey, method: http.MethodDelete, path: deletedKeyPath(name),
		keys: true, repeat: ifThrottled, done: http.StatusNoContent, limit: maxReplyLen,
	}
	err := c.perform(ctx, k, func([]byte) error { return nil })
	return c.moves.judge(name, deleted, asked, err)
}

// BackupKey implements broker.KeyStore, as BackupSecret does.
func (c *Client) BackupKey(ctx context.Context, name broker.Name) (broker.Value, error) {
	return c.backup(ctx, name, call{operation: "BackupKey", path: keyPath(name), keys: true, timeout: makingTimeout})
}

// RestoreKey implements broker.KeyStore. It is never tried twice: after
// VAULT_UNAVAILABLE it may have happened.
func (c *Client) RestoreKey(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Key, error) {
	k, err := call{
		operation: restoreKey, method: http.MethodPost, path: keysPath + "/restore",
		keys: true, repeat: never, timeout: makingTimeout, limit: maxReplyLen,
	}.with(Backup{Value: &Blob{blob}})
	if err != nil {
		return broker.Key{}, err
	}
	got, err := invoke(ctx, c, k, func(w KeyBundle) (broker.Key, error) {
		if w.Key == nil {
			return broker.Key{}, errOtherKey
		}
		// The blob hides the name: it is known from here on.
		n, err := c.keyName(vault, w.Key.KeyID)
		if err != nil {
			return broker.Key{}, err
		}
		return c.keyOf(n.Base(), w)
	})
	if err == nil {
		c.moves.forget(got.Name)
	}
	return got, err
}

func deletedKeyPath(n broker.Name) string { return deletedKeysPath + "/" + n.ObjectName() }
