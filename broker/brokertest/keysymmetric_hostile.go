package brokertest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"strings"

	"github.com/keyward/keyward/broker"
)

func testBadOct(f keyFixture) {
	for _, size := range []int32{-128, 1, 64, 129, 512} {
		_, err := f.store.CreateKey(f.Context(), f.name("bad"), broker.NewKey{Type: broker.KeyTypeOct, Size: size, Enabled: true})
		f.wantBadField(fmt.Sprint("CreateKey of ", size, " bits"), err, "")
	}
	for label, material := range map[string]string{
		"no k":           `{"kty":"oct"}`,
		"an empty k":     `{"kty":"oct","k":""}`,
		"a short k":      `{"kty":"oct","k":"` + base64URL(make([]byte, 8)) + `"}`,
		"a crooked k":    `{"kty":"oct","k":"` + base64URL(make([]byte, 17)) + `"}`,
		"a padded k":     `{"kty":"oct","k":"` + base64URL(make([]byte, 16)) + `=="}`,
		"a k that is 16": `{"kty":"oct","k":16}`,
	} {
		_, err := f.store.ImportKey(f.Context(), f.name("bad"), broker.KeyImport{NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(material)})
		f.wantBadField("ImportKey of "+label, err, "")
	}
}

// testBadSymmetric: whatever is wrong of a ciphertext, the answer is the same.
func testBadSymmetric(f keyFixture) {
	name, key := f.importOct("bad", 256)
	iv, plain := []byte("0123456789ABCDEF"), "plain text of two blocks, or so"
	flip := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	value := func(b []byte) broker.Value { return broker.NewValue(string(b)) }
	gcm := f.encrypt(name, "A256GCM", broker.Cipher{Data: broker.NewValue(plain), AAD: []byte("aad")})
	sealed := []byte(gcm.Data.Reveal())
	change := func(fn func(*broker.Cipher)) broker.Cipher {
		c := gcm
		fn(&c)
		return c
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		f.Fatal(err)
	}
	// cbc encrypts whole blocks whose padding is as given.
	cbc := func(padded string) broker.Cipher {
		out := make([]byte, len(padded))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, []byte(padded))
		return broker.Cipher{Data: value(out), IV: iv}
	}
	good := []byte(cbc("fifteen bytes..\x01").Data.Reveal())
	wrapped, err := f.store.WrapKey(f.Context(), name, "A256KW", broker.Cipher{Data: broker.NewValue(strings.Repeat("k", 32))})
	if err != nil {
		f.Fatal(err)
	}
	kw := []byte(wrapped.Data.Reveal())
	tests := map[broker.Algorithm]map[string]broker.Cipher{
		"A256GCM": {
			"a flipped text":  change(func(c *broker.Cipher) { c.Data = value(flip(sealed, 0)) }),
			"a cut text":      change(func(c *broker.Cipher) { c.Data = value(sealed[:len(sealed)-1]) }),
			"a longer text":   change(func(c *broker.Cipher) { c.Data = value(append(bytes.Clone(sealed), 0)) }),
			"no text":         change(func(c *broker.Cipher) { c.Data = broker.Value{} }),
			"a flipped tag":   change(func(c *broker.Cipher) { c.Tag = flip(c.Tag, 15) }),
			"a cut tag":       change(func(c *broker.Cipher) { c.Tag = c.Tag[:12] }),
			"a longer tag":    change(func(c *broker.Cipher) { c.Tag = append(bytes.Clone(c.Tag), 0) }),
			"no tag":          change(func(c *broker.Cipher) { c.Tag = nil }),
			"a flipped IV":    change(func(c *broker.Cipher) { c.IV = flip(c.IV, 0) }),
			"a cut IV":        change(func(c *broker.Cipher) { c.IV = c.IV[:8] }),
			"an IV of 16":     change(func(c *broker.Cipher) { c.IV = iv }),
			"no IV":           change(func(c *broker.Cipher) { c.IV = nil }),
			"other AAD":       change(func(c *broker.Cipher) { c.AAD = []byte("AAD") }),
			"no AAD":          change(func(c *broker.Cipher) { c.AAD = nil }),
			"the tag as text": change(func(c *broker.Cipher) { c.Data, c.Tag = value(append(bytes.Clone(sealed), c.Tag...)), nil }),
		},
		"A256CBCPAD": {
			"no text":                 {IV: iv},
			"a cut text":              {Data: value(good[:15]), IV: iv},
			"a longer text":           {Data: value(append(bytes.Clone(good), 0)), IV: iv},
			"no IV":                   {Data: value(good)},
			"a cut IV":                {Data: value(good), IV: iv[:12]},
			"a longer IV":             {Data: value(good), IV: append(bytes.Clone(iv), 0)},
			"a tag":                   {Data: value(good), IV: iv, Tag: iv},
			"AAD":                     {Data: value(good), IV: iv, AAD: iv},
			"a padding of 0":          cbc("fifteen bytes..\x00"),
			"a padding of 17":         cbc(strings.Repeat("\x11", 32)),
			"a padding of 255":        cbc(strings.Repeat("\xff", 16)),
			"a padding of 2, one 1":   cbc("fourteen bytes\x01\x02"),
			"a padding of 16, one 15": cbc("\x0f" + strings.Repeat("\x10", 15)),
		},
		"A256CBC": {
			"no text":    {IV: iv},
			"a cut text": {Data: value(good[:15]), IV: iv},
			"no IV":      {Data: value(good)},
			"a cut IV":   {Data: value(good), IV: iv[:15]},
		},
		"A256KW": {
			"no text":         {},
			"one block":       {Data: value(kw[:8])},
			"two blocks":      {Data: value(kw[:16])},
			"a flipped text":  {Data: value(flip(kw, len(kw)-1))},
			"a flipped check": {Data: value(flip(kw, 0))},
			"a cut text":      {Data: value(kw[:len(kw)-8])},
			"a crooked text":  {Data: value(kw[:len(kw)-1])},
			"a longer text":   {Data: value(append(bytes.Clone(kw), make([]byte, 8)...))},
			"an IV":           {Data: value(kw), IV: iv},
		},
	}
	for alg, wrong := range tests {
		words := make(map[string]string)
		for label, in := range wrong {
			open := f.store.Decrypt
			if alg == "A256KW" {
				open = f.store.UnwrapKey
			}
			got, err := open(f.Context(), name, alg, in)
			f.wantBadField(string(alg)+" with "+label, err, "value")
			if got.Data.Len() != 0 {
				f.Errorf("%s with %s gave something", alg, label)
			}
			if e := broker.AsError(err); e != nil {
				words[e.Message] = label
			}
		}
		if len(words) != 1 {
			f.Errorf("%s: wrong ciphertexts are told apart: %v", alg, words)
		}
	}
	f.wantOpens(name, "A256GCM", gcm, []byte(plain))
	f.wantOpens(name, "A256CBCPAD", cbc("fifteen bytes..\x01"), []byte("fifteen bytes.."))
	f.wantOpens(name, "A256CBCPAD", cbc(strings.Repeat("\x10", 16)), nil)
}

func testBadSymmetricInput(f keyFixture) {
	name, _ := f.importOct("input", 128)
	iv := make([]byte, 16)
	tests := map[string]struct {
		alg broker.Algorithm
		in  broker.Cipher
	}{
		"CBC without an IV":       {"A128CBC", broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 16))}},
		"CBC with a short IV":     {"A128CBC", broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 16)), IV: iv[:12]}},
		"CBC of half a block":     {"A128CBC", broker.Cipher{Data: broker.NewValue("x"), IV: iv}},
		"CBC of nothing":          {"A128CBC", broker.Cipher{IV: iv}},
		"CBCPAD without an IV":    {"A128CBCPAD", broker.Cipher{Data: broker.NewValue("x")}},
		"CBCPAD with a long IV":   {"A128CBCPAD", broker.Cipher{Data: broker.NewValue("x"), IV: make([]byte, 17)}},
		"CBCPAD with AAD":         {"A128CBCPAD", broker.Cipher{Data: broker.NewValue("x"), IV: iv, AAD: iv}},
		"GCM with a tag":          {"A128GCM", broker.Cipher{Data: broker.NewValue("x"), Tag: iv}},
		"an algorithm that wraps": {"A128KW", broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 16))}},
	}
	for label, tt := range tests {
		_, err := f.store.Encrypt(f.Context(), name, tt.alg, tt.in)
		f.wantBadField("Encrypt: "+label, err, "value")
	}
	for _, size := range []int{0, 8, 15, 17, 31} {
		_, err := f.store.WrapKey(f.Context(), name, "A128KW", broker.Cipher{Data: broker.NewValue(strings.Repeat("x", size))})
		f.wantBadField(fmt.Sprint("WrapKey of ", size, " bytes"), err, "value")
	}
}

func testUnfitSymmetric(f keyFixture) {
	name, _ := f.importOct("unfit", 192)
	for _, alg := range []broker.Algorithm{
		"A128GCM", "A256GCM", "A128CBC", "A256CBC", "A128CBCPAD", "A256CBCPAD", "A192KW", "RSA-OAEP", "HS256", "A192GCMKW", "",
	} {
		_, err := f.store.Encrypt(f.Context(), name, alg, broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 16)), IV: make([]byte, 16)})
		f.wantBadField("Encrypt with "+string(alg), err, "value")
	}
	for _, alg := range []broker.Algorithm{"A128KW", "A256KW", "A192GCM", "RSA1_5"} {
		_, err := f.store.WrapKey(f.Context(), name, alg, broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 16))})
		f.wantBadField("WrapKey with "+string(alg), err, "value")
	}
	for _, alg := range []broker.Algorithm{"RS256", "ES256", "HS1", "A192KW"} {
		_, err := f.store.Sign(f.Context(), name, alg, make([]byte, 32))
		f.wantBadField("Sign with "+string(alg), err, "value")
	}
}
