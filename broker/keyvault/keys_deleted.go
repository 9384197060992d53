package keyvault

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

// DeleteKey implements broker.KeyStore. After VAULT_UNAVAILABLE it may have
// happened.
func (c *Client) DeleteKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	asked := time.Now()
	k := call{operation: "DeleteKey", method: http.MethodDelete, path: keyPath(name), repeat: ifThrottled, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedKey) (broker.DeletedKey, error) { return deletedKeyOf(name, w) })
	if err == nil {
		c.moves.made(name, deleted)
	}
	return d, c.moves.judge(name, live, asked, err)
}

// GetDeletedKey implements broker.KeyStore.
func (c *Client) GetDeletedKey(ctx context.Context, name broker.Name) (broker.DeletedKey, error) {
	asked := time.Now()
	k := call{operation: "GetDeletedKey", method: http.MethodGet, path: deletedKeyPath(name), repeat: ifFailed, limit: maxReplyLen}
	d, err := invoke(ctx, c, k, func(w DeletedKey) (broker.DeletedKey, error) { return deletedKeyOf(name, w) })
	return d, c.moves.judge(name, deleted, asked, err)
}

// ListDeletedKeys implements broker.KeyStore.
func (c *Client) ListDeletedKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedKeyPage, error) {
	k := call{operation: "ListDeletedKeys", method: http.MethodGet, path: deletedKeysPath, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w DeletedKeyItem) (broker.DeletedKey, error) {
		n, err := nameOf(vault.Vault(), broker.KindKeys, w.KeyID)
		return w.Deletion.As(w.KeyItem.As(n)), err
	})
	return broker.DeletedKeyPage{Keys: items, Next: next}, badTokenOf(p, err)
}

// RecoverKey implements broker.KeyStore. After VAULT_UNAVAILABLE it may have
// happened.
func (c *Client) RecoverKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	asked := time.Now()
	k := call{operation: "RecoverKey", method: http.MethodPost, path: deletedKeyPath(name) + "/recover", repeat: ifThrottled, limit: maxReplyLen}
	got, err := invoke(ctx, c, k, func(w Key) (broker.Key, error) { return keyVersionOf(name.Base(), w) })
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
		operation: "PurgeKey", method: http.MethodDelete, path: deletedKeyPath(name),
		repeat: ifThrottled, done: http.StatusNoContent, limit: maxReplyLen,
	}
	err := c.perform(ctx, k, func([]byte) error { return nil })
	return c.moves.judge(name, deleted, asked, err)
}

// BackupKey implements broker.KeyStore, as BackupSecret does.
func (c *Client) BackupKey(ctx context.Context, name broker.Name) (broker.Value, error) {
	asked := time.Now()
	tooLarge := &broker.Error{Code: broker.CodeValueTooLarge, Field: "name", Message: backupTooLarge}
	k := call{
		operation: "BackupKey", method: http.MethodPost, path: keyPath(name) + "/backup", repeat: ifFailed,
		limit: int64(base64.RawURLEncoding.EncodedLen(broker.MaxBackupLen)) + backupFrame, tooLong: tooLarge,
	}
	blob, err := invoke(ctx, c, k, func(w Backup) (broker.Value, error) {
		if w.Value == nil || w.Value.Len() == 0 {
			return broker.Value{}, errors.New("a backup without its blob")
		}
		return w.Value.Value, nil
	})
	if err == nil && blob.Len() > broker.MaxBackupLen {
		return broker.Value{}, tooLarge
	}
	return blob, c.moves.judge(name, live, asked, err)
}

// RestoreKey implements broker.KeyStore. It is never tried twice: after
// VAULT_UNAVAILABLE it may have happened.
func (c *Client) RestoreKey(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Key, error) {
	k := call{operation: "RestoreKey", method: http.MethodPost, path: keysPath + "/restore", repeat: never, limit: maxReplyLen}
	if err := k.encode(Backup{Value: &Blob{blob}}); err != nil {
		return broker.Key{}, err
	}
	got, err := invoke(ctx, c, k, func(w Key) (broker.Key, error) {
		// The blob hides the name: it is known from here on.
		n, err := nameOf(vault.Vault(), broker.KindKeys, w.Key.KeyID)
		if err == nil && n.Version() == "" {
			err = errOtherKey
		}
		return w.As(n), err
	})
	if err == nil {
		c.moves.forget(got.Name)
	}
	return got, err
}

// deletedKeyOf returns w, which must be the soft-deleted key of name.
func deletedKeyOf(name broker.Name, w DeletedKey) (broker.DeletedKey, error) {
	n, err := nameOf(name.Vault(), broker.KindKeys, w.Key.Key.KeyID)
	if err != nil {
		return broker.DeletedKey{}, err
	}
	if n.Base() != name.Base() {
		return broker.DeletedKey{}, errOtherKey
	}
	return w.Deletion.As(w.Key.As(n)), nil
}

func deletedKeyPath(n broker.Name) string { return deletedKeysPath + "/" + n.ObjectName() }
