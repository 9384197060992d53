package brokertest

import (
	"bytes"
	"maps"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func testBadSignatures(f keyFixture) {
	for alg, curve := range signing {
		f.Run(string(alg), func(t *testing.T) {
			f := f.in(t)
			outside := libraryFor(alg)
			name := f.imported("bad-sign-"+strings.ToLower(string(alg)), outside.material()).Name
			digest := digestOf(alg, "x")
			good := outside.sign(t, alg, digest)
			bad := map[string][]byte{
				"empty":      {},
				"cut":        good[:len(good)-1],
				"longer":     append(bytes.Clone(good), 0),
				"led by 0":   append([]byte{0}, good...),
				"half":       good[:len(good)/2],
				"twice":      append(bytes.Clone(good), good...),
				"zeros":      make([]byte, len(good)),
				"ones":       bytes.Repeat([]byte{0xff}, len(good)),
				"of another": outside.sign(t, alg, digestOf(alg, "y")),
			}
			for i := 0; i < len(good); i += 5 {
				flipped := bytes.Clone(good)
				flipped[i] ^= 1 << (i % 8)
				bad["flipped at "+string(rune('A'+i/5))] = flipped
			}
			if curve == "" {
				// The other padding, the same hash.
				other := broker.Algorithm("PS" + string(alg[2:]))
				if alg[0] == 'P' {
					other = broker.Algorithm("RS" + string(alg[2:]))
				}
				bad["of the other padding"] = outside.sign(t, other, digest)
			} else {
				half := len(good) / 2
				bad["s‖r"] = append(bytes.Clone(good[half:]), good[:half]...)
				bad["r of 0"] = append(make([]byte, half), good[half:]...)
				bad["s of 0"] = append(bytes.Clone(good[:half]), make([]byte, half)...)
				bad["of another key"] = libraryEC(curve).sign(t, alg, digest)
				if curve != broker.CurveP384 {
					bad["of another curve"] = libraryEC(broker.CurveP384).sign(t, "ES384", digestOf("ES384", "x"))
				}
				if curve == broker.CurveP256 {
					bad["of another curve of the size"] = libraryEC(broker.CurveP256K).sign(t, "ES256K", digest)
				}
			}
			for label, signature := range bad {
				if f.verify(name, alg, digest, signature) {
					f.Errorf("a signature that is %s is good", label)
				}
			}
			if !f.verify(name, alg, digest, good) {
				f.Error("the good one is not")
			}
			if f.verify(name, alg, digestOf(alg, "z"), good) {
				f.Error("the signature of another digest is good")
			}
		})
	}
}

func testBadDigests(f keyFixture) {
	names := map[broker.Curve]broker.Name{"": f.imported("digests-rsa", libraryRSA().material()).Name}
	for alg, curve := range signing {
		if _, ok := names[curve]; !ok {
			names[curve] = f.imported("digests-"+strings.ToLower(string(curve)), libraryEC(curve).material()).Name
		}
		size := hashOf(alg).Size()
		for _, n := range []int{0, 1, 20, size - 1, size + 1, 2 * size, 1000} {
			_, err := f.store.Sign(f.Context(), names[curve], alg, make([]byte, n))
			f.wantBadField("Sign of a digest of a wrong length with "+string(alg), err, "value")
		}
		_, err := f.store.Verify(f.Context(), names[curve], alg, make([]byte, size-1), make([]byte, 64))
		f.wantBadField("Verify of a digest of a wrong length with "+string(alg), err, "value")
	}
}

func testBadCiphertexts(f keyFixture) {
	outside := libraryRSA()
	k := f.imported("bad-cipher", outside.material())
	for _, alg := range concealing {
		good := encryptWithLibrary(f.T, k.JWK, alg, []byte("plain"))
		flip := func(i int) []byte {
			b := bytes.Clone(good)
			b[i] ^= 1
			return b
		}
		// Numbers below the modulus, of whatever they open to, and what is none.
		bad := map[string][]byte{
			"empty":            {},
			"one byte":         {1},
			"cut":              good[:len(good)-1],
			"longer":           append(bytes.Clone(good), 0),
			"led by 0":         append([]byte{0}, good...),
			"twice":            append(bytes.Clone(good), good...),
			"zeros":            make([]byte, len(good)),
			"one":              append(make([]byte, len(good)-1), 1),
			"ones":             bytes.Repeat([]byte{0xff}, len(good)),
			"the modulus":      k.JWK.N,
			"flipped at first": flip(1),
			"flipped in half":  flip(len(good) / 2),
			"flipped at last":  flip(len(good) - 1),
		}
		for _, other := range concealing {
			if other != alg {
				bad["of "+string(other)] = encryptWithLibrary(f.T, k.JWK, other, []byte("plain"))
			}
		}
		words := make(map[string]string)
		for label, sealed := range bad {
			in := broker.Cipher{Data: broker.NewValue(string(sealed))}
			got, err := f.store.Decrypt(f.Context(), k.Name, alg, in)
			if err == nil && alg == "RSA1_5" {
				// One number in some hundred thousand opens to a well-padded text.
				f.Logf("%s opens to something", label)
				continue
			}
			f.wantBadField(string(alg)+": Decrypt of what is "+label, err, "value")
			if got.Data.Len() != 0 {
				f.Errorf("%s: Decrypt of what is %s gave something", alg, label)
			}
			if e := broker.AsError(err); e != nil {
				words[e.Message] = label
			}
			_, err = f.store.UnwrapKey(f.Context(), k.Name, alg, in)
			f.wantBadField(string(alg)+": UnwrapKey of what is "+label, err, "value")
			if e := broker.AsError(err); e != nil {
				words[e.Message] = label
			}
		}
		if len(words) != 1 {
			f.Errorf("%s: wrong ciphertexts are told apart: %v", alg, words)
		}
		if got, err := f.store.Decrypt(f.Context(), k.Name, alg, broker.Cipher{Data: broker.NewValue(string(good))}); err != nil || got.Data.Reveal() != "plain" {
			f.Errorf("%s: the good one: %v", alg, err)
		}
	}
}

func testLongPlaintexts(f keyFixture) {
	k := f.imported("long", libraryRSA().material())
	most := map[broker.Algorithm]int{"RSA1_5": 256 - 11, "RSA-OAEP": 256 - 2 - 2*20, "RSA-OAEP-256": 256 - 2 - 2*32}
	for alg, n := range most {
		for _, size := range []int{0, 1, n} {
			text := strings.Repeat("x", size)
			got, err := f.store.Encrypt(f.Context(), k.Name, alg, broker.Cipher{Data: broker.NewValue(text)})
			if size == 0 && err != nil {
				continue // a vault may want something
			}
			if err != nil {
				f.Errorf("%s of %d bytes: %v", alg, size, err)
				continue
			}
			if back, err := f.store.Decrypt(f.Context(), k.Name, alg, broker.Cipher{Data: got.Data}); err != nil || back.Data.Reveal() != text {
				f.Errorf("%s of %d bytes does not come back: %v", alg, size, err)
			}
		}
		for _, size := range []int{n + 1, 256, 1000} {
			in := broker.Cipher{Data: broker.NewValue(strings.Repeat("x", size))}
			_, err := f.store.Encrypt(f.Context(), k.Name, alg, in)
			f.wantBadField(string(alg)+" of too much", err, "value")
			_, err = f.store.WrapKey(f.Context(), k.Name, alg, in)
			f.wantBadField(string(alg)+" of too much, wrapped", err, "value")
		}
	}
}

func testUnfitAlgorithms(f keyFixture) {
	names := map[broker.Curve]broker.Name{"": f.imported("unfit-rsa", libraryRSA().material()).Name}
	for _, c := range []broker.Curve{broker.CurveP256, broker.CurveP384, broker.CurveP521, broker.CurveP256K} {
		names[c] = f.imported("unfit-"+strings.ToLower(string(c)), libraryEC(c).material()).Name
	}
	all := maps.Clone(signing)
	for _, alg := range []broker.Algorithm{"HS256", "none", "", "EdDSA", "RS1", "ES256k", "rs256", "RSA-OAEP"} {
		all[alg] = "no curve"
	}
	for alg, fits := range all {
		for curve, name := range names {
			if curve == fits {
				continue
			}
			digest := make([]byte, 32)
			if _, ok := signing[alg]; ok {
				digest = digestOf(alg, "x")
			}
			_, err := f.store.Sign(f.Context(), name, alg, digest)
			f.wantBadField("Sign with "+string(alg)+" and a key of curve "+string(curve), err, "value")
			_, err = f.store.Verify(f.Context(), name, alg, digest, make([]byte, 64))
			f.wantBadField("Verify with "+string(alg)+" and a key of curve "+string(curve), err, "value")
		}
	}
	for _, alg := range []broker.Algorithm{"A256GCM", "A128KW", "RS256", "RSA-OAEP-512", "dir", ""} {
		in := broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 256))}
		_, err := f.store.Encrypt(f.Context(), names[""], alg, in)
		f.wantBadField("Encrypt with "+string(alg)+" and an RSA key", err, "value")
		_, err = f.store.UnwrapKey(f.Context(), names[""], alg, in)
		f.wantBadField("UnwrapKey with "+string(alg)+" and an RSA key", err, "value")
	}
}
