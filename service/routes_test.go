package service

import (
	"net/http"
	"regexp"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
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
		"POST /v1/access:check":                                 "CheckAccess",
		"POST /v1/access:grants":                                "ListGrants",
	}
	for _, r := range rs {
		method := want[r.httpMethod+" "+r.template]
		if method == "" || r.rpc != "/keyward.v1.SecretService/"+method && r.rpc != "/keyward.v1.AccessService/"+method {
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
	secret := regexp.MustCompile(`(^|_)(value|page_token|blob|backup|password|pfx|pem|key_material|private_key|plaintext)$`)
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
				if !secret.MatchString(string(f.Name())) {
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
	for field, least := range map[string]int{"value": 2, "blob": 2, "page_token": 3, "next_page_token": 3} {
		if redacted[field] < least {
			t.Errorf("%d fields %q, want %d: the walk sees too little", redacted[field], field, least)
		}
	}
}
