package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker/localvault"
)

// What a local vault's application has beside its secret, in the data folder: a
// certificate with its key, and a federated token that is kept fresh, as a
// cluster keeps a workload's.
const (
	vaultCertificateFile = "vault-client.pem"
	federatedTokenFile   = "vault-federated-token"

	federatedSubject  = "vault-client"
	federatedAudience = "api://AzureADTokenExchange"
	federatedLife     = 24 * time.Hour
)

// ensureVaultCertificate returns the application's certificate, and makes it
// where there is none, or none with time left.
func ensureVaultCertificate(dir string) (*x509.Certificate, error) {
	path := filepath.Join(dir, vaultCertificateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeVaultCertificate(path)
	}
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if time.Until(cert.NotAfter) < leafMargin {
			return makeVaultCertificate(path)
		}
		return cert, nil
	}
	return nil, fmt.Errorf("%s has no certificate; remove it, and it is made anew", path)
}

func makeVaultCertificate(path string) (*x509.Certificate, error) {
	// Azure's clients sign assertions with RSA keys only.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "The local vault's application"},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		NotBefore:    time.Now().Add(-5 * time.Minute),
		NotAfter:     time.Now().Add(leafLife),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := writeFile(path, text); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// federation is the identity of the folder's own token issuer that stands for
// the application.
func federation(dir string) (localvault.Federated, error) {
	if err := ensureIssuer(dir); err != nil {
		return localvault.Federated{}, err
	}
	keys, err := readKeySet(jwksFile(dir))
	return localvault.Federated{Issuer: devIssuer, Subject: federatedSubject, Audience: federatedAudience, Keys: keys}, err
}

// readKeySet reads an issuer's public keys.
func readKeySet(path string) (keys jose.JSONWebKeySet, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return keys, err
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return keys, fmt.Errorf("%s: want a JSON Web Key Set: %w", path, err)
	}
	return keys, nil
}

// writeFederatedToken leaves a federated token for the application.
func writeFederatedToken(dir string) error {
	key, err := readIssuerKey(dir)
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: crypto.Signer(key), KeyID: keyID(key)}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return err
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:    devIssuer,
		Subject:   federatedSubject,
		Audience:  jwt.Audience{federatedAudience},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now.Add(-time.Minute)),
		Expiry:    jwt.NewNumericDate(now.Add(federatedLife)),
	}).Serialize()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, federatedTokenFile), []byte(token))
}

// keepFederatedToken writes a new token ahead of time until ctx ends.
func keepFederatedToken(ctx context.Context, dir string, log *slog.Logger) {
	tick := time.NewTicker(federatedLife / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := writeFederatedToken(dir); err != nil {
				log.ErrorContext(ctx, "the federated token could not be written", "error", err)
			}
		}
	}
}
