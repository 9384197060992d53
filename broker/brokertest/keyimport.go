package brokertest

import (
	"bytes"
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
