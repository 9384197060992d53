package broker_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

// lateKeys is a KeyStore that is opened by the tests that need it.
type lateKeys struct{ broker.KeyStore }

// localKeys returns the keys of a local vault, which ends with the test.
func localKeys(t testing.TB, managedHSM bool) *brokertest.KeyStore {
	t.Helper()
	dir := t.TempDir()
	v, err := localvault.Open(localvault.Config{
		Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: managedHSM,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return brokertest.NewKeyStore(v.Keys())
}

// ourRSA is a key that was made elsewhere: once, for it takes its time.
var ourRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// rsaImport is ourRSA for a store.
var rsaImport = sync.OnceValue(func() broker.KeyImport {
	text, err := (jose.JSONWebKey{Key: ourRSA()}).MarshalJSON()
	if err != nil {
		panic(err)
	}
	return broker.KeyImport{NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(string(text))}
})

var digest = sha256.Sum256([]byte("a message"))

// signature is ourRSA's of digest, by RS256.
func signature(t testing.TB) []byte {
	t.Helper()
	s, err := rsa.SignPKCS1v15(nil, ourRSA(), crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) openKeys(t *testing.T) {
	t.Helper()
	if w.keys == nil {
		w.keys = localKeys(t, false)
		w.keysIn.KeyStore = w.keys
	}
}

// putKey imports ourRSA.
func (w *world) putKey(t *testing.T, object string) broker.Name {
	t.Helper()
	w.openKeys(t)
	n := w.secret(t, object).As(broker.KindKeys)
	if _, err := w.keys.ImportKey(t.Context(), n, rsaImport()); err != nil {
		t.Fatal(err)
	}
	return n
}

// removeKey soft-deletes a key behind the broker's back, if it is there.
func (w *world) removeKey(ctx context.Context, n broker.Name) { _, _ = w.keys.DeleteKey(ctx, n) }

const plaintext = "a key of 32 bytes, to be wrapped"

// sealed is plaintext, encrypted behind the broker's back.
func (w *world) sealed(ctx context.Context, n broker.Name, how func(context.Context, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error)) broker.Cipher {
	r, err := how(ctx, n, "RSA-OAEP-256", broker.Cipher{Data: broker.NewValue(plaintext)})
	if err != nil {
		return broker.Cipher{Data: broker.NewValue("no ciphertext")}
	}
	return r.Cipher
}

var ec = broker.NewKey{Type: broker.KeyTypeEC, Enabled: true}

// keyOperations are those of keys.
var keyOperations = map[string]operation{
	"CreateKey": {true, "CreateKey", func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.CreateKey(ctx, alice, n, ec, "")
		return err
	}},
	"ImportKey": {true, "ImportKey", func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.ImportKey(ctx, alice, n, rsaImport(), "")
		return err
	}},
	"GetKey": {false, "GetKey", func(ctx context.Context, w *world, n broker.Name) error {
		k, err := w.GetKey(ctx, alice, n)
		return disclosed(len(k.JWK.N) > 0, err)
	}},
	"ListKeys": {false, "ListKeys", func(ctx context.Context, w *world, n broker.Name) error {
		p, err := w.ListKeys(ctx, alice, n.Vault(), broker.Page{})
		return disclosed(len(p.Keys) > 0, err)
	}},
	"ListKeyVersions": {false, "ListKeyVersions", func(ctx context.Context, w *world, n broker.Name) error {
		p, err := w.ListKeyVersions(ctx, alice, n, broker.Page{})
		return disclosed(len(p.Keys) > 0, err)
	}},
	"UpdateKey": {true, "UpdateKey", func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.UpdateKey(ctx, alice, n, broker.KeyUpdate{Tags: &map[string]string{"a": "b"}}, "")
		return err
	}},
	"DeleteKey": {true, "DeleteKey", func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.DeleteKey(ctx, alice, n, "")
		return err
	}},
	"GetDeletedKey": {false, "GetDeletedKey", func(ctx context.Context, w *world, n broker.Name) error {
		w.removeKey(ctx, n)
		d, err := w.GetDeletedKey(ctx, alice, n)
		return disclosed(!d.Deleted.IsZero(), err)
	}},
	"ListDeletedKeys": {false, "ListDeletedKeys", func(ctx context.Context, w *world, n broker.Name) error {
		w.removeKey(ctx, n)
		p, err := w.ListDeletedKeys(ctx, alice, n.Vault(), broker.Page{})
		return disclosed(len(p.Keys) > 0, err)
	}},
	"UndeleteKey": {true, "RecoverKey", func(ctx context.Context, w *world, n broker.Name) error {
		w.removeKey(ctx, n)
		_, err := w.UndeleteKey(ctx, alice, n)
		return err
	}},
	"PurgeKey": {true, "PurgeKey", func(ctx context.Context, w *world, n broker.Name) error {
		w.removeKey(ctx, n)
		return w.PurgeKey(ctx, alice, n)
	}},
	"BackupKey": {false, "BackupKey", func(ctx context.Context, w *world, n broker.Name) error {
		blob, err := w.BackupKey(ctx, alice, n)
		return disclosed(blob.Len() > 0, err)
	}},
	"RestoreKey": {true, "RestoreKey", func(ctx context.Context, w *world, n broker.Name) error {
		blob, err := w.keys.BackupKey(ctx, n)
		if err != nil {
			blob = broker.NewValue("a blob")
		}
		w.removeKey(ctx, n)
		_ = w.keys.PurgeKey(ctx, n)
		_, err = w.RestoreKey(ctx, alice, n.Vault(), blob)
		return err
	}},
	"RotateKey": {true, "RotateKey", func(ctx context.Context, w *world, n broker.Name) error {
		_, _ = w.keys.CreateKey(ctx, n, ec) // of a type that is made in no time
		_, err := w.RotateKey(ctx, alice, n)
		return err
	}},
	"GetRotationPolicy": {false, "GetRotationPolicy", func(ctx context.Context, w *world, n broker.Name) error {
		p, err := w.GetRotationPolicy(ctx, alice, n)
		return disclosed(len(p.Actions) > 0, err)
	}},
	"UpdateRotationPolicy": {true, "UpdateRotationPolicy", func(ctx context.Context, w *world, n broker.Name) error {
		_, err := w.UpdateRotationPolicy(ctx, alice, n, broker.RotationPolicy{
			ExpiryTime: "P1Y", Actions: []broker.LifetimeAction{{Type: broker.RotationNotify, BeforeExpiry: "P30D"}},
		})
		return err
	}},
	"Encrypt": {false, "Encrypt", func(ctx context.Context, w *world, n broker.Name) error {
		r, err := w.Encrypt(ctx, alice, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
		return disclosed(r.Data.Len() > 0, err)
	}},
	"Decrypt": {false, "Decrypt", func(ctx context.Context, w *world, n broker.Name) error {
		r, err := w.Decrypt(ctx, alice, n, "RSA-OAEP-256", w.sealed(ctx, n, w.keys.Encrypt))
		return disclosed(r.Data.Len() > 0, err)
	}},
	"WrapKey": {false, "WrapKey", func(ctx context.Context, w *world, n broker.Name) error {
		r, err := w.WrapKey(ctx, alice, n, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
		return disclosed(r.Data.Len() > 0, err)
	}},
	"UnwrapKey": {false, "UnwrapKey", func(ctx context.Context, w *world, n broker.Name) error {
		r, err := w.UnwrapKey(ctx, alice, n, "RSA-OAEP-256", w.sealed(ctx, n, w.keys.WrapKey))
		return disclosed(r.Data.Len() > 0, err)
	}},
	"Sign": {false, "Sign", func(ctx context.Context, w *world, n broker.Name) error {
		s, err := w.Sign(ctx, alice, n, "RS256", digest[:])
		return disclosed(len(s.Value) > 0, err)
	}},
	"Verify": {false, "Verify", func(ctx context.Context, w *world, n broker.Name) error {
		s, err := rsa.SignPKCS1v15(nil, ourRSA(), crypto.SHA256, digest[:])
		if err != nil {
			return err
		}
		v, err := w.Verify(ctx, alice, n, "RS256", digest[:], s)
		return disclosed(v.Valid, err)
	}},
}
