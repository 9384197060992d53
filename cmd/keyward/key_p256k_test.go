package main

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"
)

// A key of P-256K as openssl writes it: by SEC 1, as PKCS #8, and its public half.
const (
	p256kSEC1   = "MHQCAQEEIGayoaeTU+j5zIwiYUfiTb1VrvZ5h3uq4pt9Kj0wZ4CXoAcGBSuBBAAKoUQDQgAEMwIURgKtkwoMZIKv07Jwkw4Mi4b/xvyApeH1NyLXlyICuu7L9QUA2F2LrGHLs5jau9HOjj/S+IqEV1q+1EQ11Q=="
	p256kPKCS8  = "MIGEAgEAMBAGByqGSM49AgEGBSuBBAAKBG0wawIBAQQgZrKhp5NT6PnMjCJhR+JNvVWu9nmHe6rim30qPTBngJehRANCAAQzAhRGAq2TCgxkgq/TsnCTDgyLhv/G/ICl4fU3IteXIgK67sv1BQDYXYusYcuzmNq70c6OP9L4ioRXWr7URDXV"
	p256kPublic = "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEMwIURgKtkwoMZIKv07Jwkw4Mi4b/xvyApeH1NyLXlyICuu7L9QUA2F2LrGHLs5jau9HOjj/S+IqEV1q+1EQ11Q=="
)

func derOf(t *testing.T, text string) []byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What is imported signs, and shows the public half that openssl has of it.
func TestKeyImportOfP256K(t *testing.T) {
	dir := startDev(t, filepath.Join(t.TempDir(), "data")).dir
	for form, file := range map[string][]byte{
		"sec1":  append(pemOf("EC PARAMETERS", derOf(t, "BgUrgQQACg==")), pemOf("EC PRIVATE KEY", derOf(t, p256kSEC1))...),
		"pkcs8": pemOf("PRIVATE KEY", derOf(t, p256kPKCS8)),
	} {
		if _, stderr, code := keyward(t, dir, string(file), "key", "import", form); code != exitOK {
			t.Fatalf("%s: exit %d, %s", form, code, stderr)
		}
		stdout, stderr, code := keyward(t, dir, "", "key", "get", form, "--pem")
		if code != exitOK || stdout != string(pemOf("PUBLIC KEY", derOf(t, p256kPublic))) {
			t.Errorf("%s: exit %d, another key: %s%s", form, code, stdout, stderr)
		}
		signature := filepath.Join(t.TempDir(), "signature")
		if _, stderr, code := keyward(t, dir, "a message", "key", "sign", form, "--out", signature); code != exitOK {
			t.Fatalf("%s: exit %d, %s", form, code, stderr)
		}
		if _, stderr, code := keyward(t, dir, "a message", "key", "verify", form, "--signature", signature); code != exitOK {
			t.Errorf("%s: exit %d, %s", form, code, stderr)
		}
	}
}

// What is no key of P-256K, or not one key, is refused.
func TestP256KRefuses(t *testing.T) {
	var good sec1Key
	if _, err := asn1.Unmarshal(derOf(t, p256kSEC1), &good); err != nil {
		t.Fatal(err)
	}
	sec1 := func(change func(*sec1Key)) []byte {
		k := good
		change(&k)
		der, err := asn1.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	pkcs8 := func(algorithm, curve asn1.ObjectIdentifier, change func(*sec1Key)) []byte {
		parameters, err := asn1.Marshal(curve)
		if err != nil {
			t.Fatal(err)
		}
		der, err := asn1.Marshal(pkcs8Key{
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: algorithm, Parameters: asn1.RawValue{FullBytes: parameters}}, Private: sec1(change),
		})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	same := func(*sec1Key) {}
	p256 := asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	order := derOf(t, "/////////////////////rqu3OavSKA7v9JejNA2QUE=")
	other := asn1.BitString{Bytes: append([]byte{2}, derOf(t, "eb5mfvncu6xVoGKVzocLBwKb/NstzijZWfKBWxb4F5g=")...), BitLength: 33 * 8} // the base point
	for name, tt := range map[string]struct {
		convert func([]byte) ([]byte, error)
		der     []byte
		good    bool
	}{
		"SEC 1":                      {p256kOfSEC1, sec1(same), true},
		"without its public half":    {p256kOfSEC1, sec1(func(k *sec1Key) { k.Public = asn1.BitString{} }), true},
		"PKCS #8":                    {p256kOfPKCS8, pkcs8(oidECPublicKey, oidP256K, func(k *sec1Key) { k.Curve = nil }), true},
		"PKCS #8, the curve twice":   {p256kOfPKCS8, pkcs8(oidECPublicKey, oidP256K, same), true},
		"nothing":                    {p256kOfSEC1, nil, false},
		"something behind":           {p256kOfSEC1, append(sec1(same), 0), false},
		"something behind PKCS #8":   {p256kOfPKCS8, append(pkcs8(oidECPublicKey, oidP256K, same), 0), false},
		"another version":            {p256kOfSEC1, sec1(func(k *sec1Key) { k.Version = 2 }), false},
		"no curve":                   {p256kOfSEC1, sec1(func(k *sec1Key) { k.Curve = nil }), false},
		"another curve":              {p256kOfSEC1, sec1(func(k *sec1Key) { k.Curve = p256 }), false},
		"another curve around":       {p256kOfPKCS8, pkcs8(oidECPublicKey, p256, func(k *sec1Key) { k.Curve = nil }), false},
		"another curve inside":       {p256kOfPKCS8, pkcs8(oidECPublicKey, oidP256K, func(k *sec1Key) { k.Curve = p256 }), false},
		"another algorithm":          {p256kOfPKCS8, pkcs8(oidP256K, oidP256K, same), false},
		"SEC 1 as PKCS #8":           {p256kOfPKCS8, sec1(same), false},
		"PKCS #8 as SEC 1":           {p256kOfSEC1, pkcs8(oidECPublicKey, oidP256K, same), false},
		"0":                          {p256kOfSEC1, sec1(func(k *sec1Key) { k.Private, k.Public = make([]byte, 32), asn1.BitString{} }), false},
		"the order of the curve":     {p256kOfSEC1, sec1(func(k *sec1Key) { k.Private, k.Public = order, asn1.BitString{} }), false},
		"too long":                   {p256kOfSEC1, sec1(func(k *sec1Key) { k.Private = append([]byte{0}, k.Private...) }), false},
		"another key's public half":  {p256kOfSEC1, sec1(func(k *sec1Key) { k.Public = other }), false},
		"a public half that is none": {p256kOfSEC1, sec1(func(k *sec1Key) { k.Public = asn1.BitString{Bytes: []byte{4, 1}, BitLength: 16} }), false},
	} {
		raw, err := tt.convert(tt.der)
		if (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
		if !tt.good {
			continue
		}
		jwk := map[string]string{}
		if err := json.Unmarshal(raw, &jwk); err != nil || jwk["crv"] != "P-256K" || jwk["d"] != base64.RawURLEncoding.EncodeToString(good.Private) ||
			jwk["x"] != base64.RawURLEncoding.EncodeToString(good.Public.Bytes[1:33]) || jwk["y"] != base64.RawURLEncoding.EncodeToString(good.Public.Bytes[33:]) {
			t.Errorf("%s: another key", name)
		}
	}
}
