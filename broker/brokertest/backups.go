package brokertest

import (
	"fmt"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

// saved is a secret as it was before it went.
type saved struct {
	versions []broker.Secret // newest first
	values   map[broker.Name]string
}

// saveVersions makes a secret of several versions that differ in everything,
// one of them disabled, and returns what the store says of them.
func (f fixture) saveVersions(name broker.Name) saved {
	f.Helper()
	expires := time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	sets := []broker.NewSecret{
		plain("first"),
		{Value: broker.NewValue("second \x00 ✓"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"a": "", "B": "c"}},
		{Value: broker.NewValue("disabled"), ContentType: "off"},
		{Value: broker.NewValue("fourth"), Enabled: true, NotBefore: expires.AddDate(-1, 0, 0), Expires: expires},
		plain(strings.Repeat("l", broker.MaxValueLen)),
	}
	s := saved{values: make(map[broker.Name]string)}
	for _, n := range sets {
		made := f.set(name, n)
		if n.Enabled {
			s.values[made.Name] = n.Value.Reveal()
		}
	}
	s.versions = f.versions(name)
	return s
}

// wantVersions checks that the secret is again, or still, what was saved.
func (f fixture) wantVersions(name broker.Name, want saved) {
	f.Helper()
	got := f.versions(name)
	if len(got) != len(want.versions) {
		f.Fatalf("%d versions, want %d", len(got), len(want.versions))
	}
	for i, s := range want.versions {
		f.wantSame(fmt.Sprintf("version %d from the newest", i), got[i], s)
		v, err := f.store.GetSecret(f.Context(), s.Name)
		if !s.Enabled {
			f.wantCode("GetSecret of a disabled version", err, broker.CodeSecretDisabled)
			continue
		}
		if err != nil || v.Value.Reveal() != want.values[s.Name] {
			f.Errorf("version %d from the newest has another value (%v)", i, err)
		}
	}
	if latest := f.get(name); latest.Name != want.versions[0].Name {
		f.Errorf("the latest is %v, want %v", latest.Name, want.versions[0].Name)
	}
}

// wantNextVersion checks that a set follows what was saved.
func (f fixture) wantNextVersion(name broker.Name, s saved) {
	f.Helper()
	next := f.set(name, plain("next"))
	got := f.versions(name)
	if len(got) != len(s.versions)+1 || got[0].Name != next.Name {
		f.Errorf("%d versions, the newest %v; want %d, the newest %v", len(got), got[0].Name, len(s.versions)+1, next.Name)
	}
	if latest := f.get(name); latest.Name != next.Name || latest.Value.Reveal() != "next" {
		f.Errorf("the latest is %v, want %v", latest.Name, next.Name)
	}
}

func (f fixture) backup(name broker.Name) broker.Value {
	f.Helper()
	blob, err := f.store.BackupSecret(f.Context(), name)
	if err != nil {
		f.Fatalf("BackupSecret %v: %v", name, err)
	}
	if fmt.Sprintf("%v %q %#v", blob, blob, blob) != "[redacted] [redacted] [redacted]" {
		f.Error("a backup can be printed")
	}
	if blob.Len() == 0 || blob.Len() > broker.MaxBackupLen {
		f.Fatalf("BackupSecret %v: %d bytes, want 1 to %d", name, blob.Len(), broker.MaxBackupLen)
	}
	return blob
}

func testRestore(f fixture) {
	name := f.name("restore")
	saved := f.saveVersions(name)
	blob := f.backup(name)
	f.wantVersions(name, saved)
	f.set(name, plain("a version after the backup"))
	f.purge(name)

	restored, err := f.store.RestoreSecret(f.Context(), f.vault, blob)
	if err != nil {
		f.Fatalf("RestoreSecret: %v", err)
	}
	f.wantSame("RestoreSecret", restored, saved.versions[0])
	f.wantVersions(name, saved)
	if _, ok := f.listed()[name]; !ok {
		f.Error("ListSecrets does not show a restored secret")
	}
	f.wantNextVersion(name, saved)
}

func testRestoreOver(f fixture) {
	name := f.name("over")
	f.set(name, plain("in the backup"))
	blob := f.backup(name)
	saved := f.saveVersions(name)

	_, err := f.store.RestoreSecret(f.Context(), f.vault, blob)
	f.wantCode("RestoreSecret over a live secret", err, broker.CodeSecretExists)
	f.delete(name)
	_, err = f.store.RestoreSecret(f.Context(), f.vault, blob)
	f.wantCode("RestoreSecret over a deleted secret", err, broker.CodeSecretSoftDeleted)
	if _, err = f.store.RecoverSecret(f.Context(), name); err != nil {
		f.Fatalf("RecoverSecret: %v", err)
	}
	got := f.versions(name)
	if len(got) != len(saved.versions) {
		f.Errorf("a refused restore left %d versions of %d", len(got), len(saved.versions))
	}
}

func testBadBlobs(f fixture) {
	name := f.name("blobs")
	// Most of the blob is the value, so that is what an alteration would change.
	f.set(name, plain(strings.Repeat("v", 2000)))
	text := f.backup(name).Reveal()
	f.purge(name)
	// A digit is in the alphabet of every encoding that a blob may have.
	altered := []byte(text)
	middle := len(text) / 2
	if altered[middle] == '7' {
		altered[middle] = '8'
	} else {
		altered[middle] = '7'
	}
	blobs := map[string]string{
		"empty":            "",
		"no backup":        "no backup",
		"another vault's":  "JkF6dXJlS2V5VmF1bHRTZWNyZXRCYWNrdXBWMS5taWNyb3NvZnQuY29tZXlK",
		"altered":          string(altered),
		"cut":              text[:len(text)/2],
		"without its end":  text[:len(text)-1],
		"with more behind": text + "7777",
		"twice":            text + text,
	}
	for label, blob := range blobs {
		_, err := f.store.RestoreSecret(f.Context(), f.vault, broker.NewValue(blob))
		f.wantBadBlob("RestoreSecret of a blob that is "+label, err)
		_, err = f.store.GetSecret(f.Context(), name)
		f.wantCode("GetSecret after a refused restore", err, broker.CodeSecretNotFound)
	}
	if _, err := f.store.RestoreSecret(f.Context(), f.vault, broker.NewValue(text)); err != nil {
		f.Errorf("RestoreSecret of the blob itself: %v", err)
	}
}

func testBackupTooLarge(f fixture) {
	name := f.name("too-large")
	value := plain(strings.Repeat("x", broker.MaxValueLen))
	for range broker.MaxBackupLen/broker.MaxValueLen + 1 {
		f.set(name, value)
	}
	blob, err := f.store.BackupSecret(f.Context(), name)
	f.wantCode("BackupSecret", err, broker.CodeValueTooLarge)
	if blob.Len() != 0 {
		f.Error("BackupSecret refused and returned a blob")
	}
}
