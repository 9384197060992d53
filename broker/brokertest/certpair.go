package brokertest

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
)

// Each version has a key that signs for it and a secret that holds it, both with the
// certificate's dates.
func testCertificatePair(f certFixture) {
	ctx := f.Context()
	p := selfSigned()
	p.KeyUsages = []string{"digitalSignature"}
	c := f.create(f.name("pair"), broker.NewCertificate{Policy: p, Enabled: true, Tags: map[string]string{"a": "b"}})
	k, err := f.keys.GetKey(ctx, c.Key)
	if err != nil {
		f.Fatalf("GetKey: %v", err)
	}
	if !k.Managed || !k.Enabled || k.Name != c.Key || !k.NotBefore.Equal(c.NotBefore) || !k.Expires.Equal(c.Expires) ||
		!slices.Equal(slices.Sorted(slices.Values(k.Ops)), []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}) {
		f.Errorf("the key is %v", k)
	}
	digest := sha256.Sum256([]byte("of a pair"))
	signed, err := f.keys.Sign(ctx, c.Key.Base(), "ES256", digest[:])
	if err != nil || signed.Key != c.Key {
		f.Fatalf("Sign: %v, by %v", err, signed.Key)
	}
	if !verifyWithLibrary(f.T, k.JWK, "ES256", digest[:], signed.Value) {
		f.Error("what the key signs is not good")
	}
	s, err := f.secrets.GetSecret(ctx, c.Secret.Base())
	if err != nil {
		f.Fatalf("GetSecret: %v", err)
	}
	if !s.Managed || !s.Enabled || s.Name != c.Secret || s.ContentType != broker.ContentTypePKCS12 || !s.NotBefore.Equal(c.NotBefore) || !s.Expires.Equal(c.Expires) {
		f.Errorf("the secret is %v", s.Secret)
	}
	if f.material(c).Key.Len() == 0 {
		f.Error("the secret has no private key")
	}
	keys := keyFixture{T: f.T, store: f.keys, vault: f.vault}
	if got := keys.listed()[c.Key.Base()]; !got.Managed {
		f.Error("ListKeys does not show the key as managed")
	}
	if got := (fixture{T: f.T, store: f.secrets, vault: f.vault}).listed()[c.Secret.Base()]; !got.Managed {
		f.Error("ListSecrets does not show the secret as managed")
	}
}

func testKeyOpsOfUsages(f certFixture) {
	all := allOps
	tests := map[string]struct {
		usages []string
		want   []broker.KeyOp
	}{
		"default":          {nil, []broker.KeyOp{"sign", "verify", "wrapKey", "unwrapKey"}},
		"dataEncipherment": {[]string{"dataEncipherment"}, []broker.KeyOp{"encrypt", "decrypt"}},
		"keyCertSign":      {[]string{"keyCertSign", "cRLSign"}, []broker.KeyOp{"sign", "verify"}},
		"decipherOnly":     {[]string{"decipherOnly"}, []broker.KeyOp{"decrypt"}},
		"four":             {[]string{"nonRepudiation", "keyEncipherment", "dataEncipherment"}, all},
	}
	for label, tt := range tests {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			c := f.make(f.name("ops-"+label), &broker.CertificatePolicy{Issuer: broker.IssuerSelf, Subject: "CN=a", KeyUsages: tt.usages})
			k, err := f.keys.GetKey(f.Context(), c.Key)
			if err != nil {
				f.Fatal(err)
			}
			if got, want := slices.Sorted(slices.Values(k.Ops)), slices.Sorted(slices.Values(tt.want)); !slices.Equal(got, want) {
				f.Errorf("operations %v, want %v", got, want)
			}
		})
	}
}

func testSecretFormats(f certFixture) {
	p := selfSigned()
	p.ContentType = broker.ContentTypePEM
	c := f.make(f.name("pem"), p)
	s, err := f.secrets.GetSecret(f.Context(), c.Secret)
	if err != nil || s.ContentType != broker.ContentTypePEM || c.ContentType != broker.ContentTypePEM {
		f.Fatalf("GetSecret: %v, content type %q", err, s.ContentType)
	}
	if m := f.material(c); m.Key.Len() == 0 || len(m.Chain) != 1 {
		f.Error("the PEM lacks the key or the certificate")
	}
	for _, contentType := range []string{broker.ContentTypePKCS12, broker.ContentTypePEM} {
		p := selfSigned()
		p.ContentType, p.Exportable = contentType, new(false)
		c := f.make(f.name("kept-"+contentType[len(contentType)-4:]), p)
		if m := f.material(c); m.Key.Len() != 0 || len(m.Chain) != 1 {
			f.Errorf("%s: the secret of a key that is not exportable has it", contentType)
		}
		if _, err := f.keys.Sign(f.Context(), c.Key, "ES256", make([]byte, 32)); err != nil {
			f.Errorf("%s: a key that is not exportable does not sign: %v", contentType, err)
		}
	}
}

// What is a certificate's changes with it alone.
func testManagedPair(f certFixture) {
	ctx := f.Context()
	c := f.make(f.name("managed"), selfSigned())
	key, secret := c.Key.Base(), c.Secret.Base()
	f.wantManaged("while it lives", map[string]func() error{
		"SetSecret": func() error { _, err := f.secrets.SetSecret(ctx, secret, broker.NewSecret{Enabled: true}); return err },
		"UpdateSecret": func() error {
			_, err := f.secrets.UpdateSecret(ctx, secret, broker.SecretUpdate{Enabled: new(false)})
			return err
		},
		"DeleteSecret": func() error { _, err := f.secrets.DeleteSecret(ctx, secret); return err },
		"BackupSecret": func() error { _, err := f.secrets.BackupSecret(ctx, secret); return err },
		"CreateKey":    func() error { _, err := f.keys.CreateKey(ctx, key, ecKey()); return err },
		"UpdateKey":    func() error { _, err := f.keys.UpdateKey(ctx, key, broker.KeyUpdate{Enabled: new(false)}); return err },
		"DeleteKey":    func() error { _, err := f.keys.DeleteKey(ctx, key); return err },
		"RotateKey":    func() error { _, err := f.keys.RotateKey(ctx, key); return err },
		"BackupKey":    func() error { _, err := f.keys.BackupKey(ctx, key); return err },
		"UpdateRotationPolicy": func() error {
			_, err := f.keys.UpdateRotationPolicy(ctx, key, broker.RotationPolicy{ExpiryTime: "P90D"})
			return err
		},
	})
	f.wantSame("GetCertificate", f.get(c.Name), c)
	f.delete(c.Name.Base())
	f.wantManaged("while it is deleted", map[string]func() error{
		"RecoverSecret": func() error { _, err := f.secrets.RecoverSecret(ctx, secret); return err },
		"PurgeSecret":   func() error { return f.secrets.PurgeSecret(ctx, secret) },
		"RecoverKey":    func() error { _, err := f.keys.RecoverKey(ctx, key); return err },
		"PurgeKey":      func() error { return f.keys.PurgeKey(ctx, key) },
	})
}

func (f certFixture) wantManaged(when string, calls map[string]func() error) {
	f.Helper()
	for label, call := range calls {
		f.wantCode(label+" of a certificate's "+when, call(), broker.CodeCertificateManaged)
	}
}

// A plain key or secret of the name stands in a certificate's way, and the other way
// round while the certificate has neither.
func testNameInUse(f certFixture) {
	ctx, name := f.Context(), f.name("in-use")
	secret, key := name.As(broker.KindSecrets), f.name("in-use-key").As(broker.KindKeys)
	if _, err := f.secrets.SetSecret(ctx, secret, broker.NewSecret{Value: broker.NewValue("plain"), Enabled: true}); err != nil {
		f.Fatal(err)
	}
	if _, err := f.keys.CreateKey(ctx, key, ecKey()); err != nil {
		f.Fatal(err)
	}
	for _, n := range []broker.Name{name, key.As(broker.KindCertificates)} {
		_, err := f.store.CreateCertificate(ctx, n, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
		f.wantCode("CreateCertificate over a plain key or secret", err, broker.CodeCertificateExists)
		_, err = f.store.ImportCertificate(ctx, n, broker.CertificateImport{Material: issueFor(f.T).pem(), Enabled: true})
		f.wantCode("ImportCertificate over a plain key or secret", err, broker.CodeCertificateExists)
	}
	if _, err := f.secrets.DeleteSecret(ctx, secret); err != nil {
		f.Fatal(err)
	}
	_, err := f.store.CreateCertificate(ctx, name, broker.NewCertificate{Policy: selfSigned(), Enabled: true})
	f.wantCode("CreateCertificate over a deleted secret", err, broker.CodeCertificateExists)
	if err := f.secrets.PurgeSecret(ctx, secret); err != nil {
		f.Fatal(err)
	}
	f.begin(name, broker.NewCertificate{Policy: toSign(), Enabled: true})
	_, err = f.secrets.SetSecret(ctx, secret, broker.NewSecret{Value: broker.NewValue("plain"), Enabled: true})
	f.wantCode("SetSecret while a certificate is made", err, broker.CodeCertificateManaged)
	_, err = f.keys.CreateKey(ctx, name.As(broker.KindKeys), ecKey())
	f.wantCode("CreateKey while a certificate is made", err, broker.CodeCertificateManaged)
}

func testDisabledCertificate(f certFixture) {
	ctx := f.Context()
	name := f.name("disabled")
	first, second := f.make(name, selfSigned()), f.make(name, selfSigned())
	tags := map[string]string{"a": "b"}
	updated, err := f.store.UpdateCertificate(ctx, first.Name, broker.CertificateUpdate{Enabled: new(false), Tags: &tags})
	if err != nil || updated.Enabled || updated.Tags["a"] != "b" || updated.Name != first.Name {
		f.Fatalf("UpdateCertificate: %v, %v", updated, err)
	}
	f.wantSame("GetCertificate", f.get(first.Name), updated)
	f.wantSame("the latest", f.get(name), second)
	_, err = f.secrets.GetSecret(ctx, first.Secret)
	f.wantCode("GetSecret of a disabled one", err, broker.CodeSecretDisabled)
	_, err = f.keys.Sign(ctx, first.Key, "ES256", make([]byte, 32))
	f.wantCode("Sign of a disabled one", err, broker.CodeKeyDisabled)
	if _, err := f.secrets.GetSecret(ctx, second.Secret); err != nil {
		f.Errorf("GetSecret of the other: %v", err)
	}
	if updated, err = f.store.UpdateCertificate(ctx, first.Name, broker.CertificateUpdate{Enabled: new(true)}); err != nil || !updated.Enabled || updated.Tags["a"] != "b" {
		f.Fatalf("UpdateCertificate: %v, %v", updated, err)
	}
	if _, err := f.secrets.GetSecret(ctx, first.Secret); err != nil {
		f.Errorf("GetSecret once it is enabled: %v", err)
	}
	c := f.create(name, broker.NewCertificate{}) // made disabled
	if c.Enabled {
		f.Error("a certificate that was to be disabled is not")
	}
	_, err = f.secrets.GetSecret(ctx, name.As(broker.KindSecrets))
	f.wantCode("GetSecret of one made disabled", err, broker.CodeSecretDisabled)
}
