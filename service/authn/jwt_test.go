package authn_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// signer makes tokens by hand, so that nothing keeps a test from making a bad
// one.
type signer struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	// weak is too short for anybody to rely on.
	weak *rsa.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return signer{rsa: r, ec: e, weak: weak}
}

// jwks is the signer's public key set. A symmetric key is in it, as a careless
// issuer might have it.
func (s signer) jwks(t *testing.T) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"keys": []any{
		jose.JSONWebKey{Key: &s.rsa.PublicKey, KeyID: "rsa", Use: "sig"},
		jose.JSONWebKey{Key: &s.ec.PublicKey, KeyID: "ec", Use: "sig"},
		jose.JSONWebKey{Key: &s.weak.PublicKey, KeyID: "weak", Use: "sig"},
		map[string]string{"kty": "oct", "kid": "oct", "k": b64([]byte("secret"))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign signs header and claims, which are JSON texts.
func (s signer) sign(t *testing.T, alg, header, claims string) string {
	t.Helper()
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	token := input
	if strings.Contains(header, `"b64":false`) {
		input = b64([]byte(header)) + "." + claims
	}
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch alg {
	case "RS256":
		sig, err = rsa.SignPKCS1v15(rand.Reader, s.rsa, crypto.SHA256, sum[:])
	case "PS256":
		sig, err = rsa.SignPSS(rand.Reader, s.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256":
		r, ss, serr := ecdsa.Sign(rand.Reader, s.ec, sum[:])
		err = serr
		sig = append(r.FillBytes(make([]byte, 32)), ss.FillBytes(make([]byte, 32))...)
	case "HS256":
		// The classic confusion: the public key's encoding as a shared secret.
		pub, perr := x509.MarshalPKIXPublicKey(&s.rsa.PublicKey)
		err = perr
		m := hmac.New(sha256.New, pub)
		m.Write([]byte(input))
		sig = m.Sum(nil)
	case "weak":
		sig, err = rsa.SignPKCS1v15(rand.Reader, s.weak, crypto.SHA256, sum[:])
	case "none":
	default:
		t.Fatalf("no such algorithm: %s", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return token + "." + b64(sig)
}

const iss, aud = "https://issuer.example", "keyward"

func goodClaims() map[string]any {
	return map[string]any{"iss": iss, "aud": aud, "sub": "billing", "exp": time.Now().Add(time.Hour).Unix()}
}

// claims returns the good claims with changes; a nil value removes one.
func claims(t *testing.T, changes map[string]any) string {
	t.Helper()
	c := goodClaims()
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const rs256, es256 = `{"alg":"RS256","kid":"rsa"}`, `{"alg":"ES256","kid":"ec"}`

func bearer(token string) authn.Credentials {
	return authn.Credentials{Authorization: []string{"Bearer " + token}}
}

func fromFile(t *testing.T, s signer, change func(*authn.Issuer)) authn.Authenticator {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
		t.Fatal(err)
	}
	i := authn.Issuer{Name: "kube", Issuer: iss, Audience: aud, GroupsClaim: "groups", JWKSFile: file}
	if change != nil {
		change(&i)
	}
	a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{i}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestJWTAccepts(t *testing.T) {
	s := newSigner(t)
	a := fromFile(t, s, func(i *authn.Issuer) { i.Algorithms = []string{"RS256", "PS256", "ES256"} })
	plain := broker.Principal{ID: "kube/billing"}
	cases := map[string]struct {
		token string
		want  broker.Principal
	}{
		"RS256":             {s.sign(t, "RS256", rs256, claims(t, nil)), plain},
		"PS256":             {s.sign(t, "PS256", `{"alg":"PS256","kid":"rsa"}`, claims(t, nil)), plain},
		"ES256":             {s.sign(t, "ES256", es256, claims(t, nil)), plain},
		"no kid":            {s.sign(t, "ES256", `{"alg":"ES256","typ":"JWT"}`, claims(t, nil)), plain},
		"audience in array": {s.sign(t, "ES256", es256, claims(t, map[string]any{"aud": []string{"other", aud}})), plain},
		"groups":            {s.sign(t, "ES256", es256, claims(t, map[string]any{"groups": []string{"pay", "ops"}})), broker.Principal{ID: "kube/billing", Groups: []string{"kube/pay", "kube/ops"}}},
		"one group":         {s.sign(t, "ES256", es256, claims(t, map[string]any{"groups": "pay"})), broker.Principal{ID: "kube/billing", Groups: []string{"kube/pay"}}},
		"clock a bit ahead": {s.sign(t, "ES256", es256, claims(t, map[string]any{"nbf": time.Now().Add(30 * time.Second).Unix()})), plain},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for range 2 { // verified, and then remembered
				got, err := a.Authenticate(t.Context(), bearer(c.token))
				if err != nil || !reflect.DeepEqual(got, c.want) {
					t.Errorf("got %+v, %v; want %+v", got, err, c.want)
				}
			}
		})
	}
}

func TestJWTRefuses(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	// Whoever fetches what a token's header points at is caught here.
	var fetched atomic.Int32
	trap := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		_, _ = w.Write(other.jwks(t))
	}))
	defer trap.Close()
	a := fromFile(t, s, nil)

	good := s.sign(t, "ES256", es256, claims(t, nil))
	parts := strings.Split(good, ".")
	with := func(changes map[string]any) string { return s.sign(t, "ES256", es256, claims(t, changes)) }
	embedded, err := json.Marshal(jose.JSONWebKey{Key: &other.ec.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	flat, err := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{
		"alg none":                      s.sign(t, "none", `{"alg":"none"}`, claims(t, nil)),
		"alg None in other case":        s.sign(t, "none", `{"alg":"nOnE"}`, claims(t, nil)),
		"no alg":                        s.sign(t, "ES256", `{"kid":"ec"}`, claims(t, nil)),
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"HS256 with the public key":     s.sign(t, "HS256", `{"alg":"HS256","kid":"rsa"}`, claims(t, nil)),
		"HS256 by the symmetric key":    s.sign(t, "HS256", `{"alg":"HS256","kid":"oct"}`, claims(t, nil)),
		"alg not configured":            s.sign(t, "PS256", `{"alg":"PS256","kid":"rsa"}`, claims(t, nil)),
		"alg of another key kind":       s.sign(t, "RS256", `{"alg":"ES256","kid":"rsa"}`, claims(t, nil)),
		"ES256 signature, RSA kid":      s.sign(t, "ES256", `{"alg":"ES256","kid":"rsa"}`, claims(t, nil)),
		"a key of 1024 bits":            s.sign(t, "weak", `{"alg":"RS256","kid":"weak"}`, claims(t, nil)),
		"unknown kid":                   s.sign(t, "ES256", `{"alg":"ES256","kid":"nobody"}`, claims(t, nil)),
		"kid is a path":                 s.sign(t, "ES256", `{"alg":"ES256","kid":"../../etc/passwd"}`, claims(t, nil)),
		"kid is no string":              s.sign(t, "ES256", `{"alg":"ES256","kid":7}`, claims(t, nil)),
		"signed by another":             other.sign(t, "ES256", es256, claims(t, nil)),
		"jku":                           other.sign(t, "ES256", `{"alg":"ES256","kid":"ec","jku":"`+trap.URL+`"}`, claims(t, nil)),
		"x5u":                           other.sign(t, "ES256", `{"alg":"ES256","kid":"ec","x5u":"`+trap.URL+`"}`, claims(t, nil)),
		"embedded jwk":                  other.sign(t, "ES256", `{"alg":"ES256","jwk":`+string(embedded)+`}`, claims(t, nil)),
		"critical header":               s.sign(t, "ES256", `{"alg":"ES256","kid":"ec","crit":["exp"],"exp":1}`, claims(t, nil)),
		"unencoded payload":             s.sign(t, "ES256", `{"alg":"ES256","kid":"ec","crit":["b64"],"b64":false}`, claims(t, nil)),
		"no iss":                        with(map[string]any{"iss": nil}),
		"other iss":                     with(map[string]any{"iss": iss + "/"}),
		"iss in other case":             s.sign(t, "ES256", es256, strings.Replace(claims(t, nil), `"iss"`, `"Iss"`, 1)),
		"iss twice":                     s.sign(t, "ES256", es256, `{"iss":"x",`+claims(t, nil)[1:]),
		"sub twice":                     s.sign(t, "ES256", es256, `{"sub":"admin",`+claims(t, nil)[1:]),
		"no aud":                        with(map[string]any{"aud": nil}),
		"aud without ours":              with(map[string]any{"aud": "other"}),
		"aud array without ours":        with(map[string]any{"aud": []string{"other", "keyward2"}}),
		"aud empty array":               with(map[string]any{"aud": []string{}}),
		"aud contains ours as a prefix": with(map[string]any{"aud": "keyward other"}),
		"no exp":                        with(map[string]any{"exp": nil}),
		"exp null":                      s.sign(t, "ES256", es256, `{"iss":"`+iss+`","aud":"keyward","sub":"a","exp":null}`),
		"exp is text":                   with(map[string]any{"exp": "9999999999"}),
		"expired":                       with(map[string]any{"exp": time.Now().Add(-time.Second).Unix()}),
		"not yet":                       with(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"issued in the future":          with(map[string]any{"iat": time.Now().Add(time.Hour).Unix()}),
		"no sub":                        with(map[string]any{"sub": nil}),
		"empty sub":                     with(map[string]any{"sub": ""}),
		"sub with a line break":         with(map[string]any{"sub": "a\nb"}),
		"sub with NUL":                  with(map[string]any{"sub": "a\x00b"}),
		"sub too long":                  with(map[string]any{"sub": strings.Repeat("a", 513)}),
		"sub is no string":              with(map[string]any{"sub": 7}),
		"groups is an object":           with(map[string]any{"groups": map[string]any{"pay": true}}),
		"a group is a number":           with(map[string]any{"groups": []any{"pay", 1}}),
		"an empty group":                with(map[string]any{"groups": []any{""}}),
		"payload altered":               parts[0] + "." + b64([]byte(claims(t, map[string]any{"sub": "admin"}))) + "." + parts[2],
		"padding":                       good + "=",
		"four parts":                    good + ".x",
		"five parts, a JWE":             b64([]byte(`{"alg":"RSA-OAEP","enc":"A256GCM"}`)) + ".a.b.c.d",
		"JSON serialization":            string(flat),
		"nested token":                  s.sign(t, "ES256", `{"alg":"ES256","kid":"ec","cty":"JWT"}`, good),
		"no JSON":                       s.sign(t, "ES256", es256, "claims"),
		"a JSON array":                  s.sign(t, "ES256", es256, "[]"),
		"1 MiB":                         with(map[string]any{"x": strings.Repeat("a", 1<<20)}),
		"just over 16 KiB":              with(map[string]any{"x": strings.Repeat("a", 12<<10)}),
		"empty":                         "",
		"dots":                          "..",
		"text":                          "hunter2",
		"a space within":                strings.Replace(good, ".", ". ", 1),
	}
	for name, token := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := a.Authenticate(t.Context(), bearer(token))
			if broker.CodeOf(err) != broker.CodeBadCredentials {
				t.Errorf("got %+v, %v; want BAD_CREDENTIALS", p, err)
			}
			if m := broker.AsError(err); m != nil && (m.Message == "" || (len(token) > 8 && strings.Contains(m.Error(), token))) {
				t.Errorf("the message is %q", m.Error())
			}
		})
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("%d fetches of what a header points at", n)
	}
	if _, err := a.Authenticate(t.Context(), bearer(good)); err != nil {
		t.Errorf("the good token: %v", err)
	}
}

func TestJWTAuthorizationHeader(t *testing.T) {
	s := newSigner(t)
	a := fromFile(t, s, nil)
	good := s.sign(t, "ES256", es256, claims(t, nil))
	cases := map[string]struct {
		headers []string
		want    broker.Code
	}{
		"none":            {nil, broker.CodeNoCredentials},
		"bearer":          {[]string{"Bearer " + good}, ""},
		"lower case":      {[]string{"bearer " + good}, ""},
		"another scheme":  {[]string{"Basic YTpi"}, broker.CodeNoCredentials},
		"scheme alone":    {[]string{"Bearer"}, broker.CodeBadCredentials},
		"two headers":     {[]string{"Bearer " + good, "Bearer " + good}, broker.CodeBadCredentials},
		"a list":          {[]string{"Bearer " + good + ", Bearer " + good}, broker.CodeBadCredentials},
		"a tab":           {[]string{"Bearer\t" + good}, broker.CodeNoCredentials},
		"behind a scheme": {[]string{"Basic Bearer " + good}, broker.CodeNoCredentials},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := a.Authenticate(t.Context(), authn.Credentials{Authorization: c.headers})
			if got := broker.CodeOf(err); got != c.want {
				t.Errorf("got %q (%v), want %q", got, err, c.want)
			}
		})
	}
}

func TestJWTIsForgottenWhenItExpires(t *testing.T) {
	s := newSigner(t)
	synctest.Test(t, func(t *testing.T) {
		a := fromFile(t, s, nil)
		token := s.sign(t, "ES256", es256, claims(t, map[string]any{"exp": time.Now().Add(10 * time.Second).Unix()}))
		for i, want := range []broker.Code{"", "", broker.CodeBadCredentials} {
			if _, err := a.Authenticate(t.Context(), bearer(token)); broker.CodeOf(err) != want {
				t.Errorf("call %d: got %v, want %q", i, err, want)
			}
			time.Sleep(6 * time.Second)
		}
	})
}

func TestJWTTwoIssuersKeepTheirSubjectsApart(t *testing.T) {
	one, two := newSigner(t), newSigner(t)
	dir := t.TempDir()
	config := authn.JWTConfig{}
	for name, s := range map[string]signer{"one": one, "two": two} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
			t.Fatal(err)
		}
		config.Issuers = append(config.Issuers, authn.Issuer{Name: name, Issuer: "https://" + name, Audience: aud, JWKSFile: file})
	}
	a, err := authn.NewJWT(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]signer{"one": one, "two": two} {
		p, err := a.Authenticate(t.Context(), bearer(s.sign(t, "ES256", es256, claims(t, map[string]any{"iss": "https://" + name}))))
		if err != nil || p.ID != name+"/billing" {
			t.Errorf("%s: got %+v, %v", name, p, err)
		}
	}
	// One's key under two's name.
	if p, err := a.Authenticate(t.Context(), bearer(one.sign(t, "ES256", es256, claims(t, map[string]any{"iss": "https://two"})))); broker.CodeOf(err) != broker.CodeBadCredentials {
		t.Errorf("got %+v, %v", p, err)
	}
}

// Each issuer's tokens are signed as that issuer is configured to, though
// another's may be signed otherwise.
func TestJWTTwoIssuersKeepTheirAlgorithmsApart(t *testing.T) {
	s := newSigner(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{
		{Name: "rs", Issuer: "https://rs", Audience: aud, JWKSFile: file, Algorithms: []string{"RS256"}},
		{Name: "es", Issuer: "https://es", Audience: aud, JWKSFile: file, Algorithms: []string{"ES256", "PS256"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"RS256": rs256, "ES256": es256, "PS256": `{"alg":"PS256","kid":"rsa"}`}
	for _, tt := range []struct {
		issuer, alg string
		want        broker.Code
	}{
		{"rs", "RS256", ""},
		{"rs", "ES256", broker.CodeBadCredentials},
		{"rs", "PS256", broker.CodeBadCredentials},
		{"es", "RS256", broker.CodeBadCredentials},
		{"es", "ES256", ""},
		{"es", "PS256", ""},
	} {
		token := s.sign(t, tt.alg, headers[tt.alg], claims(t, map[string]any{"iss": "https://" + tt.issuer}))
		if p, err := a.Authenticate(t.Context(), bearer(token)); broker.CodeOf(err) != tt.want {
			t.Errorf("%s by %s: %q, %v; want %q", tt.issuer, tt.alg, p.ID, err, tt.want)
		}
	}
}

func TestNewJWTRefusesConfigurations(t *testing.T) {
	s := newSigner(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
		t.Fatal(err)
	}
	ok := authn.Issuer{Name: "kube", Issuer: iss, Audience: aud, JWKSFile: file}
	edit := func(f func(*authn.Issuer)) []authn.Issuer { i := ok; f(&i); return []authn.Issuer{i} }
	huge := filepath.Join(t.TempDir(), "huge.json")
	if err := os.WriteFile(huge, padded(s.jwks(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string][]authn.Issuer{
		"a file of 1 MiB":     edit(func(i *authn.Issuer) { i.JWKSFile = huge }),
		"no name":             edit(func(i *authn.Issuer) { i.Name = "" }),
		"a SPIFFE-like name":  edit(func(i *authn.Issuer) { i.Name = "spiffe:" }),
		"a slash in the name": edit(func(i *authn.Issuer) { i.Name = "a/b" }),
		"no issuer":           edit(func(i *authn.Issuer) { i.Issuer = "" }),
		"no audience":         edit(func(i *authn.Issuer) { i.Audience = "" }),
		"plain http":          edit(func(i *authn.Issuer) { i.JWKSFile, i.Issuer = "", "http://issuer.example" }),
		"symmetric algorithm": edit(func(i *authn.Issuer) { i.Algorithms = []string{"HS256"} }),
		"algorithm none":      edit(func(i *authn.Issuer) { i.Algorithms = []string{"none"} }),
		"no such file":        edit(func(i *authn.Issuer) { i.JWKSFile += ".not" }),
		"the name twice":      {ok, {Name: "kube", Issuer: "https://b", Audience: aud, JWKSFile: file}},
		"the issuer twice":    {ok, {Name: "other", Issuer: iss, Audience: aud, JWKSFile: file}},
	}
	for name, issuers := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := authn.NewJWT(authn.JWTConfig{Issuers: issuers}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// provider is an OpenID provider on loopback.
type provider struct {
	*httptest.Server

	issuer  string // as the discovery document has it
	padding string // of the discovery document
	keys    []byte
	fetches atomic.Int32
}

func newProvider(t *testing.T, s signer) *provider {
	t.Helper()
	p := &provider{keys: s.jwks(t)}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"padding":%q,"issuer":%q,"jwks_uri":%q}`, p.padding, p.issuer, p.URL+"/keys")
		case "/keys":
			p.fetches.Add(1)
			_, _ = w.Write(p.keys)
		case "/moved/.well-known/openid-configuration":
			http.Redirect(w, r, "/.well-known/openid-configuration", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	p.issuer = p.URL
	return p
}

func (p *provider) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool
}

// padded is a good key set, but of more than 1 MiB.
func padded(jwks []byte) []byte {
	return append([]byte(`{"padding":"`+strings.Repeat("a", 1<<20)+`",`), jwks[1:]...)
}

// repeated is a key set with n times its first key.
func repeated(t *testing.T, jwks []byte, n int) []byte {
	t.Helper()
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = slices.Repeat(set.Keys[:1], n)
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestJWTDiscovery(t *testing.T) {
	s := newSigner(t)
	t.Run("works, lazily and once", func(t *testing.T) {
		p := newProvider(t, s)
		a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{{Name: "oidc", Issuer: p.URL, Audience: aud, RootCAs: p.roots()}}})
		if err != nil {
			t.Fatal(err)
		}
		if n := p.fetches.Load(); n != 0 {
			t.Errorf("%d fetches before the first token", n)
		}
		got, err := a.Authenticate(t.Context(), bearer(s.sign(t, "RS256", rs256, claims(t, map[string]any{"iss": p.URL}))))
		if err != nil || got.ID != "oidc/billing" {
			t.Fatalf("got %+v, %v", got, err)
		}
		for i := range 200 {
			header := fmt.Sprintf(`{"alg":"RS256","kid":"forged-%d"}`, i)
			if _, err := a.Authenticate(t.Context(), bearer(s.sign(t, "none", header, claims(t, map[string]any{"iss": p.URL})))); err == nil {
				t.Fatal("a forged token is accepted")
			}
		}
		if n := p.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
	bad := map[string]func(*provider, *authn.Issuer){
		"another issuer's document": func(p *provider, _ *authn.Issuer) { p.issuer = "https://other" },
		"an untrusted server":       func(_ *provider, i *authn.Issuer) { i.RootCAs = x509.NewCertPool() },
		"no keys":                   func(p *provider, _ *authn.Issuer) { p.keys = []byte(`{"keys":[]}`) },
		"HTML":                      func(p *provider, _ *authn.Issuer) { p.keys = []byte("<html>") },
		"an endless body":           func(p *provider, _ *authn.Issuer) { p.keys = []byte(`{"keys":["` + strings.Repeat("a", 1<<20)) },
		"1 MiB of keys":             func(p *provider, _ *authn.Issuer) { p.keys = padded(p.keys) },
		"65 keys":                   func(p *provider, _ *authn.Issuer) { p.keys = repeated(t, p.keys, 65) },
		"a document of 1 MiB":       func(p *provider, _ *authn.Issuer) { p.padding = strings.Repeat("a", 1<<20) },
		"a redirect":                func(p *provider, i *authn.Issuer) { i.Issuer += "/moved"; p.issuer = i.Issuer },
	}
	for name, change := range bad {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, s)
			i := authn.Issuer{Name: "oidc", Issuer: p.URL, Audience: aud, RootCAs: p.roots()}
			change(p, &i)
			a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{i}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Authenticate(t.Context(), bearer(s.sign(t, "RS256", rs256, claims(t, map[string]any{"iss": i.Issuer}))))
			e := broker.AsError(err)
			if e == nil || e.Code != broker.CodeBadCredentials || e.RetryAfter == 0 || strings.Contains(e.Message, p.URL) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestChain(t *testing.T) {
	s := newSigner(t)
	j, m := fromFile(t, s, nil), newMTLS(t, authn.MTLSConfig{TrustDomain: "example.org"})
	ca := newCA(t)
	state := func() *tls.ConnectionState { return ca.state(t, spiffeLeaf("spiffe://example.org/cert")) }
	token := "Bearer " + s.sign(t, "ES256", es256, claims(t, nil))
	cases := map[string]struct {
		c    authn.Credentials
		id   string
		code broker.Code
	}{
		"nothing":                            {authn.Credentials{}, "", broker.CodeNoCredentials},
		"certificate":                        {authn.Credentials{TLS: state()}, "spiffe://example.org/cert", ""},
		"bearer":                             {authn.Credentials{Authorization: []string{token}}, "kube/billing", ""},
		"bearer wins over certificate":       {authn.Credentials{Authorization: []string{token}, TLS: state()}, "kube/billing", ""},
		"bad bearer is no way to the other":  {authn.Credentials{Authorization: []string{"Bearer x"}, TLS: state()}, "", broker.CodeBadCredentials},
		"other scheme is no way to it":       {authn.Credentials{Authorization: []string{"Basic YTpi"}, TLS: state()}, "", broker.CodeBadCredentials},
		"empty header is no way to it":       {authn.Credentials{Authorization: []string{""}, TLS: state()}, "", broker.CodeBadCredentials},
		"bearer beside a foreign SPIFFE ID":  {authn.Credentials{Authorization: []string{token}, TLS: ca.state(t, spiffeLeaf("spiffe://other.org/x"))}, "kube/billing", ""},
		"a foreign SPIFFE ID without bearer": {authn.Credentials{TLS: ca.state(t, spiffeLeaf("spiffe://other.org/x"))}, "", broker.CodeBadCredentials},
	}
	for name, c := range cases {
		for order, chain := range map[string]authn.Chain{"jwt first": {j, m}, "mtls first": {m, j}} {
			t.Run(name+", "+order, func(t *testing.T) {
				p, err := chain.Authenticate(t.Context(), c.c)
				if broker.CodeOf(err) != c.code || p.ID != c.id {
					t.Errorf("got %q, %v; want %q, %q", p.ID, err, c.id, c.code)
				}
			})
		}
	}
	// Without token issuers a bearer is still a claim that must be true.
	if _, err := (authn.Chain{m}).Authenticate(t.Context(), authn.Credentials{Authorization: []string{token}, TLS: state()}); broker.CodeOf(err) != broker.CodeBadCredentials {
		t.Errorf("a bearer without issuers: %v", err)
	}
	if _, err := (authn.Chain{}).Authenticate(t.Context(), authn.Credentials{}); !errors.Is(err, authn.ErrNoCredentials) {
		t.Errorf("an empty chain: %v", err)
	}
}
