package service_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// rpc is a method with a request that succeeds in a furnished
// world, and the same over REST.
type rpc struct {
	request    proto.Message
	rest, body string
	ok         func(proto.Message) bool
}

// furnish puts into the vault what the requests of rpcs speak of: the secret and
// the key and the certificate "db" are live, those called "gone" are deleted, and of
// "old" there is only the backup.
func furnish(w *world) furnished {
	w.Helper()
	f := furnishKeys(w)
	furnishCertificates(w, &f)
	old := w.put("vaults/dev/secrets/old", "x").Base()
	backup, err := w.store.BackupSecret(w.Context(), old)
	w.must(err)
	w.remove("vaults/dev/secrets/old")
	w.must(w.store.PurgeSecret(w.Context(), old))
	w.put("vaults/dev/secrets/gone", "x")
	w.remove("vaults/dev/secrets/gone")
	w.put("vaults/dev/secrets/db", "x")
	f.secretBlob = []byte(backup.Reveal())
	return f
}

// furnished is what requests take that only the vault can make.
type furnished struct {
	secretBlob []byte

	keyBlob, ciphertext, wrapped, signature []byte

	certificateBlob, signed []byte
}

func rpcs(f furnished) map[string]rpc {
	all := secretRPCs(f.secretBlob)
	maps.Copy(all, keyRPCs(f))
	maps.Copy(all, certificateRPCs(f))
	return all
}

func secretRPCs(blob []byte) map[string]rpc {
	const db, gone = "vaults/dev/secrets/db", "vaults/dev/deletedSecrets/gone"
	made := func(m proto.Message) bool {
		s := m.(*keywardv1.Secret)
		return s.GetName() == db && s.GetVersion() != "" && s.GetEnabled() && s.GetEtag() != ""
	}
	return map[string]rpc{
		"GetSecret": {&keywardv1.GetSecretRequest{Name: db}, "GET /v1/" + db, "", func(m proto.Message) bool {
			r := m.(*keywardv1.GetSecretResponse)
			return r.GetValue() == "x" && made(r.GetSecret()) && r.GetFreshness().GetFetchTime() != nil && !r.GetNotModified()
		}},
		"SetSecret": {&keywardv1.SetSecretRequest{Name: db, Value: "y"}, "PUT /v1/" + db, `{"value":"y"}`, made},
		"UpdateSecret": {
			&keywardv1.UpdateSecretRequest{Secret: &keywardv1.Secret{Name: db, ContentType: "text/plain"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type"}}},
			"PATCH /v1/" + db + "?updateMask=contentType", `{"contentType":"text/plain"}`,
			func(m proto.Message) bool { return made(m) && m.(*keywardv1.Secret).GetContentType() == "text/plain" },
		},
		"GenerateSecret": {&keywardv1.GenerateSecretRequest{Name: db}, "POST /v1/" + db + ":generate", "", made},
		"DeleteSecret": {&keywardv1.DeleteSecretRequest{Name: db}, "DELETE /v1/" + db, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedSecret)
			return d.GetName() == "vaults/dev/deletedSecrets/db" && d.GetSecret().GetName() == db && d.GetDeleteTime() != nil && d.GetPurgeTime() != nil
		}},
		"ListSecrets": {&keywardv1.ListSecretsRequest{Parent: "vaults/dev"}, "GET /v1/vaults/dev/secrets", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListSecretsResponse).GetSecrets()
			return len(l) == 1 && l[0].GetName() == db
		}},
		"ListSecretVersions": {&keywardv1.ListSecretVersionsRequest{Parent: db}, "GET /v1/" + db + "/versions", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListSecretVersionsResponse).GetSecrets()
			return len(l) == 1 && made(l[0])
		}},
		"BatchGetSecrets": {
			&keywardv1.BatchGetSecretsRequest{Parent: "vaults/dev", Names: []string{db}},
			"POST /v1/vaults/dev/secrets:batchGet", `{"names":["` + db + `"]}`, func(m proto.Message) bool {
				r := m.(*keywardv1.BatchGetSecretsResponse).GetResults()
				return len(r) == 1 && r[0].GetName() == db && r[0].GetResponse().GetValue() == "x"
			},
		},
		"GetDeletedSecret": {&keywardv1.GetDeletedSecretRequest{Name: gone}, "GET /v1/" + gone, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedSecret)
			return d.GetName() == gone && d.GetSecret().GetName() == "vaults/dev/secrets/gone" && d.GetSecret().GetEtag() == ""
		}},
		"ListDeletedSecrets": {&keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev"}, "GET /v1/vaults/dev/deletedSecrets", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListDeletedSecretsResponse).GetDeletedSecrets()
			return len(l) == 1 && l[0].GetName() == gone
		}},
		"UndeleteSecret": {&keywardv1.UndeleteSecretRequest{Name: gone}, "POST /v1/" + gone + ":undelete", "", func(m proto.Message) bool {
			return m.(*keywardv1.Secret).GetName() == "vaults/dev/secrets/gone"
		}},
		"PurgeSecret":  {&keywardv1.PurgeSecretRequest{Name: gone}, "DELETE /v1/" + gone, "", func(proto.Message) bool { return true }},
		"BackupSecret": {&keywardv1.BackupSecretRequest{Name: db}, "POST /v1/" + db + ":backup", "{}", func(m proto.Message) bool { return len(m.(*keywardv1.BackupSecretResponse).GetBlob()) > 0 }},
		"RestoreSecret": {
			&keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: blob},
			"POST /v1/vaults/dev/secrets:restore", `{"blob":"` + base64.StdEncoding.EncodeToString(blob) + `"}`,
			func(m proto.Message) bool { return m.(*keywardv1.Secret).GetName() == "vaults/dev/secrets/old" },
		},
		"CheckAccess": {
			&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Principal: "dev/billing"},
			"POST /v1/access:check", `{"action":"getSecret","resource":"` + db + `","principal":"dev/billing"}`,
			func(m proto.Message) bool { return m.(*keywardv1.CheckAccessResponse).GetAllowed() },
		},
		"ListGrants": {
			&keywardv1.ListGrantsRequest{Action: "getSecret", Resource: db},
			"POST /v1/access:grants", `{"action":"getSecret","resource":"` + db + `"}`,
			func(m proto.Message) bool {
				g := m.(*keywardv1.ListGrantsResponse).GetGrants()
				return len(g) == 1 && g[0].GetSubject().GetKind() == "workload" && g[0].GetSubject().GetId() == "spiffe://example.org/billing" &&
					g[0].GetVia() == "dev/team" && g[0].GetPolicies()[0].GetPosition() == "a.cedar:1:1" && len(g[0].GetConditions()) == 1 &&
					g[0].GetExceptions()[0].GetSubject().GetId() == "dev/others" && g[0].GetExceptions()[0].GetCondition() != "" &&
					g[0].GetExceptions()[0].GetPolicy().GetId() == "not"
			},
		},
	}
}

// methods are those of every service, but for streams: watch_test.go has them.
func methods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	for _, sd := range service.Services() {
		for i := range sd.Methods().Len() {
			if m := sd.Methods().Get(i); !m.IsStreamingServer() {
				all = append(all, m)
			}
		}
	}
	return all
}

func TestEveryRPCSucceeds(t *testing.T) {
	takesLong(t)
	table := rpcs(furnished{})
	for _, m := range methods() {
		if name := string(m.Name()); table[name].request == nil {
			t.Errorf("%s is not tested", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := rpcs(furnish(w))[name]
			reply, err := w.call(w.billing(), c.request)
			if err != nil || !c.ok(reply) {
				t.Errorf("gRPC: %v, %v", reply, err)
			}
			w = newWorld(t)
			c = rpcs(furnish(w))[name]
			r := w.rest(w.billing(), c.rest, c.body)
			reply = replyTo(t, c.request)
			if err := protojson.Unmarshal(r.body, reply); err != nil || r.status != http.StatusOK || !c.ok(reply) {
				t.Errorf("REST: %d %s, %v", r.status, r.body, err)
			}
			if strings.HasPrefix(name, "Purge") && string(bytes.TrimSpace(r.body)) != "{}" {
				t.Errorf("REST: %q, want {}", r.body)
			}
			if (r.header.Get("ETag") != "") != (name == "GetSecret") {
				t.Errorf("REST: ETag %q", r.header.Get("ETag"))
			}
		})
	}
}

// TestEveryRPCFailsAlike: whatever goes wrong has one code and one reason, in
// every method and over both transports.
func TestEveryRPCFailsAlike(t *testing.T) {
	w := newWorld(t)
	table := rpcs(furnish(w))
	w.put("vaults/dev/secrets/gone-not", "x")
	billing := w.billing()
	type situation struct {
		id    identity
		vault string
		begin func()
		want  verdict
		// services are those that it can befall: what a vault answers befalls only
		// those that ask one.
		services []string
	}
	secrets, keys, certificates := []string{"SecretService"}, []string{"KeyService"}, []string{"CertificateService"}
	vaults := slices.Concat(secrets, keys, certificates)
	all := append([]string{"AccessService"}, vaults...)
	hook := func(services []string, code broker.Code, want string) situation {
		return situation{billing, "dev", func() {
			fail := func(context.Context, string, broker.Name) error { return &broker.Error{Code: code} }
			w.store.SetHook(fail)
			w.keys.SetHook(fail)
			w.certificates.SetHook(fail)
		}, verdict{want, string(code)}, services}
	}
	situations := map[string]situation{
		"no credentials":            {identity{}, "dev", nil, verdict{"Unauthenticated", "NO_CREDENTIALS"}, all},
		"bad credentials":           {identity{bearer: "x.y.z"}, "dev", nil, verdict{"Unauthenticated", "BAD_CREDENTIALS"}, all},
		"denied":                    {w.cert("/stranger"), "dev", nil, verdict{"PermissionDenied", "POLICY_DENIED"}, all},
		"denied, no vault":          {billing, "hidden", nil, verdict{"PermissionDenied", "POLICY_DENIED"}, all},
		"no such vault":             {billing, "nowhere", nil, verdict{"NotFound", "VAULT_NOT_FOUND"}, all},
		"a bad name":                {billing, "DEV", nil, verdict{"InvalidArgument", "BAD_NAME"}, all},
		"not found":                 hook(secrets, broker.CodeSecretNotFound, "NotFound"),
		"disabled":                  hook(secrets, broker.CodeSecretDisabled, "FailedPrecondition"),
		"soft-deleted":              hook(secrets, broker.CodeSecretSoftDeleted, "FailedPrecondition"),
		"in transition":             hook(secrets, broker.CodeSecretInTransition, "Aborted"),
		"key not found":             hook(keys, broker.CodeKeyNotFound, "NotFound"),
		"key disabled":              hook(keys, broker.CodeKeyDisabled, "FailedPrecondition"),
		"key soft-deleted":          hook(keys, broker.CodeKeySoftDeleted, "FailedPrecondition"),
		"key in transition":         hook(keys, broker.CodeKeyInTransition, "Aborted"),
		"key exists":                hook(keys, broker.CodeKeyExists, "AlreadyExists"),
		"operation forbidden":       hook(keys, broker.CodeKeyOperationForbidden, "FailedPrecondition"),
		"a certificate's":           hook(slices.Concat(secrets, keys), broker.CodeCertificateManaged, "FailedPrecondition"),
		"certificate not found":     hook(certificates, broker.CodeCertificateNotFound, "NotFound"),
		"certificate disabled":      hook(certificates, broker.CodeCertificateDisabled, "FailedPrecondition"),
		"certificate soft-deleted":  hook(certificates, broker.CodeCertificateSoftDeleted, "FailedPrecondition"),
		"certificate in transition": hook(certificates, broker.CodeCertificateInTransition, "Aborted"),
		"certificate exists":        hook(certificates, broker.CodeCertificateExists, "AlreadyExists"),
		"operation not found":       hook(certificates, broker.CodeOperationNotFound, "NotFound"),
		"operation in progress":     hook(certificates, broker.CodeOperationInProgress, "FailedPrecondition"),
		"issuer not found":          hook(certificates, broker.CodeIssuerNotFound, "NotFound"),
		"not exportable":            hook(certificates, broker.CodeKeyNotExportable, "FailedPrecondition"),
		"exists":                    hook(secrets, broker.CodeSecretExists, "AlreadyExists"),
		"too large":                 hook(vaults, broker.CodeValueTooLarge, "InvalidArgument"),
		"throttled":                 hook(vaults, broker.CodeVaultThrottled, "Unavailable"),
		"unavailable":               hook(vaults, broker.CodeVaultUnavailable, "Unavailable"),
		"not let in":                hook(vaults, broker.CodeVaultAuthentication, "Unavailable"),
		"not supported":             hook(vaults, broker.CodeNotSupported, "Unimplemented"),
		"deadline":                  hook(vaults, broker.CodeDeadlineExceeded, "DeadlineExceeded"),
		"our fault":                 hook(vaults, broker.CodeInternal, "Internal"),
		"no record": {billing, "dev", func() {
			w.audit.Refuse(func(broker.Event) error { return errors.New("disk full") })
		}, verdict{"Unavailable", "AUDIT_UNAVAILABLE"}, all},
	}
	for what, s := range situations {
		for name, c := range table {
			if !slices.Contains(s.services, string(methodOf(t, c.request).Parent().Name())) {
				continue
			}
			t.Run(what+"/"+name, func(t *testing.T) {
				w := w.in(t)
				if s.begin != nil {
					s.begin()
					defer w.store.SetHook(nil)
					defer w.keys.SetHook(nil)
					defer w.certificates.SetHook(nil)
					defer w.audit.Refuse(nil)
				}
				reply, err := w.call(s.id, inVault(t, c.request, s.vault))
				if got := itemVerdict(reply, err); got != s.want {
					t.Errorf("gRPC: got %v (%v), want %v", got, err, s.want)
				}
				elsewhere := func(text string) string { return strings.ReplaceAll(text, "vaults/dev/", "vaults/"+s.vault+"/") }
				r := w.rest(s.id, elsewhere(c.rest), elsewhere(c.body))
				got := r.verdict(t)
				if batch := new(keywardv1.BatchGetSecretsResponse); name == "BatchGetSecrets" && got == (verdict{}) {
					if err := protojson.Unmarshal(r.body, batch); err != nil {
						t.Fatal(err)
					}
					got = itemVerdict(batch, nil)
				}
				if got != s.want {
					t.Errorf("REST: got %v (%d %s), want %v", got, r.status, r.body, s.want)
				}
			})
		}
	}
}

// call sends req to the method that takes it, over gRPC.
func (w *world) call(id identity, req proto.Message) (proto.Message, error) {
	w.Helper()
	reply := replyTo(w.T, req)
	m := methodOf(w.T, req)
	return reply, w.dial(id).Invoke(w.Context(), fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), req, reply)
}

func methodOf(t *testing.T, req proto.Message) protoreflect.MethodDescriptor {
	t.Helper()
	for _, m := range methods() {
		if m.Input().FullName() == req.ProtoReflect().Descriptor().FullName() {
			return m
		}
	}
	t.Fatalf("no method takes %T", req)
	return nil
}

// replyTo returns an empty reply of the method that takes req.
func replyTo(t *testing.T, req proto.Message) proto.Message {
	t.Helper()
	typ, err := protoregistry.GlobalTypes.FindMessageByName(methodOf(t, req).Output().FullName())
	if err != nil {
		t.Fatal(err)
	}
	return typ.New().Interface()
}

// inVault returns req for another vault.
func inVault(t *testing.T, req proto.Message, vault string) proto.Message {
	t.Helper()
	raw, err := protojson.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), `"vaults/dev`, `"vaults/`+vault)
	other := req.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(text), other); err != nil {
		t.Fatal(err)
	}
	return other
}

// itemVerdict is grpcVerdict, or that of the first item if reply is a batch's.
func itemVerdict(reply proto.Message, err error) verdict {
	if batch, ok := reply.(*keywardv1.BatchGetSecretsResponse); ok && err == nil {
		return grpcVerdict(status.ErrorProto(batch.GetResults()[0].GetStatus()))
	}
	return grpcVerdict(err)
}
