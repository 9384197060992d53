package service

import (
	"net/http"
	"regexp"
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestRoutes(t *testing.T) {
	rs, err := newRoutes(services()...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"GET /v1/{name=vaults/*/secrets/*}":                     "GetSecret",
		"GET /v1/{name=vaults/*/secrets/*/versions/*}":          "GetSecret",
		"PUT /v1/{name=vaults/*/secrets/*}":                     "SetSecret",
		"DELETE /v1/{name=vaults/*/secrets/*}":                  "DeleteSecret",
		"GET /v1/{parent=vaults/*}/secrets":                     "ListSecrets",
		"GET /v1/{parent=vaults/*/secrets/*}/versions":          "ListSecretVersions",
		"PATCH /v1/{secret.name=vaults/*/secrets/*}":            "UpdateSecret",
		"PATCH /v1/{secret.name=vaults/*/secrets/*/versions/*}": "UpdateSecret",
		"POST /v1/{parent=vaults/*}/secrets:batchGet":           "BatchGetSecrets",
		"POST /v1/{name=vaults/*/secrets/*}:generate":           "GenerateSecret",
		"GET /v1/{name=vaults/*/deletedSecrets/*}":              "GetDeletedSecret",
		"GET /v1/{parent=vaults/*}/deletedSecrets":              "ListDeletedSecrets",
		"POST /v1/{name=vaults/*/deletedSecrets/*}:undelete":    "UndeleteSecret",
		"DELETE /v1/{name=vaults/*/deletedSecrets/*}":           "PurgeSecret",
		"POST /v1/{name=vaults/*/secrets/*}:backup":             "BackupSecret",
		"POST /v1/{parent=vaults/*}/secrets:restore":            "RestoreSecret",
		"POST /v1/secrets:watch":                                "WatchSecrets",

		"PUT /v1/{name=vaults/*/keys/*}":                       "CreateKey",
		"POST /v1/{name=vaults/*/keys/*}:import":               "ImportKey",
		"GET /v1/{name=vaults/*/keys/*}":                       "GetKey",
		"GET /v1/{name=vaults/*/keys/*/versions/*}":            "GetKey",
		"GET /v1/{parent=vaults/*}/keys":                       "ListKeys",
		"GET /v1/{parent=vaults/*/keys/*}/versions":            "ListKeyVersions",
		"PATCH /v1/{key.name=vaults/*/keys/*}":                 "UpdateKey",
		"PATCH /v1/{key.name=vaults/*/keys/*/versions/*}":      "UpdateKey",
		"DELETE /v1/{name=vaults/*/keys/*}":                    "DeleteKey",
		"GET /v1/{name=vaults/*/deletedKeys/*}":                "GetDeletedKey",
		"GET /v1/{parent=vaults/*}/deletedKeys":                "ListDeletedKeys",
		"POST /v1/{name=vaults/*/deletedKeys/*}:undelete":      "UndeleteKey",
		"DELETE /v1/{name=vaults/*/deletedKeys/*}":             "PurgeKey",
		"POST /v1/{name=vaults/*/keys/*}:backup":               "BackupKey",
		"POST /v1/{parent=vaults/*}/keys:restore":              "RestoreKey",
		"POST /v1/{name=vaults/*/keys/*}:rotate":               "RotateKey",
		"GET /v1/{name=vaults/*/keys/*}/rotationPolicy":        "GetRotationPolicy",
		"PUT /v1/{name=vaults/*/keys/*}/rotationPolicy":        "UpdateRotationPolicy",
		"POST /v1/{name=vaults/*/keys/*}:encrypt":              "Encrypt",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:encrypt":   "Encrypt",
		"POST /v1/{name=vaults/*/keys/*}:decrypt":              "Decrypt",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:decrypt":   "Decrypt",
		"POST /v1/{name=vaults/*/keys/*}:wrapKey":              "WrapKey",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:wrapKey":   "WrapKey",
		"POST /v1/{name=vaults/*/keys/*}:unwrapKey":            "UnwrapKey",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:unwrapKey": "UnwrapKey",
		"POST /v1/{name=vaults/*/keys/*}:sign":                 "Sign",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:sign":      "Sign",
		"POST /v1/{name=vaults/*/keys/*}:verify":               "Verify",
		"POST /v1/{name=vaults/*/keys/*/versions/*}:verify":    "Verify",

		"PUT /v1/{name=vaults/*/certificates/*}":                          "CreateCertificate",
		"GET /v1/{name=vaults/*/certificates/*}/operation":                "GetCertificateOperation",
		"POST /v1/{name=vaults/*/certificates/*}/operation:cancel":        "CancelCertificateOperation",
		"DELETE /v1/{name=vaults/*/certificates/*}/operation":             "DeleteCertificateOperation",
		"POST /v1/{name=vaults/*/certificates/*}:merge":                   "MergeCertificate",
		"POST /v1/{name=vaults/*/certificates/*}:import":                  "ImportCertificate",
		"GET /v1/{name=vaults/*/certificates/*}":                          "GetCertificate",
		"GET /v1/{name=vaults/*/certificates/*/versions/*}":               "GetCertificate",
		"POST /v1/{name=vaults/*/certificates/*}:download":                "DownloadCertificate",
		"POST /v1/{name=vaults/*/certificates/*/versions/*}:download":     "DownloadCertificate",
		"GET /v1/{parent=vaults/*}/certificates":                          "ListCertificates",
		"GET /v1/{parent=vaults/*/certificates/*}/versions":               "ListCertificateVersions",
		"PATCH /v1/{certificate.name=vaults/*/certificates/*}":            "UpdateCertificate",
		"PATCH /v1/{certificate.name=vaults/*/certificates/*/versions/*}": "UpdateCertificate",
		"GET /v1/{name=vaults/*/certificates/*}/policy":                   "GetCertificatePolicy",
		"PATCH /v1/{name=vaults/*/certificates/*}/policy":                 "UpdateCertificatePolicy",
		"DELETE /v1/{name=vaults/*/certificates/*}":                       "DeleteCertificate",
		"GET /v1/{name=vaults/*/deletedCertificates/*}":                   "GetDeletedCertificate",
		"GET /v1/{parent=vaults/*}/deletedCertificates":                   "ListDeletedCertificates",
		"POST /v1/{name=vaults/*/deletedCertificates/*}:undelete":         "UndeleteCertificate",
		"DELETE /v1/{name=vaults/*/deletedCertificates/*}":                "PurgeCertificate",
		"POST /v1/{name=vaults/*/certificates/*}:backup":                  "BackupCertificate",
		"POST /v1/{parent=vaults/*}/certificates:restore":                 "RestoreCertificate",
		"GET /v1/{name=vaults/*}/certificateContacts":                     "GetCertificateContacts",
		"PUT /v1/{name=vaults/*}/certificateContacts":                     "UpdateCertificateContacts",
		"DELETE /v1/{name=vaults/*}/certificateContacts":                  "DeleteCertificateContacts",
		"GET /v1/{parent=vaults/*}/certificateIssuers":                    "ListCertificateIssuers",
		"GET /v1/{name=vaults/*/certificateIssuers/*}":                    "GetCertificateIssuer",

		"POST /v1/access:check":  "CheckAccess",
		"POST /v1/access:grants": "ListGrants",
	}
	for _, r := range rs {
		method := want[r.httpMethod+" "+r.template]
		if method == "" || r.rpc != "/keyward.v1.SecretService/"+method && r.rpc != "/keyward.v1.KeyService/"+method && r.rpc != "/keyward.v1.CertificateService/"+method && r.rpc != "/keyward.v1.AccessService/"+method {
			t.Errorf("%s %s is %s", r.httpMethod, r.template, r.rpc)
		}
	}
	if len(rs) != len(want) {
		t.Errorf("%d routes, want %d", len(rs), len(want))
	}
	if r, ok := rs.of(http.MethodGet, "/v1/{parent=vaults/*}/secrets"); !ok || r.known != "pageSize, pageToken" {
		t.Errorf("ListSecrets takes %q", r.known)
	}
	if r, ok := rs.of(http.MethodPatch, "/v1/{secret.name=vaults/*/secrets/*}"); !ok || r.known != "updateMask" || r.patch == nil {
		t.Errorf("UpdateSecret takes %q, and a body of type %v", r.known, r.patch)
	}
}

// TestSecretFieldsAreRedacted walks every message of the API: a field that by
// its name may carry a secret is debug_redact.
func TestSecretFieldsAreRedacted(t *testing.T) {
	secret := regexp.MustCompile(`(^|_)(value|page_token|blob|backup|password|pfx|pem|key_material|private_key|plaintext|jwk|key)$`)
	// By their names alone they might.
	public := map[protoreflect.FullName]bool{
		"keyward.v1.Key.public_pem": true, "keyward.v1.Key.public_jwk": true, "keyward.v1.UpdateKeyRequest.key": true,
		"keyward.v1.Certificate.x509_pem": true, "keyward.v1.CertificatePolicy.reuse_key": true, "keyward.v1.CertificateOperation.csr_pem": true, "keyward.v1.DownloadCertificateResponse.certificate_chain_pem": true,
		"keyward.v1.DeletedKey.key": true, "keyward.v1.WrapKeyResponse.wrapped_key": true, "keyward.v1.UnwrapKeyRequest.wrapped_key": true,
	}
	redacted := map[string]int{}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			m := ms.Get(i)
			walk(m.Messages())
			if m.IsMapEntry() {
				continue
			}
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				if !secret.MatchString(string(f.Name())) || public[f.FullName()] {
					continue
				}
				redacted[string(f.Name())]++
				if o, _ := f.Options().(*descriptorpb.FieldOptions); !o.GetDebugRedact() {
					t.Errorf("%s is not debug_redact", f.FullName())
				}
			}
		}
	}
	for _, sd := range services() {
		walk(sd.ParentFile().Messages())
	}
	for field, least := range map[string]int{"value": 2, "blob": 6, "page_token": 10, "next_page_token": 10, "plaintext": 2, "jwk": 1, "key": 2, "pfx": 2, "pem": 1, "private_key_pem": 1, "password": 2} {
		if redacted[field] < least {
			t.Errorf("%d fields %q, want %d: the walk sees too little", redacted[field], field, least)
		}
	}
}

// TestEveryServiceIsServed: what the protos have is what a Server has, and what
// the tests of every RPC walk.
func TestEveryServiceIsServed(t *testing.T) {
	var served, there []protoreflect.FullName
	for _, sd := range services() {
		served = append(served, sd.FullName())
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("keyward.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			there = append(there, f.Services().Get(i).FullName())
		}
		return true
	})
	slices.Sort(served)
	slices.Sort(there)
	if len(there) < 2 || !slices.Equal(served, there) {
		t.Errorf("served %q, of %q", served, there)
	}
}
