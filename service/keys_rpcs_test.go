package service_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// Keys that were made elsewhere: making one takes its time.
var (
	rsaJWK = sync.OnceValue(func() string {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		return jwkText(key, err)
	})
	ecJWK = sync.OnceValue(func() string {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return jwkText(key, err)
	})
)

func jwkText(key any, err error) string {
	if err != nil {
		panic(err)
	}
	raw, err := json.Marshal(jose.JSONWebKey{Key: key})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

var (
	digest    = func() []byte { d := sha256.Sum256([]byte("what is signed")); return d[:] }()
	plaintext = []byte("0123456789abcdef")
)

// furnishKeys is what furnish does for keys.
func furnishKeys(w *world) (f furnished) {
	w.Helper()
	ctx := w.Context()
	put := func(object string) broker.Name {
		n := w.keyName(object)
		_, err := w.keys.ImportKey(ctx, n, broker.KeyImport{NewKey: broker.NewKey{Enabled: true}, Material: broker.NewValue(rsaJWK())})
		w.must(err)
		return n
	}
	remove := func(n broker.Name) {
		_, err := w.keys.DeleteKey(ctx, n)
		w.must(err)
	}
	old := put("old")
	backup, err := w.keys.BackupKey(ctx, old)
	w.must(err)
	remove(old)
	w.must(w.keys.PurgeKey(ctx, old))
	remove(put("gone"))
	db := put("db")
	in := broker.Cipher{Data: broker.NewValue(string(plaintext))}
	encrypted, err := w.keys.Encrypt(ctx, db, "RSA-OAEP-256", in)
	w.must(err)
	wrapped, err := w.keys.WrapKey(ctx, db, "RSA-OAEP-256", in)
	w.must(err)
	signed, err := w.keys.Sign(ctx, db, "RS256", digest)
	w.must(err)
	f.keyBlob, f.signature = []byte(backup.Reveal()), signed.Value
	f.ciphertext, f.wrapped = []byte(encrypted.Data.Reveal()), []byte(wrapped.Data.Reveal())
	return f
}

// clearKeys takes what furnishKeys and the requests of keyRPCs left.
func clearKeys(w *world) {
	w.Helper()
	for _, object := range []string{"db", "gone", "old", "nothing"} {
		_, _ = w.keys.DeleteKey(w.Context(), w.keyName(object))
		_ = w.keys.PurgeKey(w.Context(), w.keyName(object))
	}
}

func (w *world) keyName(object string) broker.Name {
	w.Helper()
	n, err := broker.ParseName(broker.KindKeys, "vaults/dev/keys/"+object)
	w.must(err)
	return n
}

func keyRPCs(f furnished) map[string]rpc {
	const db, gone = "vaults/dev/keys/db", "vaults/dev/deletedKeys/gone"
	b64 := base64.StdEncoding.EncodeToString
	is := func(m proto.Message, kty string) bool {
		k := m.(*keywardv1.Key)
		return k.GetName() == db && len(k.GetVersion()) == 32 && k.GetEnabled() && k.GetEtag() != "" && k.GetPublicJwk().GetKty() == kty &&
			strings.HasPrefix(k.GetPublicPem(), "-----BEGIN PUBLIC KEY-----\n") && len(k.GetKeyOps()) > 0
	}
	isRSA := func(m proto.Message) bool { return is(m, "RSA") }
	isEC := func(m proto.Message) bool { return is(m, "EC") }
	// item has no public half.
	item := func(k *keywardv1.Key) bool {
		return k.GetName() == db && k.GetPublicJwk() == nil && k.GetPublicPem() == "" && k.GetEtag() == ""
	}
	by := func(version string) bool {
		return len(version) == len(db)+len("/versions/")+32 && version[:len(db)] == db
	}
	policy := &keywardv1.RotationPolicy{ExpiryDuration: "P1Y", LifetimeActions: []*keywardv1.LifetimeAction{{Type: "Rotate", AfterCreateDuration: "P90D"}}}
	policyJSON := `{"expiryDuration":"P1Y","lifetimeActions":[{"type":"Rotate","afterCreateDuration":"P90D"}]}`
	return map[string]rpc{
		"CreateKey": {&keywardv1.CreateKeyRequest{Name: db, Kty: "EC"}, "PUT /v1/" + db, `{"kty":"EC"}`, isEC},
		"ImportKey": {&keywardv1.ImportKeyRequest{Name: db, Jwk: ecJWK()}, "POST /v1/" + db + ":import", jsonOf(&keywardv1.ImportKeyRequest{Jwk: ecJWK()}), isEC},
		"GetKey":    {&keywardv1.GetKeyRequest{Name: db}, "GET /v1/" + db, "", isRSA},
		"ListKeys": {&keywardv1.ListKeysRequest{Parent: "vaults/dev"}, "GET /v1/vaults/dev/keys", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListKeysResponse).GetKeys()
			return len(l) == 1 && item(l[0]) && l[0].GetVersion() == ""
		}},
		"ListKeyVersions": {&keywardv1.ListKeyVersionsRequest{Parent: db}, "GET /v1/" + db + "/versions", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListKeyVersionsResponse).GetKeys()
			return len(l) == 1 && item(l[0]) && l[0].GetVersion() != ""
		}},
		"UpdateKey": {
			&keywardv1.UpdateKeyRequest{Key: &keywardv1.Key{Name: db, KeyOps: []string{"sign"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"key_ops"}}},
			"PATCH /v1/" + db + "?updateMask=keyOps", `{"keyOps":["sign"]}`,
			func(m proto.Message) bool {
				ops := m.(*keywardv1.Key).GetKeyOps()
				return isRSA(m) && len(ops) == 1 && ops[0] == "sign"
			},
		},
		"DeleteKey": {&keywardv1.DeleteKeyRequest{Name: db}, "DELETE /v1/" + db, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedKey)
			return d.GetName() == "vaults/dev/deletedKeys/db" && d.GetKey().GetName() == db && d.GetKey().GetPublicJwk().GetKty() == "RSA" && d.GetDeleteTime() != nil && d.GetPurgeTime() != nil
		}},
		"GetDeletedKey": {&keywardv1.GetDeletedKeyRequest{Name: gone}, "GET /v1/" + gone, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedKey)
			return d.GetName() == gone && d.GetKey().GetName() == "vaults/dev/keys/gone" && d.GetDeleteTime() != nil
		}},
		"ListDeletedKeys": {&keywardv1.ListDeletedKeysRequest{Parent: "vaults/dev"}, "GET /v1/vaults/dev/deletedKeys", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListDeletedKeysResponse).GetDeletedKeys()
			return len(l) == 1 && l[0].GetName() == gone
		}},
		"UndeleteKey": {&keywardv1.UndeleteKeyRequest{Name: gone}, "POST /v1/" + gone + ":undelete", "{}", func(m proto.Message) bool {
			return m.(*keywardv1.Key).GetName() == "vaults/dev/keys/gone"
		}},
		"PurgeKey":  {&keywardv1.PurgeKeyRequest{Name: gone}, "DELETE /v1/" + gone, "", func(proto.Message) bool { return true }},
		"BackupKey": {&keywardv1.BackupKeyRequest{Name: db}, "POST /v1/" + db + ":backup", "{}", func(m proto.Message) bool { return len(m.(*keywardv1.BackupKeyResponse).GetBlob()) > 0 }},
		"RestoreKey": {
			&keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: f.keyBlob}, "POST /v1/vaults/dev/keys:restore", `{"blob":"` + b64(f.keyBlob) + `"}`,
			func(m proto.Message) bool { return m.(*keywardv1.Key).GetName() == "vaults/dev/keys/old" },
		},
		"RotateKey": {&keywardv1.RotateKeyRequest{Name: db}, "POST /v1/" + db + ":rotate", "{}", isRSA},
		"GetRotationPolicy": {&keywardv1.GetRotationPolicyRequest{Name: db}, "GET /v1/" + db + "/rotationPolicy", "", func(m proto.Message) bool {
			return m.(*keywardv1.RotationPolicy) != nil
		}},
		"UpdateRotationPolicy": {
			&keywardv1.UpdateRotationPolicyRequest{Name: db, RotationPolicy: policy}, "PUT /v1/" + db + "/rotationPolicy", policyJSON,
			func(m proto.Message) bool {
				p := m.(*keywardv1.RotationPolicy)
				return p.GetExpiryDuration() == "P1Y" && len(p.GetLifetimeActions()) >= 1 && p.GetLifetimeActions()[0].GetAfterCreateDuration() == "P90D"
			},
		},
		"Encrypt": {
			&keywardv1.EncryptRequest{Name: db, Algorithm: "RSA-OAEP-256", Plaintext: plaintext},
			"POST /v1/" + db + ":encrypt", `{"algorithm":"RSA-OAEP-256","plaintext":"` + b64(plaintext) + `"}`,
			func(m proto.Message) bool {
				r := m.(*keywardv1.EncryptResponse)
				return by(r.GetKeyVersion()) && len(r.GetCiphertext()) == 256
			},
		},
		"Decrypt": {
			&keywardv1.DecryptRequest{Name: db, Algorithm: "RSA-OAEP-256", Ciphertext: f.ciphertext},
			"POST /v1/" + db + ":decrypt", `{"algorithm":"RSA-OAEP-256","ciphertext":"` + b64(f.ciphertext) + `"}`,
			func(m proto.Message) bool {
				r := m.(*keywardv1.DecryptResponse)
				return by(r.GetKeyVersion()) && bytes.Equal(r.GetPlaintext(), plaintext)
			},
		},
		"WrapKey": {
			&keywardv1.WrapKeyRequest{Name: db, Algorithm: "RSA-OAEP-256", Key: plaintext},
			"POST /v1/" + db + ":wrapKey", `{"algorithm":"RSA-OAEP-256","key":"` + b64(plaintext) + `"}`,
			func(m proto.Message) bool {
				r := m.(*keywardv1.WrapKeyResponse)
				return by(r.GetKeyVersion()) && len(r.GetWrappedKey()) == 256
			},
		},
		"UnwrapKey": {
			&keywardv1.UnwrapKeyRequest{Name: db, Algorithm: "RSA-OAEP-256", WrappedKey: f.wrapped},
			"POST /v1/" + db + ":unwrapKey", `{"algorithm":"RSA-OAEP-256","wrappedKey":"` + b64(f.wrapped) + `"}`,
			func(m proto.Message) bool {
				r := m.(*keywardv1.UnwrapKeyResponse)
				return by(r.GetKeyVersion()) && bytes.Equal(r.GetKey(), plaintext)
			},
		},
		"Sign": {
			&keywardv1.SignRequest{Name: db, Algorithm: "RS256", Digest: digest},
			"POST /v1/" + db + ":sign", `{"algorithm":"RS256","digest":"` + b64(digest) + `"}`,
			func(m proto.Message) bool { // as of RSA of PKCS #1 v1.5, it is always the same
				r := m.(*keywardv1.SignResponse)
				return by(r.GetKeyVersion()) && bytes.Equal(r.GetSignature(), f.signature)
			},
		},
		"Verify": {
			&keywardv1.VerifyRequest{Name: db, Algorithm: "RS256", Digest: digest, Signature: f.signature},
			"POST /v1/" + db + ":verify", `{"algorithm":"RS256","digest":"` + b64(digest) + `","signature":"` + b64(f.signature) + `"}`,
			func(m proto.Message) bool {
				r := m.(*keywardv1.VerifyResponse)
				return by(r.GetKeyVersion()) && r.GetValid()
			},
		},
	}
}

func jsonOf(m proto.Message) string {
	raw, err := protojson.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
