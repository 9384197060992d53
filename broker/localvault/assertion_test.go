package localvault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

const (
	federatedIssuer   = "https://cluster.example/issuer"
	federatedSubject  = "system:serviceaccount:pay:billing"
	federatedAudience = "api://AzureADTokenExchange"
)

// rsaKey is made once: RSA keys take their time.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newCertificate(t *testing.T, until time.Duration) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, rsaKey().Public(), rsaKey())
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func newECKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func federated(key *ecdsa.PrivateKey) localvault.Federated {
	return localvault.Federated{
		Issuer: federatedIssuer, Subject: federatedSubject,
		Keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}},
	}
}

func signClaims(t *testing.T, alg jose.SignatureAlgorithm, key any, headers map[jose.HeaderKey]any, c jwt.Claims) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range headers {
		o.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	must(t, err)
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	must(t, err)
	return text
}

func TestClientCertificateCredential(t *testing.T) {
	_, server, _ := serveSTS(t, "")
	cert := newCertificate(t, time.Hour)
	c := stsConfig(t, server.URL)
	c.Certificates = []*x509.Certificate{newCertificate(t, time.Hour), cert}
	s := newSTS(t, c)
	server.Config.Handler = s
	for label, chain := range map[string]bool{"by its thumbprint": false, "with its chain": true} {
		t.Run(label, func(t *testing.T) {
			credential, err := azidentity.NewClientCertificateCredential(tenant, client, []*x509.Certificate{cert}, rsaKey(),
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: clientOptions(server), DisableInstanceDiscovery: true, SendCertificateChain: chain})
			must(t, err)
			token, err := credential.GetToken(t.Context(), tokenOptions(vaultScope))
			must(t, err)
			must(t, s.Verify(t.Context(), token.Token))
		})
	}
	stranger, err := azidentity.NewClientCertificateCredential(tenant, client, []*x509.Certificate{newCertificate(t, time.Hour)}, rsaKey(),
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: clientOptions(server), DisableInstanceDiscovery: true})
	must(t, err)
	if _, err := stranger.GetToken(t.Context(), tokenOptions(vaultScope)); err == nil || !strings.Contains(err.Error(), "AADSTS700027") {
		t.Errorf("with another certificate: %v; want AADSTS700027", err)
	}
}

func TestWorkloadIdentityCredential(t *testing.T) {
	_, server, _ := serveSTS(t, "")
	key := newECKey(t)
	c := stsConfig(t, server.URL)
	c.Federated = []localvault.Federated{federated(key)}
	s := newSTS(t, c)
	server.Config.Handler = s
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte(signClaims(t, jose.ES256, key, map[jose.HeaderKey]any{"kid": "k1"}, jwt.Claims{
		Issuer: federatedIssuer, Subject: federatedSubject, Audience: jwt.Audience{federatedAudience}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	})), 0o600))
	credential, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		ClientOptions: clientOptions(server), DisableInstanceDiscovery: true, ClientID: client, TenantID: tenant, TokenFilePath: file,
	})
	must(t, err)
	token, err := credential.GetToken(t.Context(), tokenOptions(vaultScope))
	must(t, err)
	must(t, s.Verify(t.Context(), token.Token))
}

func TestAssertions(t *testing.T) {
	const authority = "https://127.0.0.1:7445"
	cert, old, key := newCertificate(t, time.Hour), newCertificate(t, -time.Hour), newECKey(t)
	c := stsConfig(t, authority)
	c.Certificates, c.Federated = []*x509.Certificate{cert, old}, []localvault.Federated{federated(key)}
	s := newSTS(t, c)
	hash := sha256.Sum256(cert.Raw)
	oldHash := sha256.Sum256(old.Raw)
	short := sha1.Sum(cert.Raw)
	named := map[jose.HeaderKey]any{"x5t#S256": base64.StdEncoding.EncodeToString(hash[:])}
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	own := func(change func(*jwt.Claims)) jwt.Claims {
		c := jwt.Claims{Issuer: client, Subject: client, Audience: jwt.Audience{authority + "/" + tenant + "/oauth2/v2.0/token"}, NotBefore: in(0), Expiry: in(10 * time.Minute)}
		if change != nil {
			change(&c)
		}
		return c
	}
	theirs := func(change func(*jwt.Claims)) jwt.Claims {
		c := jwt.Claims{Issuer: federatedIssuer, Subject: federatedSubject, Audience: jwt.Audience{federatedAudience}, Expiry: in(time.Hour)}
		if change != nil {
			change(&c)
		}
		return c
	}
	ps := func(h map[jose.HeaderKey]any, c jwt.Claims) string { return signClaims(t, jose.PS256, rsaKey(), h, c) }
	es := func(kid string, c jwt.Claims) string {
		return signClaims(t, jose.ES256, key, map[jose.HeaderKey]any{"kid": kid}, c)
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+client+`","sub":"`+client+`"}`)) + "."
	tampered := ps(named, own(nil))
	i := strings.LastIndex(tampered, ".") + 20
	tampered = tampered[:i] + "AAAAAAAA" + tampered[i+8:]
	tests := map[string]struct {
		assertion string
		code      int // 0 is a token
	}{
		"PS256":                      {ps(named, own(nil)), 0},
		"RS256":                      {signClaims(t, jose.RS256, rsaKey(), named, own(nil)), 0},
		"the hash for URLs":          {ps(map[jose.HeaderKey]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(hash[:])}, own(nil)), 0},
		"the older hash":             {ps(map[jose.HeaderKey]any{"x5t": base64.RawURLEncoding.EncodeToString(short[:])}, own(nil)), 0},
		"for the issuer":             {ps(named, own(func(c *jwt.Claims) { c.Audience = jwt.Audience{authority + "/" + tenant + "/v2.0"} })), 0},
		"no hash":                    {ps(nil, own(nil)), 700027},
		"an empty hash":              {ps(map[jose.HeaderKey]any{"x5t#S256": ""}, own(nil)), 700027},
		"the newer hash decides":     {ps(map[jose.HeaderKey]any{"x5t#S256": "AAAA", "x5t": base64.RawURLEncoding.EncodeToString(short[:])}, own(nil)), 700027},
		"an expired certificate":     {ps(map[jose.HeaderKey]any{"x5t#S256": base64.StdEncoding.EncodeToString(oldHash[:])}, own(nil)), 700027},
		"another key":                {signClaims(t, jose.ES256, key, named, own(nil)), 50027},
		"signed with a secret":       {signClaims(t, jose.HS256, []byte(clientSecret+"0123456789abcdef"), named, own(nil)), 50027},
		"unsigned":                   {unsigned, 50027},
		"a changed signature":        {tampered, 700027},
		"no JWT":                     {"x.y.z", 50027},
		"a long one":                 {strings.Repeat("x", 20<<10), 50027},
		"for another application":    {ps(named, own(func(c *jwt.Claims) { c.Subject = "other" })), 700021},
		"for another endpoint":       {ps(named, own(func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://login.microsoftonline.com"} })), 700023},
		"for nobody":                 {ps(named, own(func(c *jwt.Claims) { c.Audience = nil })), 700023},
		"too old":                    {ps(named, own(func(c *jwt.Claims) { c.Expiry = in(-10 * time.Minute) })), 700024},
		"too early":                  {ps(named, own(func(c *jwt.Claims) { c.NotBefore = in(10 * time.Minute) })), 700024},
		"endless":                    {ps(named, own(func(c *jwt.Claims) { c.Expiry = nil })), 700024},
		"federated":                  {es("k1", theirs(nil)), 0},
		"federated, without key id":  {signClaims(t, jose.ES256, key, nil, theirs(nil)), 700027},
		"federated, another key":     {es("k2", theirs(nil)), 700027},
		"federated, a forged key":    {signClaims(t, jose.ES256, newECKey(t), map[jose.HeaderKey]any{"kid": "k1"}, theirs(nil)), 700027},
		"federated, another issuer":  {es("k1", theirs(func(c *jwt.Claims) { c.Issuer += "/" })), 700211},
		"federated, no issuer":       {es("k1", theirs(func(c *jwt.Claims) { c.Issuer = "" })), 700211},
		"federated, another subject": {es("k1", theirs(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:pay:other" })), 700213},
		"federated, for the vault":   {es("k1", theirs(func(c *jwt.Claims) { c.Audience = jwt.Audience{localvault.DefaultAudience} })), 700212},
		"federated, too old":         {es("k1", theirs(func(c *jwt.Claims) { c.Expiry = in(-time.Hour) })), 700024},
		"federated, endless":         {es("k1", theirs(func(c *jwt.Claims) { c.Expiry = nil })), 700024},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			form := url.Values{
				"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {vaultScope}, "client_assertion": {tt.assertion},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			}
			r := httptest.NewRequest(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var body struct {
				Token string `json:"access_token"`
				Codes []int  `json:"error_codes"`
			}
			must(t, json.Unmarshal(w.Body.Bytes(), &body))
			if tt.code == 0 {
				if w.Code != 200 || s.Verify(t.Context(), body.Token) != nil {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			if w.Code < 400 || body.Token != "" || len(body.Codes) != 1 || body.Codes[0] != tt.code {
				t.Errorf("%d %v, want AADSTS%d", w.Code, body.Codes, tt.code)
			}
		})
	}
}

func TestNewSTSRefusesKeys(t *testing.T) {
	key := newECKey(t)
	private := federated(key)
	private.Keys.Keys = []jose.JSONWebKey{{Key: key, KeyID: "k1"}}
	symmetric := federated(key)
	symmetric.Keys.Keys = []jose.JSONWebKey{{Key: []byte("0123456789abcdef"), KeyID: "k1"}}
	for name, f := range map[string]localvault.Federated{
		"no issuer": {Subject: "s", Keys: federated(key).Keys}, "no subject": {Issuer: "i", Keys: federated(key).Keys},
		"no keys": {Issuer: "i", Subject: "s"}, "a private key": private, "a symmetric key": symmetric,
	} {
		t.Run(name, func(t *testing.T) {
			c := stsConfig(t, "https://127.0.0.1:7445")
			c.Federated = []localvault.Federated{f}
			if _, err := localvault.NewSTS(c); err == nil {
				t.Error("accepted")
			}
		})
	}
	c := stsConfig(t, "https://127.0.0.1:7445")
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	c.Certificates = []*x509.Certificate{cert}
	if _, err := localvault.NewSTS(c); err == nil {
		t.Error("a certificate with an EC key is accepted")
	}
}

// No text is an assertion but one that was signed with a known key.
func FuzzAssertion(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s, err := localvault.NewSTS(localvault.STSConfig{
		Authority: "https://127.0.0.1:7445", TenantID: tenant, ClientID: client, ClientSecret: broker.NewValue(clientSecret),
		Federated: []localvault.Federated{federated(key)},
	})
	if err != nil {
		f.Fatal(err)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	f.Add(part(`{"alg":"none"}`) + "." + part(`{"iss":"`+client+`"}`) + ".")
	f.Add(part(`{"alg":"ES256","kid":"k1"}`) + "." + part(`{"iss":"`+federatedIssuer+`","sub":"`+federatedSubject+`"}`) + "." + part(strings.Repeat("x", 64)))
	f.Add(part(`{"alg":"PS256","x5t#S256":7}`) + "." + part(`{"iss":"`+client+`","exp":"x"}`) + ".AAAA")
	f.Fuzz(func(t *testing.T, assertion string) {
		form := url.Values{
			"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {vaultScope}, "client_assertion": {assertion},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		}
		r := httptest.NewRequest(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest && w.Code != http.StatusUnauthorized {
			t.Errorf("%d", w.Code)
		}
	})
}
