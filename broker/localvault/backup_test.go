package localvault_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// A blob is for every vault that has the master key, and for no other.
func TestRestoreElsewhere(t *testing.T) {
	mine := config(t.TempDir())
	sibling, stranger := config(t.TempDir()), config(t.TempDir())
	sibling.KeyFile = mine.KeyFile
	v := open(t, mine)
	first, second := set(t, v, "a", "1"), set(t, v, "a", "2")
	blob, err := v.Secrets().BackupSecret(t.Context(), secretName(t, "a"))
	must(t, err)
	must(t, v.Close())
	tests := map[string]struct {
		config localvault.Config
		want   broker.Code
	}{
		"the same vault":                  {mine, broker.CodeSecretExists},
		"another vault of the master key": {sibling, ""},
		"a vault of another master key":   {stranger, broker.CodeBadField},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := open(t, tt.config)
			_, err := v.Secrets().RestoreSecret(t.Context(), vaultName(t), blob)
			wantCode(t, "RestoreSecret", err, tt.want)
			if tt.want == "" {
				wantValue(t, v, first.Name, "1")
				wantValue(t, v, second.Name, "2")
			}
			must(t, v.Close())
		})
	}
}

func TestRestoreKeepsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, config(t.TempDir()))
		store, name := v.Secrets(), secretName(t, "a")
		made := set(t, v, "a", "1")
		time.Sleep(time.Hour)
		updated, err := store.UpdateSecret(t.Context(), made.Name, broker.SecretUpdate{Enabled: new(true)})
		must(t, err)
		blob, err := store.BackupSecret(t.Context(), name)
		must(t, err)
		time.Sleep(time.Hour)
		deleteSecret(t, v, "a")
		must(t, store.PurgeSecret(t.Context(), name))
		restored, err := store.RestoreSecret(t.Context(), vaultName(t), blob)
		must(t, err)
		if restored.Name != made.Name || !restored.Created.Equal(made.Created) || !restored.Updated.Equal(updated.Updated) {
			t.Errorf("restored %v, created %v, updated %v; was %v, %v, %v",
				restored.Name, restored.Created, restored.Updated, made.Name, made.Created, updated.Updated)
		}
		must(t, v.Close())
	})
}

func TestBackupsAreSealed(t *testing.T) {
	v := open(t, config(t.TempDir()))
	const canary, tag = "canary-93ab5c10-value", "canary-93ab5c10-tag"
	_, err := v.Secrets().SetSecret(t.Context(), secretName(t, "canary-93ab5c10-name"), broker.NewSecret{
		Value: broker.NewValue(canary), Enabled: true, ContentType: tag, Tags: map[string]string{"k": tag},
	})
	must(t, err)
	blob, err := v.Secrets().BackupSecret(t.Context(), secretName(t, "canary-93ab5c10-name"))
	must(t, err)
	if strings.Contains(blob.Reveal(), "canary") || strings.Contains(blob.Reveal(), "93ab5c10") {
		t.Error("a backup shows what is in it")
	}
	again, err := v.Secrets().BackupSecret(t.Context(), secretName(t, "canary-93ab5c10-name"))
	must(t, err)
	if blob == again {
		t.Error("two backups of one secret are the same bytes")
	}
}

func TestBlobTooLarge(t *testing.T) {
	v := open(t, config(t.TempDir()))
	_, err := v.Secrets().RestoreSecret(t.Context(), vaultName(t), broker.NewValue(strings.Repeat("x", broker.MaxBackupLen+1)))
	wantCode(t, "RestoreSecret", err, broker.CodeValueTooLarge)
}

// What is in a backup of the largest size comes back.
func TestLargestBackup(t *testing.T) {
	v := open(t, config(t.TempDir()))
	store, name := v.Secrets(), secretName(t, "a")
	var last broker.Value
	versions := 0
	for {
		set(t, v, "a", strings.Repeat("x", broker.MaxValueLen))
		blob, err := store.BackupSecret(t.Context(), name)
		if broker.CodeOf(err) == broker.CodeValueTooLarge {
			break
		}
		must(t, err)
		last = blob
		versions++
	}
	deleteSecret(t, v, "a")
	must(t, store.PurgeSecret(t.Context(), name))
	_, err := store.RestoreSecret(t.Context(), vaultName(t), last)
	must(t, err)
	all, err := store.ListSecretVersions(t.Context(), name)
	must(t, err)
	if len(all) != versions || versions < 30 {
		t.Errorf("%d versions of the largest size came back of %d; want at least 30", len(all), versions)
	}
}
