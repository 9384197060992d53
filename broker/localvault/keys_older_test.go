package localvault_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
)

// What lies in a file for years is read as it was written, and keys and certificates go
// beside it.
func TestOlderVaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // long before the deleted secret is purged
		c := stored(t, "before_keys") // nor had vaults certificates then
		v := open(t, c)
		wantValue(t, v, secretName(t, "two"), "second")
		versions, err := v.Secrets().ListSecretVersions(t.Context(), secretName(t, "two"))
		must(t, err)
		if len(versions) != 2 || versions[0].ContentType != "text/plain" || versions[0].Tags["a"] != "b" {
			t.Fatalf("versions %v", versions)
		}
		wantValue(t, v, versions[1].Name, "first")
		_, err = v.Secrets().RecoverSecret(t.Context(), secretName(t, "gone"))
		must(t, err)
		wantValue(t, v, secretName(t, "gone"), "for now")
		blob, err := os.ReadFile("testdata/before_keys.backup")
		must(t, err)
		_, err = v.Secrets().RestoreSecret(t.Context(), vaultName(t), broker.NewValue(string(blob)))
		must(t, err)
		wantValue(t, v, secretName(t, "saved"), "in the backup")

		k, err := v.Keys().CreateKey(t.Context(), keyName(t, "a"), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		must(t, err)
		made := certify(t, v, "b", &broker.CertificatePolicy{Issuer: broker.IssuerSelf})
		must(t, v.Close())
		v = open(t, c)
		_, err = v.Keys().Sign(t.Context(), made.Key, "ES256", make([]byte, 32))
		must(t, err)
		_, err = v.Keys().Sign(t.Context(), k.Name, "ES256", make([]byte, 32))
		must(t, err)
		must(t, v.Close())
	})
}

// What is past its retention leaves the file when the vault is opened.
func TestExpiredKeysLeaveTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		c.RetentionDays = 7
		v := open(t, c)
		for _, object := range []string{"gone", "kept"} {
			_, err := v.Keys().CreateKey(t.Context(), keyName(t, object), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
			must(t, err)
		}
		_, err := v.Keys().DeleteKey(t.Context(), keyName(t, "gone"))
		must(t, err)
		must(t, v.Close())
		before := rows(t, c)
		time.Sleep(8 * day)
		must(t, open(t, c).Close())
		after := rows(t, c)
		if before["gone"] != 3 || after["gone"] != 0 || after["kept"] != 3 {
			t.Errorf("rows before %v, after %v", before, after)
		}
	})
}
