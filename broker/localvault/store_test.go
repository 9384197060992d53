package localvault_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

func config(dir string) localvault.Config {
	return localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")}
}

func open(t *testing.T, c localvault.Config) *localvault.Vault {
	t.Helper()
	v, err := localvault.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func vaultName(t *testing.T) broker.Name {
	t.Helper()
	n, err := broker.VaultName("local")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func secretName(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := vaultName(t).Object(broker.KindSecrets, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func set(t *testing.T, v *localvault.Vault, object, value string) broker.Secret {
	t.Helper()
	s, err := v.Secrets().SetSecret(t.Context(), secretName(t, object), broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
	if err != nil {
		t.Fatalf("SetSecret %s: %v", object, err)
	}
	return s
}

func wantValue(t *testing.T, v *localvault.Vault, name broker.Name, want string) {
	t.Helper()
	got, err := v.Secrets().GetSecret(t.Context(), name)
	if err != nil {
		t.Errorf("GetSecret %v: %v", name, err)
	} else if got.Value.Reveal() != want {
		t.Errorf("GetSecret %v returned another value than was set", name)
	}
}

func wantCode(t *testing.T, what string, err error, want broker.Code) {
	t.Helper()
	if got := broker.CodeOf(err); got != want {
		t.Errorf("%s: %q (%v), want %q", what, got, err, want)
	}
}

func TestSecretStore(t *testing.T) {
	brokertest.RunSecretStore(t, func(t *testing.T) (broker.SecretStore, broker.Name) {
		t.Helper()
		return open(t, config(t.TempDir())).Secrets(), vaultName(t)
	})
}

func TestReopenFindsEverything(t *testing.T) {
	c := config(t.TempDir())
	v := open(t, c)
	versions := make(map[broker.Name]string)
	for i := range 3 {
		for _, object := range []string{"a", "b"} {
			value := fmt.Sprint(object, i)
			versions[set(t, v, object, value).Name] = value
		}
	}
	set(t, v, "gone", "x")
	if _, err := v.Secrets().DeleteSecret(t.Context(), secretName(t, "gone")); err != nil {
		t.Fatal(err)
	}
	before, err := v.Secrets().ListSecretVersions(t.Context(), secretName(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = v.Secrets().GetSecret(t.Context(), secretName(t, "a"))
	wantCode(t, "GetSecret after Close", err, broker.CodeVaultUnavailable)

	v = open(t, c)
	for name, value := range versions {
		wantValue(t, v, name, value)
	}
	wantValue(t, v, secretName(t, "a"), "a2")
	after, err := v.Secrets().ListSecretVersions(t.Context(), secretName(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Fatalf("%d versions after reopening, want %d", len(after), len(before))
	}
	for i := range after {
		if after[i].Name != before[i].Name || !after[i].Created.Equal(before[i].Created) {
			t.Errorf("version %d is %v after reopening, was %v", i, after[i].Name, before[i].Name)
		}
	}
	_, err = v.Secrets().SetSecret(t.Context(), secretName(t, "gone"), broker.NewSecret{Value: broker.NewValue("y")})
	wantCode(t, "SetSecret of what was deleted before", err, broker.CodeSecretSoftDeleted)
}

func TestFilesArePrivateAndValuesSealed(t *testing.T) {
	c := config(t.TempDir())
	v := open(t, c)
	const canary, tag = "canary-6f1d0c4e-value", "canary-6f1d0c4e-tag"
	_, err := v.Secrets().SetSecret(t.Context(), secretName(t, "a"), broker.NewSecret{
		Value: broker.NewValue(canary), Enabled: true, ContentType: tag, Tags: map[string]string{"k": tag},
	})
	if err != nil {
		t.Fatal(err)
	}
	wantValue(t, v, secretName(t, "a"), canary)
	_, err = v.Secrets().UpdateSecret(t.Context(), secretName(t, "a"), broker.SecretUpdate{
		ContentType: new(tag), Tags: &map[string]string{"k2": tag},
	})
	must(t, err)
	set(t, v, "gone", canary)
	_, err = v.Secrets().DeleteSecret(t.Context(), secretName(t, "gone"))
	must(t, err)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(c.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{canary, canary[8:], tag} {
		if bytes.Contains(stored, []byte(text)) {
			t.Errorf("%q is in the vault's file", text)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(c.Path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the folder holds %v, want the vault and its key", entries)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", e.Name(), info.Mode())
		}
	}
}

// A vault without its key must not be given a new one: nothing would open.
func TestRetention(t *testing.T) {
	tests := map[string]struct {
		days      int32
		want      int32
		wantLevel string
	}{
		"default":  {0, 90, "Recoverable+Purgeable"},
		"longest":  {90, 90, "Recoverable+Purgeable"},
		"shortest": {7, 7, "CustomizedRecoverable+Purgeable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := config(t.TempDir())
				c.RetentionDays = tt.days
				v := open(t, c)
				old := set(t, v, "a", "old")
				if old.RecoverableDays != tt.want || old.RecoveryLevel != tt.wantLevel {
					t.Errorf("%d days, %q; want %d, %q", old.RecoverableDays, old.RecoveryLevel, tt.want, tt.wantLevel)
				}
				retention := time.Duration(tt.want) * 24 * time.Hour
				deleted, err := v.Secrets().DeleteSecret(t.Context(), secretName(t, "a"))
				must(t, err)
				if got := deleted.Purges.Sub(deleted.Deleted); got != retention {
					t.Errorf("kept for %v, want %v", got, retention)
				}

				time.Sleep(retention - time.Second)
				_, err = v.Secrets().SetSecret(t.Context(), secretName(t, "a"), broker.NewSecret{})
				wantCode(t, "SetSecret a second before the purge", err, broker.CodeSecretSoftDeleted)
				time.Sleep(time.Second)
				again := set(t, v, "a", "new")
				wantValue(t, v, again.Name, "new")
				_, err = v.Secrets().GetSecret(t.Context(), old.Name)
				wantCode(t, "GetSecret of a purged version", err, broker.CodeSecretNotFound)
				versions, err := v.Secrets().ListSecretVersions(t.Context(), secretName(t, "a"))
				must(t, err)
				if len(versions) != 1 {
					t.Errorf("%d versions, want the new one only", len(versions))
				}
				must(t, v.Close())
			})
		})
	}
}

func TestExpiredSecretsLeaveTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		v := open(t, c)
		set(t, v, "kept", "x")
		for _, object := range []string{"gone", "gone-too"} {
			set(t, v, object, "x")
			set(t, v, object, "y")
			_, err := v.Secrets().DeleteSecret(t.Context(), secretName(t, object))
			must(t, err)
		}
		must(t, v.Close())
		must(t, open(t, c).Close())
		if got := rows(t, c); got["gone"] == 0 {
			t.Error("a deleted secret left the file before its time")
		}
		time.Sleep(90 * 24 * time.Hour)
		must(t, open(t, c).Close())
		if got, want := rows(t, c), map[string]int{"kept": 3}; !maps.Equal(got, want) {
			t.Errorf("rows by secret: %v, want %v", got, want)
		}
	})
}

func TestValueTooLarge(t *testing.T) {
	v := open(t, config(t.TempDir()))
	_, err := v.Secrets().SetSecret(t.Context(), secretName(t, "a"), broker.NewSecret{
		Value: broker.NewValue(strings.Repeat("x", broker.MaxValueLen+1)),
	})
	wantCode(t, "SetSecret", err, broker.CodeValueTooLarge)
}

// endsAfter is a context that is cancelled once it was looked at so often.
type endsAfter struct {
	context.Context
	looks int
}

func (c *endsAfter) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// A caller that went away while others wrote changes nothing.
func TestCancelledWhileWaiting(t *testing.T) {
	v := open(t, config(t.TempDir()))
	set(t, v, "a", "kept")
	_, err := v.Secrets().SetSecret(&endsAfter{t.Context(), 1}, secretName(t, "a"), broker.NewSecret{Value: broker.NewValue("late"), Enabled: true})
	wantCode(t, "SetSecret", err, broker.CodeCanceled)
	wantValue(t, v, secretName(t, "a"), "kept")
}

func TestBadPageToken(t *testing.T) {
	v := open(t, config(t.TempDir()))
	set(t, v, "a", "x")
	for _, token := range []string{"A", "a/b", "\x00", strings.Repeat("a", 128)} {
		_, err := v.Secrets().ListSecrets(t.Context(), vaultName(t), broker.Page{Token: token})
		wantCode(t, fmt.Sprintf("ListSecrets after %q", token), err, broker.CodeBadPageToken)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
