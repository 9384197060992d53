package brokertest

import (
	"bytes"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func testImportKey(f keyFixture) {
	for label, outside := range map[string]libraryKey{
		"rsa": libraryRSA(), "p-256": libraryEC(broker.CurveP256), "p-384": libraryEC(broker.CurveP384),
		"p-521": libraryEC(broker.CurveP521), "p-256k": libraryEC(broker.CurveP256K),
	} {
		f.Run(label, func(t *testing.T) {
			f := f.in(t)
			k := f.imported("import-"+label, outside.material())
			want := broker.JWK{Type: k.JWK.Type, Curve: outside.curve}
			if outside.rsa != nil {
				want.N, want.E = outside.rsa.N.Bytes(), big.NewInt(int64(outside.rsa.E)).Bytes()
			} else {
				size := coordinateLen(outside.curve)
				want.X, want.Y = outside.x.FillBytes(make([]byte, size)), outside.y.FillBytes(make([]byte, size))
			}
			if !sameKey(k.JWK, want) {
				f.Error("the public half is not that of the key imported")
			}
			ops := allOps
			if outside.rsa == nil {
				ops = ecOps
			}
			f.wantAttributes("ImportKey", k, broker.NewKey{Enabled: true, Ops: ops})
			f.wantSame("GetKey", f.get(k.Name.Base()), k)
		})
	}
	name := f.name("import-over")
	first := f.create(name, ecKey())
	second, err := f.store.ImportKey(f.Context(), name, broker.KeyImport{
		NewKey:   broker.NewKey{Enabled: true, Tags: map[string]string{"a": "b"}, Ops: ecOps[:1]},
		Material: broker.NewValue(libraryEC(broker.CurveP384).material()),
	})
	if err != nil {
		f.Fatalf("ImportKey over a key: %v", err)
	}
	f.wantAttributes("ImportKey over a key", second, broker.NewKey{Enabled: true, Tags: map[string]string{"a": "b"}, Ops: ecOps[:1]})
	if got := f.versions(name); len(got) != 2 || got[0].Name != second.Name || got[1].Name != first.Name {
		f.Errorf("an import over a key made no version of it: %v", got)
	}
}

// testBadImports takes sound keys and makes one thing of each wrong.
func testBadImports(f keyFixture) {
	a, b := libraryEC(broker.CurveP256), libraryEC(broker.CurveP256)
	k256, rsaKey := libraryEC(broker.CurveP256K), libraryRSA()
	with := func(k libraryKey, changes map[string]string) string {
		m := k.members()
		for name, value := range changes {
			if value == "" {
				delete(m, name)
			} else {
				m[name] = value
			}
		}
		return jsonOf(m)
	}
	number := func(n *big.Int) string { return base64URL(n.Bytes()) }
	one := big.NewInt(1)
	order := nistCurve(broker.CurveP256).Params().N
	flipped := func(text string) string {
		middle := len(text) / 2
		c := byte('A')
		if text[middle] == c {
			c = 'B'
		}
		return text[:middle] + string(c) + text[middle+1:]
	}
	r := rsaKey.members()
	tests := map[string]string{
		"nothing":                    "",
		"no JSON":                    "-----BEGIN PRIVATE KEY-----",
		"a list":                     "[]",
		"no members":                 "{}",
		"two keys":                   a.material() + b.material(),
		"cut short":                  strings.TrimSuffix(a.material(), "}"),
		"a type that is none":        with(a, map[string]string{"kty": "OKP"}),
		"a curve's type on RSA":      with(rsaKey, map[string]string{"kty": "EC"}),
		"a foreign curve":            with(a, map[string]string{"crv": "P-224"}),
		"another curve of its size":  with(a, map[string]string{"crv": "P-256K"}),
		"a curve of another size":    with(a, map[string]string{"crv": "P-384"}),
		"no curve":                   with(a, map[string]string{"crv": ""}),
		"a public half":              with(a, map[string]string{"d": ""}),
		"no x":                       with(a, map[string]string{"x": ""}),
		"another key's d":            with(a, map[string]string{"d": b.members()["d"]}),
		"another key's point":        with(a, map[string]string{"x": b.members()["x"], "y": b.members()["y"]}),
		"a point off its curve":      with(a, map[string]string{"y": flipped(a.members()["y"])}),
		"x and y swapped":            with(a, map[string]string{"x": a.members()["y"], "y": a.members()["x"]}),
		"a d of zero":                with(a, map[string]string{"d": base64URL(make([]byte, 32))}),
		"a d of the order":           with(a, map[string]string{"d": number(order)}),
		"a d above the order":        with(a, map[string]string{"d": base64URL(bytes.Repeat([]byte{0xff}, 32))}),
		"a d too long":               with(a, map[string]string{"d": base64URL(append([]byte{0}, a.d.FillBytes(make([]byte, 32))...))}),
		"a d too short":              with(a, map[string]string{"d": base64URL([]byte{1})}),
		"a padded number":            with(a, map[string]string{"x": a.members()["x"] + "="}),
		"a number in another base64": with(a, map[string]string{"x": "+/" + a.members()["x"][2:]}),
		"a number that is no text":   `{"kty":"EC","crv":"P-256","x":1,"y":2,"d":3}`,
		"a member twice":             strings.TrimSuffix(a.material(), "}") + `,"d":"` + a.members()["d"] + `"}`,
		"a k256 point off its curve": with(k256, map[string]string{"y": flipped(k256.members()["y"])}),
		"a number with loose bits":   with(a, map[string]string{"x": loosened(a.members()["x"])}),
		"a k256 d of the order":      with(k256, map[string]string{"d": number(k256N)}),
		"a k256 d of the order and one": with(k256, map[string]string{
			"d": number(new(big.Int).Add(k256N, one)), "x": number(k256Gx), "y": number(k256Gy),
		}),
		"an RSA public half":        with(rsaKey, map[string]string{"d": "", "p": "", "q": "", "dp": "", "dq": "", "qi": ""}),
		"an even n":                 with(rsaKey, map[string]string{"n": number(new(big.Int).Add(rsaKey.rsa.N, one))}),
		"another n":                 with(rsaKey, map[string]string{"n": flipped(r["n"])}),
		"another d":                 with(rsaKey, map[string]string{"d": flipped(r["d"])}),
		"a d of one":                with(rsaKey, map[string]string{"d": "AQ"}),
		"another dp":                with(rsaKey, map[string]string{"dp": flipped(r["dp"])}),
		"another dq":                with(rsaKey, map[string]string{"dq": flipped(r["dq"])}),
		"another qi":                with(rsaKey, map[string]string{"qi": flipped(r["qi"])}),
		"dp and dq swapped":         with(rsaKey, map[string]string{"dp": r["dq"], "dq": r["dp"]}),
		"p twice":                   with(rsaKey, map[string]string{"q": r["p"]}),
		"a prime of one":            with(rsaKey, map[string]string{"p": "AQ", "q": r["n"]}),
		"an e of one":               with(rsaKey, map[string]string{"e": "AQ"}),
		"an even e":                 with(rsaKey, map[string]string{"e": "AQAA"}),
		"an e too large":            with(rsaKey, map[string]string{"e": "AQAAAAE"}),
		"another e":                 with(rsaKey, map[string]string{"e": "Aw"}),
		"an n that is far too long": with(rsaKey, map[string]string{"n": strings.Repeat("_", 8000)}),
		"more than a key ever is":   with(rsaKey, map[string]string{"x5c": strings.Repeat("A", 20<<10)}),
	}
	name := f.name("bad-import")
	for label, material := range tests {
		_, err := f.store.ImportKey(f.Context(), name, broker.KeyImport{NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(material)})
		f.wantBadField("ImportKey of "+label, err, "")
		if err != nil {
			for _, secret := range append(slicesOf(a.members()["d"], r["d"], r["p"], r["q"]), a.d.String(), rsaKey.rsa.D.String()) {
				if strings.Contains(err.Error(), secret) {
					f.Errorf("ImportKey of %s: the error quotes the key", label)
				}
			}
		}
		_, err = f.store.GetKey(f.Context(), name)
		f.wantCode("GetKey after an import of "+label, err, broker.CodeKeyNotFound)
	}
	// An elliptic curve key that should encrypt.
	_, err := f.store.ImportKey(f.Context(), name, broker.KeyImport{
		NewKey: broker.NewKey{Enabled: true, Ops: []broker.KeyOp{broker.KeyOpEncrypt}}, Material: broker.NewValue(a.material()),
	})
	f.wantBadField("ImportKey for what the type does not do", err, "")
}

// loosened sets the bits of the last letter that no byte has.
func loosened(text string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(text) - 1
	return text[:last] + string(letters[strings.IndexByte(letters, text[last])|3])
}

func slicesOf(s ...string) []string { return s }

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

// testNoPrivateHalf looks for the private key in all that a store tells.
func testNoPrivateHalf(f keyFixture) {
	outside := libraryEC(broker.CurveP256)
	k := f.imported("private", outside.material())
	d := outside.d.FillBytes(make([]byte, 32))
	blob := f.backup(k.Name.Base()).Reveal()
	if strings.Contains(blob, base64URL(d)) || strings.Contains(blob, string(d)) {
		f.Error("a backup shows the private key")
	}
	deleted := f.delete(k.Name.Base())
	for what, j := range map[string]broker.JWK{"ImportKey": k.JWK, "DeleteKey": deleted.JWK} {
		for _, part := range [][]byte{j.X, j.Y, j.N, j.E} {
			if bytes.Equal(part, d) {
				f.Errorf("%s shows the private key", what)
			}
		}
	}
}

// testBlobOfAnotherKey checks that a blob restores its own key and no other.
func testBlobOfAnotherKey(f keyFixture) {
	one, two := f.name("blob-one"), f.name("blob-two")
	first := f.create(one, ecKey())
	f.create(two, ecKey())
	blob := f.backup(one)
	f.purge(one)
	f.purge(two)
	restored, err := f.store.RestoreKey(f.Context(), f.vault, blob)
	if err != nil {
		f.Fatalf("RestoreKey: %v", err)
	}
	f.wantSame("RestoreKey", restored, first)
	_, err = f.store.GetKey(f.Context(), two)
	f.wantCode("GetKey of the other", err, broker.CodeKeyNotFound)
}
