package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

var (
	ecOps  = []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}
	allOps = []broker.KeyOp{
		broker.KeyOpEncrypt, broker.KeyOpDecrypt, broker.KeyOpSign, broker.KeyOpVerify, broker.KeyOpWrapKey, broker.KeyOpUnwrapKey,
	}
)

func testCreateKey(f keyFixture) {
	tests := map[string]struct {
		key   broker.NewKey
		curve broker.Curve
		bytes int // of the modulus, or of a coordinate
		ops   []broker.KeyOp
	}{
		"ec":     {broker.NewKey{Type: broker.KeyTypeEC}, broker.CurveP256, 32, ecOps},
		"p-256":  {broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP256}, broker.CurveP256, 32, ecOps},
		"p-384":  {broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP384}, broker.CurveP384, 48, ecOps},
		"p-521":  {broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP521}, broker.CurveP521, 66, ecOps},
		"p-256k": {broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP256K}, broker.CurveP256K, 32, ecOps},
		"rsa":    {broker.NewKey{Type: broker.KeyTypeRSA}, "", 256, allOps},
		"3072":   {broker.NewKey{Type: broker.KeyTypeRSA, Size: 3072}, "", 384, allOps},
		"ops":    {broker.NewKey{Type: broker.KeyTypeEC, Ops: ecOps[1:]}, broker.CurveP256, 32, ecOps[1:]},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name(label)
			tt.key.Enabled = true
			made := f.create(name, tt.key)
			if made.Name.Base() != name || !versionPattern.MatchString(made.Name.Version()) {
				f.Fatalf("CreateKey named %v; want a version of %v", made.Name, name)
			}
			j := made.JWK
			if j.Type.Software() != tt.key.Type || j.Curve != tt.curve {
				f.Errorf("a key of type %q, curve %q; want %q, %q", j.Type, j.Curve, tt.key.Type, tt.curve)
			}
			if tt.curve == "" && (len(j.N) != tt.bytes || j.N[0] < 0x80 || len(j.E) == 0 || len(j.X)+len(j.Y) != 0) {
				f.Errorf("a modulus of %d bytes, want %d; an exponent of %d", len(j.N), tt.bytes, len(j.E))
			}
			if tt.curve != "" && (len(j.X) != tt.bytes || len(j.Y) != tt.bytes || len(j.N)+len(j.E) != 0) {
				f.Errorf("coordinates of %d and %d bytes, want %d", len(j.X), len(j.Y), tt.bytes)
			}
			if _, err := broker.NewPublicKey(j); err != nil {
				f.Errorf("the public half is not sound: %v", err)
			}
			want := tt.key
			want.Ops = tt.ops
			f.wantAttributes("CreateKey", made, want)
			f.wantSame("GetKey", f.get(name), made)
			f.wantSame("GetKey of the version", f.get(made.Name), made)
		})
	}
}

func testBadKeys(f keyFixture) {
	tests := map[string]broker.NewKey{
		"no type":                {},
		"a type that is none":    {Type: "DSA"},
		"a type in lower case":   {Type: "ec"},
		"an RSA key too short":   {Type: broker.KeyTypeRSA, Size: 1024},
		"an odd RSA size":        {Type: broker.KeyTypeRSA, Size: 2049},
		"a negative RSA size":    {Type: broker.KeyTypeRSA, Size: -2048},
		"a curve too small":      {Type: broker.KeyTypeEC, Curve: "P-224"},
		"a foreign curve":        {Type: broker.KeyTypeEC, Curve: "Ed25519"},
		"a curve in lower case":  {Type: broker.KeyTypeEC, Curve: "p-256"},
		"a curve that encrypts":  {Type: broker.KeyTypeEC, Ops: []broker.KeyOp{broker.KeyOpSign, broker.KeyOpEncrypt}},
		"a curve that wraps":     {Type: broker.KeyTypeEC, Ops: []broker.KeyOp{broker.KeyOpWrapKey}},
		"an operation of no key": {Type: broker.KeyTypeEC, Ops: []broker.KeyOp{"derive"}},
	}
	for label, n := range tests {
		n.Enabled = true
		name := f.name("bad")
		_, err := f.store.CreateKey(f.Context(), name, n)
		f.wantBadField("CreateKey of "+label, err, "")
		_, err = f.store.GetKey(f.Context(), name)
		f.wantCode("GetKey after "+label, err, broker.CodeKeyNotFound)
	}
}

func testKeyVersions(f keyFixture) {
	name := f.name("versions")
	var made []broker.Key
	for i := range 4 {
		k := f.create(name, ecKey())
		for _, o := range made {
			if o.Name == k.Name || sameKey(o.JWK, k.JWK) {
				f.Fatalf("version %v was made twice, or its key", k.Name)
			}
		}
		made = append(made, k)
		f.wantSame(fmt.Sprint("GetKey after create ", i), f.get(name), k)
	}
	for _, k := range made {
		f.wantSame("GetKey of a version", f.get(k.Name), k)
	}
	unknown, err := name.WithVersion(strings.Repeat("0", 31) + "f")
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.GetKey(f.Context(), unknown)
	f.wantCode("GetKey of an unknown version", err, broker.CodeKeyNotFound)
	_, err = f.store.Sign(f.Context(), unknown, "ES256", make([]byte, 32))
	f.wantCode("Sign with an unknown version", err, broker.CodeKeyNotFound)
	other := f.name("other")
	f.create(other, ecKey())
	foreign, err := other.WithVersion(made[0].Name.Version())
	if err != nil {
		f.Fatal(err)
	}
	_, err = f.store.GetKey(f.Context(), foreign)
	f.wantCode("GetKey of another key's version", err, broker.CodeKeyNotFound)
}

func testKeyAttributes(f keyFixture) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 700_000_000, time.UTC)
	tests := map[string]broker.NewKey{
		"none":       {Enabled: true},
		"disabled":   {},
		"tags":       {Enabled: true, Tags: map[string]string{"a": "", "B": "välue ✓"}},
		"not-before": {Enabled: true, NotBefore: at},
		"expires":    {Enabled: true, Expires: at},
		"past":       {Enabled: true, Expires: time.Unix(1, 0)},
		"all":        {Enabled: true, Tags: map[string]string{"a": "b"}, NotBefore: at, Expires: at.Add(time.Hour), Ops: ecOps[:1]},
	}
	for label, n := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			name := f.name(label)
			n.Type = broker.KeyTypeEC
			made := f.create(name, n)
			if n.Ops == nil {
				n.Ops = ecOps
			}
			f.wantAttributes("CreateKey", made, n)
			f.wantAttributes("GetKey", f.get(name), n)
			if v := f.versions(name); len(v) != 1 {
				f.Errorf("%d versions, want 1", len(v))
			} else {
				f.wantItem("ListKeyVersions", v[0], n)
			}
			f.wantItem("ListKeys", f.listed()[name], n)
			f.create(name, ecKey())
			f.wantAttributes("the next version", f.get(name), broker.NewKey{Enabled: true, Ops: ecOps})
		})
	}
}

func testMissingKey(f keyFixture) {
	ctx, name := f.Context(), f.name("missing")
	f.create(f.name("missing-not"), ecKey()) // a longer name must not be taken for it
	digest := make([]byte, 32)
	in := broker.Cipher{Data: broker.NewValue("x")}
	calls := map[string]func() error{
		"GetKey":            func() error { _, err := f.store.GetKey(ctx, name); return err },
		"UpdateKey":         func() error { _, err := f.store.UpdateKey(ctx, name, broker.KeyUpdate{Enabled: new(true)}); return err },
		"DeleteKey":         func() error { _, err := f.store.DeleteKey(ctx, name); return err },
		"BackupKey":         func() error { _, err := f.store.BackupKey(ctx, name); return err },
		"ListKeyVersions":   func() error { _, err := f.store.ListKeyVersions(ctx, name); return err },
		"RotateKey":         func() error { _, err := f.store.RotateKey(ctx, name); return err },
		"GetRotationPolicy": func() error { _, err := f.store.GetRotationPolicy(ctx, name); return err },
		"UpdateRotationPolicy": func() error {
			_, err := f.store.UpdateRotationPolicy(ctx, name, broker.RotationPolicy{ExpiryTime: "P90D"})
			return err
		},
		"Sign":      func() error { _, err := f.store.Sign(ctx, name, "ES256", digest); return err },
		"Verify":    func() error { _, err := f.store.Verify(ctx, name, "ES256", digest, make([]byte, 64)); return err },
		"Encrypt":   func() error { _, err := f.store.Encrypt(ctx, name, "RSA-OAEP", in); return err },
		"Decrypt":   func() error { _, err := f.store.Decrypt(ctx, name, "RSA-OAEP", in); return err },
		"WrapKey":   func() error { _, err := f.store.WrapKey(ctx, name, "RSA-OAEP", in); return err },
		"UnwrapKey": func() error { _, err := f.store.UnwrapKey(ctx, name, "RSA-OAEP", in); return err },
	}
	for label, call := range calls {
		f.wantCode(label, call(), broker.CodeKeyNotFound)
	}
}

func testFoldedKey(f keyFixture) {
	lower := f.name("folded")
	upper, err := f.vault.Object(broker.KindKeys, strings.ToUpper(lower.ObjectName()))
	if err != nil {
		f.Fatal(err)
	}
	made := f.create(upper, ecKey())
	f.wantSame("GetKey in lower case", f.get(lower), made)
	f.create(lower, ecKey())
	if got := f.versions(upper); len(got) != 2 {
		f.Errorf("%d versions over both spellings, want 2", len(got))
	}
}

func testListKeys(f keyFixture) {
	want := make(map[broker.Name]bool)
	for i := range 31 {
		name := f.name(fmt.Sprintf("listed-%02d", i))
		f.create(name, ecKey())
		want[name] = true
	}
	for _, size := range []int{0, 1, 7, broker.MaxStorePage, 1000} {
		f.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			f := f.in(t)
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for k := range f.list(size, most) {
				if k.Name.Version() != "" || k.Name.Kind() != broker.KindKeys || seen[k.Name] {
					f.Errorf("%v is listed twice, or is no name of a key without a version", k.Name)
				}
				if !sameKey(k.JWK, broker.JWK{}) || len(k.Ops) != 0 {
					f.Errorf("%v is listed with more than lists have", k.Name)
				}
				seen[k.Name] = true
			}
			for name := range want {
				if !seen[name] {
					f.Errorf("%v is not listed", name)
				}
			}
		})
	}
	_, err := f.store.ListKeys(f.Context(), f.vault, broker.Page{Token: "\x00 no token"})
	if err == nil {
		f.Error("ListKeys took a token that it never gave")
	}
}

func testKeyVersionsNewestFirst(f keyFixture) {
	name := f.name("order")
	var want []broker.Name
	for range broker.MaxStorePage + 5 { // more than a page of a vault's list
		want = append([]broker.Name{f.create(name, ecKey()).Name}, want...)
	}
	var got []broker.Name
	for _, k := range f.versions(name) {
		got = append(got, k.Name)
	}
	if !slices.Equal(got, want) {
		f.Errorf("versions %v, want %v", got, want)
	}
}
