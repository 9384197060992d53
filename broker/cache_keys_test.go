package broker_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// keyWorld is a cache over a local vault's keys, with an RSA key in it.
type keyWorld struct {
	*broker.KeyCache
	store *brokertest.KeyStore
	name  broker.Name
}

func newKeyWorld(t testing.TB, c broker.KeyCacheConfig) *keyWorld {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	w := &keyWorld{store: localKeys(t, false)}
	if w.name, err = vault.Object(broker.KindKeys, "a"); err != nil {
		t.Fatal(err)
	}
	w.KeyCache = broker.NewKeyCache(w.store, c)
	if _, err := w.store.ImportKey(t.Context(), w.name, rsaImport()); err != nil {
		t.Fatal(err)
	}
	return w
}

var hourOfPublicKeys = broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: true}

// calls are how often the vault was asked for a key, and to use one.
func (w *keyWorld) calls() [2]int {
	uses := 0
	for _, method := range []string{"Encrypt", "Decrypt", "WrapKey", "UnwrapKey", "Sign", "Verify"} {
		uses += w.store.Calls(method)
	}
	return [2]int{w.store.Calls("GetKey"), uses}
}

func (w *keyWorld) wantCalls(t *testing.T, what string, want [2]int) {
	t.Helper()
	if got := w.calls(); got != want {
		t.Errorf("%s: the vault was asked for a key %d times and to use one %d times, want %d and %d", what, got[0], got[1], want[0], want[1])
	}
}

// verify checks a good signature.
func (w *keyWorld) verify(t *testing.T, local bool) {
	t.Helper()
	v, err := w.Verify(t.Context(), w.name, "RS256", digest[:], signature(t))
	if err != nil || !v.Valid || v.Local != local || (local && (v.Key.Base() != w.name || v.Key.Version() == "")) {
		t.Fatalf("got %+v, %v; want a good one, local %v", v, err, local)
	}
}

// Verifying, encrypting and wrapping cost one call for all, and what they make is
// what the vault and the library can read. Off, the vault does all.
func TestPublicKeysAreUsedHere(t *testing.T) {
	for on, want := range map[bool][2]int{true: {1, 0}, false: {0, 30}} {
		w := newKeyWorld(t, broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: on})
		for range 10 {
			w.verify(t, on)
			for op, conceal := range map[string]func(context.Context, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error){
				"Encrypt": w.Encrypt, "WrapKey": w.WrapKey,
			} {
				r, err := conceal(t.Context(), w.name, "RSA-OAEP-256", broker.Cipher{Data: broker.NewValue(plaintext)})
				if err != nil || r.Local != on || r.Key.Version() == "" {
					t.Fatalf("%s: %v, local %v, by %v", op, err, r.Local, r.Key)
				}
				plain, err := rsa.DecryptOAEP(sha256.New(), nil, ourRSA(), []byte(r.Data.Reveal()), nil)
				if err != nil || string(plain) != plaintext {
					t.Errorf("%s: the library does not open it: %v", op, err)
				}
			}
		}
		w.wantCalls(t, fmt.Sprint("on ", on), want)
		// A bad signature is known here too.
		v, err := w.Verify(t.Context(), w.name, "RS256", digest[:], make([]byte, 256))
		if err != nil || v.Valid || v.Local != on {
			t.Errorf("a bad signature: %+v, %v", v, err)
		}
	}
}

// What no public key does is the vault's.
func TestPrivateUsesAreTheVaults(t *testing.T) {
	w := newKeyWorld(t, hourOfPublicKeys)
	s, err := w.Sign(t.Context(), w.name, "RS256", digest[:])
	if err != nil || rsa.VerifyPKCS1v15(&ourRSA().PublicKey, crypto.SHA256, digest[:], s.Value) != nil {
		t.Fatal(err)
	}
	c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &ourRSA().PublicKey, []byte(plaintext), nil)
	if err != nil {
		t.Fatal(err)
	}
	for op, open := range map[string]func(context.Context, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error){
		"Decrypt": w.Decrypt, "UnwrapKey": w.UnwrapKey,
	} {
		r, err := open(t.Context(), w.name, "RSA-OAEP-256", broker.Cipher{Data: broker.NewValue(string(c))})
		if err != nil || r.Local || r.Data.Reveal() != plaintext {
			t.Errorf("%s: %v, local %v", op, err, r.Local)
		}
	}
	w.wantCalls(t, "private uses", [2]int{0, 3})
}

// Whatever the key's state or the input does not allow is put to the vault, whose
// own refusal comes back: a key that is kept is no way around.
func TestTheVaultRefusesWhatTheKeyDoesNotAllow(t *testing.T) {
	verify := func(alg broker.Algorithm, digest []byte) func(context.Context, broker.KeyStore, broker.Name) (bool, error) {
		return func(ctx context.Context, s broker.KeyStore, n broker.Name) (bool, error) {
			v, err := s.Verify(ctx, n, alg, digest, make([]byte, 256))
			return v.Local, err
		}
	}
	cipher := func(wrap bool, alg broker.Algorithm, in broker.Cipher) func(context.Context, broker.KeyStore, broker.Name) (bool, error) {
		return func(ctx context.Context, s broker.KeyStore, n broker.Name) (bool, error) {
			use := s.Encrypt
			if wrap {
				use = s.WrapKey
			}
			r, err := use(ctx, n, alg, in)
			return r.Local, err
		}
	}
	good := broker.Cipher{Data: broker.NewValue(plaintext)}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	uses := map[string]func(context.Context, broker.KeyStore, broker.Name) (bool, error){
		"verify": verify("RS256", digest[:]), "encrypt": cipher(false, "RSA-OAEP", good), "wrap": cipher(true, "RSA-OAEP", good),
		"an algorithm of another type":    verify("ES256", digest[:]),
		"an algorithm that encrypts":      verify("RSA-OAEP", digest[:]),
		"an unknown algorithm":            verify("RS255", digest[:]),
		"a digest of another length":      verify("RS512", digest[:]),
		"an algorithm that signs":         cipher(false, "RS256", good),
		"a symmetric algorithm":           cipher(true, "A128KW", good),
		"a plaintext that is too long":    cipher(false, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(strings.Repeat("x", 215))}),
		"an IV that nothing is done with": cipher(false, "RSA-OAEP", broker.Cipher{Data: good.Data, IV: make([]byte, 16)}),
	}
	always := []string{"verify", "encrypt", "wrap"}
	for label, tt := range map[string]struct {
		state broker.KeyUpdate
		here  []string
	}{
		"as it was made": {broker.KeyUpdate{}, always},
		"disabled":       {broker.KeyUpdate{Enabled: new(false)}, nil},
		"not to verify":  {broker.KeyUpdate{Ops: &[]broker.KeyOp{broker.KeyOpEncrypt, broker.KeyOpSign, broker.KeyOpDecrypt}}, []string{"encrypt"}},
		"to wrap alone":  {broker.KeyUpdate{Ops: &[]broker.KeyOp{broker.KeyOpWrapKey}}, []string{"wrap"}},
		"for nothing":    {broker.KeyUpdate{Ops: &[]broker.KeyOp{}}, nil},
		"not yet":        {broker.KeyUpdate{NotBefore: &future}, []string{"verify"}},
		"expired":        {broker.KeyUpdate{Expires: &past}, []string{"verify"}},
		"in its time":    {broker.KeyUpdate{NotBefore: &past, Expires: &future}, always},
	} {
		t.Run(label, func(t *testing.T) {
			w := newKeyWorld(t, hourOfPublicKeys)
			k, err := w.store.UpdateKey(t.Context(), w.name, tt.state)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []broker.Name{w.name, k.Name} {
				for use, do := range uses {
					before := w.calls()
					local, err := do(t.Context(), w.KeyCache, n)
					asked := w.calls()[1] - before[1]
					want := slices.Contains(tt.here, use)
					if local != want || (asked == 0) != want || want && err != nil {
						t.Errorf("%s of %v: local %v after %d calls, %v; want local %v", use, n, local, asked, err, want)
					}
					if _, refusal := do(t.Context(), w.store, n); broker.CodeOf(refusal) != broker.CodeOf(err) || fmt.Sprint(refusal) != fmt.Sprint(err) {
						t.Errorf("%s of %v: got %v, the vault says %v", use, n, err, refusal)
					}
				}
			}
			if got := w.calls()[0]; got != 2 {
				t.Errorf("%d keys were asked for, want 2: a refusal that was to be expected makes none forgotten", got)
			}
		})
	}
}

// A symmetric key has no public half: the vault does all, of each kind of key.
func TestSymmetricKeysAreNeverUsedHere(t *testing.T) {
	store := localKeys(t, true)
	w := &keyWorld{store: store, KeyCache: broker.NewKeyCache(store, hourOfPublicKeys)}
	vault, err := broker.VaultName("hsm")
	if err != nil {
		t.Fatal(err)
	}
	n, err := vault.Object(broker.KindKeys, "oct")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.CreateKey(t.Context(), n, broker.NewKey{Type: broker.KeyTypeOctHSM, Size: 256, Enabled: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r, err := w.Encrypt(t.Context(), n, "A256GCM", broker.Cipher{Data: broker.NewValue(plaintext)})
		if err != nil || r.Local {
			t.Errorf("Encrypt: %v, local %v", err, r.Local)
		}
		s, err := w.Sign(t.Context(), n, "HS256", digest[:])
		if err != nil {
			t.Fatal(err)
		}
		v, err := w.Verify(t.Context(), n, "HS256", digest[:], s.Value)
		if err != nil || !v.Valid || v.Local {
			t.Errorf("Verify: %+v, %v", v, err)
		}
		w.wantCalls(t, "a symmetric key", [2]int{1, 3 * (i + 1)})
	}
}

// Keys on elliptic curves are used here too, in an HSM as well.
func TestCurvesAreVerifiedHere(t *testing.T) {
	for kind, hsm := range map[broker.KeyType]bool{broker.KeyTypeEC: false, broker.KeyTypeECHSM: true} {
		store := localKeys(t, hsm)
		cache := broker.NewKeyCache(store, hourOfPublicKeys)
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		for curve, alg := range map[broker.Curve]broker.Algorithm{
			broker.CurveP256: "ES256", broker.CurveP384: "ES384", broker.CurveP521: "ES512", broker.CurveP256K: "ES256K",
		} {
			n, err := vault.Object(broker.KindKeys, string(curve))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.CreateKey(t.Context(), n, broker.NewKey{Type: kind, Curve: curve, Enabled: true}); err != nil {
				t.Fatal(err)
			}
			facts, _ := alg.Facts()
			of := make([]byte, facts.Hash.Size())
			s, err := cache.Sign(t.Context(), n, alg, of)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []broker.Name{n, s.Key} {
				if v, err := cache.Verify(t.Context(), name, alg, of, s.Value); err != nil || !v.Valid || !v.Local || v.Key != s.Key {
					t.Errorf("%s %s: %+v, %v", kind, curve, v, err)
				}
			}
		}
	}
}

// Two hundred who verify at the same time cost one call, which belongs to none of
// them. Without a TTL there is nothing to verify with.
func TestConcurrentVerifiesShareOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, hourOfPublicKeys)
		good, release := signature(t), make(chan struct{})
		w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
			<-release
			return ctx.Err()
		})
		leader, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := w.Verify(leader, w.name, "RS256", digest[:], good)
			left <- err
		}()
		synctest.Wait()
		var served sync.WaitGroup
		for range 200 {
			served.Go(func() {
				if v, err := w.Verify(t.Context(), w.name, "RS256", digest[:], good); err != nil || !v.Valid || !v.Local {
					t.Errorf("got %+v, %v", v, err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; broker.CodeOf(err) != broker.CodeCanceled {
			t.Errorf("who left got %v, want CANCELED", err)
		}
		close(release)
		served.Wait()
		w.wantCalls(t, "200 at a time", [2]int{1, 0})
	})
	w := newKeyWorld(t, broker.KeyCacheConfig{PublicKeys: true})
	w.verify(t, false)
	w.wantCalls(t, "without a TTL", [2]int{0, 1})
}

// A key that is too old is asked for again; what was done elsewhere is seen then.
// The times of a key are looked at whenever it is used.
func TestPublicKeysAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, broker.KeyCacheConfig{TTL: time.Minute, PublicKeys: true})
		expires := time.Now().Add(30 * time.Second)
		if _, err := w.store.UpdateKey(t.Context(), w.name, broker.KeyUpdate{Expires: &expires}); err != nil {
			t.Fatal(err)
		}
		w.verify(t, true)
		encrypt := func() error {
			_, err := w.Encrypt(t.Context(), w.name, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
			return err
		}
		if err := encrypt(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if err := encrypt(); broker.CodeOf(err) != broker.CodeKeyOperationForbidden {
			t.Errorf("past its time: %v, want KEY_OPERATION_FORBIDDEN", err)
		}
		w.wantCalls(t, "past its time", [2]int{1, 1})
		if _, err := w.store.UpdateKey(t.Context(), w.name, broker.KeyUpdate{Enabled: new(false)}); err != nil { // elsewhere
			t.Fatal(err)
		}
		time.Sleep(29 * time.Second)
		w.verify(t, true)
		time.Sleep(time.Second)
		if _, err := w.Verify(t.Context(), w.name, "RS256", digest[:], signature(t)); broker.CodeOf(err) != broker.CodeKeyDisabled {
			t.Errorf("after the TTL: %v, want KEY_DISABLED", err)
		}
		w.wantCalls(t, "after the TTL", [2]int{2, 2})
	})
}

// Each write through the cache is seen by the next use, and so is what the vault
// refuses in another.
func TestPublicKeysAreForgotten(t *testing.T) {
	unavailable := &broker.Error{Code: broker.CodeVaultUnavailable}
	for label, tt := range map[string]struct {
		do   func(context.Context, *keyWorld) error
		want broker.Code // of a use afterwards
	}{
		"a new version": {func(ctx context.Context, w *keyWorld) error {
			_, err := w.CreateKey(ctx, w.name, ec)
			return err
		}, broker.CodeBadField}, // RS256 does not fit it
		"an import": {func(ctx context.Context, w *keyWorld) error {
			_, err := w.ImportKey(ctx, w.name, rsaImport())
			return err
		}, ""},
		"a rotation": {func(ctx context.Context, w *keyWorld) error {
			_, err := w.RotateKey(ctx, w.name)
			return err
		}, ""},
		"a disabling": {func(ctx context.Context, w *keyWorld) error {
			_, err := w.UpdateKey(ctx, w.name, broker.KeyUpdate{Enabled: new(false)})
			return err
		}, broker.CodeKeyDisabled},
		"a disabling of the version": {func(ctx context.Context, w *keyWorld) error {
			k, err := w.store.GetKey(ctx, w.name)
			if err != nil {
				return err
			}
			_, err = w.UpdateKey(ctx, k.Name, broker.KeyUpdate{Enabled: new(false)})
			return err
		}, broker.CodeKeyDisabled},
		"an update that may have been made": {func(ctx context.Context, w *keyWorld) error {
			w.store.SetHook(func(context.Context, string, broker.Name) error { return unavailable })
			defer w.store.SetHook(nil)
			if _, err := w.UpdateKey(ctx, w.name, broker.KeyUpdate{}); broker.CodeOf(err) != broker.CodeVaultUnavailable {
				return err
			}
			return nil
		}, ""},
		"a delete": {func(ctx context.Context, w *keyWorld) error {
			_, err := w.DeleteKey(ctx, w.name)
			return err
		}, broker.CodeKeyNotFound},
		"a delete and a recovery": {func(ctx context.Context, w *keyWorld) error {
			if _, err := w.store.DeleteKey(ctx, w.name); err != nil {
				return err
			}
			_, err := w.RecoverKey(ctx, w.name)
			return err
		}, ""},
		"a purge": {func(ctx context.Context, w *keyWorld) error {
			if _, err := w.store.DeleteKey(ctx, w.name); err != nil {
				return err
			}
			return w.PurgeKey(ctx, w.name)
		}, broker.CodeKeyNotFound},
		"a restore": {func(ctx context.Context, w *keyWorld) error {
			blob, err := w.store.BackupKey(ctx, w.name)
			if err != nil {
				return err
			}
			if _, err := w.store.DeleteKey(ctx, w.name); err != nil {
				return err
			}
			if err := w.store.PurgeKey(ctx, w.name); err != nil {
				return err
			}
			_, err = w.RestoreKey(ctx, w.name.Vault(), blob)
			return err
		}, ""},
		"a refused signature, after a disabling elsewhere": {func(ctx context.Context, w *keyWorld) error {
			if _, err := w.store.UpdateKey(ctx, w.name, broker.KeyUpdate{Enabled: new(false)}); err != nil {
				return err
			}
			_, _ = w.Sign(ctx, w.name, "RS256", digest[:])
			return nil
		}, broker.CodeKeyDisabled},
		"a refused decryption, after a delete elsewhere": {func(ctx context.Context, w *keyWorld) error {
			if _, err := w.store.DeleteKey(ctx, w.name); err != nil {
				return err
			}
			_, _ = w.Decrypt(ctx, w.name, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
			return nil
		}, broker.CodeKeyNotFound},
		"a refused look, after a delete elsewhere": {func(ctx context.Context, w *keyWorld) error {
			if _, err := w.store.DeleteKey(ctx, w.name); err != nil {
				return err
			}
			_, _, _ = w.GetKeyWithin(ctx, w.name, 0)
			return nil
		}, broker.CodeKeyNotFound},
		"a refusal of the broker itself": {func(ctx context.Context, w *keyWorld) error {
			w.store.SetHook(func(context.Context, string, broker.Name) error {
				return &broker.Error{Code: broker.CodeVaultAuthentication}
			})
			defer w.store.SetHook(nil)
			_, _ = w.UnwrapKey(ctx, w.name, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
			return nil
		}, ""},
	} {
		t.Run(label, func(t *testing.T) {
			w := newKeyWorld(t, hourOfPublicKeys)
			w.verify(t, true)
			k, err := w.GetKey(t.Context(), w.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Verify(t.Context(), k.Name, "RS256", digest[:], signature(t)); err != nil {
				t.Fatal(err)
			}
			if err := tt.do(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			gets := w.calls()[0]
			if _, err := w.Verify(t.Context(), w.name, "RS256", digest[:], signature(t)); broker.CodeOf(err) != tt.want {
				t.Errorf("verified with %v, want %q", err, tt.want)
			}
			if got := w.calls()[0] - gets; got != 1 {
				t.Errorf("the key was asked for %d times, want once", got)
			}
			gets = w.calls()[0]
			_, _ = w.Verify(t.Context(), k.Name, "RS256", digest[:], signature(t))
			if got := w.calls()[0] - gets; got != 1 {
				t.Errorf("the version was asked for %d times, want once", got)
			}
		})
	}
}

// What a key signed that was rotated elsewhere is verified with its new version.
func TestARotationElsewhereShowsInASignature(t *testing.T) {
	w := newKeyWorld(t, hourOfPublicKeys)
	w.verify(t, true)
	if _, err := w.store.RotateKey(t.Context(), w.name); err != nil {
		t.Fatal(err)
	}
	s, err := w.Sign(t.Context(), w.name, "RS256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		v, err := w.Verify(t.Context(), w.name, "RS256", digest[:], s.Value)
		if err != nil || !v.Valid || !v.Local || v.Key != s.Key {
			t.Errorf("got %+v, %v; want a good one of %v", v, err, s.Key)
		}
	}
	w.wantCalls(t, "after a rotation", [2]int{2, 1})
}

// A vault that cannot be asked for a key is not asked to use it as well; one that
// does not let the broker get keys is.
func TestWithoutTheKey(t *testing.T) {
	for code, asked := range map[broker.Code]bool{
		broker.CodeVaultUnavailable: false, broker.CodeVaultThrottled: false, broker.CodeDeadlineExceeded: false, broker.CodeInternal: false,
		broker.CodeVaultAuthentication: true, broker.CodeNotSupported: true,
	} {
		w := newKeyWorld(t, hourOfPublicKeys)
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			if method == "GetKey" {
				return &broker.Error{Code: code}
			}
			return nil
		})
		v, err := w.Verify(t.Context(), w.name, "RS256", digest[:], signature(t))
		if asked != (err == nil && v.Valid) || !asked && broker.CodeOf(err) != code || v.Local {
			t.Errorf("%s: got %+v, %v", code, v, err)
		}
		want := [2]int{1, 0}
		if asked {
			want[1] = 1
		}
		w.wantCalls(t, string(code), want)
	}
}

// A store that panics fails the one use, in words that quote nothing.
func TestKeyCacheOutlivesAPanickingStore(t *testing.T) {
	w := newKeyWorld(t, hourOfPublicKeys)
	w.store.SetHook(func(context.Context, string, broker.Name) error { panic("canary-in-a-panic") })
	_, err := w.Verify(t.Context(), w.name, "RS256", digest[:], signature(t))
	_, verr := w.ListKeyVersions(t.Context(), w.name)
	for _, err := range []error{err, verr} {
		if broker.CodeOf(err) != broker.CodeInternal || strings.Contains(fmt.Sprint(err), "canary") {
			t.Fatalf("got %v, want INTERNAL without the panic's text", err)
		}
	}
	w.store.SetHook(nil)
	w.verify(t, true)
}

// With the cache warm, who has no right gets nothing of it: one decision and one
// record each, and no call. Those who have it are decided on each time.
func TestAWarmKeyCacheLiesUnderTheGuard(t *testing.T) {
	mallory := broker.Caller{Principal: broker.Principal{ID: "spiffe://example.org/mallory"}}
	w := newKeyWorld(t, hourOfPublicKeys)
	decisions, audit := 0, &brokertest.Auditor{}
	reader := sdkmetric.NewManualReader()
	b, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"pay": {Keys: w}},
		Authorizer: brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
			decisions++
			return broker.Decision{Allowed: r.Principal.ID == alice.ID}, nil
		}),
		Auditor:       audit,
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	good := signature(t)
	ops := map[string]func(broker.Caller) (bool, error){
		"getKey": func(c broker.Caller) (bool, error) {
			k, err := b.GetKey(t.Context(), c, w.name)
			return len(k.JWK.N) > 0, err
		},
		"listKeys": func(c broker.Caller) (bool, error) {
			p, err := b.ListKeys(t.Context(), c, w.name.Vault(), broker.Page{})
			return len(p.Keys) > 0, err
		},
		"listKeyVersions": func(c broker.Caller) (bool, error) {
			p, err := b.ListKeyVersions(t.Context(), c, w.name, broker.Page{})
			return len(p.Keys) > 0, err
		},
		"verifyKey": func(c broker.Caller) (bool, error) {
			v, err := b.Verify(t.Context(), c, w.name, "RS256", digest[:], good)
			return v.Valid, err
		},
		"encryptKey": func(c broker.Caller) (bool, error) {
			r, err := b.Encrypt(t.Context(), c, w.name, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
			return r.Data.Len() > 0, err
		},
		"wrapKey": func(c broker.Caller) (bool, error) {
			r, err := b.WrapKey(t.Context(), c, w.name, "RSA-OAEP", broker.Cipher{Data: broker.NewValue(plaintext)})
			return r.Data.Len() > 0, err
		},
	}
	for action, op := range ops {
		if some, err := op(alice); err != nil || !some {
			t.Fatalf("%s: %v", action, err)
		}
	}
	w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
		t.Errorf("the vault was asked: %s", method)
		return nil
	})
	for action, op := range ops {
		for _, c := range []broker.Caller{alice, mallory} {
			allowed, before, recorded := c.ID == alice.ID, decisions, len(audit.Events())
			some, err := op(c)
			if some != allowed || (err == nil) != allowed || !allowed && broker.CodeOf(err) != broker.CodePolicyDenied {
				t.Errorf("%s by %s: %v, %v", action, c.ID, some, err)
			}
			want := 1
			if allowed && action == "listKeys" {
				want = 2 // and one on its one key
			}
			if decisions-before != want {
				t.Errorf("%s by %s: %d decisions, want %d", action, c.ID, decisions-before, want)
			}
			events := audit.Events()[recorded:]
			if len(events) != 1 || events[0].Action != broker.Action(action) || events[0].Decision.Allowed != allowed || events[0].Cached != allowed {
				t.Errorf("%s by %s: recorded %+v", action, c.ID, events)
			}
		}
		// No record, no disclosure: it makes no difference that the vault was not asked.
		audit.Refuse(func(broker.Event) error { return context.DeadlineExceeded })
		if some, err := op(alice); some || broker.CodeOf(err) != broker.CodeAuditUnavailable {
			t.Errorf("%s without a record: %v, %v", action, some, err)
		}
		audit.Refuse(nil)
	}
	// Each of the three was allowed three times: warm, again, and unrecorded.
	want := map[string]int64{"pay verifyKey": 3, "pay encryptKey": 3, "pay wrapKey": 3}
	if got := countedHere(t, reader); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// countedHere is keyward.keys.local, by vault and action.
func countedHere(t *testing.T, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, sm := range all.ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name != "keyward.keys.local" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				vault, _ := p.Attributes.Value(attribute.Key("vault"))
				action, _ := p.Attributes.Value(attribute.Key("action"))
				got[vault.AsString()+" "+action.AsString()] = p.Value
			}
		}
	}
	return got
}

// A precondition is checked with the vault, not with what is kept.
func TestAnETagOfAKeyIsTheVaults(t *testing.T) {
	w := newKeyWorld(t, hourOfPublicKeys)
	b, err := broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"pay": {Keys: w}}, Authorizer: brokertest.AllowAll{}, Auditor: &brokertest.Auditor{},
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := b.GetKey(t.Context(), alice, w.name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.UpdateKey(t.Context(), w.name, broker.KeyUpdate{Tags: &map[string]string{"by": "another"}}); err != nil {
		t.Fatal(err)
	}
	_, err = b.UpdateKey(t.Context(), alice, w.name, broker.KeyUpdate{Enabled: new(false)}, k.ETag())
	if broker.CodeOf(err) != broker.CodeETagMismatch {
		t.Errorf("got %v, want ETAG_MISMATCH", err)
	}
}
