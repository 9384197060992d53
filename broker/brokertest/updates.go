package brokertest

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func testUpdate(f fixture) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	before := broker.NewSecret{
		Value: broker.NewValue("kept"), Enabled: true, ContentType: "text/plain",
		Tags: map[string]string{"team": "pay", "tier": "1"}, NotBefore: at, Expires: at.AddDate(1, 0, 0),
	}
	tests := map[string]struct {
		update broker.SecretUpdate
		apply  func(*broker.NewSecret)
	}{
		"content-type": {
			broker.SecretUpdate{ContentType: new("application/json; ✓")},
			func(n *broker.NewSecret) { n.ContentType = "application/json; ✓" },
		},
		"no-content-type": {
			broker.SecretUpdate{ContentType: new("")},
			func(n *broker.NewSecret) { n.ContentType = "" },
		},
		"tags": {
			broker.SecretUpdate{Tags: &map[string]string{"tier": "2", "new": ""}},
			func(n *broker.NewSecret) { n.Tags = map[string]string{"tier": "2", "new": ""} },
		},
		"no-tags": {
			broker.SecretUpdate{Tags: &map[string]string{}},
			func(n *broker.NewSecret) { n.Tags = nil },
		},
		"not-before": {
			broker.SecretUpdate{NotBefore: new(at.Add(time.Hour + time.Millisecond))},
			func(n *broker.NewSecret) { n.NotBefore = at.Add(time.Hour) },
		},
		"expires": {
			broker.SecretUpdate{Expires: new(at.AddDate(2, 0, 0).Add(time.Millisecond))},
			func(n *broker.NewSecret) { n.Expires = at.AddDate(2, 0, 0) },
		},
		"enabled-still": {
			broker.SecretUpdate{Enabled: new(true)},
			func(*broker.NewSecret) {},
		},
		"all": {
			broker.SecretUpdate{
				ContentType: new("x"), Tags: &map[string]string{"a": "b"}, Enabled: new(true),
				NotBefore: new(at.Add(time.Minute)), Expires: new(at.Add(time.Hour)),
			},
			func(n *broker.NewSecret) {
				n.ContentType, n.Tags = "x", map[string]string{"a": "b"}
				n.NotBefore, n.Expires = at.Add(time.Minute), at.Add(time.Hour)
			},
		},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name("update-" + label)
			set := f.set(name, before)
			want := before
			want.Tags = maps.Clone(before.Tags)
			tt.apply(&want)

			updated, err := f.store.UpdateSecret(f.Context(), name, tt.update)
			if err != nil {
				f.Fatalf("UpdateSecret: %v", err)
			}
			f.wantAttributes("UpdateSecret", updated, want)
			if updated.Name != set.Name || !updated.Created.Equal(set.Created) || updated.Updated.Before(set.Updated) {
				f.Errorf("UpdateSecret: %v, created %v, updated %v; was %v, %v, %v",
					updated.Name, updated.Created, updated.Updated, set.Name, set.Created, set.Updated)
			}
			got := f.get(name)
			f.wantSame("GetSecret", got.Secret, updated)
			if got.Value.Reveal() != "kept" {
				f.Error("an update changed the value")
			}
			f.wantSame("GetSecret of the version", f.get(set.Name).Secret, updated)
			versions := f.versions(name)
			if len(versions) != 1 {
				f.Fatalf("ListSecretVersions: %d versions, want 1", len(versions))
			}
			f.wantSame("ListSecretVersions", versions[0], updated)
			listed := f.listed()[name]
			f.wantAttributes("ListSecrets", listed, want)
			if !listed.Updated.Equal(updated.Updated) {
				f.Errorf("ListSecrets: updated %v, want %v", listed.Updated, updated.Updated)
			}
		})
	}
}

func testUpdateVersion(f fixture) {
	name := f.name("update-version")
	first := f.set(name, plain("1"))
	second := f.set(name, plain("2"))

	updated, err := f.store.UpdateSecret(f.Context(), first.Name, broker.SecretUpdate{ContentType: new("of the first")})
	if err != nil {
		f.Fatalf("UpdateSecret of a version: %v", err)
	}
	if updated.Name != first.Name || updated.ContentType != "of the first" {
		f.Errorf("UpdateSecret of %v answered %v with %q", first.Name, updated.Name, updated.ContentType)
	}
	if got := f.get(name); got.Name != second.Name || got.ContentType != "" || got.Value.Reveal() != "2" {
		f.Error("an update of the first version changed the latest")
	}
	updated, err = f.store.UpdateSecret(f.Context(), name, broker.SecretUpdate{ContentType: new("of the second")})
	if err != nil {
		f.Fatalf("UpdateSecret of the latest: %v", err)
	}
	if updated.Name != second.Name {
		f.Errorf("UpdateSecret of the latest answered %v, want %v", updated.Name, second.Name)
	}
	if got := f.get(first.Name); got.ContentType != "of the first" || got.Value.Reveal() != "1" {
		f.Error("an update of the latest changed the first version")
	}
	unknown, err := name.WithVersion("0000000000000000000000000000000f")
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.UpdateSecret(f.Context(), unknown, broker.SecretUpdate{ContentType: new("x")})
	f.wantCode("UpdateSecret of an unknown version", err, broker.CodeSecretNotFound)
}

func testUpdateEnabled(f fixture) {
	name := f.name("update-enabled")
	set := f.set(name, plain("kept"))
	disabled, err := f.store.UpdateSecret(f.Context(), name, broker.SecretUpdate{Enabled: new(false)})
	if err != nil {
		f.Fatalf("UpdateSecret: %v", err)
	}
	if disabled.Enabled {
		f.Error("an update that disables says that it is enabled")
	}
	for _, n := range []broker.Name{name, set.Name} {
		_, err = f.store.GetSecret(f.Context(), n)
		f.wantCode(fmt.Sprint("GetSecret of disabled ", n), err, broker.CodeSecretDisabled)
	}
	if versions := f.versions(name); len(versions) != 1 || versions[0].Enabled || versions[0].ETag() != disabled.ETag() {
		f.Error("ListSecretVersions does not show the version as the update left it")
	}
	// A disabled version can be changed, and stays disabled.
	if _, err = f.store.UpdateSecret(f.Context(), name, broker.SecretUpdate{ContentType: new("x")}); err != nil {
		f.Errorf("UpdateSecret of a disabled version: %v", err)
	}
	_, err = f.store.GetSecret(f.Context(), name)
	f.wantCode("GetSecret of a disabled version, updated", err, broker.CodeSecretDisabled)
	if _, err = f.store.UpdateSecret(f.Context(), name, broker.SecretUpdate{Enabled: new(true)}); err != nil {
		f.Fatalf("UpdateSecret: %v", err)
	}
	if got := f.get(name); got.Value.Reveal() != "kept" || got.ContentType != "x" {
		f.Error("a version that was disabled and enabled is not as before")
	}
}
