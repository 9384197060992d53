package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The issuer of keyward dev's bearer tokens. Its keys are a file, so nothing is
// ever asked of this address.
const (
	devIssuer      = "https://issuer.keyward.invalid"
	devIssuerName  = "dev"
	devAudience    = "keyward"
	devGroupsClaim = "groups"
)

type tokenCmd struct {
	As    string        `required:"" placeholder:"NAME" help:"The workload's name; the principal is dev/NAME."`
	Group []string      `placeholder:"G" help:"A group it is in, as dev/G. May be repeated."`
	Data  string        `default:".keyward" placeholder:"DIR" help:"The folder of keyward dev (${default})."`
	Life  time.Duration `default:"1h" help:"How long the token is valid (${default})."`
}

// Help shows an example.
func (*tokenCmd) Help() string {
	return `The token is signed with the key in DIR, and is good for the keyward dev of that folder only.

  curl --cacert .keyward/ca.pem -H "Authorization: Bearer $(keyward token --as billing)" \
    https://127.0.0.1:7444/v1/vaults/dev/secrets/db-password`
}

// Run prints a token.
func (c *tokenCmd) Run(a *app) error {
	switch {
	case c.As == "" || len(c.As) > 200:
		return errors.New("--as: want a name of 1 to 200 bytes")
	case c.Life <= 0 || c.Life > 24*time.Hour:
		return errors.New("--life: want more than 0s and at most 24h")
	}
	key, err := readIssuerKey(c.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no token issuer: start keyward dev there first, or name its folder with --data", c.Data)
	}
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID(key)}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return err
	}
	now := time.Now()
	groups := map[string]any{}
	if len(c.Group) > 0 {
		groups[devGroupsClaim] = c.Group
	}
	token, err := jwt.Signed(signer).
		Claims(jwt.Claims{
			Issuer:    devIssuer,
			Subject:   c.As,
			Audience:  jwt.Audience{devAudience},
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)),
			Expiry:    jwt.NewNumericDate(now.Add(c.Life)),
		}).
		Claims(groups).
		Serialize()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, token)
	return err
}

// ensureIssuer makes the folder's token issuer, a key and its public half as
// jwks.json, unless it is there.
func ensureIssuer(dir string) error {
	key, err := readIssuerKey(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
		err = writeKey(issuerKeyFile(dir), key)
	}
	if err != nil {
		return err
	}
	set, err := json.MarshalIndent(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: key.Public(), KeyID: keyID(key), Algorithm: string(jose.ES256), Use: "sig",
	}}}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(jwksFile(dir), append(set, '\n'))
}

func issuerKeyFile(dir string) string { return filepath.Join(dir, "issuer-key.pem") }
func jwksFile(dir string) string      { return filepath.Join(dir, "jwks.json") }

func readIssuerKey(dir string) (*ecdsa.PrivateKey, error) {
	path := issuerKeyFile(dir)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM in it", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: want an ECDSA key", path)
	}
	return key, nil
}

// keyID names a key by a hash of its public half.
func keyID(key *ecdsa.PrivateKey) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err) // a P-256 key always marshals
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
