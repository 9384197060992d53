package broker_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func unbase64(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The public keys of RFC 7517's appendix A.1, and one of each other curve.
func publicKeys(tb testing.TB) map[string]broker.JWK {
	tb.Helper()
	n := "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" +
		"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08q" +
		"NLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	return map[string]broker.JWK{
		"RSA": {Type: broker.KeyTypeRSA, N: unbase64(tb, n), E: []byte{1, 0, 1}},
		"P-256": {
			Type: broker.KeyTypeEC, Curve: broker.CurveP256,
			X: unbase64(tb, "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"), Y: unbase64(tb, "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"),
		},
		"P-384": {
			Type: broker.KeyTypeECHSM, Curve: broker.CurveP384,
			X: unbase64(tb, "7TQyqSIilDf-jLSqAouPAp5bZx2gLkcU7RyQCOcmGs7mnZQZ1X8aULxfdCf5lAU2"),
			Y: unbase64(tb, "hNl8jZx0dAbaVKcK9RmUxe8gnm_s3F-Xq53aHE4gRwUn9YI1kZZcQmy5tqPndNxp"),
		},
		"P-521": {
			Type: broker.KeyTypeEC, Curve: broker.CurveP521,
			X: unbase64(tb, "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk"),
			Y: unbase64(tb, "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"),
		},
		"P-256K": {
			Type: broker.KeyTypeEC, Curve: broker.CurveP256K,
			X: unbase64(tb, "cAhGkRKh8sUIo9dy_5HGjz2A8veD5sAuxioaj8abOO4"), Y: unbase64(tb, "Np_Jno4IBLXYYVu11Vi9_AyR_czSa_KqotXAANOvl7s"),
		},
	}
}

func TestPublicKeys(t *testing.T) {
	for name, j := range publicKeys(t) {
		k, err := broker.NewPublicKey(j)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := k.PEM()
		if err != nil {
			t.Errorf("%s: PEM: %v", name, err)
			continue
		}
		block, rest := pem.Decode([]byte(text))
		if block == nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
			t.Errorf("%s: no PEM: %s", name, text)
			continue
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		switch key := parsed.(type) {
		case *rsa.PublicKey:
			if !bytes.Equal(key.N.Bytes(), j.N) || key.E != 65537 {
				t.Errorf("%s: the PEM is of another key", name)
			}
		case *ecdsa.PublicKey:
			if point, err := key.Bytes(); err != nil || !bytes.Equal(point, slices.Concat([]byte{4}, j.X, j.Y)) {
				t.Errorf("%s: the PEM is of another key (%v)", name, err)
			}
		default:
			if name != "P-256K" || err == nil {
				t.Errorf("%s: %T, %v", name, parsed, err)
			}
		}
	}
}

func TestUnsoundPublicKeys(t *testing.T) {
	sound := publicKeys(t)
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-1] ^= 2
		return b
	}
	change := func(name string, fn func(*broker.JWK)) broker.JWK {
		j := sound[name]
		fn(&j)
		return j
	}
	// The generator of P-224, a sound point that is on none of the curves.
	p224 := elliptic.P224().Params()
	tests := map[string]broker.JWK{
		"nothing":                   {},
		"a symmetric key":           {Type: broker.KeyTypeOct},
		"a type that is none":       change("P-256", func(j *broker.JWK) { j.Type = "OKP" }),
		"a type in lower case":      change("P-256", func(j *broker.JWK) { j.Type = "ec" }),
		"no curve":                  change("P-256", func(j *broker.JWK) { j.Curve = "" }),
		"a foreign curve":           {Type: broker.KeyTypeEC, Curve: "P-224", X: p224.Gx.Bytes(), Y: p224.Gy.Bytes()},
		"another curve of a size":   change("P-256", func(j *broker.JWK) { j.Curve = broker.CurveP256K }),
		"and the other way":         change("P-256K", func(j *broker.JWK) { j.Curve = broker.CurveP256 }),
		"a larger curve":            change("P-256", func(j *broker.JWK) { j.Curve = broker.CurveP384 }),
		"off P-256":                 change("P-256", func(j *broker.JWK) { j.Y = flip(j.Y) }),
		"off P-384":                 change("P-384", func(j *broker.JWK) { j.X = flip(j.X) }),
		"off P-521":                 change("P-521", func(j *broker.JWK) { j.Y = flip(j.Y) }),
		"off P-256K":                change("P-256K", func(j *broker.JWK) { j.Y = flip(j.Y) }),
		"at infinity":               change("P-256", func(j *broker.JWK) { j.X, j.Y = make([]byte, 32), make([]byte, 32) }),
		"at P-256K's infinity":      change("P-256K", func(j *broker.JWK) { j.X, j.Y = make([]byte, 32), make([]byte, 32) }),
		"an x beyond the field":     change("P-256", func(j *broker.JWK) { j.X = bytes.Repeat([]byte{255}, 32) }),
		"a P-256K x beyond":         change("P-256K", func(j *broker.JWK) { j.X = bytes.Repeat([]byte{255}, 32) }),
		"a short x":                 change("P-521", func(j *broker.JWK) { j.X = j.X[1:] }),
		"a led x":                   change("P-256", func(j *broker.JWK) { j.X = append([]byte{0}, j.X...) }),
		"no y":                      change("P-256", func(j *broker.JWK) { j.Y = nil }),
		"a curve with a modulus":    change("P-256", func(j *broker.JWK) { j.N, j.E = sound["RSA"].N, sound["RSA"].E }),
		"a modulus with a curve":    change("RSA", func(j *broker.JWK) { j.Curve = broker.CurveP256 }),
		"a modulus with a point":    change("RSA", func(j *broker.JWK) { j.X = sound["P-256"].X }),
		"no modulus":                change("RSA", func(j *broker.JWK) { j.N = nil }),
		"a led modulus":             change("RSA", func(j *broker.JWK) { j.N = append([]byte{0}, j.N...) }),
		"an even modulus":           change("RSA", func(j *broker.JWK) { j.N = append(bytes.Clone(j.N[:255]), 0) }),
		"a modulus of 2040 bits":    change("RSA", func(j *broker.JWK) { j.N = j.N[:255] }),
		"a modulus of 2047 bits":    change("RSA", func(j *broker.JWK) { j.N = append([]byte{0x7f}, j.N[1:]...) }),
		"a modulus of 8200 bits":    change("RSA", func(j *broker.JWK) { j.N = bytes.Repeat([]byte{255}, 1025) }),
		"no exponent":               change("RSA", func(j *broker.JWK) { j.E = nil }),
		"an exponent of one":        change("RSA", func(j *broker.JWK) { j.E = []byte{1} }),
		"an even exponent":          change("RSA", func(j *broker.JWK) { j.E = []byte{1, 0, 0} }),
		"a led exponent":            change("RSA", func(j *broker.JWK) { j.E = []byte{0, 1, 0, 1} }),
		"an exponent of 2^31+1":     change("RSA", func(j *broker.JWK) { j.E = []byte{0x80, 0, 0, 1} }),
		"an exponent of five bytes": change("RSA", func(j *broker.JWK) { j.E = []byte{1, 0, 0, 0, 1} }),
	}
	for label, j := range tests {
		if _, err := broker.NewPublicKey(j); err == nil {
			t.Errorf("a key is taken: %s", label)
		}
	}
}

func TestZeroPublicKey(t *testing.T) {
	var k broker.PublicKey
	if _, err := k.PEM(); err == nil {
		t.Error("no key has a PEM")
	}
	if ok, err := k.Verify("RS256", make([]byte, 32), nil); ok || err == nil {
		t.Error("no key verifies")
	}
	if _, err := k.Encrypt("RSA-OAEP", nil); err == nil {
		t.Error("no key encrypts")
	}
}

// A key does no more than its algorithms are for, and its errors name the value.
func TestCheckAlgorithm(t *testing.T) {
	tests := []struct {
		op    broker.KeyOp
		alg   broker.Algorithm
		kind  broker.KeyType
		curve broker.Curve
		bits  int
		fits  bool
	}{
		{broker.KeyOpSign, "RS256", broker.KeyTypeRSA, "", 2048, true},
		{broker.KeyOpSign, "PS512", broker.KeyTypeRSAHSM, "", 0, true},
		{broker.KeyOpVerify, "ES256K", broker.KeyTypeECHSM, broker.CurveP256K, 0, true},
		{broker.KeyOpWrapKey, "RSA-OAEP", broker.KeyTypeRSA, "", 0, true},
		{broker.KeyOpDecrypt, "A192CBCPAD", broker.KeyTypeOctHSM, "", 192, true},
		{broker.KeyOpSign, "HS512", broker.KeyTypeOct, "", 128, true},
		{broker.KeyOpSign, "ES256", broker.KeyTypeEC, broker.CurveP256K, 0, false},
		{broker.KeyOpSign, "ES256K", broker.KeyTypeEC, broker.CurveP256, 0, false},
		{broker.KeyOpSign, "ES256", broker.KeyTypeRSA, "", 0, false},
		{broker.KeyOpSign, "RSA-OAEP", broker.KeyTypeRSA, "", 0, false},
		{broker.KeyOpEncrypt, "RS256", broker.KeyTypeRSA, "", 0, false},
		{broker.KeyOpEncrypt, "A256KW", broker.KeyTypeOct, "", 256, false},
		{broker.KeyOpWrapKey, "A256GCM", broker.KeyTypeOct, "", 256, false},
		{broker.KeyOpEncrypt, "A256GCM", broker.KeyTypeOct, "", 128, false},
		{broker.KeyOpExport, "RS256", broker.KeyTypeRSA, "", 0, false},
		{broker.KeyOpSign, "none", broker.KeyTypeRSA, "", 0, false},
		{broker.KeyOpSign, "", broker.KeyTypeRSA, "", 0, false},
	}
	for _, tt := range tests {
		err := broker.CheckAlgorithm(tt.op, tt.alg, tt.kind, tt.curve, tt.bits)
		if e := broker.AsError(err); (err == nil) != tt.fits || err != nil && (e.Code != broker.CodeBadField || e.Field != "value") {
			t.Errorf("%s with %s and %s %s of %d bits: %v", tt.op, tt.alg, tt.kind, tt.curve, tt.bits, err)
		}
	}
}

// The digest of each algorithm that signs has one length.
func TestCheckDigest(t *testing.T) {
	for alg, size := range map[broker.Algorithm]int{
		"RS256": 32, "RS384": 48, "RS512": 64, "PS256": 32, "PS384": 48, "PS512": 64, "ES256": 32, "ES256K": 32, "ES384": 48, "ES512": 64,
	} {
		for n := range 130 {
			if err := broker.CheckDigest(alg, make([]byte, n)); (err == nil) != (n == size) {
				t.Errorf("%s of %d bytes: %v", alg, n, err)
			}
		}
	}
	for _, alg := range []broker.Algorithm{"RSA1_5", "RSA-OAEP-256", "A256KW", "none", ""} {
		if broker.CheckDigest(alg, make([]byte, 32)) == nil {
			t.Errorf("%q takes a digest", alg)
		}
	}
}

// What is encrypted with the public half opens with the private one; the suite of
// the stores does the rest.
func TestPublicEncrypt(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := broker.NewPublicKey(broker.JWK{Type: broker.KeyTypeRSA, N: key.N.Bytes(), E: []byte{1, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	for alg, open := range map[broker.Algorithm]func([]byte) ([]byte, error){
		"RSA-OAEP":     func(b []byte) ([]byte, error) { return key.Decrypt(nil, b, &rsa.OAEPOptions{Hash: crypto.SHA1}) },
		"RSA-OAEP-256": func(b []byte) ([]byte, error) { return key.Decrypt(nil, b, &rsa.OAEPOptions{Hash: crypto.SHA256}) },
		"RSA1_5":       func(b []byte) ([]byte, error) { return key.Decrypt(nil, b, nil) },
	} {
		sealed, err := public.Encrypt(alg, []byte("plain"))
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		if got, err := open(sealed); err != nil || string(got) != "plain" {
			t.Errorf("%s: %v", alg, err)
		}
		_, err = public.Encrypt(alg, make([]byte, 250))
		if e := broker.AsError(err); err == nil || e.Code != broker.CodeBadField || e.Field != "value" || strings.Contains(e.Message, "\x00") {
			t.Errorf("%s of too much: %v", alg, err)
		}
	}
}

// Whatever is taken as a public key has a PEM of the same numbers, and no random
// signature is good under it.
func FuzzPublicKey(f *testing.F) {
	for _, j := range publicKeys(f) {
		f.Add(string(j.Type), string(j.Curve), j.N, j.E, j.X, j.Y)
	}
	f.Fuzz(func(t *testing.T, kind, curve string, n, e, x, y []byte) {
		j := broker.JWK{Type: broker.KeyType(kind), Curve: broker.Curve(curve), N: n, E: e, X: x, Y: y}
		k, err := broker.NewPublicKey(j)
		if err != nil {
			return
		}
		text, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(text))
		for _, number := range [][]byte{n, x, y} {
			if block == nil || !bytes.Contains(block.Bytes, number) {
				t.Fatal("the PEM is of another key")
			}
		}
		if j.Type.Software() == broker.KeyTypeRSA && new(big.Int).SetBytes(n).BitLen() < 2048 {
			t.Fatal("a modulus too short is taken")
		}
		for _, alg := range []broker.Algorithm{"RS256", "PS256", "ES256", "ES256K"} {
			if ok, _ := k.Verify(alg, make([]byte, 32), bytes.Repeat([]byte{1}, 64)); ok {
				t.Fatal("a signature that nobody made is good")
			}
		}
	})
}
