package brokertest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// signing are the algorithms of signatures, by the key that they take.
var signing = map[broker.Algorithm]broker.Curve{
	"RS256": "", "RS384": "", "RS512": "", "PS256": "", "PS384": "", "PS512": "",
	"ES256": broker.CurveP256, "ES384": broker.CurveP384, "ES512": broker.CurveP521, "ES256K": broker.CurveP256K,
}

var concealing = []broker.Algorithm{"RSA1_5", "RSA-OAEP", "RSA-OAEP-256"}

// libraryFor returns a key for the algorithm.
func libraryFor(alg broker.Algorithm) libraryKey {
	if c := signing[alg]; c != "" {
		return libraryEC(c)
	}
	return libraryRSA()
}

func testSignatures(f keyFixture) {
	for alg := range signing {
		f.Run(string(alg), func(t *testing.T) {
			f := f.in(t)
			outside := libraryFor(alg)
			k := f.imported("sign-"+strings.ToLower(string(alg)), outside.material())
			digest := digestOf(alg, "to be signed")
			for _, name := range []broker.Name{k.Name, k.Name.Base()} {
				s := f.sign(name, alg, digest)
				if s.Key != k.Name {
					f.Errorf("Sign says that %v did it, want %v", s.Key, k.Name)
				}
				if !verifyWithLibrary(t, k.JWK, alg, digest, s.Value) {
					f.Error("the library refuses what the store signed")
				}
				if !f.verify(name, alg, digest, s.Value) {
					f.Error("the store refuses what it signed")
				}
			}
			theirs := outside.sign(t, alg, digest)
			v, err := f.store.Verify(f.Context(), k.Name.Base(), alg, digest, theirs)
			// Key Vault does not say which version it took.
			if err != nil || !v.Valid || v.Key != k.Name && v.Key != k.Name.Base() {
				f.Errorf("Verify of the library's signature: %v, %v", v, err)
			}
			public, err := broker.NewPublicKey(k.JWK)
			if err != nil {
				f.Fatal(err)
			}
			if ok, err := public.Verify(alg, digest, theirs); !ok || err != nil {
				f.Errorf("the public half refuses the library's signature: %v", err)
			}
		})
	}
}

func testCiphertexts(f keyFixture) {
	outside := libraryRSA()
	k := f.imported("conceal", outside.material())
	plain := []byte("plain \x00 text")
	calls := map[string]struct {
		conceal, open func(broker.Algorithm, broker.Cipher) (broker.CipherResult, error)
	}{
		"encrypt": {
			func(alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
				return f.store.Encrypt(f.Context(), k.Name.Base(), alg, in)
			},
			func(alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
				return f.store.Decrypt(f.Context(), k.Name.Base(), alg, in)
			},
		},
		"wrap": {
			func(alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
				return f.store.WrapKey(f.Context(), k.Name, alg, in)
			},
			func(alg broker.Algorithm, in broker.Cipher) (broker.CipherResult, error) {
				return f.store.UnwrapKey(f.Context(), k.Name, alg, in)
			},
		},
	}
	for _, alg := range concealing {
		for label, call := range calls {
			f.Run(fmt.Sprint(label, " with ", alg), func(t *testing.T) {
				f := f.in(t)
				ours, err := call.conceal(alg, broker.Cipher{Data: broker.NewValue(string(plain))})
				if err != nil {
					f.Fatal(err)
				}
				if ours.Key != k.Name {
					f.Errorf("%v did it, want %v", ours.Key, k.Name)
				}
				if got, err := outside.decrypt(alg, []byte(ours.Data.Reveal())); err != nil || !bytes.Equal(got, plain) {
					f.Errorf("the library does not open what the store made: %v", err)
				}
				for what, sealed := range map[string][]byte{
					"the store":   []byte(ours.Data.Reveal()),
					"the library": encryptWithLibrary(t, k.JWK, alg, plain),
				} {
					got, err := call.open(alg, broker.Cipher{Data: broker.NewValue(string(sealed))})
					if err != nil || got.Data.Reveal() != string(plain) || got.Key != k.Name {
						f.Errorf("the store does not open what %s made: %v, %v", what, got.Key, err)
					}
				}
			})
		}
	}
}

func testKeyOps(f keyFixture) {
	outside := libraryRSA()
	name := f.imported("ops", outside.material()).Name.Base()
	digest, in := digestOf("PS256", "x"), broker.Cipher{Data: broker.NewValue("plain")}
	sealed := broker.Cipher{Data: broker.NewValue(string(encryptWithLibrary(f.T, f.get(name).JWK, "RSA-OAEP", []byte("plain"))))}
	signature := outside.sign(f.T, "PS256", digest)
	calls := map[broker.KeyOp]func() error{
		broker.KeyOpSign:      func() error { _, err := f.store.Sign(f.Context(), name, "PS256", digest); return err },
		broker.KeyOpVerify:    func() error { _, err := f.store.Verify(f.Context(), name, "PS256", digest, signature); return err },
		broker.KeyOpEncrypt:   func() error { _, err := f.store.Encrypt(f.Context(), name, "RSA-OAEP", in); return err },
		broker.KeyOpDecrypt:   func() error { _, err := f.store.Decrypt(f.Context(), name, "RSA-OAEP", sealed); return err },
		broker.KeyOpWrapKey:   func() error { _, err := f.store.WrapKey(f.Context(), name, "RSA-OAEP", in); return err },
		broker.KeyOpUnwrapKey: func() error { _, err := f.store.UnwrapKey(f.Context(), name, "RSA-OAEP", sealed); return err },
	}
	for _, allowed := range allOps {
		f.update(name, broker.KeyUpdate{Ops: &[]broker.KeyOp{allowed}})
		for op, call := range calls {
			want := broker.CodeKeyOperationForbidden
			if op == allowed {
				want = ""
			}
			f.wantCode(fmt.Sprintf("%s with a key for %s", op, allowed), call(), want)
		}
	}
}

func testDisabledKey(f keyFixture) {
	outside := libraryRSA()
	k := f.imported("disabled", outside.material())
	name, digest := k.Name.Base(), digestOf("RS256", "x")
	in := broker.Cipher{Data: broker.NewValue("plain")}
	sealed := broker.Cipher{Data: broker.NewValue(string(encryptWithLibrary(f.T, k.JWK, "RSA-OAEP", []byte("plain"))))}
	f.update(name, broker.KeyUpdate{Enabled: new(false)})
	for _, n := range []broker.Name{name, k.Name} {
		_, err := f.store.Sign(f.Context(), n, "RS256", digest)
		f.wantCode("Sign", err, broker.CodeKeyDisabled)
		_, err = f.store.Verify(f.Context(), n, "RS256", digest, outside.sign(f.T, "RS256", digest))
		f.wantCode("Verify", err, broker.CodeKeyDisabled)
		_, err = f.store.Encrypt(f.Context(), n, "RSA-OAEP", in)
		f.wantCode("Encrypt", err, broker.CodeKeyDisabled)
		_, err = f.store.Decrypt(f.Context(), n, "RSA-OAEP", sealed)
		f.wantCode("Decrypt", err, broker.CodeKeyDisabled)
		_, err = f.store.WrapKey(f.Context(), n, "RSA-OAEP", in)
		f.wantCode("WrapKey", err, broker.CodeKeyDisabled)
		_, err = f.store.UnwrapKey(f.Context(), n, "RSA-OAEP", sealed)
		f.wantCode("UnwrapKey", err, broker.CodeKeyDisabled)
	}
	f.update(name, broker.KeyUpdate{Enabled: new(true)})
	f.sign(name, "RS256", digest)
}

// testKeyTimes: before and after its time a key makes nothing new, and still opens
// and checks what it made.
func testKeyTimes(f keyFixture) {
	outside := libraryRSA()
	k := f.imported("times", outside.material())
	name, digest := k.Name.Base(), digestOf("RS256", "x")
	in := broker.Cipher{Data: broker.NewValue("plain")}
	sealed := broker.Cipher{Data: broker.NewValue(string(encryptWithLibrary(f.T, k.JWK, "RSA-OAEP", []byte("plain"))))}
	past, future := time.Unix(1_000_000_000, 0), time.Now().AddDate(5, 0, 0)
	tests := map[string]struct {
		notBefore, expires time.Time
		want               broker.Code
	}{
		"not yet":     {future, future.AddDate(1, 0, 0), broker.CodeKeyOperationForbidden},
		"not anymore": {past, past.AddDate(1, 0, 0), broker.CodeKeyOperationForbidden},
		"in its time": {past, future, ""},
	}
	for label, tt := range tests {
		f.update(name, broker.KeyUpdate{NotBefore: &tt.notBefore, Expires: &tt.expires})
		_, err := f.store.Sign(f.Context(), name, "RS256", digest)
		f.wantCode("Sign "+label, err, tt.want)
		_, err = f.store.Encrypt(f.Context(), name, "RSA-OAEP", in)
		f.wantCode("Encrypt "+label, err, tt.want)
		_, err = f.store.WrapKey(f.Context(), name, "RSA-OAEP", in)
		f.wantCode("WrapKey "+label, err, tt.want)
		if !f.verify(name, "RS256", digest, outside.sign(f.T, "RS256", digest)) {
			f.Errorf("Verify %s: a good signature is refused", label)
		}
		got, err := f.store.Decrypt(f.Context(), name, "RSA-OAEP", sealed)
		if err != nil || got.Data.Reveal() != "plain" {
			f.Errorf("Decrypt %s: %v", label, err)
		}
		if got, err = f.store.UnwrapKey(f.Context(), name, "RSA-OAEP", sealed); err != nil || got.Data.Reveal() != "plain" {
			f.Errorf("UnwrapKey %s: %v", label, err)
		}
	}
}

func testUseVersion(f keyFixture) {
	name, digest := f.name("use-version"), digestOf("ES256", "x")
	first, second := f.create(name, ecKey()), f.create(name, ecKey())
	s := f.sign(name, "ES256", digest)
	if s.Key != second.Name || !verifyWithLibrary(f.T, second.JWK, "ES256", digest, s.Value) {
		f.Errorf("the key without a version signs as %v, want %v", s.Key, second.Name)
	}
	s = f.sign(first.Name, "ES256", digest)
	if s.Key != first.Name || !verifyWithLibrary(f.T, first.JWK, "ES256", digest, s.Value) {
		f.Errorf("the first version signs as %v", s.Key)
	}
	if f.verify(name, "ES256", digest, s.Value) || !f.verify(first.Name, "ES256", digest, s.Value) {
		f.Error("the first version's signature is the second's, or not its own")
	}
}
