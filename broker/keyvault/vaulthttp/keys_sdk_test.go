package vaulthttp_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	gocipher "crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// newKeyVault returns the handler of a local vault's keys, and its log.
func newKeyVault(t *testing.T, managedHSM bool) (http.Handler, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := localvault.Open(localvault.Config{
		Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), ManagedHSM: managedHSM, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	return vaulthttp.New(vaulthttp.Config{
		Vault: name, Keys: store.Keys(), ManagedHSM: managedHSM, Tokens: verifier(token),
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net", Logger: logger,
	}), log
}

// newKeySDK returns Azure's own client of a local vault's keys.
func newKeySDK(t *testing.T, managedHSM bool) *azkeys.Client {
	t.Helper()
	v, _ := newKeyVault(t, managedHSM)
	s := httptest.NewTLSServer(v)
	t.Cleanup(s.Close)
	client, err := azkeys.NewClient(s.URL, &credential{}, &azkeys.ClientOptions{
		ClientOptions:                        azcore.ClientOptions{Transport: s.Client()},
		DisableChallengeResourceVerification: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func importKey(t *testing.T, client *azkeys.Client, name string, key azkeys.JSONWebKey) {
	t.Helper()
	got, err := client.ImportKey(t.Context(), name, azkeys.ImportKeyParameters{Key: &key}, nil)
	if err != nil {
		t.Fatalf("import %s: %v", name, err)
	}
	if k := got.Key; k.D != nil || k.P != nil || k.K != nil || k.QI != nil {
		t.Errorf("import %s: the reply has a private member", name)
	}
}

func importRSA(t *testing.T, client *azkeys.Client, name string) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	importKey(t, client, name, azkeys.JSONWebKey{
		Kty: new(azkeys.KeyTypeRSA), N: k.N.Bytes(), E: big.NewInt(int64(k.E)).Bytes(), D: k.D.Bytes(),
		P: k.Primes[0].Bytes(), Q: k.Primes[1].Bytes(),
		DP: k.Precomputed.Dp.Bytes(), DQ: k.Precomputed.Dq.Bytes(), QI: k.Precomputed.Qinv.Bytes(),
	})
	return k
}

// wantSignatures checks one algorithm both ways: what the vault signs is good to
// the library, and what the library signs is good to the vault; what is not
// good is not.
func wantSignatures(t *testing.T, client *azkeys.Client, name string, alg azkeys.SignatureAlgorithm, digest []byte, sign func() []byte, verify func(sig []byte) bool) {
	t.Helper()
	ours, err := client.Sign(t.Context(), name, "", azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
	if err != nil || !verify(ours.Result) || !strings.EqualFold(ours.KID.Name(), name) || ours.KID.Version() == "" {
		t.Errorf("%s: the library refuses what the vault signed: %v", alg, err)
	}
	theirs := sign()
	bad := slices.Clone(theirs)
	bad[len(bad)/2] ^= 1
	for label, tt := range map[string]struct {
		sig  []byte
		want bool
	}{"the library's": {theirs, true}, "a flipped one": {bad, false}} {
		v, err := client.Verify(t.Context(), name, "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: tt.sig}, nil)
		if err != nil || *v.Value != tt.want {
			t.Errorf("%s: verify of %s: %v, want %v", alg, label, err, tt.want)
		}
	}
}

func digestOf(h crypto.Hash) []byte {
	d := h.New()
	d.Write([]byte("text"))
	return d.Sum(nil)
}

// Azure's own client signs with every algorithm, and the library agrees.
func TestAzureSDKSigns(t *testing.T) {
	client := newKeySDK(t, false)
	hashes := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	k := importRSA(t, client, "rsa")
	for bits, h := range hashes {
		digest, pss := digestOf(h), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		wantSignatures(t, client, "rsa", azkeys.SignatureAlgorithm("RS"+bits), digest,
			func() []byte { return must(rsa.SignPKCS1v15(nil, k, h, digest)) },
			func(sig []byte) bool { return rsa.VerifyPKCS1v15(&k.PublicKey, h, digest, sig) == nil })
		wantSignatures(t, client, "rsa", azkeys.SignatureAlgorithm("PS"+bits), digest,
			func() []byte { return must(rsa.SignPSS(rand.Reader, k, h, digest, pss)) },
			func(sig []byte) bool { return rsa.VerifyPSS(&k.PublicKey, h, digest, sig, pss) == nil })
	}
	for alg, on := range map[string]struct {
		curve elliptic.Curve
		name  azkeys.CurveName
		hash  crypto.Hash
	}{
		"ES256": {elliptic.P256(), azkeys.CurveNameP256, crypto.SHA256},
		"ES384": {elliptic.P384(), azkeys.CurveNameP384, crypto.SHA384},
		"ES512": {elliptic.P521(), azkeys.CurveNameP521, crypto.SHA512},
	} {
		k := must(ecdsa.GenerateKey(on.curve, rand.Reader))
		point, size := must(k.PublicKey.Bytes())[1:], (on.curve.Params().BitSize+7)/8
		importKey(t, client, alg, azkeys.JSONWebKey{
			Kty: new(azkeys.KeyTypeEC), Crv: new(on.name), X: point[:size], Y: point[size:], D: must(k.Bytes()),
		})
		digest := digestOf(on.hash)
		wantSignatures(t, client, alg, azkeys.SignatureAlgorithm(alg), digest,
			func() []byte {
				r, s, err := ecdsa.Sign(rand.Reader, k, digest)
				must(0, err)
				return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
			},
			func(sig []byte) bool {
				return len(sig) == 2*size && ecdsa.Verify(&k.PublicKey, digest, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
			})
	}
	s := must(secp256k1.GeneratePrivateKey())
	point := s.PubKey().SerializeUncompressed()[1:]
	importKey(t, client, "ES256K", azkeys.JSONWebKey{
		Kty: new(azkeys.KeyTypeEC), Crv: new(azkeys.CurveNameP256K), X: point[:32], Y: point[32:], D: s.Serialize(),
	})
	digest := digestOf(crypto.SHA256)
	wantSignatures(t, client, "ES256K", azkeys.SignatureAlgorithmES256K, digest,
		func() []byte { return secp256k1ecdsa.SignCompact(s, digest, false)[1:] },
		func(sig []byte) bool {
			var r, z secp256k1.ModNScalar
			return len(sig) == 64 && !r.SetByteSlice(sig[:32]) && !z.SetByteSlice(sig[32:]) &&
				secp256k1ecdsa.NewSignature(&r, &z).Verify(digest, s.PubKey())
		})
}

// Azure's own client encrypts and wraps with every algorithm of RSA keys, and
// the library agrees.
func TestAzureSDKEncrypts(t *testing.T) {
	client := newKeySDK(t, false)
	ctx, k, plain := t.Context(), importRSA(t, client, "rsa"), []byte("plain text")
	for alg, lib := range map[azkeys.EncryptionAlgorithm]struct {
		seal func() ([]byte, error)
		open func([]byte) ([]byte, error)
	}{
		azkeys.EncryptionAlgorithmRSA15: {
			func() ([]byte, error) { return rsa.EncryptPKCS1v15(rand.Reader, &k.PublicKey, plain) }, //nolint:staticcheck // what RSA1_5 is
			func(c []byte) ([]byte, error) { return rsa.DecryptPKCS1v15(nil, k, c) },                //nolint:staticcheck // the same
		},
		azkeys.EncryptionAlgorithmRSAOAEP: {
			func() ([]byte, error) { return rsa.EncryptOAEP(sha1.New(), rand.Reader, &k.PublicKey, plain, nil) },
			func(c []byte) ([]byte, error) { return rsa.DecryptOAEP(sha1.New(), nil, k, c, nil) },
		},
		azkeys.EncryptionAlgorithmRSAOAEP256: {
			func() ([]byte, error) { return rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.PublicKey, plain, nil) },
			func(c []byte) ([]byte, error) { return rsa.DecryptOAEP(sha256.New(), nil, k, c, nil) },
		},
	} {
		in := func(value []byte) azkeys.KeyOperationParameters {
			return azkeys.KeyOperationParameters{Algorithm: &alg, Value: value}
		}
		ours, err := client.Encrypt(ctx, "rsa", "", in(plain), nil)
		if got, failed := lib.open(ours.Result); err != nil || failed != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: the library does not open what the vault encrypted: %v, %v", alg, err, failed)
		}
		wrapped, err := client.WrapKey(ctx, "rsa", "", in(plain), nil)
		if got, failed := lib.open(wrapped.Result); err != nil || failed != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: the library does not open what the vault wrapped: %v, %v", alg, err, failed)
		}
		theirs := must(lib.seal())
		if got, err := client.Decrypt(ctx, "rsa", "", in(theirs), nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("%s: the vault does not open what the library encrypted: %v", alg, err)
		}
		if got, err := client.UnwrapKey(ctx, "rsa", "", in(theirs), nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("%s: the vault does not unwrap what the library encrypted: %v", alg, err)
		}
	}
}

// The symmetric algorithms of a Managed HSM, through Azure's own client.
func TestAzureSDKSymmetric(t *testing.T) {
	client := newKeySDK(t, true)
	ctx, iv, plain := t.Context(), []byte("0123456789abcdef"), []byte("two whole blocks of plain text..")
	for _, bits := range []int{128, 192, 256} {
		name, key := fmt.Sprint("oct-", bits), make([]byte, bits/8)
		_, _ = rand.Read(key)
		importKey(t, client, name, azkeys.JSONWebKey{Kty: new(azkeys.KeyTypeOctHSM), K: key})
		block := must(aes.NewCipher(key))
		alg := func(suffix string) *azkeys.EncryptionAlgorithm {
			return new(azkeys.EncryptionAlgorithm(fmt.Sprint("A", bits, suffix)))
		}

		sealed, err := client.Encrypt(ctx, name, "", azkeys.KeyOperationParameters{
			Algorithm: alg("GCM"), Value: plain, AdditionalAuthenticatedData: []byte("aad"),
		}, nil)
		if err != nil {
			t.Fatalf("GCM of %d bits: %v", bits, err)
		}
		gcm := must(gocipher.NewGCM(block))
		if got, err := gcm.Open(nil, sealed.IV, slices.Concat(sealed.Result, sealed.AuthenticationTag), []byte("aad")); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("GCM of %d bits: the library does not open what the vault encrypted: %v", bits, err)
		}
		theirs := gcm.Seal(nil, iv[:12], plain, []byte("aad"))
		if got, err := client.Decrypt(ctx, name, "", azkeys.KeyOperationParameters{
			Algorithm: alg("GCM"), Value: theirs[:len(plain)], AuthenticationTag: theirs[len(plain):], IV: iv[:12], AdditionalAuthenticatedData: []byte("aad"),
		}, nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("GCM of %d bits: the vault does not open what the library encrypted: %v", bits, err)
		}

		for suffix, padding := range map[string][]byte{"CBC": nil, "CBCPAD": bytes.Repeat([]byte{16}, 16)} {
			want := slices.Concat(plain, padding)
			gocipher.NewCBCEncrypter(block, iv).CryptBlocks(want, want)
			ours, err := client.Encrypt(ctx, name, "", azkeys.KeyOperationParameters{Algorithm: alg(suffix), Value: plain, IV: iv}, nil)
			if err != nil || !bytes.Equal(ours.Result, want) {
				t.Errorf("%s of %d bits is not the library's: %v", suffix, bits, err)
			}
			got, err := client.Decrypt(ctx, name, "", azkeys.KeyOperationParameters{Algorithm: alg(suffix), Value: want, IV: iv}, nil)
			if err != nil || !bytes.Equal(got.Result, plain) {
				t.Errorf("%s of %d bits: the vault does not open the library's: %v", suffix, bits, err)
			}
		}
		wrapped, err := client.WrapKey(ctx, name, "", azkeys.KeyOperationParameters{Algorithm: alg("KW"), Value: plain}, nil)
		if err != nil || len(wrapped.Result) != len(plain)+8 {
			t.Fatalf("KW of %d bits: %v", bits, err)
		}
		if got, err := client.UnwrapKey(ctx, name, "", azkeys.KeyOperationParameters{Algorithm: alg("KW"), Value: wrapped.Result}, nil); err != nil || !bytes.Equal(got.Result, plain) {
			t.Errorf("KW of %d bits is not undone: %v", bits, err)
		}
	}
	digest := digestOf(crypto.SHA256)
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	importKey(t, client, "mac", azkeys.JSONWebKey{Kty: new(azkeys.KeyTypeOctHSM), K: key})
	mac := func() []byte { h := hmac.New(sha256.New, key); h.Write(digest); return h.Sum(nil) }
	wantSignatures(t, client, "mac", azkeys.SignatureAlgorithmHS256, digest, mac, func(sig []byte) bool { return hmac.Equal(sig, mac()) })
}

// A key's life, through Azure's own client: every operation that is not a use.
func TestAzureSDKKeys(t *testing.T) {
	for label, hsm := range map[string]bool{"a vault": false, "a Managed HSM": true} {
		t.Run(label, func(t *testing.T) { keyLife(t, newKeySDK(t, hsm)) })
	}
}

func keyLife(t *testing.T, client *azkeys.Client) {
	t.Helper()
	ctx := t.Context()
	wantStatus := func(what string, err error, status int) {
		t.Helper()
		if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != status {
			t.Errorf("%s: %v, want %d", what, err, status)
		}
	}
	for kty, p := range map[azkeys.KeyType]azkeys.CreateKeyParameters{
		azkeys.KeyTypeRSAHSM: {KeySize: new(int32(3072)), PublicExponent: new(int32(65537))},
		azkeys.KeyTypeECHSM:  {Curve: new(azkeys.CurveNameP521)},
	} {
		p.Kty = new(kty)
		made, err := client.CreateKey(ctx, string(kty), p, nil)
		if err != nil || *made.Key.Kty != kty || kty == azkeys.KeyTypeRSAHSM && len(made.Key.N) != 384 || kty == azkeys.KeyTypeECHSM && len(made.Key.X) != 66 {
			t.Errorf("create %s: %v", kty, err)
		}
	}
	made, err := client.CreateKey(ctx, "DB", azkeys.CreateKeyParameters{
		Kty: new(azkeys.KeyTypeEC), Tags: map[string]*string{"a": new("b")}, KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationSign)},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, expires := made.Key.KID.Version(), time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	updated, err := client.UpdateKey(ctx, "db", first, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Expires: &expires}}, nil)
	if err != nil || !updated.Attributes.Expires.Equal(expires) || *updated.Tags["a"] != "b" || len(updated.Key.KeyOps) != 1 {
		t.Errorf("update: %v", err)
	}
	_, err = client.Verify(ctx, "db", first, azkeys.VerifyParameters{
		Algorithm: new(azkeys.SignatureAlgorithmES256), Digest: make([]byte, 32), Signature: make([]byte, 64),
	}, nil)
	wantStatus("a use that is not among the key's", err, 403)
	got, err := client.GetKey(ctx, "db", "", nil)
	if err != nil || got.Key.KID.Version() != first || !bytes.Equal(got.Key.X, made.Key.X) || got.Attributes.RecoverableDays == nil {
		t.Errorf("get: %v", err)
	}
	policy, err := client.UpdateKeyRotationPolicy(ctx, "db", azkeys.KeyRotationPolicy{
		Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: new("P90D")},
		LifetimeActions: []*azkeys.LifetimeAction{{
			Action:  &azkeys.LifetimeActionType{Type: new(azkeys.KeyRotationPolicyActionRotate)},
			Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: new("P30D")},
		}},
	}, nil)
	if err != nil || *policy.Attributes.ExpiryTime != "P90D" || len(policy.LifetimeActions) == 0 || policy.Attributes.Created == nil {
		t.Errorf("rotation policy: %v", err)
	}
	if read, err := client.GetKeyRotationPolicy(ctx, "db", nil); err != nil || len(read.LifetimeActions) != len(policy.LifetimeActions) {
		t.Errorf("rotation policy, read: %v", err)
	}
	rotated, err := client.RotateKey(ctx, "db", nil)
	if err != nil || rotated.Key.KID.Version() == first || rotated.Attributes.Expires == nil {
		t.Errorf("rotate: %v", err)
	}
	for range 28 {
		if _, err := client.RotateKey(ctx, "db", nil); err != nil {
			t.Fatal(err)
		}
	}
	versions := 0
	for p := client.NewListKeyPropertiesVersionsPager("db", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 30 {
		t.Errorf("%d versions, want 30", versions)
	}
	backup, err := client.BackupKey(ctx, "db", nil)
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	_, err = client.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	wantStatus("a restore over a live name", err, 409)
	_, err = client.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: []byte("no backup")}, nil)
	wantStatus("a restore of nothing", err, 400)
	deleted, err := client.DeleteKey(ctx, "db", nil)
	if err != nil || deleted.RecoveryID == nil || deleted.ScheduledPurgeDate == nil || deleted.Key.KID.Version() == "" {
		t.Errorf("delete: %v", err)
	}
	_, err = client.CreateKey(ctx, "db", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC)}, nil)
	wantStatus("a create over a deleted name", err, 409)
	if _, err := client.GetDeletedKey(ctx, "db", nil); err != nil {
		t.Errorf("get deleted: %v", err)
	}
	if _, err := client.RecoverDeletedKey(ctx, "db", nil); err != nil {
		t.Errorf("recover: %v", err)
	}
	if _, err := client.DeleteKey(ctx, "db", nil); err != nil {
		t.Error(err)
	}
	if _, err := client.PurgeDeletedKey(ctx, "db", nil); err != nil {
		t.Errorf("purge: %v", err)
	}
	restored, err := client.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
	if err != nil || restored.Key.KID.Name() != "db" {
		t.Errorf("restore: %v", err)
	}
	if old, err := client.GetKey(ctx, "db", first, nil); err != nil || !bytes.Equal(old.Key.X, made.Key.X) {
		t.Errorf("a restored version: %v", err)
	}
	for i := range 27 {
		name := fmt.Sprint("k", i)
		if _, err := client.CreateKey(ctx, name, azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	live, gone := 0, 0
	for p := client.NewListKeyPropertiesPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		live += len(page.Value)
		for _, k := range page.Value {
			if _, err := client.DeleteKey(ctx, k.KID.Name(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p := client.NewListDeletedKeyPropertiesPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		gone += len(page.Value)
	}
	if live != 30 || gone != 30 {
		t.Errorf("%d keys and %d deleted ones, want 30 and 30", live, gone)
	}
	_, err = client.GetKey(ctx, "absent", "", nil)
	wantStatus("a key that is not there", err, 404)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
