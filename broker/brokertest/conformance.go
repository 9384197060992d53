// Package brokertest holds what tests of the core and of its backends share:
// one conformance suite that every store passes, and small fakes of what a
// Broker stands on.
//
// A backend shows that it is one by a test of three lines:
//
//	func TestSecretStore(t *testing.T) {
//		brokertest.RunSecretStore(t, func(t *testing.T) (broker.SecretStore, broker.Name) {
//			return open(t), vault
//		})
//	}
package brokertest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// RunSecretStore checks that stores keep the contract of broker.SecretStore.
// newStore is called for each subtest, and returns a store and the name of its
// vault. The vault need not be empty: the suite makes names of its own, and
// leaves them behind.
func RunSecretStore(t *testing.T, newStore func(t *testing.T) (broker.SecretStore, broker.Name)) {
	t.Helper()
	tests := map[string]func(fixture){
		"values come back as they were set":    testRoundTrip,
		"each set makes a version":             testVersions,
		"attributes come back":                 testAttributes,
		"attributes are not inherited":         testAttributesNotInherited,
		"a disabled secret has no value":       testDisabled,
		"what is missing is not found":         testMissing,
		"an update changes what it names":      testUpdate,
		"an update of one version":             testUpdateVersion,
		"an update disables and enables":       testUpdateEnabled,
		"a list pages through every secret":    testListPages,
		"a list shows the latest version":      testListLatest,
		"whole lists follow every write":       testWholeLists,
		"versions are newest first":            testVersionsNewestFirst,
		"a deleted secret is gone":             testDelete,
		"a soft-deleted name is in the way":    testSetAfterDelete,
		"a deleted secret is shown as such":    testDeletedShown,
		"a list pages through what is deleted": testListDeletedPages,
		"a recovered secret is whole":          testRecover,
		"a purge frees the name":               testPurge,
		"what is not deleted is not found":     testNotDeleted,
		"a restored secret is whole":           testRestore,
		"a name in use is not restored over":   testRestoreOver,
		"what is no backup is refused":         testBadBlobs,
		"a backup has a bound":                 testBackupTooLarge,
		"names are folded":                     testFolded,
		"a cancelled call has no effect":       testCancelled,
		"concurrent sets of one name":          testConcurrentSets,
		"concurrent sets, reads and deletes":   testConcurrentMix,
		"concurrent restores of one backup":    testConcurrentRestores,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			store, vault := newStore(t)
			tests[name](fixture{T: t, store: store, vault: vault, unique: uniqueText()})
		})
	}
}

func testRoundTrip(f fixture) {
	values := map[string]string{
		"plain":      "correct horse battery staple",
		"one-byte":   "x",
		"utf-8":      "pässwörd ✓ 密码 🔑 \u2028",
		"json":       `{"user":"a","password":"\"quoted\" \\ back/slash <&>"}`,
		"lines":      "-----BEGIN X-----\r\nabc\n\tdef\n-----END X-----\n",
		"spaces":     "  leading and trailing  ",
		"controls":   "nul\x00bell\x07escape\x1bdelete\x7f",
		"most-bytes": strings.Repeat("k", broker.MaxValueLen),
		"most-runes": strings.Repeat("ü", broker.MaxValueLen/2),
		"escapes":    strings.Repeat("\x01", broker.MaxValueLen),
	}
	for label, want := range values {
		name := f.name(label)
		set := f.set(name, plain(want))
		// Texts are compared without being printed: the suite may run against
		// a vault whose values matter.
		if got := f.get(name); got.Value.Reveal() != want {
			f.Errorf("%s: the latest value is not the one set (%d bytes, want %d)", label, got.Value.Len(), len(want))
		}
		if got := f.get(set.Name); got.Value.Reveal() != want {
			f.Errorf("%s: the pinned value is not the one set (%d bytes, want %d)", label, got.Value.Len(), len(want))
		}
	}
}

var versionPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

func testVersions(f fixture) {
	name := f.name("versions")
	var sets []broker.Secret
	for i := range 4 {
		s := f.set(name, plain(fmt.Sprint("value ", i)))
		if s.Name.Base() != name || !versionPattern.MatchString(s.Name.Version()) {
			f.Fatalf("SetSecret named %v; want a version of %v", s.Name, name)
		}
		if slices.ContainsFunc(sets, func(o broker.Secret) bool { return o.Name == s.Name }) {
			f.Fatalf("SetSecret made version %v twice", s.Name)
		}
		sets = append(sets, s)

		got := f.get(name)
		if got.Name != s.Name || got.Value.Reveal() != fmt.Sprint("value ", i) {
			f.Errorf("after set %d the latest is %v; want %v and its value", i, got.Name, s.Name)
		}
		if got.Fetched.IsZero() {
			f.Error("GetSecret does not say when the vault was asked")
		}
		if got.ETag() != s.ETag() {
			f.Errorf("after set %d GetSecret's etag differs from SetSecret's", i)
		}
	}
	for i, s := range sets {
		if got := f.get(s.Name); got.Name != s.Name || got.Value.Reveal() != fmt.Sprint("value ", i) {
			f.Errorf("pinned version %d is %v with another's value", i, got.Name)
		}
	}
	unknown, err := name.WithVersion(strings.Repeat("0", 31) + "f")
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.GetSecret(f.Context(), unknown)
	f.wantCode("GetSecret of an unknown version", err, broker.CodeSecretNotFound)

	other := f.name("other")
	f.set(other, plain("another secret's"))
	foreign, err := other.WithVersion(sets[0].Name.Version())
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.GetSecret(f.Context(), foreign)
	f.wantCode("GetSecret of another secret's version", err, broker.CodeSecretNotFound)
}

func testAttributes(f fixture) {
	notBefore := time.Date(2031, 2, 3, 4, 5, 6, 700_000_000, time.UTC)
	tags := make(map[string]string)
	for i := range broker.MaxTags {
		tags[fmt.Sprint("tag-", i)] = "välue " + strings.Repeat("v", i)
	}
	tests := map[string]broker.NewSecret{
		"none":         {Enabled: true},
		"content-type": {Enabled: true, ContentType: "application/json; charset=utf-8"},
		"tags":         {Enabled: true, Tags: tags},
		"not-before":   {Enabled: true, NotBefore: notBefore},
		"expires":      {Enabled: true, Expires: notBefore},
		"past":         {Enabled: true, Expires: time.Unix(1, 0)},
		"all": {
			Enabled: true, ContentType: "text/plain", Tags: map[string]string{"a": "", "B": "c"},
			NotBefore: notBefore, Expires: notBefore.Add(time.Hour),
		},
	}
	for label, n := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name(label)
			n.Value = broker.NewValue("v")
			set := f.set(name, n)
			f.wantAttributes("SetSecret", set, n)
			f.wantAttributes("GetSecret", f.get(name).Secret, n)
			versions := f.versions(name)
			if len(versions) != 1 {
				f.Fatalf("ListSecretVersions: %d versions, want 1", len(versions))
			}
			f.wantAttributes("ListSecretVersions", versions[0], n)
			f.wantAttributes("ListSecrets", f.listed()[name], n)
		})
	}
}

func testAttributesNotInherited(f fixture) {
	name := f.name("inherit")
	f.set(name, broker.NewSecret{
		Value: broker.NewValue("1"), Enabled: true, ContentType: "text/plain",
		Tags: map[string]string{"team": "pay"}, Expires: time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	f.set(name, plain("2"))
	f.wantAttributes("the next version", f.get(name).Secret, plain("2"))
}

func testDisabled(f fixture) {
	name := f.name("disabled")
	first := f.set(name, plain("1"))
	second := f.set(name, broker.NewSecret{Value: broker.NewValue("2")})
	if second.Enabled {
		f.Error("SetSecret of a disabled version says that it is enabled")
	}
	for _, n := range []broker.Name{name, second.Name} {
		got, err := f.store.GetSecret(f.Context(), n)
		f.wantCode(fmt.Sprint("GetSecret of ", n), err, broker.CodeSecretDisabled)
		if got.Value.Len() != 0 {
			f.Errorf("GetSecret of disabled %v returned a value", n)
		}
	}
	if got := f.get(first.Name); got.Value.Reveal() != "1" {
		f.Error("an enabled version is not served once a disabled one follows it")
	}
	if s, ok := f.listed()[name]; !ok || s.Enabled {
		f.Errorf("ListSecrets: listed %v, enabled %v; want it listed as disabled", ok, s.Enabled)
	}
	if got := f.versions(name); len(got) != 2 || got[0].Enabled || !got[1].Enabled {
		f.Errorf("ListSecretVersions does not show a disabled version over an enabled one: %v", got)
	}
	f.set(name, plain("3"))
	if got := f.get(name); got.Value.Reveal() != "3" {
		f.Error("a version set after a disabled one is not served")
	}
}

func testMissing(f fixture) {
	ctx, name := f.Context(), f.name("missing")
	_, err := f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.UpdateSecret(ctx, name, broker.SecretUpdate{Enabled: new(true)})
	f.wantCode("UpdateSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.DeleteSecret(ctx, name)
	f.wantCode("DeleteSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.BackupSecret(ctx, name)
	f.wantCode("BackupSecret", err, broker.CodeSecretNotFound)
	_, err = f.store.ListSecretVersions(ctx, name)
	f.wantCode("ListSecretVersions", err, broker.CodeSecretNotFound)
	// A longer name beside it must not be taken for it.
	longer := f.name("missing-not")
	f.set(longer, plain("v"))
	_, err = f.store.GetSecret(ctx, name)
	f.wantCode("GetSecret beside a longer name", err, broker.CodeSecretNotFound)
	_, err = f.store.ListSecretVersions(ctx, name)
	f.wantCode("ListSecretVersions beside a longer name", err, broker.CodeSecretNotFound)
}

func testFolded(f fixture) {
	lower := f.name("folded")
	upper, err := f.vault.Object(broker.KindSecrets, strings.ToUpper(lower.ObjectName()))
	if err != nil {
		f.Fatal(err)
	}
	f.set(upper, plain("1"))
	if got := f.get(lower); got.Value.Reveal() != "1" || got.Name.Base() != lower {
		f.Errorf("a secret set in upper case reads as %v in lower case", got.Name)
	}
	f.set(lower, plain("2"))
	if got := f.versions(upper); len(got) != 2 {
		f.Errorf("%d versions over both spellings, want 2", len(got))
	}
}
