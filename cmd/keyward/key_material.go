package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyward/keyward/broker"
)

// maxKeyFile bounds a key's file, in bytes. One of RSA's longest is a tenth.
const maxKeyFile = 64 << 10

// readKey returns the key in file, or on standard input, as a JSON Web Key. Its
// errors quote nothing of it.
func readKey(a *app, file string) (broker.Value, error) {
	data, err := readData(a, "key", file, maxKeyFile)
	switch text := strings.TrimSpace(data.Reveal()); {
	case err != nil:
		return broker.Value{}, err
	case text == "":
		return broker.Value{}, advise("the key is empty; nothing was imported", "name its file, or pipe it in")
	case data.Len() > maxKeyFile:
		return broker.Value{}, errors.New("the key is larger than 64 KiB, which no key is")
	case strings.HasPrefix(text, "{"):
		return data, nil
	}
	return jwkOfPEM([]byte(data.Reveal()))
}

// jwkOfPEM converts the first private key in a PEM file. What stands before it,
// such as the parameters that openssl writes of an EC key, is passed over.
func jwkOfPEM(rest []byte) (broker.Value, error) {
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return broker.Value{}, advise("the file has no private key as PEM, and is no JSON Web Key",
				"want PEM that begins with -----BEGIN PRIVATE KEY-----, or RSA or EC PRIVATE KEY")
		}
		var raw []byte
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			raw, err = jwkOf(block.Bytes, x509.ParsePKCS8PrivateKey, p256kOfPKCS8)
		case "RSA PRIVATE KEY":
			raw, err = jwkOf(block.Bytes, x509.ParsePKCS1PrivateKey, nil)
		case "EC PRIVATE KEY":
			raw, err = jwkOf(block.Bytes, x509.ParseECPrivateKey, p256kOfSEC1)
		case "ENCRYPTED PRIVATE KEY":
		default:
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return broker.Value{}, advise("the private key is encrypted", "decrypt it on the way: openssl pkcs8 -in FILE | keyward key import NAME")
		}
		if err == nil {
			return broker.NewValue(string(raw)), nil
		}
		return broker.Value{}, advise("the private key cannot be read",
			"want RSA, or EC with the curve P-256, P-384, P-521 or P-256K (secp256k1), by its name")
	}
}

// jwkOf converts a key that parse reads, or if it does not, what other converts.
func jwkOf[K any](der []byte, parse func([]byte) (K, error), other func([]byte) ([]byte, error)) ([]byte, error) {
	key, err := parse(der)
	if err == nil {
		return jose.JSONWebKey{Key: key}.MarshalJSON()
	}
	if other == nil {
		return nil, err
	}
	return other(der)
}
