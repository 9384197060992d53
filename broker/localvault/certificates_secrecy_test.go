package localvault_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// Private keys and passwords are in no file, log line, error or printed answer,
// however they are written, whether a key was imported, made, or waits for its
// certificate.
func TestKeysOfCertificatesStayInside(t *testing.T) {
	var log bytes.Buffer
	c := config(t.TempDir())
	c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	v := open(t, c)
	ctx, store := t.Context(), v.Certificates()
	var told bytes.Buffer
	tell := func(got any, err error) {
		_, _ = fmt.Fprintf(&told, "%v %+v %#v %v\n", got, got, got, err)
		if err != nil {
			_, _ = fmt.Fprintf(&told, "%#v %s\n", err, broker.AsError(err).Message)
		}
	}
	const password = "canary of a password"
	secrets := map[string][]byte{"password": []byte(password)}
	keep := func(label string, key any) {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			secrets[label+", d"], secrets[label+", p"] = k.D.Bytes(), k.Primes[0].Bytes()
		case *ecdsa.PrivateKey:
			d, err := k.Bytes()
			must(t, err)
			secrets[label] = d
		}
	}
	for i, key := range keysToImport(t) {
		keep(fmt.Sprint("imported ", i), key)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		cert := certificateOf(t, key)
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) +
			string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		pfx, err := pkcs12.Modern.Encode(key, cert, nil, password)
		must(t, err)
		name := certificateName(t, fmt.Sprint("imported-", i))
		exportable := i%2 == 0
		policy := &broker.CertificatePolicy{Exportable: &exportable}
		for _, in := range []broker.CertificateImport{
			{Material: broker.NewValue(text), Enabled: true, Policy: policy},
			{Material: broker.NewValue(base64.StdEncoding.EncodeToString(pfx)), Password: broker.NewValue(password), Enabled: true, Policy: policy},
			{Material: broker.NewValue(base64.StdEncoding.EncodeToString(pfx)), Password: broker.NewValue(password + "x")},
			{Material: broker.NewValue(text[:len(text)-20])},
			{Material: broker.NewValue(text), ContentType: broker.ContentTypePKCS12, Password: broker.NewValue(password)},
			{Material: broker.NewValue(strings.ReplaceAll(text, "PRIVATE KEY", "RSA PRIVATE KEY"))},
		} {
			tell(store.ImportCertificate(ctx, name, in))
		}
		useAll(t, v, name, tell)
	}
	for _, issuer := range []string{broker.IssuerSelf, broker.IssuerUnknown} {
		name := certificateName(t, strings.ToLower(issuer))
		tell(store.CreateCertificate(ctx, name, broker.NewCertificate{
			Policy: &broker.CertificatePolicy{Issuer: issuer, Subject: "CN=a", KeyType: broker.KeyTypeEC}, Enabled: true,
		}))
		if issuer == broker.IssuerSelf {
			s, err := v.Secrets().GetSecret(ctx, name.As(broker.KindSecrets))
			must(t, err)
			m, err := broker.ParseCertificateMaterial("", s.Value, broker.Value{})
			must(t, err)
			key, err := x509.ParsePKCS8PrivateKey([]byte(m.Key.Reveal()))
			must(t, err)
			keep("made", key)
		} else {
			secrets["waiting"] = localvault.PendingKey(t, v, name)
			tell(store.MergeCertificate(ctx, name, broker.CertificateMerge{Chain: [][]byte{certificateOf(t, newSigner(t)).Raw}}))
		}
		useAll(t, v, name, tell)
	}
	must(t, v.Close())
	if log.Len() == 0 || told.Len() == 0 || len(secrets) != 6 {
		t.Fatalf("%d bytes logged, %d told, %d secrets; the test looks at too little", log.Len(), told.Len(), len(secrets))
	}
	file, err := os.ReadFile(c.Path)
	must(t, err)
	for label, secret := range secrets {
		for _, written := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.RawURLEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret),
			new(big.Int).SetBytes(secret).String(), strings.Trim(fmt.Sprintf("%d", secret), "[]"),
		} {
			for where, text := range map[string]string{"file": string(file), "log": log.String(), "answers": told.String()} {
				if strings.Contains(text, written) {
					t.Errorf("the %s shows what was to be kept: %s", where, label)
				}
			}
		}
	}
}

func keysToImport(t *testing.T) []any {
	t.Helper()
	one, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	return []any{one, newSigner(t)}
}

func newSigner(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func certificateOf(t *testing.T, key any) *x509.Certificate {
	t.Helper()
	return certificateOfPublic(t, key, key.(crypto.Signer).Public())
}

// certificateOfPublic makes a certificate of public, signed with key.
func certificateOfPublic(t *testing.T, key, public any) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

// useAll does with a certificate what can be done, and damages it at last: that is
// logged.
func useAll(t *testing.T, v *localvault.Vault, name broker.Name, tell func(any, error)) {
	t.Helper()
	ctx, store := t.Context(), v.Certificates()
	tell(store.GetCertificate(ctx, name))
	tell(store.GetCertificateOperation(ctx, name))
	tell(store.GetCertificatePolicy(ctx, name))
	tell(store.ListCertificateVersions(ctx, name))
	tell(store.ListCertificates(ctx, name.Vault(), broker.Page{}))
	tell(v.Secrets().GetSecret(ctx, name.As(broker.KindSecrets)))
	tell(v.Keys().GetKey(ctx, name.As(broker.KindKeys)))
	tell(v.Keys().Sign(ctx, name.As(broker.KindKeys), "ES256", make([]byte, 32)))
	tell(store.UpdateCertificate(ctx, name, broker.CertificateUpdate{Tags: &map[string]string{"a": "b"}}))
	tell(store.BackupCertificate(ctx, name))
	tell(store.DeleteCertificate(ctx, name))
	tell(store.RecoverCertificate(ctx, name))
	localvault.DamageKey(t, v, name.ObjectName())
	tell(v.Keys().Sign(ctx, name.As(broker.KindKeys), "ES256", make([]byte, 32)))
	tell(store.BackupCertificate(ctx, name))
}
