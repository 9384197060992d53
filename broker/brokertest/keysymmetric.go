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
