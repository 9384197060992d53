package localvault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// signingAlgorithm is fixed: a token's header has no say. Entra signs with
// RS256; clients do not look into access tokens, and ES256 makes a key and a
// signature at a fraction of the cost.
const signingAlgorithm = jose.ES256

const (
	// maxToken bounds a token before it is parsed, in bytes.
	maxToken = 16 << 10
	// backdate is how long before it was made a token became valid, as at Entra:
	// a clock that is set back a little refuses nobody.
	backdate = 5 * time.Minute
)

// TokenError says why a token was refused. It quotes nothing of the token.
type TokenError struct{ text string }

// Error returns the reason, in Key Vault's words.
func (e *TokenError) Error() string { return e.text }

// AKV returns the message that Key Vault answers such a token with, in a 401.
func (e *TokenError) AKV() string { return e.text }

// Reasons of a refusal.
var (
	ErrTokenKey      = &TokenError{"AKV10046: Unable to resolve the key used for signature validation."}
	ErrTokenIssuer   = &TokenError{"AKV10032: Invalid issuer."}
	ErrTokenAudience = &TokenError{"AKV10022: Invalid audience."}
	ErrTokenExpired  = &TokenError{"Error validating token: IDX10223"}
	ErrTokenEarly    = &TokenError{"Error validating token: IDX10222"}
	ErrTokenEndless  = &TokenError{"Error validating token: IDX10225"}
)

type claims struct {
	jwt.Claims
	TenantID string `json:"tid"`
	AppID    string `json:"azp"`
	Version  string `json:"ver"`
}

// mint makes a token for the one application.
func (s *STS) mint(now time.Time) (token string, expires time.Time, err error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: signingAlgorithm, Key: s.key},
		(&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", s.keyID))
	if err != nil {
		return "", time.Time{}, err
	}
	expires = now.Add(s.config.TokenLife)
	valid := jwt.NewNumericDate(now.Add(-backdate))
	token, err = jwt.Signed(signer).Claims(claims{
		Claims: jwt.Claims{
			Issuer:    s.issuer,
			Subject:   s.config.ClientID,
			Audience:  jwt.Audience{s.config.Audience},
			IssuedAt:  valid,
			NotBefore: valid,
			Expiry:    jwt.NewNumericDate(expires),
			ID:        guid(),
		},
		TenantID: s.config.TenantID,
		AppID:    s.config.ClientID,
		Version:  "2.0",
	}).Serialize()
	return token, expires, err
}

// Verify checks a bearer token: its signature under the service's own key,
// whatever its header says, its issuer, its audience and its times. An error is
// a *TokenError, or the context's.
func (s *STS) Verify(ctx context.Context, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(token) > maxToken {
		return ErrTokenKey
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{signingAlgorithm})
	if err != nil {
		return ErrTokenKey
	}
	var c jwt.Claims
	if err := parsed.Claims(&s.key.PublicKey, &c); err != nil {
		return ErrTokenKey
	}
	if c.Expiry == nil {
		return ErrTokenEndless
	}
	err = c.ValidateWithLeeway(jwt.Expected{
		Issuer:      s.issuer,
		AnyAudience: jwt.Audience{s.config.Audience, s.config.Audience + "/"},
	}, 0)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return ErrTokenIssuer
	case errors.Is(err, jwt.ErrInvalidAudience):
		return ErrTokenAudience
	case errors.Is(err, jwt.ErrExpired):
		return ErrTokenExpired
	default:
		return ErrTokenEarly
	}
}

func (s *STS) serveKeys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key:       &s.key.PublicKey,
		KeyID:     s.keyID,
		Algorithm: string(signingAlgorithm),
		Use:       "sig",
	}}})
}

// loadSigningKey reads the key from a PEM file, made where absent, and returns
// it with its id: the thumbprint of RFC 7638. No path means a key of this
// process.
func loadSigningKey(path string) (*ecdsa.PrivateKey, string, error) {
	if path == "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, "", err
		}
		return withID(key)
	}
	text, err := readPrivate(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = makeSigningKey(path)
	}
	if err != nil {
		return nil, "", err
	}
	defer clear(text)
	bad := fmt.Errorf("%s does not hold a P-256 private key as PEM; remove it to have a new one made", path)
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", bad
	}
	defer clear(block.Bytes)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", bad
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, "", bad
	}
	return withID(key)
}

func withID(key *ecdsa.PrivateKey) (*ecdsa.PrivateKey, string, error) {
	thumb, err := (&jose.JSONWebKey{Key: &key.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", err
	}
	return key, base64.RawURLEncoding.EncodeToString(thumb), nil
}

func makeSigningKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return text, writePrivate(path, text)
}
