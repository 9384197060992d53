package service_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// What is named is changed, and what is not stays.
func TestUpdateKeyChangesWhatTheMaskNames(t *testing.T) {
	const db = "vaults/dev/keys/db"
	later := &timestamppb.Timestamp{Seconds: 4_000_000_000}
	tags := map[string]string{"team": "pay"}
	cases := map[string]struct {
		key         *keywardv1.Key
		mask        []string
		rest, body  string
		code, field string // of an error
		want        string // ops, tags, enabled, expiry
	}{
		"ops": {
			key: &keywardv1.Key{KeyOps: []string{"sign"}, Tags: tags}, mask: []string{"key_ops"},
			rest: "?updateMask=keyOps", body: `{"keyOps":["sign"],"tags":{"team":"pay"}}`, want: "sign 0 true false",
		},
		"tags and enabled": {
			key: &keywardv1.Key{Tags: tags}, mask: []string{"tags", "enabled"},
			rest: "?updateMask=tags,enabled", body: `{"tags":{"team":"pay"}}`, want: "6 1 false false",
		},
		"without a mask, what is sent": {
			key: &keywardv1.Key{Tags: tags, ExpireTime: later}, rest: "", body: `{"tags":{"team":"pay"},"expireTime":"2096-10-02T07:06:40Z"}`, want: "6 1 true true",
		},
		"all of them, but for times that are not there": {
			key: &keywardv1.Key{Enabled: true, KeyOps: []string{"sign"}}, mask: []string{"*"},
			rest: "?updateMask=*", body: `{"enabled":true,"keyOps":["sign"]}`, want: "sign 0 true false",
		},
		"nothing": {key: &keywardv1.Key{}, rest: "", body: `{}`, code: "BAD_FIELD", field: "update_mask"},
		"what cannot be": {
			key: &keywardv1.Key{PublicPem: "x"}, mask: []string{"public_pem"}, rest: "?updateMask=publicPem", body: `{}`, code: "BAD_FIELD", field: "update_mask",
		},
		"a bad tag": {
			key: &keywardv1.Key{Tags: map[string]string{"k": strings.Repeat("v", 257)}}, rest: "", body: `{"tags":{"k":"` + strings.Repeat("v", 257) + `"}}`,
			code: "BAD_FIELD", field: "key.tags",
		},
		"an operation that is none": {key: &keywardv1.Key{KeyOps: []string{"dance"}}, rest: "", body: `{"keyOps":["dance"]}`, code: "BAD_FIELD", field: "key.key_ops"},
		"a time that goes": {
			key: &keywardv1.Key{}, mask: []string{"expire_time"}, rest: "?updateMask=expireTime", body: `{}`, code: "BAD_FIELD", field: "key.expire_time",
		},
		"an etag that was": {key: &keywardv1.Key{Tags: tags, Etag: `"x"`}, rest: "", body: `{"tags":{"team":"pay"},"etag":"\"x\""}`, code: "ETAG_MISMATCH"},
		"no etag at all":   {key: &keywardv1.Key{Tags: tags, Etag: `x`}, rest: "", body: `{"tags":{"team":"pay"},"etag":"x"}`, code: "BAD_FIELD", field: "key.etag"},
	}
	w := newWorld(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			for _, transport := range []string{"gRPC", "REST"} {
				clearKeys(w)
				furnishKeys(w)
				var err error
				if transport == "gRPC" {
					k := proto.CloneOf(c.key)
					k.Name = db
					req := &keywardv1.UpdateKeyRequest{Key: k}
					if c.mask != nil {
						req.UpdateMask = &fieldmaskpb.FieldMask{Paths: c.mask}
					}
					_, err = w.call(w.billing(), req)
				} else {
					err = w.rest(w.billing(), "PATCH /v1/"+db+c.rest, c.body).err(t)
				}
				if got := grpcVerdict(err).reason; got != c.code || fieldAtFault(err) != c.field {
					t.Fatalf("%s: %q of %q, want %q of %q: %v", transport, got, fieldAtFault(err), c.code, c.field, err)
				}
				if err != nil {
					continue
				}
				if got := w.known(db); got != c.want {
					t.Errorf("%s: got %q, want %q", transport, got, c.want)
				}
			}
		})
	}
}

// known is what is known of a key, in short.
func (w *world) known(name string) string {
	w.Helper()
	reply, err := w.call(w.billing(), &keywardv1.GetKeyRequest{Name: name})
	w.must(err)
	k := reply.(*keywardv1.Key)
	ops := "6"
	if len(k.GetKeyOps()) != 6 {
		ops = strings.Join(k.GetKeyOps(), ",")
	}
	return strings.Join([]string{ops, string(rune('0' + len(k.GetTags()))), boolText(k.GetEnabled()), boolText(k.GetExpireTime() != nil)}, " ")
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// What is wrong with a request is said of its own field, in words for keys.
func TestKeyRequestsThatAreWrong(t *testing.T) {
	const db = "vaults/dev/keys/db"
	w := newWorld(t)
	f := furnishKeys(w)
	cases := map[string]struct {
		req           proto.Message
		reason, field string
		words         string
	}{
		"a secret's name":        {&keywardv1.GetKeyRequest{Name: "vaults/dev/secrets/db"}, "BAD_NAME", "name", "keys/{name}"},
		"a live key to purge":    {&keywardv1.PurgeKeyRequest{Name: db}, "BAD_NAME", "name", "deletedKeys/{name}"},
		"a deleted version":      {&keywardv1.GetDeletedKeyRequest{Name: "vaults/dev/deletedKeys/db/versions/" + strings.Repeat("0", 32)}, "BAD_NAME", "name", "deleted key"},
		"a list of a key":        {&keywardv1.ListKeysRequest{Parent: db}, "BAD_NAME", "parent", "vaults/{vault}"},
		"versions of a version":  {&keywardv1.ListKeyVersionsRequest{Parent: db + "/versions/" + strings.Repeat("0", 32)}, "BAD_NAME", "parent", ""},
		"a page of another list": {&keywardv1.ListKeysRequest{Parent: "vaults/dev", PageToken: "x"}, "BAD_PAGE_TOKEN", "page_token", ""},
		"no type":                {&keywardv1.CreateKeyRequest{Name: db}, "BAD_FIELD", "kty", "RSA, EC or oct"},
		"a version to create":    {&keywardv1.CreateKeyRequest{Name: db + "/versions/" + strings.Repeat("0", 32), Kty: "EC"}, "BAD_NAME", "name", ""},
		"times in reverse": {
			&keywardv1.CreateKeyRequest{Name: db, Kty: "EC", NotBeforeTime: &timestamppb.Timestamp{Seconds: 9}, ExpireTime: &timestamppb.Timestamp{Seconds: 8}},
			"BAD_FIELD", "expire_time", "",
		},
		"no time":              {&keywardv1.CreateKeyRequest{Name: db, Kty: "EC", ExpireTime: &timestamppb.Timestamp{Seconds: -1}}, "BAD_FIELD", "expire_time", "1970"},
		"no key to import":     {&keywardv1.ImportKeyRequest{Name: db}, "BAD_FIELD", "jwk", "required"},
		"20 KiB to import":     {&keywardv1.ImportKeyRequest{Name: db, Jwk: strings.Repeat("x", 20<<10)}, "BAD_FIELD", "jwk", "16 KiB"},
		"70 KiB to import":     {&keywardv1.ImportKeyRequest{Name: db, Jwk: strings.Repeat("x", 70<<10)}, "VALUE_TOO_LARGE", "jwk", "64 KiB"},
		"a blob of 1.5 MiB":    {&keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: make([]byte, 3<<19)}, "VALUE_TOO_LARGE", "blob", ""},
		"no policy":            {&keywardv1.UpdateRotationPolicyRequest{Name: db}, "BAD_FIELD", "rotation_policy", "required"},
		"an action of neither": {&keywardv1.UpdateRotationPolicyRequest{Name: db, RotationPolicy: &keywardv1.RotationPolicy{LifetimeActions: []*keywardv1.LifetimeAction{{Type: "Rotate"}}}}, "BAD_FIELD", "rotation_policy.lifetime_actions", ""},
		"an etag that was":     {&keywardv1.DeleteKeyRequest{Name: db, Etag: `"x"`}, "ETAG_MISMATCH", "", "the key has changed"},
		"no algorithm":         {&keywardv1.SignRequest{Name: db, Digest: digest}, "BAD_FIELD", "algorithm", ""},
		"a short digest":       {&keywardv1.SignRequest{Name: db, Algorithm: "RS256", Digest: digest[1:]}, "BAD_FIELD", "digest", ""},
		"no ciphertext":        {&keywardv1.DecryptRequest{Name: db, Algorithm: "RSA-OAEP-256"}, "BAD_FIELD", "ciphertext", ""},
		"another ciphertext":   {&keywardv1.DecryptRequest{Name: db, Algorithm: "RSA-OAEP-256", Ciphertext: f.signature}, "BAD_FIELD", "ciphertext", ""},
		"another wrapped key":  {&keywardv1.UnwrapKeyRequest{Name: db, Algorithm: "RSA-OAEP-256", WrappedKey: f.signature}, "BAD_FIELD", "wrapped_key", ""},
		"a long plaintext":     {&keywardv1.EncryptRequest{Name: db, Algorithm: "RSA-OAEP-256", Plaintext: make([]byte, 20<<10)}, "BAD_FIELD", "plaintext", "16 KiB"},
		"no signature":         {&keywardv1.VerifyRequest{Name: db, Algorithm: "RS256", Digest: digest}, "BAD_FIELD", "signature", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.in(t).call(w.billing(), c.req)
			if got := grpcVerdict(err).reason; got != c.reason || fieldAtFault(err) != c.field || !strings.Contains(status.Convert(err).Message(), c.words) {
				t.Errorf("%s of %q, %v", got, fieldAtFault(err), err)
			}
		})
	}
	if got := w.known(db); got != "6 0 true false" {
		t.Errorf("the key is now %q", got)
	}
}

// A signature that is not good is an answer.
func TestVerifySaysNo(t *testing.T) {
	w := newWorld(t)
	f := furnishKeys(w)
	f.signature[0] ^= 1
	c := keyRPCs(f)["Verify"]
	reply, err := w.call(w.billing(), c.request)
	if err != nil || reply.(*keywardv1.VerifyResponse).GetValid() {
		t.Errorf("gRPC: %v, %v", reply, err)
	}
	if r := w.rest(w.billing(), c.rest, c.body); r.status != 200 || !strings.Contains(string(r.body), `"valid":false`) {
		t.Errorf("REST: %d %s", r.status, r.body)
	}
}
