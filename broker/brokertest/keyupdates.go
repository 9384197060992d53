package brokertest

import (
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

func testUpdateKey(f keyFixture) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	before := broker.NewKey{
		Type: broker.KeyTypeEC, Enabled: true, Ops: ecOps,
		Tags: map[string]string{"team": "pay"}, NotBefore: at, Expires: at.AddDate(1, 0, 0),
	}
	tests := map[string]struct {
		update broker.KeyUpdate
		apply  func(*broker.NewKey)
	}{
		"ops":        {broker.KeyUpdate{Ops: &[]broker.KeyOp{broker.KeyOpVerify}}, func(n *broker.NewKey) { n.Ops = ecOps[1:] }},
		"tags":       {broker.KeyUpdate{Tags: &map[string]string{"new": ""}}, func(n *broker.NewKey) { n.Tags = map[string]string{"new": ""} }},
		"no-tags":    {broker.KeyUpdate{Tags: &map[string]string{}}, func(n *broker.NewKey) { n.Tags = nil }},
		"disable":    {broker.KeyUpdate{Enabled: new(false)}, func(n *broker.NewKey) { n.Enabled = false }},
		"not-before": {broker.KeyUpdate{NotBefore: new(at.Add(time.Hour))}, func(n *broker.NewKey) { n.NotBefore = at.Add(time.Hour) }},
		"expires":    {broker.KeyUpdate{Expires: new(at.AddDate(2, 0, 0))}, func(n *broker.NewKey) { n.Expires = at.AddDate(2, 0, 0) }},
		"all": {
			broker.KeyUpdate{
				Ops: &[]broker.KeyOp{broker.KeyOpSign}, Tags: &map[string]string{"a": "b"}, Enabled: new(true),
				NotBefore: new(at.Add(time.Minute)), Expires: new(at.Add(time.Hour)),
			},
			func(n *broker.NewKey) {
				n.Ops, n.Tags, n.NotBefore, n.Expires = ecOps[:1], map[string]string{"a": "b"}, at.Add(time.Minute), at.Add(time.Hour)
			},
		},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name("update-" + label)
			made := f.create(name, before)
			want := before
			tt.apply(&want)
			updated := f.update(name, tt.update)
			f.wantAttributes("UpdateKey", updated, want)
			if updated.Name != made.Name || !updated.Created.Equal(made.Created) || updated.Updated.Before(made.Updated) || !sameKey(updated.JWK, made.JWK) {
				f.Errorf("UpdateKey changed more than it was told: %v, created %v", updated.Name, updated.Created)
			}
			f.wantSame("GetKey", f.get(name), updated)
			f.wantItem("ListKeys", f.listed()[name], want)
			if v := f.versions(name); len(v) != 1 {
				f.Errorf("%d versions, want 1", len(v))
			}
		})
	}
	name := f.name("update-bad")
	made := f.create(name, ecKey())
	_, err := f.store.UpdateKey(f.Context(), name, broker.KeyUpdate{Ops: &[]broker.KeyOp{broker.KeyOpEncrypt}, Tags: &map[string]string{"a": "b"}})
	f.wantBadField("UpdateKey to an operation that the type lacks", err, "")
	f.wantSame("GetKey after a refused update", f.get(name), made)
}

func testUpdateKeyVersion(f keyFixture) {
	name := f.name("update-version")
	first, second := f.create(name, ecKey()), f.create(name, ecKey())
	updated := f.update(first.Name, broker.KeyUpdate{Tags: &map[string]string{"of": "the first"}})
	if updated.Name != first.Name {
		f.Errorf("UpdateKey of %v answered %v", first.Name, updated.Name)
	}
	f.wantSame("the latest", f.get(name), second)
	f.update(name, broker.KeyUpdate{Tags: &map[string]string{"of": "the second"}})
	f.wantSame("the first", f.get(first.Name), updated)
	unknown, err := name.WithVersion(strings.Repeat("0", 31) + "f")
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.UpdateKey(f.Context(), unknown, broker.KeyUpdate{Enabled: new(false)})
	f.wantCode("UpdateKey of an unknown version", err, broker.CodeKeyNotFound)
}
