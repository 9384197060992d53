package localvault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// Private numbers are in no file, log line, error or printed answer, however they
// are written.
func TestPrivateKeysStayInside(t *testing.T) {
	var log bytes.Buffer
	c := config(t.TempDir())
	c.ManagedHSM = true
	c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := open(t, c)
	store := v.Keys()
	var told bytes.Buffer
	tell := func(got any, err error) {
		_, _ = fmt.Fprintf(&told, "%v %+v %#v %v\n", got, got, got, err)
		if err != nil {
			_, _ = fmt.Fprintf(&told, "%#v %s\n", err, broker.AsError(err).Message)
		}
	}
	secrets := make(map[string][]byte)
	for i, vec := range readVectors(t) {
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if vec.Key[name] == "" {
				continue
			}
			b, err := base64.RawURLEncoding.DecodeString(vec.Key[name])
			must(t, err)
			if len(b) >= 16 && b[8] != b[9] { // not all zeros
				secrets[fmt.Sprint(name, " of ", vec.Source, " ", vec.Algorithm)] = b
			}
		}
		useAndBreak(t, v, store, fmt.Sprint("key-", i), vec, tell)
	}
	must(t, v.Close())
	if log.Len() == 0 || told.Len() == 0 {
		t.Fatal("nothing was logged or told; the test looks at nothing")
	}
	file, err := os.ReadFile(c.Path)
	must(t, err)
	for label, secret := range secrets {
		for _, written := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.RawURLEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret),
			new(big.Int).SetBytes(secret).String(), strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		} {
			for where, text := range map[string]string{"file": string(file), "log": log.String(), "answers": told.String()} {
				if strings.Contains(text, written) {
					t.Errorf("the %s shows the %s", where, label)
				}
			}
		}
	}
	if len(secrets) < 30 {
		t.Errorf("only %d private numbers", len(secrets))
	}
}

// useAndBreak does with a key what can be done, and what cannot.
func useAndBreak(t *testing.T, v *localvault.Vault, store broker.KeyStore, object string, vec vector, tell func(any, error)) {
	t.Helper()
	ctx, name := t.Context(), keyName(t, object)
	k := importKey(t, store, object, vec.Key)
	tell(k, nil)
	spoiled := maps.Clone(vec.Key)
	for _, member := range []string{"n", "x", "dp"} {
		if spoiled[member] != "" {
			spoiled[member] = "AQAB"
		}
	}
	text, err := json.Marshal(spoiled)
	must(t, err)
	tell(store.ImportKey(ctx, name, broker.KeyImport{Material: broker.NewValue(string(text))}))
	tell(store.ImportKey(ctx, name, broker.KeyImport{Material: broker.NewValue(string(text) + "x")}))
	tell(store.ImportKey(ctx, name, broker.KeyImport{Material: broker.NewValue(strings.ReplaceAll(string(text), `"`, "'"))}))
	in := broker.Cipher{Data: broker.NewValue("sixteen bytes ok"), IV: vec.IV}
	for _, alg := range []broker.Algorithm{vec.Algorithm, "RSA1_5", "A128KW", "none"} {
		tell(store.Sign(ctx, name, alg, make([]byte, 32)))
		tell(store.Verify(ctx, name, alg, make([]byte, 32), []byte("x")))
		tell(store.Encrypt(ctx, name, alg, in))
		tell(store.Decrypt(ctx, name, alg, in))
		tell(store.WrapKey(ctx, name, alg, in))
		tell(store.UnwrapKey(ctx, name, alg, in))
	}
	blob, err := store.BackupKey(ctx, name)
	tell(blob, err)
	tell(store.RotateKey(ctx, name))
	tell(store.ListKeyVersions(ctx, name))
	tell(store.DeleteKey(ctx, name))
	tell(store.GetDeletedKey(ctx, name))
	tell(nil, store.PurgeKey(ctx, name))
	tell(store.RestoreKey(ctx, name.Vault(), blob))
	tell(store.RestoreKey(ctx, name.Vault(), blob))
	// A record that is damaged is logged.
	localvault.DamageKey(t, v, name.ObjectName())
	tell(store.GetKey(ctx, name))
	tell(store.Sign(ctx, name, vec.Algorithm, make([]byte, 32)))
	tell(store.BackupKey(ctx, name))
}
