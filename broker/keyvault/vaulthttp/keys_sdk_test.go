package vaulthttp_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// newKeysSDK returns Azure's own client of a local vault's keys.
func newKeysSDK(t *testing.T) *azkeys.Client {
	t.Helper()
	dir := t.TempDir()
	store, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(vaulthttp.New(vaulthttp.Config{
		Vault: name, Keys: store.Keys(), Tokens: verifier(token),
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net",
	}))
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

func digestOf(h crypto.Hash, data string) []byte {
	switch h {
	case crypto.SHA384:
		d := sha512.Sum384([]byte(data))
		return d[:]
	case crypto.SHA512:
		d := sha512.Sum512([]byte(data))
		return d[:]
	}
	d := sha256.Sum256([]byte(data))
	return d[:]
}

// What Azure's own client signs and encrypts here, the standard library verifies
// and made what is decrypted, and the reverse.
func TestAzureSDKUsesKeys(t *testing.T) {
	client, ctx := newKeysSDK(t), t.Context()
	made, err := client.CreateKey(ctx, "rsa", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeRSA), KeySize: new(int32(2048))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(made.Key.N), E: int(new(big.Int).SetBytes(made.Key.E).Int64())}
	version := made.Key.KID.Version()
	for alg, sig := range map[azkeys.SignatureAlgorithm]struct {
		hash crypto.Hash
		pss  bool
	}{
		azkeys.SignatureAlgorithmRS256: {crypto.SHA256, false}, azkeys.SignatureAlgorithmRS384: {crypto.SHA384, false}, azkeys.SignatureAlgorithmRS512: {crypto.SHA512, false},
		azkeys.SignatureAlgorithmPS256: {crypto.SHA256, true}, azkeys.SignatureAlgorithmPS384: {crypto.SHA384, true}, azkeys.SignatureAlgorithmPS512: {crypto.SHA512, true},
	} {
		digest := digestOf(sig.hash, "signed")
		got, err := client.Sign(ctx, "rsa", version, azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if sig.pss {
			err = rsa.VerifyPSS(public, sig.hash, digest, got.Result, nil)
		} else {
			err = rsa.VerifyPKCS1v15(public, sig.hash, digest, got.Result)
		}
		if err != nil || got.KID.Version() != version {
			t.Errorf("%s: %v by %s", alg, err, *got.KID)
		}
		for _, good := range []bool{true, false} {
			got.Result[0] ^= map[bool]byte{true: 0, false: 1}[good]
			v, err := client.Verify(ctx, "rsa", "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: got.Result}, nil)
			if err != nil || *v.Value != good {
				t.Errorf("%s: verify %v, want %v", alg, err, good)
			}
		}
	}
	for alg, encrypt := range map[azkeys.EncryptionAlgorithm]func() ([]byte, error){
		azkeys.EncryptionAlgorithmRSA15: func() ([]byte, error) { return rsa.EncryptPKCS1v15(rand.Reader, public, []byte("plain")) }, //nolint:staticcheck // Key Vault's
		azkeys.EncryptionAlgorithmRSAOAEP256: func() ([]byte, error) {
			return rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("plain"), nil)
		},
	} {
		theirs, err := encrypt()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := client.Encrypt(ctx, "rsa", version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: []byte("plain")}, nil)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		wrapped, err := client.WrapKey(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: []byte("plain")}, nil)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		for what, sealed := range map[string][]byte{"the library's": theirs, "its own": ours.Result, "a wrapped key": wrapped.Result} {
			open := client.Decrypt
			got, err := open(ctx, "rsa", version, azkeys.KeyOperationParameters{Algorithm: &alg, Value: sealed}, nil)
			if err != nil || !bytes.Equal(got.Result, []byte("plain")) {
				t.Errorf("%s: %s: %v", alg, what, err)
			}
			un, err := client.UnwrapKey(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: &alg, Value: sealed}, nil)
			if err != nil || !bytes.Equal(un.Result, []byte("plain")) {
				t.Errorf("%s: unwrap %s: %v", alg, what, err)
			}
		}
	}
	for alg, curve := range map[azkeys.SignatureAlgorithm]struct {
		name  azkeys.CurveName
		curve elliptic.Curve
		hash  crypto.Hash
	}{
		azkeys.SignatureAlgorithmES256:  {azkeys.CurveNameP256, elliptic.P256(), crypto.SHA256},
		azkeys.SignatureAlgorithmES384:  {azkeys.CurveNameP384, elliptic.P384(), crypto.SHA384},
		azkeys.SignatureAlgorithmES512:  {azkeys.CurveNameP521, elliptic.P521(), crypto.SHA512},
		azkeys.SignatureAlgorithmES256K: {azkeys.CurveNameP256K, nil, crypto.SHA256},
	} {
		made, err := client.CreateKey(ctx, "ec-"+string(alg), azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC), Curve: &curve.name}, nil)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		digest := digestOf(curve.hash, "signed")
		got, err := client.Sign(ctx, made.Key.KID.Name(), made.Key.KID.Version(), azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		v, err := client.Verify(ctx, made.Key.KID.Name(), "", azkeys.VerifyParameters{Algorithm: &alg, Digest: digest, Signature: got.Result}, nil)
		if err != nil || !*v.Value {
			t.Errorf("%s: %v", alg, err)
		}
		if curve.curve == nil { // the library has no secp256k1; the suite of stores has its own
			continue
		}
		half := len(got.Result) / 2
		key, err := ecdsa.ParseUncompressedPublicKey(curve.curve, slices.Concat([]byte{4}, made.Key.X, made.Key.Y))
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.Verify(key, digest, new(big.Int).SetBytes(got.Result[:half]), new(big.Int).SetBytes(got.Result[half:])) {
			t.Errorf("%s: the library refuses it", alg)
		}
	}
}

// A whole life of a key, by Azure's own client.
func TestAzureSDKKeysLife(t *testing.T) {
	client, ctx := newKeysSDK(t), t.Context()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private.Precompute()
	imported, err := client.ImportKey(ctx, "imported", azkeys.ImportKeyParameters{
		Key: &azkeys.JSONWebKey{
			Kty: new(azkeys.KeyTypeRSA), N: private.N.Bytes(), E: []byte{1, 0, 1}, D: private.D.Bytes(),
			P: private.Primes[0].Bytes(), Q: private.Primes[1].Bytes(),
			DP: private.Precomputed.Dp.Bytes(), DQ: private.Precomputed.Dq.Bytes(), QI: private.Precomputed.Qinv.Bytes(),
			KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationSign), new(azkeys.KeyOperationVerify)},
		},
		Tags: map[string]*string{"team": new("pay")},
	}, nil)
	if err != nil || !bytes.Equal(imported.Key.N, private.N.Bytes()) || len(imported.Key.KeyOps) != 2 || imported.Key.D != nil {
		t.Fatalf("import: %v", err)
	}
	digest := digestOf(crypto.SHA256, "signed")
	sig, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := client.Verify(ctx, "imported", "", azkeys.VerifyParameters{Algorithm: new(azkeys.SignatureAlgorithmRS256), Digest: digest, Signature: sig}, nil); err != nil || !*v.Value {
		t.Errorf("what the library signed: %v", err)
	}
	forbidden, err := client.Encrypt(ctx, "imported", "", azkeys.KeyOperationParameters{Algorithm: new(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("x")}, nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != 403 || e.ErrorCode != "Forbidden" {
		t.Errorf("encrypting with a key for signatures: %v, %v", forbidden.Result, err)
	}

	updated, err := client.UpdateKey(ctx, "imported", imported.Key.KID.Version(), azkeys.UpdateKeyParameters{
		KeyAttributes: &azkeys.KeyAttributes{Expires: new(time.Now().Add(-time.Hour)), NotBefore: new(time.Now().Add(-2 * time.Hour))}, Tags: map[string]*string{"a": new("b")},
	}, nil)
	if err != nil || *updated.Tags["a"] != "b" || len(updated.Tags) != 1 {
		t.Errorf("update: %v", err)
	}
	if _, err := client.Sign(ctx, "imported", "", azkeys.SignParameters{Algorithm: new(azkeys.SignatureAlgorithmRS256), Value: digest}, nil); err == nil {
		t.Error("an expired key signs")
	}
	if v, err := client.Verify(ctx, "imported", "", azkeys.VerifyParameters{Algorithm: new(azkeys.SignatureAlgorithmRS256), Digest: digest, Signature: sig}, nil); err != nil || !*v.Value {
		t.Errorf("an expired key verifies: %v", err)
	}

	if _, err := client.CreateKey(ctx, "ec", azkeys.CreateKeyParameters{Kty: new(azkeys.KeyTypeEC)}, nil); err != nil {
		t.Fatal(err)
	}
	policy, err := client.UpdateKeyRotationPolicy(ctx, "ec", azkeys.KeyRotationPolicy{
		Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: new("P90D")},
		LifetimeActions: []*azkeys.LifetimeAction{{
			Action: &azkeys.LifetimeActionType{Type: new(azkeys.KeyRotationPolicyActionRotate)}, Trigger: &azkeys.LifetimeActionTrigger{TimeBeforeExpiry: new("P30D")},
		}},
	}, nil)
	if err != nil || *policy.Attributes.ExpiryTime != "P90D" {
		t.Fatalf("rotation policy: %v", err)
	}
	if got, err := client.GetKeyRotationPolicy(ctx, "ec", nil); err != nil || len(got.LifetimeActions) == 0 {
		t.Errorf("rotation policy: %v", err)
	}
	rotated, err := client.RotateKey(ctx, "ec", nil)
	if err != nil || rotated.Attributes.Expires == nil || time.Until(*rotated.Attributes.Expires) < 89*24*time.Hour {
		t.Errorf("rotate: %v", err)
	}
	versions := 0
	for p := client.NewListKeyPropertiesVersionsPager("ec", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	names := 0
	for p := client.NewListKeyPropertiesPager(nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.Value)
	}
	if versions != 2 || names != 2 {
		t.Errorf("%d versions and %d keys", versions, names)
	}

	backup, err := client.BackupKey(ctx, "ec", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := client.DeleteKey(ctx, "ec", nil); err != nil || d.RecoveryID == nil || d.DeletedDate == nil || d.ScheduledPurgeDate == nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := client.GetKey(ctx, "ec", "", nil); err == nil {
		t.Error("a deleted key is got")
	}
	if _, err := client.GetDeletedKey(ctx, "ec", nil); err != nil {
		t.Errorf("get deleted: %v", err)
	}
	if _, err := client.RecoverDeletedKey(ctx, "ec", nil); err != nil {
		t.Errorf("recover: %v", err)
	}
	if _, err := client.DeleteKey(ctx, "ec", nil); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := client.PurgeDeletedKey(ctx, "ec", nil); err != nil {
		t.Errorf("purge: %v", err)
	}
	if k, err := client.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil); err != nil || k.Key.KID.Name() != "ec" {
		t.Errorf("restore: %v", err)
	}
}
