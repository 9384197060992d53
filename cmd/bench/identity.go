package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Who calls: by a client certificate, or by a bearer token.
const (
	trustDomain  = "bench.keyward"
	callerID     = "spiffe://bench.keyward/caller"
	issuerName   = "bench"
	issuerURL    = "https://issuer.bench.invalid"
	audience     = "keyward"
	tokenSubject = "caller"
	life         = 24 * time.Hour
)

// identity is what the callers show.
type identity struct {
	roots *x509.CertPool
	cert  tls.Certificate
	token string
}

// newIdentity makes a client certificate of the folder's authority, and an issuer
// with a token of it. The issuer's public keys are left as jwks.json.
func newIdentity(dir string) (identity, error) {
	roots, err := authority(dir)
	if err != nil {
		return identity{}, err
	}
	cert, err := clientCertificate(dir)
	if err != nil {
		return identity{}, err
	}
	token, err := issue(dir)
	return identity{roots: roots, cert: cert, token: token}, err
}

// tls is how the callers reach a server: with their certificate, or without.
func (i identity) tls(withCertificate bool) *tls.Config {
	c := &tls.Config{RootCAs: i.roots, MinVersion: tls.VersionTLS13}
	if withCertificate {
		c.Certificates = []tls.Certificate{i.cert}
	}
	return c
}

// authority is the certificate authority that keyward vault makes in its folder.
func authority(dir string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in ca.pem", dir)
	}
	return pool, nil
}

func clientCertificate(dir string) (tls.Certificate, error) {
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return tls.Certificate{}, err
	}
	id, err := url.Parse(callerID)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{id},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func issue(dir string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: key.Public(), KeyID: issuerName, Algorithm: string(jose.ES256), Use: "sig",
	}}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), set, 0o600); err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: issuerName}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:    issuerURL,
		Subject:   tokenSubject,
		Audience:  jwt.Audience{audience},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)),
		Expiry:    jwt.NewNumericDate(now.Add(life)),
	}).Serialize()
}
