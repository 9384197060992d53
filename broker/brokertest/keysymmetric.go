package brokertest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/keyward/keyward/broker"
)

var aesSizes = []int{128, 192, 256}

// importOct imports a random key, and returns it beside.
func (f keyFixture) importOct(label string, bits int) (broker.Name, []byte) {
	f.Helper()
	key := make([]byte, bits/8)
	_, _ = rand.Read(key) // never fails
	k := f.imported(fmt.Sprint(label, "-", bits), jsonOf(map[string]string{"kty": "oct", "k": base64URL(key)}))
	return k.Name, key
}

func testCreateOct(f keyFixture) {
	for _, bits := range aesSizes {
		name := f.name(fmt.Sprint("oct-", bits))
		made := f.create(name, broker.NewKey{Type: broker.KeyTypeOct, Size: int32(bits), Enabled: true})
		if made.JWK.Type.Software() != broker.KeyTypeOct || !sameKey(made.JWK, broker.JWK{Type: made.JWK.Type}) {
			f.Errorf("a symmetric key has a public half, or is of type %q", made.JWK.Type)
		}
		f.wantAttributes("CreateKey", made, broker.NewKey{Enabled: true, Ops: allOps})
		f.wantSame("GetKey", f.get(name), made)
		// The size shows in what the key takes.
		for _, other := range aesSizes {
			_, err := f.store.Encrypt(f.Context(), name, broker.Algorithm(fmt.Sprintf("A%dGCM", other)), broker.Cipher{Data: broker.NewValue("x")})
			want := broker.CodeBadField
			if other == bits {
				want = ""
			}
			f.wantCode(fmt.Sprintf("a key of %d bits with A%dGCM", bits, other), err, want)
		}
	}
}

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

func (f keyFixture) encrypt(name broker.Name, alg broker.Algorithm, in broker.Cipher) broker.Cipher {
	f.Helper()
	got, err := f.store.Encrypt(f.Context(), name, alg, in)
	if err != nil {
		f.Fatalf("Encrypt with %s: %v", alg, err)
	}
	return got.Cipher
}

func (f keyFixture) wantOpens(name broker.Name, alg broker.Algorithm, in broker.Cipher, want []byte) {
	f.Helper()
	got, err := f.store.Decrypt(f.Context(), name, alg, in)
	if err != nil || got.Data.Reveal() != string(want) || got.Key != name {
		f.Errorf("Decrypt with %s: %v, by %v", alg, err, got.Key)
	}
}

func testGCM(f keyFixture) {
	for _, bits := range aesSizes {
		name, key := f.importOct("gcm", bits)
		alg := broker.Algorithm(fmt.Sprintf("A%dGCM", bits))
		block, err := aes.NewCipher(key)
		if err != nil {
			f.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			f.Fatal(err)
		}
		ivs := make(map[string]bool)
		for _, plain := range []string{"x", strings.Repeat("long ", 400)} {
			for _, aad := range []string{"", "bound to this"} {
				ours := f.encrypt(name, alg, broker.Cipher{Data: broker.NewValue(plain), AAD: []byte(aad)})
				if len(ours.IV) != 12 || len(ours.Tag) != 16 || ivs[string(ours.IV)] {
					f.Errorf("%s: an IV of %d bytes, seen before: %v; a tag of %d", alg, len(ours.IV), ivs[string(ours.IV)], len(ours.Tag))
					continue
				}
				ivs[string(ours.IV)] = true
				got, err := aead.Open(nil, ours.IV, append([]byte(ours.Data.Reveal()), ours.Tag...), []byte(aad))
				if err != nil || string(got) != plain {
					f.Errorf("%s: the library does not open what the store made: %v", alg, err)
				}
				iv := make([]byte, 12)
				_, _ = rand.Read(iv) // never fails
				both := aead.Seal(nil, iv, []byte(plain), []byte(aad))
				f.wantOpens(name, alg, broker.Cipher{
					Data: broker.NewValue(string(both[:len(plain)])), IV: iv, AAD: []byte(aad), Tag: both[len(plain):],
				}, []byte(plain))
			}
		}
	}
}

func testCBC(f keyFixture) {
	iv := []byte("0123456789ABCDEF")
	for _, bits := range aesSizes {
		name, key := f.importOct("cbc", bits)
		block, err := aes.NewCipher(key)
		if err != nil {
			f.Fatal(err)
		}
		for _, pads := range []bool{false, true} {
			alg := broker.Algorithm(fmt.Sprintf("A%dCBC", bits))
			sizes := []int{16, 32, 1024}
			if pads {
				alg += "PAD"
				sizes = []int{1, 15, 16, 17, 31, 1000}
			}
			for _, size := range sizes {
				plain := bytes.Repeat([]byte("p"), size)
				padded := bytes.Clone(plain)
				if pads {
					n := 16 - size%16
					padded = append(padded, bytes.Repeat([]byte{byte(n)}, n)...)
				}
				want := make([]byte, len(padded))
				cipher.NewCBCEncrypter(block, iv).CryptBlocks(want, padded)
				ours := f.encrypt(name, alg, broker.Cipher{Data: broker.NewValue(string(plain)), IV: iv})
				if ours.Data.Reveal() != string(want) || !bytes.Equal(ours.IV, iv) {
					f.Errorf("%s of %d bytes is not the library's", alg, size)
				}
				f.wantOpens(name, alg, broker.Cipher{Data: broker.NewValue(string(want)), IV: iv}, plain)
			}
		}
	}
}

func testKW(f keyFixture) {
	for _, bits := range aesSizes {
		name, _ := f.importOct("kw", bits)
		alg := broker.Algorithm(fmt.Sprintf("A%dKW", bits))
		for _, size := range []int{16, 24, 32, 64} {
			plain := make([]byte, size)
			_, _ = rand.Read(plain) // never fails
			in := broker.Cipher{Data: broker.NewValue(string(plain))}
			wrapped, err := f.store.WrapKey(f.Context(), name, alg, in)
			if err != nil || wrapped.Data.Len() != size+8 {
				f.Fatalf("%s of %d bytes: %v, %d bytes", alg, size, err, wrapped.Data.Len())
			}
			again, err := f.store.WrapKey(f.Context(), name, alg, in)
			if err != nil || again.Data.Reveal() != wrapped.Data.Reveal() {
				f.Errorf("%s is not always the same: %v", alg, err)
			}
			got, err := f.store.UnwrapKey(f.Context(), name, alg, broker.Cipher{Data: wrapped.Data})
			if err != nil || got.Data.Reveal() != string(plain) {
				f.Errorf("%s of %d bytes does not come back: %v", alg, size, err)
			}
		}
	}
}

func testHMAC(f keyFixture) {
	for _, alg := range []broker.Algorithm{"HS256", "HS384", "HS512"} {
		name, key := f.importOct("hmac-"+strings.ToLower(string(alg)), 256)
		for _, data := range [][]byte{digestOf(alg, "x"), []byte("x"), bytes.Repeat([]byte("long "), 200)} {
			h := hmac.New(hashOf(alg).New, key)
			h.Write(data)
			want := h.Sum(nil)
			if got := f.sign(name, alg, data); !bytes.Equal(got.Value, want) || got.Key != name {
				f.Errorf("%s of %d bytes is not the library's", alg, len(data))
			}
			if !f.verify(name, alg, data, want) {
				f.Errorf("%s: the library's is refused", alg)
			}
			for label, bad := range map[string][]byte{
				"empty": {}, "cut": want[:len(want)-1], "longer": append(bytes.Clone(want), 0), "zeros": make([]byte, len(want)),
				"flipped": append([]byte{want[0] ^ 1}, want[1:]...),
			} {
				if f.verify(name, alg, data, bad) {
					f.Errorf("%s: one that is %s is good", alg, label)
				}
			}
		}
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

func testRotateOct(f keyFixture) {
	name := f.name("rotate")
	first := f.create(name, broker.NewKey{Type: broker.KeyTypeOct, Size: 192, Enabled: true})
	sealed := f.encrypt(name, "A192GCM", broker.Cipher{Data: broker.NewValue("x")})
	second := f.rotate(name)
	if second.Name == first.Name || second.JWK.Type != first.JWK.Type {
		f.Errorf("a rotation of %v made %v of type %q", first.Name, second.Name, second.JWK.Type)
	}
	_, err := f.store.Decrypt(f.Context(), name, "A192GCM", sealed)
	f.wantBadField("Decrypt with the next version", err, "value")
	f.wantOpens(first.Name, "A192GCM", sealed, []byte("x"))
	f.encrypt(name, "A192GCM", broker.Cipher{Data: broker.NewValue("x")}) // of the same size
}

func testRestoreOct(f keyFixture) {
	name, _ := f.importOct("restore", 256)
	sealed := f.encrypt(name, "A256GCM", broker.Cipher{Data: broker.NewValue("x")})
	blob := f.backup(name.Base())
	f.purge(name.Base())
	if _, err := f.store.RestoreKey(f.Context(), f.vault, blob); err != nil {
		f.Fatalf("RestoreKey: %v", err)
	}
	f.wantOpens(name, "A256GCM", sealed, []byte("x"))
}
