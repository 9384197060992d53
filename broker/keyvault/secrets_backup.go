package keyvault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	restoreSecret = "RestoreSecret"
	// backupFrame is what a backup's reply has beside the blob, and to spare.
	backupFrame = 1 << 10
)

// BackupSecret implements broker.SecretStore. Key Vault's backups may have 16
// MiB; of one that is too large, no more is read than shows it.
func (c *Client) BackupSecret(ctx context.Context, name broker.Name) (broker.Value, error) {
	return c.backup(ctx, name, call{operation: "BackupSecret", path: secretPath(name)})
}

// backup performs the backup of the object that k names by its path.
func (c *Client) backup(ctx context.Context, name broker.Name, k call) (broker.Value, error) {
	asked := time.Now()
	k.method, k.path, k.repeat = http.MethodPost, k.path+"/backup", ifFailed
	k.limit = int64(base64.RawURLEncoding.EncodedLen(broker.MaxBackupLen)) + backupFrame
	k.tooLong = &broker.Error{Code: broker.CodeValueTooLarge, Field: "name", Message: backupTooLarge}
	blob, err := invoke(ctx, c, k, func(w Backup) (broker.Value, error) {
		if w.Value == nil || w.Value.Len() == 0 {
			return broker.Value{}, errors.New("a backup without its blob")
		}
		return w.Value.Value, nil
	})
	if err == nil && blob.Len() > broker.MaxBackupLen {
		return broker.Value{}, k.tooLong
	}
	return blob, c.moves.judge(name, live, asked, err)
}

// RestoreSecret implements broker.SecretStore. It is never tried twice: after
// VAULT_UNAVAILABLE it may have happened.
func (c *Client) RestoreSecret(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Secret, error) {
	body, err := json.Marshal(Backup{Value: &Blob{blob}})
	if err != nil {
		return broker.Secret{}, &broker.Error{Code: broker.CodeInternal, Err: errors.New("the backup cannot be encoded")}
	}
	k := call{operation: restoreSecret, method: http.MethodPost, path: secretsPath + "/restore", body: body, repeat: never, limit: maxReplyLen}
	s, err := invoke(ctx, c, k, func(w Secret) (broker.Secret, error) {
		// The blob hides the name: it is known from here on.
		n, err := secretName(vault.Vault(), w.ID)
		if err == nil && n.Version() == "" {
			err = errOtherSecret
		}
		return w.As(n), err
	})
	if err == nil {
		c.moves.forget(s.Name)
	}
	return s, err
}

// Backup is what a backup returns and a restore takes.
type Backup struct {
	Value *Blob `json:"value"`
}

// Blob is the bytes of a backup on their way over the wire, in base64url
// without padding. Whatever else prints it shows "[redacted]".
type Blob struct{ broker.Value }

// MarshalJSON implements json.Marshaler. It writes the bytes.
func (b Blob) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString([]byte(b.Reveal())))
}

// UnmarshalJSON implements json.Unmarshaler. Its errors do not quote the input.
func (b *Blob) UnmarshalJSON(text []byte) error {
	var encoded string
	if json.Unmarshal(text, &encoded) != nil {
		return errNoBlob
	}
	blob, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errNoBlob
	}
	defer clear(blob)
	b.Value = broker.NewValue(string(blob))
	return nil
}

var errNoBlob = errors.New("the blob is not a JSON string of base64url")
