package localvault_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// What a vault has, and what a Managed HSM makes of the same.
func TestKeyTypes(t *testing.T) {
	tests := map[broker.KeyType]struct{ vault, hsm broker.KeyType }{
		broker.KeyTypeRSA:    {broker.KeyTypeRSA, broker.KeyTypeRSAHSM},
		broker.KeyTypeRSAHSM: {broker.KeyTypeRSAHSM, broker.KeyTypeRSAHSM},
		broker.KeyTypeEC:     {broker.KeyTypeEC, broker.KeyTypeECHSM},
		broker.KeyTypeECHSM:  {broker.KeyTypeECHSM, broker.KeyTypeECHSM},
		broker.KeyTypeOct:    {"", broker.KeyTypeOctHSM},
		broker.KeyTypeOctHSM: {"", broker.KeyTypeOctHSM},
	}
	vault, hsm := open(t, config(t.TempDir())).Keys(), openHSM(t)
	for kind, want := range tests {
		for store, want := range map[broker.KeyStore]broker.KeyType{vault: want.vault, hsm: want.hsm} {
			k, err := store.CreateKey(t.Context(), keyName(t, "a"), broker.NewKey{Type: kind, Enabled: true})
			if want == "" {
				wantCode(t, "CreateKey of "+string(kind), err, broker.CodeBadField)
			} else if err != nil || k.JWK.Type != want {
				t.Errorf("CreateKey of %s: %q, %v; want %q", kind, k.JWK.Type, err, want)
			}
		}
	}
	_, err := vault.ImportKey(t.Context(), keyName(t, "a"), broker.KeyImport{
		NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(`{"kty":"oct","k":"GawgguFyGrWKav7AX4VKUg"}`),
	})
	wantCode(t, "ImportKey of oct into a vault", err, broker.CodeBadField)
	material := `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",` +
		`"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE","key_ops":["sign"]}`
	k, err := vault.ImportKey(t.Context(), keyName(t, "a"), broker.KeyImport{
		NewKey: broker.NewKey{Enabled: true}, HSM: true, Material: broker.NewValue(material),
	})
	if err != nil || k.JWK.Type != broker.KeyTypeECHSM || !slices.Equal(k.Ops, []broker.KeyOp{broker.KeyOpSign}) {
		t.Errorf("ImportKey into an HSM, for signing: %q, %v, %v", k.JWK.Type, k.Ops, err)
	}
}

func TestRSA4096(t *testing.T) {
	store := open(t, config(t.TempDir())).Keys()
	k, err := store.CreateKey(t.Context(), keyName(t, "a"), broker.NewKey{Type: broker.KeyTypeRSA, Size: 4096, Enabled: true})
	must(t, err)
	if len(k.JWK.N) != 512 {
		t.Errorf("a modulus of %d bytes", len(k.JWK.N))
	}
	s, err := store.Sign(t.Context(), k.Name, "PS512", make([]byte, 64))
	if err != nil || len(s.Value) != 512 {
		t.Errorf("a signature of %d bytes, %v", len(s.Value), err)
	}
}

// A key's life by the clock: its own times, and those of what is deleted.
func TestKeyTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		c.RetentionDays = 7
		v := open(t, c)
		store, name := v.Keys(), keyName(t, "a")
		now := time.Now()
		_, err := store.CreateKey(t.Context(), name, broker.NewKey{
			Type: broker.KeyTypeEC, Enabled: true, NotBefore: now.Add(time.Hour), Expires: now.Add(2 * time.Hour),
		})
		must(t, err)
		digest := make([]byte, 32)
		for _, at := range []struct {
			time.Duration
			want broker.Code
		}{
			{0, broker.CodeKeyOperationForbidden},
			{time.Hour - time.Second, broker.CodeKeyOperationForbidden},
			{time.Hour, ""},
			{2*time.Hour - time.Second, ""},
			{2 * time.Hour, broker.CodeKeyOperationForbidden},
		} {
			time.Sleep(at.Duration - time.Since(now))
			_, err := store.Sign(t.Context(), name, "ES256", digest)
			wantCode(t, "Sign after "+at.String(), err, at.want)
		}
		d, err := store.DeleteKey(t.Context(), name)
		must(t, err)
		if d.Purges.Sub(d.Deleted) != 7*24*time.Hour || d.RecoverableDays != 7 || d.RecoveryLevel != "CustomizedRecoverable+Purgeable" {
			t.Errorf("deleted %v, purged %v, %s", d.Deleted, d.Purges, d.RecoveryLevel)
		}
		time.Sleep(7*24*time.Hour - time.Second)
		_, err = store.GetDeletedKey(t.Context(), name)
		must(t, err)
		_, err = store.CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		wantCode(t, "CreateKey a second before the purge", err, broker.CodeKeySoftDeleted)
		time.Sleep(time.Second)
		_, err = store.GetDeletedKey(t.Context(), name)
		wantCode(t, "GetDeletedKey after the purge", err, broker.CodeKeyNotFound)
		_, err = store.CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		must(t, err)
		must(t, v.Close())
	})
}

func TestPurgeProtectionOfKeys(t *testing.T) {
	c := config(t.TempDir())
	c.PurgeProtection = true
	store, name := open(t, c).Keys(), keyName(t, "a")
	_, err := store.CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
	must(t, err)
	_, err = store.DeleteKey(t.Context(), name)
	must(t, err)
	wantCode(t, "PurgeKey", store.PurgeKey(t.Context(), name), broker.CodeNotSupported)
	_, err = store.RecoverKey(t.Context(), name)
	must(t, err)
}

// A secret and a key of one name know nothing of each other, and a backup of the
// one is none of the other.
func TestKeysBesideSecrets(t *testing.T) {
	v := open(t, config(t.TempDir()))
	set(t, v, "a", "of the secret")
	_, err := v.Keys().CreateKey(t.Context(), keyName(t, "a"), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
	must(t, err)
	ofSecret, err := v.Secrets().BackupSecret(t.Context(), secretName(t, "a"))
	must(t, err)
	ofKey, err := v.Keys().BackupKey(t.Context(), keyName(t, "a"))
	must(t, err)
	_, err = v.Keys().DeleteKey(t.Context(), keyName(t, "a"))
	must(t, err)
	must(t, v.Keys().PurgeKey(t.Context(), keyName(t, "a")))
	wantValue(t, v, secretName(t, "a"), "of the secret")
	_, err = v.Keys().RestoreKey(t.Context(), vaultName(t), ofSecret)
	wantCode(t, "RestoreKey of a secret", err, broker.CodeBadField)
	deleteSecret(t, v, "a")
	must(t, v.Secrets().PurgeSecret(t.Context(), secretName(t, "a")))
	_, err = v.Secrets().RestoreSecret(t.Context(), vaultName(t), ofKey)
	wantCode(t, "RestoreSecret of a key", err, broker.CodeBadField)
	_, err = v.Keys().RestoreKey(t.Context(), vaultName(t), ofKey)
	must(t, err)
}
