package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// A key is imported from whatever form it is in: what it signed before verifies
// against the one in the vault.
func TestKeyImport(t *testing.T) {
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	dir := p.dir
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{"rsa": rsaKey}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	for name, key := range keys {
		pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := json.Marshal(jose.JSONWebKey{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		forms := map[string][]byte{"pkcs8": pemOf("PRIVATE KEY", pkcs8), "jwk": jwk}
		switch k := key.(type) {
		case *rsa.PrivateKey:
			forms["pkcs1"] = pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
		case *ecdsa.PrivateKey:
			sec1, err := x509.MarshalECPrivateKey(k)
			if err != nil {
				t.Fatal(err)
			}
			forms["sec1"] = append(pemOf("EC PARAMETERS", []byte{5, 0}), pemOf("EC PRIVATE KEY", sec1)...)
		}
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		for form, file := range forms {
			t.Run(name+" "+form, func(t *testing.T) {
				in := ""
				args := []string{"key", "import", name + "-" + form}
				if form == "pkcs8" {
					in = string(file)
				} else {
					path := filepath.Join(t.TempDir(), "key")
					if err := os.WriteFile(path, file, 0o600); err != nil {
						t.Fatal(err)
					}
					args = append(args, path)
				}
				if stdout, stderr, code := keyward(t, dir, in, args...); code != exitOK || !strings.HasPrefix(stdout, "vaults/dev/keys/"+name+"-"+form+"/versions/") {
					t.Fatalf("exit %d, %q, %s", code, stdout, stderr)
				}
				stdout, stderr, code := keyward(t, dir, "", "key", "get", name+"-"+form, "--pem")
				if code != exitOK || stdout != string(pemOf("PUBLIC KEY", spki)) {
					t.Errorf("exit %d, another key: %s%s", code, stdout, stderr)
				}
			})
		}
	}
	if len(p.audit()) == 0 {
		t.Error("nothing was recorded")
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// What is no private key is refused in words that have nothing of it.
func TestKeyImportRefuses(t *testing.T) {
	dir := startDev(t, filepath.Join(t.TempDir(), "data")).dir
	const canary = "c4naryInNoKey"
	block := func(kind string, headers map[string]string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: []byte(canary)}))
	}
	for name, tt := range map[string]struct{ in, want string }{
		"nothing":            {"", "the key is empty"},
		"text":               {canary, "no private key as PEM"},
		"a public key":       {block("PUBLIC KEY", nil), "no private key as PEM"},
		"a malformed key":    {block("PRIVATE KEY", nil), "cannot be read"},
		"an encrypted key":   {block("ENCRYPTED PRIVATE KEY", nil), "openssl pkcs8"},
		"an encrypted key 1": {block("RSA PRIVATE KEY", map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}), "openssl pkcs8"},
		"a long one":         {strings.Repeat(canary, 6000), "64 KiB"},
		"a JWK of nothing":   {`{"kty":"` + canary + `"}`, "BAD_FIELD"},
		"a JWK with a hole":  {`{"kty":"EC","crv":"P-256","d":"` + canary + `"}`, "BAD_FIELD"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := keyward(t, dir, tt.in, "key", "import", "x")
			if code != exitError || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, %q", code, stderr)
			}
			for form, coded := range encodings(canary) {
				if bytes.Contains([]byte(stdout+stderr), coded) {
					t.Errorf("%s is told: %s", form, stderr)
				}
			}
		})
	}
}

// Names of keys are completed, and of deleted ones where those are meant.
func TestCompleteKeys(t *testing.T) {
	dir := startDev(t, filepath.Join(t.TempDir(), "data")).dir
	for _, name := range []string{"here", "gone"} {
		if _, stderr, code := keyward(t, dir, "", "key", "create", name); code != exitOK {
			t.Fatal(stderr)
		}
	}
	if _, stderr, code := keyward(t, dir, "", "key", "delete", "gone"); code != exitOK {
		t.Fatal(stderr)
	}
	for typed, want := range map[string]string{"key sign ": "here", "key get h": "here", "key undelete ": "gone", "key deleted get ": "gone", "key ro": "rotate", "key sign here ": completeFiles} {
		t.Run(typed, func(t *testing.T) {
			stdout, _, _ := keyward(t, dir, "", append([]string{"complete"}, strings.Split(typed, " ")...)...)
			word, _, _ := strings.Cut(stdout, "\t")
			if strings.TrimSpace(word) != want {
				t.Errorf("got %q, want %s", stdout, want)
			}
		})
	}
}
