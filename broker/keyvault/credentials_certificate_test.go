package keyvault_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const pfxPassword = "fixture" // of testdata/*.pfx

// pemCertificate returns a certificate and its key, apart, in PEM.
func pemCertificate(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app-1"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func writeFile(t *testing.T, path string, parts ...[]byte) string {
	t.Helper()
	var text []byte
	for _, p := range parts {
		text = append(text, p...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// signedBy judges an assertion as Entra does: who signed it, by which
// algorithm, for whom, about whom and for how long.
func (e *entra) signedBy(t *testing.T, cert *x509.Certificate) func(url.Values) bool {
	return func(form url.Values) bool {
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_secret") {
			t.Errorf("the request's form: %v", form)
			return false
		}
		assertion, err := jwt.ParseSigned(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.PS256})
		if err != nil {
			t.Error(err)
			return false
		}
		var claims jwt.Claims
		if err := assertion.Claims(cert.PublicKey, &claims); err != nil {
			t.Logf("refused: %v", err)
			return false
		}
		sum := sha256.Sum256(cert.Raw)
		if got := assertion.Headers[0].ExtraHeaders["x5t#S256"]; got != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("x5t#S256 is %v", got)
		}
		if err := claims.Validate(jwt.Expected{
			Issuer: "app-1", Subject: "app-1", AnyAudience: jwt.Audience{e.URL + "/tenant-1/oauth2/v2.0/token"}, Time: time.Now(),
		}); err != nil {
			t.Error(err)
		}
		if life := claims.Expiry.Time().Sub(claims.NotBefore.Time()); life != 10*time.Minute || claims.ID == "" {
			t.Errorf("a statement of %v with id %q", life, claims.ID)
		}
		return true
	}
}

func (e *entra) certificate(file, password string) keyvault.ClientCertificateConfig {
	return keyvault.ClientCertificateConfig{
		TenantID: "tenant-1", ClientID: "app-1", CertificateFile: file, Password: broker.NewValue(password),
		Authority: e.URL, RootCAs: rootsOf(e.Server),
	}
}

func TestClientCertificate(t *testing.T) {
	certificate, key := pemCertificate(t)
	other, _ := pemCertificate(t)
	dir := t.TempDir()
	for label, tt := range map[string]struct{ file, password string }{
		"PEM":                            {writeFile(t, filepath.Join(dir, "a.pem"), certificate, key), ""},
		"PEM, the key first":             {writeFile(t, filepath.Join(dir, "b.pem"), key, certificate), ""},
		"PEM, another certificate first": {writeFile(t, filepath.Join(dir, "c.pem"), other, certificate, key), ""},
		"PFX":                            {"testdata/certificate.pfx", pfxPassword},
	} {
		t.Run(label, func(t *testing.T) {
			e := newEntra(t)
			e.proves = e.signedBy(t, certificateOf(t, label, certificate))
			src, err := keyvault.ClientCertificate(e.certificate(tt.file, tt.password))
			if err != nil {
				t.Fatal(err)
			}
			for want := range 2 { // the second is not from a cache below ours
				got, err := src.Token(t.Context(), scope, "")
				if err != nil {
					t.Fatal(err)
				}
				if got.Value.Reveal() != "token-"+string(rune('1'+want)) {
					t.Error("the token comes from a cache below ours")
				}
			}
			if e.forms[0]["client_assertion"][0] == e.forms[1]["client_assertion"][0] {
				t.Error("a statement was used twice")
			}
		})
	}
}

// certificateOf returns the certificate that a case of TestClientCertificate
// proves itself with.
func certificateOf(t *testing.T, label string, ours []byte) *x509.Certificate {
	t.Helper()
	if label == "PFX" {
		var err error
		if ours, err = os.ReadFile("testdata/certificate.crt"); err != nil {
			t.Fatal(err)
		}
	}
	block, _ := pem.Decode(ours)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// A certificate that was renewed in its file is used from the next token on.
func TestClientCertificateIsRenewed(t *testing.T) {
	e := newEntra(t)
	before, beforeKey := pemCertificate(t)
	after, afterKey := pemCertificate(t)
	file := writeFile(t, filepath.Join(t.TempDir(), "app.pem"), before, beforeKey)
	src, err := keyvault.ClientCertificate(e.certificate(file, ""))
	if err != nil {
		t.Fatal(err)
	}
	e.proves = e.signedBy(t, certificateOf(t, "", before))
	if _, err := src.Token(t.Context(), scope, ""); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, after, afterKey)
	e.proves = e.signedBy(t, certificateOf(t, "", after))
	if _, err := src.Token(t.Context(), scope, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, err = src.Token(t.Context(), scope, "")
	wantCode(t, err, broker.CodeVaultAuthentication)
	if !strings.Contains(err.Error(), "no such file") {
		t.Errorf("the log does not say that the file is gone: %v", err)
	}
}

func TestClientCertificateConfig(t *testing.T) {
	certificate, key := pemCertificate(t)
	other, _ := pemCertificate(t)
	dir := t.TempDir()
	file := func(name string, parts ...[]byte) string { return writeFile(t, filepath.Join(dir, name), parts...) }
	good := keyvault.ClientCertificateConfig{TenantID: "tenant-1", ClientID: "app-1", CertificateFile: file("good.pem", certificate, key)}
	if _, err := keyvault.ClientCertificate(good); err != nil {
		t.Fatal(err)
	}
	for label, tt := range map[string]struct {
		change func(*keyvault.ClientCertificateConfig)
		want   string
	}{
		"no tenant":        {func(c *keyvault.ClientCertificateConfig) { c.TenantID = "" }, "needs a tenant"},
		"no client":        {func(c *keyvault.ClientCertificateConfig) { c.ClientID = "" }, "client id"},
		"no name of file":  {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = "" }, "certificate's file"},
		"no file":          {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = "gone.pem" }, "no such file"},
		"no key":           {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = file("a.pem", certificate) }, "no private key"},
		"no certificate":   {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = file("b.pem", key) }, "no certificate"},
		"another's key":    {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = file("c.pem", other, key) }, "not that of the certificate"},
		"nothing":          {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = file("d.pem") }, "cannot be opened as a PFX"},
		"PEM and password": {func(c *keyvault.ClientCertificateConfig) { c.Password = broker.NewValue(canary) }, "leave the password out"},
		"PFX, no password": {func(c *keyvault.ClientCertificateConfig) { c.CertificateFile = "testdata/certificate.pfx" }, "check its password"},
		"PFX, wrong password": {func(c *keyvault.ClientCertificateConfig) {
			c.CertificateFile, c.Password = "testdata/certificate.pfx", broker.NewValue(canary)
		}, "check its password"},
		"PFX of the newer kind": {func(c *keyvault.ClientCertificateConfig) {
			c.CertificateFile, c.Password = "testdata/certificate-aes.pfx", broker.NewValue(pfxPassword)
		}, "make PEM of it"},
		"http": {func(c *keyvault.ClientCertificateConfig) { c.Authority = "http://login.example" }, "the authority must be"},
	} {
		t.Run(label, func(t *testing.T) {
			c := good
			tt.change(&c)
			_, err := keyvault.ClientCertificate(c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		})
	}
}
