package service_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// thiefPolicies let the thief do everything but download, and the server download
// and read.
const thiefPolicies = `
	permit (principal == Workload::"spiffe://example.org/thief", action, resource);
	forbid (principal == Workload::"spiffe://example.org/thief", action == Action::"downloadCertificate", resource);
	permit (principal == Workload::"spiffe://example.org/server", action, resource);`

// TestNoWayRoundDownload: who may do everything but downloadCertificate gets no
// private key of a certificate by any method, whatever was done to it before and
// whoever warmed the cache.
func TestNoWayRoundDownload(t *testing.T) {
	takesLong(t)
	vault := localVault(t)
	w := newWorld(t, withPolicies(t, thiefPolicies), func(_ *service.Config, c *broker.Config) {
		c.Vaults = map[string]broker.Vault{"dev": {
			Secrets:      broker.NewSecretCache(vault.Secrets(), broker.SecretCacheConfig{TTL: time.Hour}),
			Keys:         broker.NewKeyCache(vault.Keys(), broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: true}),
			Certificates: vault.Certificates(),
		}}
	})
	h := &heist{world: w, thief: w.cert("/thief"), server: w.cert("/server"), tried: map[string]bool{}}
	for object, jwk := range map[string]string{"www": rsaJWK(), "api": ecJWK()} {
		h.prepare(object, jwk)
	}
	h.sing()
	if t.Failed() {
		return
	}

	h.read("at first")
	h.refuse()
	h.read("after changes that were refused")
	for _, change := range []string{"policy", "disabled", "enabled", "again", "merged", "imported", "deleted", "undeleted", "restored"} {
		for _, object := range []string{"www", "api"} {
			h.change(object, change)
		}
		h.warm()
		h.read(change)
	}
	for _, m := range methods() {
		if !h.tried[string(m.Name())] {
			t.Errorf("%s was not tried", m.Name())
		}
	}
	t.Logf("%d calls, %d denied, %d a certificate's", h.calls, h.denied, h.managed)
	if h.denied < 100 || h.managed < 20 {
		t.Error("too few were refused: what was tried is not what was meant")
	}
}

// heist is who tries, and for what.
type heist struct {
	*world

	thief, server identity
	keys          []stolen
	blobs         [][]byte
	tried         map[string]bool

	calls, denied, managed int
}

// stolen is a private key, in what is looked for.
type stolen struct {
	object string
	pkcs8  []byte
	parts  [][]byte
}

const certificatePassword = "p4ssword"

// prepare imports a certificate of the key: www as PFX, api as PEM.
func (h *heist) prepare(object, jwk string) {
	h.Helper()
	var key jose.JSONWebKey
	h.must(json.Unmarshal([]byte(jwk), &key))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key.Key)
	h.must(err)
	s := stolen{object: object, pkcs8: pkcs8}
	switch k := key.Key.(type) {
	case *rsa.PrivateKey:
		s.parts = [][]byte{pkcs8, x509.MarshalPKCS1PrivateKey(k), k.D.Bytes(), k.Primes[0].Bytes(), k.Primes[1].Bytes(), k.Precomputed.Dp.Bytes()}
	case *ecdsa.PrivateKey:
		sec1, err := x509.MarshalECPrivateKey(k)
		h.must(err)
		d, err := k.Bytes()
		h.must(err)
		s.parts = [][]byte{pkcs8, sec1, d}
	}
	h.keys = append(h.keys, s)
	h.importAs(h.server, object, s)
	reply, err := h.call(h.server, &keywardv1.BackupCertificateRequest{Name: "vaults/dev/certificates/" + object})
	h.must(err)
	h.blobs = append(h.blobs, reply.(*keywardv1.BackupCertificateResponse).GetBlob())
}

func (h *heist) importAs(id identity, object string, s stolen) {
	h.Helper()
	parsed, err := x509.ParsePKCS8PrivateKey(s.pkcs8)
	h.must(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(9), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, parsed.(crypto.Signer).Public(), parsed)
	h.must(err)
	m := broker.CertificateMaterial{Chain: [][]byte{der}, Key: broker.NewValue(string(s.pkcs8))}
	req := &keywardv1.ImportCertificateRequest{Name: "vaults/dev/certificates/" + object, Pem: m.KeyPEM().Reveal() + m.ChainPEM()}
	if object == "www" {
		pfx, err := m.PFX(broker.NewValue(certificatePassword))
		h.must(err)
		req.Pem, req.Pfx, req.Password = "", []byte(pfx.Reveal()), certificatePassword
	}
	_, err = h.call(id, req)
	h.must(err)
}

// sing shows that what is looked for is found where it is allowed to be, and warms
// the cache.
func (h *heist) sing() {
	h.Helper()
	for _, object := range []string{"www", "api"} {
		certificate, secret := "vaults/dev/certificates/"+object, "vaults/dev/secrets/"+object
		for _, req := range []proto.Message{
			&keywardv1.DownloadCertificateRequest{Name: certificate},
			&keywardv1.DownloadCertificateRequest{Name: certificate, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX},
			&keywardv1.DownloadCertificateRequest{Name: certificate, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, Password: certificatePassword},
			&keywardv1.GetSecretRequest{Name: secret},
			&keywardv1.BatchGetSecretsRequest{Parent: "vaults/dev", Names: []string{secret}},
			&keywardv1.ImportKeyRequest{Jwk: map[string]string{"www": rsaJWK(), "api": ecJWK()}[object]}, // as a reply could not look
		} {
			reply := req
			if _, asked := req.(*keywardv1.ImportKeyRequest); !asked {
				var err error
				reply, err = h.call(h.server, req)
				h.must(err)
				r := h.rest(h.server, restOf(h.T, req).rest, restOf(h.T, req).body)
				if h.found(r.body) != object {
					h.Errorf("%T: the key of %s is not found in what is sent over REST", req, object)
				}
			}
			if got := h.found(fields(reply)...); got != object {
				h.Errorf("%T: the key of %s is not found in a reply that has it", req, object)
			}
		}
	}
}

// warm has the server read what it may.
func (h *heist) warm() {
	h.Helper()
	for _, object := range []string{"www", "api"} {
		_, _ = h.call(h.server, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/" + object})
	}
}

// attempt makes a call as the thief, over both transports, and looks for a key in
// all that comes back.
func (h *heist) attempt(when string, req proto.Message, header ...string) error {
	h.Helper()
	method := string(methodOf(h.T, req).Name())
	h.tried[method] = true
	h.calls++
	reply, err := h.call(h.thief, req)
	raw, merr := proto.Marshal(status.Convert(err).Proto())
	h.must(merr)
	if got := h.found(append(fields(reply), raw)...); got != "" {
		h.Errorf("%s: %s tells the key of %s", when, method, got)
	}
	switch itemVerdict(reply, err).reason {
	case "POLICY_DENIED":
		h.denied++
	case "CERTIFICATE_MANAGED":
		h.managed++
	}
	if strings.HasPrefix(method, "Get") || strings.HasPrefix(method, "List") || strings.HasPrefix(method, "B") || method == "DownloadCertificate" {
		a := restOf(h.T, req)
		r := h.rest(h.thief, a.rest, a.body, header...)
		var told []byte
		for k, v := range r.header {
			told = fmt.Appendln(told, k, v)
		}
		if got := h.found(r.body, told); got != "" {
			h.Errorf("%s: %s tells the key of %s over REST", when, method, got)
		}
		if method == "GetSecret" && (r.status != 403 || r.header.Get("ETag") != "") && r.status != 404 && r.status != 400 {
			h.Errorf("%s: GetSecret of %v is answered %d %v", when, req, r.status, r.header)
		}
	}
	return err
}

// read tries all that reads or uses, of every name and version.
func (h *heist) read(when string) {
	h.Helper()
	now := durationpb.New(0)
	for _, object := range []string{"www", "api"} {
		var versions, etags []string
		if reply, err := h.call(h.server, &keywardv1.ListSecretVersionsRequest{Parent: "vaults/dev/secrets/" + object}); err == nil {
			for _, s := range reply.(*keywardv1.ListSecretVersionsResponse).GetSecrets() {
				versions, etags = append(versions, s.GetVersion()), append(etags, s.GetEtag())
			}
		}
		secret, key, certificate := "vaults/dev/secrets/"+object, "vaults/dev/keys/"+object, "vaults/dev/certificates/"+object
		names := []string{secret, "vaults/dev/secrets/" + strings.ToUpper(object)}
		suffixes := []string{""}
		for i, v := range versions {
			suffixes = append(suffixes, "/versions/"+v)
			names = append(names, secret+"/versions/"+v)
			h.attempt(when, &keywardv1.GetSecretRequest{Name: secret, KnownVersion: v}, "If-None-Match", etags[i])
		}
		for _, name := range names {
			h.attempt(when, &keywardv1.GetSecretRequest{Name: name}, "If-None-Match", "*")
			h.attempt(when, &keywardv1.GetSecretRequest{Name: name, MaxAge: now})
		}
		for _, req := range []proto.Message{
			&keywardv1.BatchGetSecretsRequest{Parent: "vaults/dev", Names: names},
			&keywardv1.BatchGetSecretsRequest{Parent: "vaults/-", Names: names, MaxAge: now},
			&keywardv1.ListSecretsRequest{Parent: "vaults/dev"}, &keywardv1.ListSecretVersionsRequest{Parent: secret},
			&keywardv1.GetDeletedSecretRequest{Name: "vaults/dev/deletedSecrets/" + object}, &keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev"},
			&keywardv1.BackupSecretRequest{Name: secret},

			&keywardv1.ListKeysRequest{Parent: "vaults/dev"}, &keywardv1.ListKeyVersionsRequest{Parent: key},
			&keywardv1.GetDeletedKeyRequest{Name: "vaults/dev/deletedKeys/" + object}, &keywardv1.ListDeletedKeysRequest{Parent: "vaults/dev"},
			&keywardv1.BackupKeyRequest{Name: key}, &keywardv1.GetRotationPolicyRequest{Name: key},

			&keywardv1.ListCertificatesRequest{Parent: "vaults/dev"}, &keywardv1.ListCertificateVersionsRequest{Parent: certificate},
			&keywardv1.GetCertificatePolicyRequest{Name: certificate}, &keywardv1.GetCertificateOperationRequest{Name: certificate},
			&keywardv1.GetDeletedCertificateRequest{Name: "vaults/dev/deletedCertificates/" + object}, &keywardv1.ListDeletedCertificatesRequest{Parent: "vaults/dev"},
			&keywardv1.BackupCertificateRequest{Name: certificate},
			&keywardv1.GetCertificateContactsRequest{Name: "vaults/dev"}, &keywardv1.ListCertificateIssuersRequest{Parent: "vaults/dev"},
			&keywardv1.GetCertificateIssuerRequest{Name: "vaults/dev/certificateIssuers/" + object},

			&keywardv1.CheckAccessRequest{Action: "downloadCertificate", Resource: certificate},
			&keywardv1.ListGrantsRequest{Action: "downloadCertificate", Resource: certificate},
		} {
			h.attempt(when, req)
		}
		for _, suffix := range suffixes {
			key, certificate := key+suffix, certificate+suffix
			alg := map[string]string{"www": "RS256", "api": "ES256"}[object]
			for _, req := range []proto.Message{
				&keywardv1.GetKeyRequest{Name: key},
				&keywardv1.EncryptRequest{Name: key, Algorithm: "RSA-OAEP-256", Plaintext: plaintext},
				&keywardv1.DecryptRequest{Name: key, Algorithm: "RSA1_5", Ciphertext: make([]byte, 256)},
				&keywardv1.WrapKeyRequest{Name: key, Algorithm: "RSA-OAEP-256", Key: plaintext},
				&keywardv1.UnwrapKeyRequest{Name: key, Algorithm: "RSA-OAEP-256", WrappedKey: make([]byte, 256)},
				&keywardv1.SignRequest{Name: key, Algorithm: alg, Digest: digest},
				&keywardv1.VerifyRequest{Name: key, Algorithm: alg, Digest: digest, Signature: make([]byte, 64)},
				&keywardv1.GetCertificateRequest{Name: certificate},
				&keywardv1.DownloadCertificateRequest{Name: certificate},
				&keywardv1.DownloadCertificateRequest{Name: certificate, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX},
				&keywardv1.DownloadCertificateRequest{Name: certificate, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, Password: certificatePassword},
			} {
				h.attempt(when, req)
			}
		}
	}
}

// refuse tries to change the secret and the key apart from their certificate. Each
// is refused, with the words that say why.
func (h *heist) refuse() {
	h.Helper()
	for _, object := range []string{"www", "api"} {
		secret, key := "vaults/dev/secrets/"+object, "vaults/dev/keys/"+object
		now, err := h.call(h.thief, &keywardv1.ListSecretVersionsRequest{Parent: secret})
		h.must(err)
		etag := now.(*keywardv1.ListSecretVersionsResponse).GetSecrets()[0].GetEtag()
		for _, req := range []proto.Message{
			&keywardv1.SetSecretRequest{Name: secret, Value: "mine"},
			&keywardv1.SetSecretRequest{Name: secret, Value: "mine", Etag: etag},
			&keywardv1.SetSecretRequest{Name: secret, Value: "mine", RecoverDeleted: true},
			&keywardv1.GenerateSecretRequest{Name: secret},
			&keywardv1.UpdateSecretRequest{Secret: &keywardv1.Secret{Name: secret, ContentType: "text/plain"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type"}}},
			&keywardv1.UpdateSecretRequest{Secret: &keywardv1.Secret{Name: secret, ContentType: "text/plain", Etag: etag}},
			&keywardv1.DeleteSecretRequest{Name: secret},
			&keywardv1.DeleteSecretRequest{Name: secret, Etag: etag},
			&keywardv1.BackupSecretRequest{Name: secret},
			&keywardv1.CreateKeyRequest{Name: key, Kty: "EC"},
			&keywardv1.ImportKeyRequest{Name: key, Jwk: ecJWK()},
			&keywardv1.UpdateKeyRequest{Key: &keywardv1.Key{Name: key, KeyOps: []string{"sign"}}},
			&keywardv1.RotateKeyRequest{Name: key},
			&keywardv1.UpdateRotationPolicyRequest{Name: key, RotationPolicy: &keywardv1.RotationPolicy{ExpiryDuration: "P1Y"}},
			&keywardv1.DeleteKeyRequest{Name: key},
			&keywardv1.BackupKeyRequest{Name: key},
		} {
			if v := grpcVerdict(h.attempt("apart from its certificate", req)); v != (verdict{"FailedPrecondition", "CERTIFICATE_MANAGED"}) {
				h.Errorf("%s of a certificate's: %v", methodOf(h.T, req).Name(), v)
			}
		}
	}
	for _, blob := range h.blobs {
		for _, req := range []proto.Message{
			&keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: blob}, &keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: blob},
		} {
			if h.attempt("as what it is not", req) == nil {
				h.Errorf("%s takes a certificate's backup", methodOf(h.T, req).Name())
			}
		}
	}
}

// change does to a certificate what the thief may.
func (h *heist) change(object, what string) {
	h.Helper()
	name, deleted := "vaults/dev/certificates/"+object, "vaults/dev/deletedCertificates/"+object
	must := func(req proto.Message) {
		h.Helper()
		if err := h.attempt(what, req); err != nil {
			h.Errorf("%s: %T: %v", what, req, err)
		}
	}
	enable := func(on bool) {
		must(&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: name, Enabled: on}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}}})
	}
	switch what {
	case "policy": // the next version has the same key, and is written in another way
		contentType := map[string]string{"www": broker.ContentTypePEM, "api": broker.ContentTypePKCS12}[object]
		must(&keywardv1.UpdateCertificatePolicyRequest{Name: name, Policy: &keywardv1.CertificatePolicy{
			IssuerName: "Self", Subject: "CN=" + object, ReuseKey: new(true), Exportable: new(true), ContentType: contentType,
		}})
	case "disabled":
		enable(false)
	case "enabled":
		enable(true)
	case "again":
		must(&keywardv1.CreateCertificateRequest{Name: name})
		must(&keywardv1.CancelCertificateOperationRequest{Name: name})
		must(&keywardv1.DeleteCertificateOperationRequest{Name: name})
	case "merged":
		reply, err := h.call(h.thief, &keywardv1.CreateCertificateRequest{Name: name, Policy: &keywardv1.CertificatePolicy{
			IssuerName: "Unknown", Subject: "CN=" + object, Kty: map[string]string{"www": "RSA", "api": "EC"}[object], ReuseKey: new(true),
		}})
		h.must(err)
		must(&keywardv1.MergeCertificateRequest{Name: name, X509Certificates: [][]byte{h.sign(reply.(*keywardv1.CertificateOperation).GetCsrDer())}})
	case "imported":
		m := material()
		must(&keywardv1.ImportCertificateRequest{Name: name, Pem: m.KeyPEM().Reveal() + m.ChainPEM()})
	case "deleted":
		must(&keywardv1.DeleteCertificateRequest{Name: name})
		for _, req := range []proto.Message{
			&keywardv1.UndeleteSecretRequest{Name: "vaults/dev/deletedSecrets/" + object}, &keywardv1.PurgeSecretRequest{Name: "vaults/dev/deletedSecrets/" + object},
			&keywardv1.UndeleteKeyRequest{Name: "vaults/dev/deletedKeys/" + object}, &keywardv1.PurgeKeyRequest{Name: "vaults/dev/deletedKeys/" + object},
			&keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/" + object, Value: "mine", RecoverDeleted: true},
		} {
			if v := grpcVerdict(h.attempt(what, req)); v.reason != "CERTIFICATE_MANAGED" {
				h.Errorf("%s: %T: %v", what, req, v)
			}
		}
	case "undeleted":
		must(&keywardv1.UndeleteCertificateRequest{Name: deleted})
	case "restored":
		must(&keywardv1.UpdateCertificateContactsRequest{Name: "vaults/dev", CertificateContacts: &keywardv1.CertificateContacts{Contacts: []*keywardv1.CertificateContact{{Email: "a@example.org"}}}})
		must(&keywardv1.DeleteCertificateContactsRequest{Name: "vaults/dev"})
		must(&keywardv1.DeleteCertificateRequest{Name: name})
		must(&keywardv1.PurgeCertificateRequest{Name: deleted})
		for _, blob := range h.blobs {
			h.attempt(what, &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: blob})
			h.attempt(what, &keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: blob})
		}
		for _, blob := range h.blobs { // one is the other's, which is there
			h.attempt(what, &keywardv1.RestoreCertificateRequest{Parent: "vaults/dev", Blob: blob})
		}
		if _, err := h.call(h.server, &keywardv1.GetCertificateRequest{Name: name}); err != nil {
			h.Errorf("%s is not restored: %v", object, err)
		}
	}
}

// found returns whose private key is in any of texts, in any form; "" for none.
func (h *heist) found(texts ...[]byte) string {
	h.Helper()
	for _, text := range texts {
		for _, candidate := range unwrapped(text, 3) {
			for _, key := range h.keys {
				if key.in(candidate) {
					return key.object
				}
			}
		}
	}
	return ""
}

func (s stolen) in(text []byte) bool {
	for _, part := range s.parts {
		for _, form := range forms(part) {
			if bytes.Contains(text, form) {
				return true
			}
		}
	}
	for _, password := range []string{"", certificatePassword} {
		m, err := broker.ParseCertificateMaterial(broker.ContentTypePKCS12, broker.NewValue(base64.StdEncoding.EncodeToString(text)), broker.NewValue(password))
		if err == nil && m.Key.Reveal() == string(s.pkcs8) {
			return true
		}
	}
	return false
}

// forms are how bytes may be written within a text.
func forms(raw []byte) [][]byte {
	all := [][]byte{raw, []byte(hex.EncodeToString(raw)), []byte(strings.ToUpper(hex.EncodeToString(raw)))}
	for i := range 3 { // wherever it begins in what is encoded
		part := raw[i : len(raw)-(len(raw)-i)%3]
		all = append(all, []byte(base64.StdEncoding.EncodeToString(part)), []byte(base64.URLEncoding.EncodeToString(part)))
	}
	return all
}

// unwrapped returns text, and what is in it: JSON's strings, PEM's blocks, base64.
func unwrapped(text []byte, depth int) [][]byte {
	all := [][]byte{text}
	if depth == 0 || len(text) < 16 {
		return all
	}
	add := func(inner []byte) { all = append(all, unwrapped(inner, depth-1)...) }
	var value any
	if json.Unmarshal(text, &value) == nil {
		eachString(value, func(s string) { add([]byte(s)) })
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		add(block.Bytes)
	}
	plain := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' {
			return -1
		}
		return r
	}, string(text))
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if inner, err := encoding.DecodeString(plain); err == nil {
			add(inner)
			break
		}
	}
	return all
}

func eachString(v any, visit func(string)) {
	switch v := v.(type) {
	case string:
		visit(v)
	case []any:
		for _, item := range v {
			eachString(item, visit)
		}
	case map[string]any:
		for k, item := range v {
			visit(k)
			eachString(item, visit)
		}
	}
}

// fields are all texts and bytes of a message, and the message itself.
func fields(m proto.Message) [][]byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	all := [][]byte{raw}
	var walk func(protoreflect.Message)
	one := func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
		switch f.Kind() {
		case protoreflect.StringKind:
			all = append(all, []byte(v.String()))
		case protoreflect.BytesKind:
			all = append(all, v.Bytes())
		case protoreflect.MessageKind:
			walk(v.Message())
		}
	}
	walk = func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.IsMap():
				v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
					one(f.MapKey(), k.Value())
					one(f.MapValue(), v)
					return true
				})
			case f.IsList():
				for i := range v.List().Len() {
					one(f, v.List().Get(i))
				}
			default:
				one(f, v)
			}
			return true
		})
	}
	walk(m.ProtoReflect())
	return all
}

// restOf returns a request as REST has it, by the annotation of its method.
func restOf(t *testing.T, req proto.Message) asked {
	t.Helper()
	raw, err := protojson.MarshalOptions{UseProtoNames: false}.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := json.Unmarshal(raw, &given); err != nil {
		t.Fatal(err)
	}
	rule := proto.GetExtension(methodOf(t, req).Options(), annotations.E_Http).(*annotations.HttpRule)
	for _, r := range slices.Concat(rule.GetAdditionalBindings(), []*annotations.HttpRule{rule}) {
		method, template := "", ""
		r.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if fd.ContainingOneof() != nil {
				method, template = strings.ToUpper(string(fd.Name())), v.String()
			}
			return true
		})
		before, variable, bound := strings.Cut(template, "{")
		path := template
		if bound {
			variable, after, _ := strings.Cut(variable, "}")
			field, pattern, _ := strings.Cut(variable, "=")
			name, _ := given[field].(string)
			if strings.Count(name, "/") != strings.Count(pattern, "/") {
				continue
			}
			path = before + name + after
			delete(given, field)
		}
		if r.GetBody() == "*" {
			body, err := json.Marshal(given)
			if err != nil {
				t.Fatal(err)
			}
			return asked{rest: method + " " + path, body: string(body)}
		}
		query := url.Values{}
		for k, v := range given {
			query.Set(k, fmt.Sprint(v))
		}
		return asked{rest: method + " " + path + "?" + query.Encode()}
	}
	t.Fatalf("%T has no route", req)
	return asked{}
}
