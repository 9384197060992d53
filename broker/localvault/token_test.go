package localvault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker/localvault"
)

// identityToken gets a token from the managed identity endpoint.
func identityToken(t *testing.T, s *localvault.STS) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/msi/token?api-version=2019-08-01&resource=https://vault.azure.net", http.NoBody)
	r.Header.Set("X-Identity-Header", identityHeader)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var body map[string]string
	must(t, json.Unmarshal(w.Body.Bytes(), &body))
	return body["access_token"]
}

// signingKey reads the service's own key, to forge tokens with.
func signingKey(t *testing.T, c localvault.STSConfig) *ecdsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(c.KeyFile)
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return key.(*ecdsa.PrivateKey)
}

func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, claims any, header map[jose.HeaderKey]any) string {
	t.Helper()
	options := new(jose.SignerOptions)
	for k, v := range header {
		options.WithHeader(k, v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	must(t, err)
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	must(t, err)
	return token
}

func TestVerify(t *testing.T) {
	c := stsConfig(t, "https://127.0.0.1:7445")
	s := newSTS(t, c)
	key, now := signingKey(t, c), time.Now()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)

	base := map[string]any{
		"iss": "https://127.0.0.1:7445/" + tenant + "/v2.0",
		"aud": "https://vault.azure.net",
		"sub": client,
		"nbf": now.Add(-time.Minute).Unix(),
		"exp": now.Add(time.Hour).Unix(),
	}
	with := func(name string, value any) map[string]any {
		m := maps.Clone(base)
		if m[name] = value; value == nil {
			delete(m, name)
		}
		return m
	}
	es := func(claims map[string]any) string { return sign(t, jose.ES256, key, claims, nil) }
	raw := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	payload, err := json.Marshal(base)
	must(t, err)
	good := es(base)
	parts := strings.Split(good, ".")

	tests := map[string]struct {
		token string
		want  *localvault.TokenError // nil: accepted
	}{
		"good":                      {good, nil},
		"audience with a slash":     {es(with("aud", "https://vault.azure.net/")), nil},
		"ours among the audiences":  {es(with("aud", []string{"other", "https://vault.azure.net"})), nil},
		"no time before":            {es(with("nbf", nil)), nil},
		"wrong audience":            {es(with("aud", "https://management.azure.com/")), localvault.ErrTokenAudience},
		"audience that is more":     {es(with("aud", "https://vault.azure.net.example.org")), localvault.ErrTokenAudience},
		"audiences without ours":    {es(with("aud", []string{"a", "b"})), localvault.ErrTokenAudience},
		"no audience":               {es(with("aud", nil)), localvault.ErrTokenAudience},
		"audience of a wrong type":  {es(with("aud", 5)), localvault.ErrTokenKey},
		"wrong issuer":              {es(with("iss", "https://127.0.0.1:7445/other/v2.0")), localvault.ErrTokenIssuer},
		"no issuer":                 {es(with("iss", nil)), localvault.ErrTokenIssuer},
		"expired":                   {es(with("exp", now.Add(-2*time.Second).Unix())), localvault.ErrTokenExpired},
		"endless":                   {es(with("exp", nil)), localvault.ErrTokenEndless},
		"expiry of a wrong type":    {es(with("exp", "never")), localvault.ErrTokenKey},
		"not valid yet":             {es(with("nbf", now.Add(time.Minute).Unix())), localvault.ErrTokenEarly},
		"made in the future":        {es(with("iat", now.Add(time.Minute).Unix())), localvault.ErrTokenEarly},
		"another key":               {sign(t, jose.ES256, other, base, nil), localvault.ErrTokenKey},
		"another key, embedded":     {sign(t, jose.ES256, other, base, map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: &other.PublicKey}}), localvault.ErrTokenKey},
		"another key, by URL":       {sign(t, jose.ES256, other, base, map[jose.HeaderKey]any{"jku": "https://example.org/keys", "kid": "../../x"}), localvault.ErrTokenKey},
		"HS256 with the public key": {sign(t, jose.HS256, public, base, nil), localvault.ErrTokenKey},
		"alg none":                  {raw(`{"alg":"none","typ":"JWT"}`) + "." + raw(string(payload)) + ".", localvault.ErrTokenKey},
		"alg none, signed":          {raw(`{"alg":"none"}`) + "." + parts[1] + "." + parts[2], localvault.ErrTokenKey},
		"changed claims":            {parts[0] + "." + raw(strings.Replace(string(payload), client, "root", 1)) + "." + parts[2], localvault.ErrTokenKey},
		"no signature":              {parts[0] + "." + parts[1] + ".", localvault.ErrTokenKey},
		"cut":                       {good[:len(good)-4], localvault.ErrTokenKey},
		"two parts":                 {parts[0] + "." + parts[1], localvault.ErrTokenKey},
		"JSON serialization":        {`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, localvault.ErrTokenKey},
		"empty":                     {"", localvault.ErrTokenKey},
		"dots":                      {"...", localvault.ErrTokenKey},
		"a mebibyte":                {es(with("pad", strings.Repeat("x", 1<<20))), localvault.ErrTokenKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := s.Verify(t.Context(), tt.token)
			if tt.want == nil {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			// This is what the HTTP side looks for.
			if akv, ok := errors.AsType[interface {
				error
				AKV() string
			}](err); !ok || akv.AKV() == "" {
				t.Errorf("%v has no message of Key Vault's", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("in a cancelled call: %v", err)
	}
}

func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stsConfig(t, "https://127.0.0.1:7445")
		c.TokenLife = 10 * time.Minute
		s := newSTS(t, c)
		token := identityToken(t, s)
		time.Sleep(10*time.Minute - time.Second)
		if err := s.Verify(t.Context(), token); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := s.Verify(t.Context(), token); !errors.Is(err, localvault.ErrTokenExpired) {
			t.Errorf("a second after its end: %v", err)
		}
	})
}

func TestTokensSurviveARestart(t *testing.T) {
	c := stsConfig(t, "https://127.0.0.1:7445")
	token := identityToken(t, newSTS(t, c))
	if err := newSTS(t, c).Verify(t.Context(), token); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if info, err := os.Stat(c.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v; want mode 0600", info, err)
	}
	must(t, os.Remove(c.KeyFile))
	if err := newSTS(t, c).Verify(t.Context(), token); !errors.Is(err, localvault.ErrTokenKey) {
		t.Errorf("with a new key: %v", err)
	}
}
