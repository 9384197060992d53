package keyvault_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// What a vault's refusal means depends on what was asked.
func TestCertificateErrors(t *testing.T) {
	body := func(code, inner string) string {
		b := `{"error":{"code":"` + code + `","message":"` + canary + `"`
		if inner != "" {
			b += `,"innererror":{"code":"` + inner + `"}`
		}
		return b + `}}`
	}
	tests := map[string]struct {
		call   string
		status int
		body   string
		code   broker.Code
		field  string
	}{
		"no such certificate":      {"get", 404, body("CertificateNotFound", ""), broker.CodeCertificateNotFound, ""},
		"no such deleted one":      {"get deleted", 404, body("CertificateNotFound", ""), broker.CodeCertificateNotFound, ""},
		"no operation":             {"get operation", 404, body("PendingCertificateNotFound", ""), broker.CodeOperationNotFound, ""},
		"no operation to delete":   {"delete operation", 404, body("PendingCertificateNotFound", ""), broker.CodeOperationNotFound, ""},
		"no operation to merge":    {"merge", 404, body("PendingCertificateNotFound", ""), broker.CodeOperationNotFound, ""},
		"no issuer":                {"get issuer", 404, body("CertificateIssuerNotFound", ""), broker.CodeIssuerNotFound, ""},
		"404 of another kind":      {"get", 404, body("SecretNotFoundElsewhere", ""), broker.CodeVaultUnavailable, ""},
		"404 of a proxy":           {"get", 404, "<html>", broker.CodeVaultUnavailable, ""},
		"a name that is deleted":   {"create", 409, body("Conflict", "ObjectIsDeletedButRecoverable"), broker.CodeCertificateSoftDeleted, ""},
		"a name being deleted":     {"import", 409, body("Conflict", "ObjectIsBeingDeleted"), broker.CodeCertificateInTransition, ""},
		"a name being recovered":   {"create", 409, body("Conflict", "ObjectIsBeingRecovered"), broker.CodeCertificateInTransition, ""},
		"one being made":           {"create", 409, body("Conflict", ""), broker.CodeOperationInProgress, ""},
		"an import meanwhile":      {"import", 409, body("Conflict", ""), broker.CodeOperationInProgress, ""},
		"a restore over a name":    {"restore", 409, body("Conflict", ""), broker.CodeCertificateExists, ""},
		"two at one operation":     {"delete operation", 409, body("Conflict", ""), broker.CodeCertificateInTransition, ""},
		"a bad policy":             {"create", 400, body("BadParameter", ""), broker.CodeBadField, "policy"},
		"a bad change of policy":   {"update policy", 400, body("BadParameter", ""), broker.CodeBadField, "policy"},
		"a wrong password":         {"import", 400, body("BadParameter", ""), broker.CodeBadField, "value"},
		"a chain of another key":   {"merge", 400, body("BadParameter", ""), broker.CodeBadField, "x509_certificates"},
		"bad contacts":             {"set contacts", 400, body("BadParameter", ""), broker.CodeBadField, "contacts"},
		"no backup":                {"restore", 400, body("Malformed backup blob", ""), broker.CodeBadField, "blob"},
		"no backup, in base64":     {"restore", 400, body("BadParameter", ""), broker.CodeBadField, "blob"},
		"a protected vault":        {"purge", 403, body("Forbidden", ""), broker.CodeNotSupported, ""},
		"a disabled certificate":   {"backup", 403, body("Forbidden", "CertificateDisabled"), broker.CodeCertificateDisabled, ""},
		"no role":                  {"create", 403, body("Forbidden", "ForbiddenByRbac"), broker.CodeVaultAuthentication, ""},
		"no access policy":         {"list issuers", 403, body("Forbidden", "ForbiddenByPolicy"), broker.CodeVaultAuthentication, ""},
		"a token that is not good": {"get", 401, body("Unauthorized", ""), broker.CodeVaultAuthentication, ""},
	}
	calls := certificateRequests()
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			_, err := calls[tt.call].act(t.Context(), certificateVault(t, tt.status, tt.body), certificateNamed(t, "c"), []byte{1})
			e := broker.AsError(err)
			if e == nil || e.Code != tt.code || e.Field != tt.field || e.RetryAfter > time.Minute {
				t.Fatalf("%v of field %q, want %s of %q", err, e.Field, tt.code, tt.field)
			}
			if strings.Contains(e.Message, canary) || calls[tt.call].body != "" && strings.Contains(err.Error(), canary) {
				t.Errorf("the vault's words are told: %v", err)
			}
		})
	}
}

// A certificate's secret and key cannot be changed by themselves.
func TestManagedPairIsRefused(t *testing.T) {
	refused := func(inner string) *keyvault.Client {
		return certificateVault(t, 403, `{"error":{"code":"Forbidden","message":"m","innererror":{"code":"`+inner+`"}}}`)
	}
	_, err := refused("SecretManagedByKeyVault").SetSecret(t.Context(), secretNamed(t, "c"), broker.NewSecret{})
	wantCode(t, err, broker.CodeCertificateManaged)
	_, err = refused("KeyManagedByKeyVault").DeleteKey(t.Context(), certificateNamed(t, "c").As(broker.KindKeys))
	wantCode(t, err, broker.CodeCertificateManaged)
}

// Key Vault refuses to cancel what is done. It is returned as it is; what is not
// done, or nobody knows of, is refused.
func TestCancelOfADoneOperation(t *testing.T) {
	for label, tt := range map[string]struct {
		is   string
		code broker.Code
	}{
		"done":        {operationOfC, ""},
		"in progress": {strings.Replace(operationOfC, "completed", "inProgress", 1), broker.CodeVaultAuthentication},
		"none":        {"<html>", broker.CodeVaultAuthentication},
	} {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL: "https://v.vault.azure.net",
				Transport: exchange(func(r *http.Request) (*http.Response, error) {
					if r.Method == http.MethodPatch {
						return respond(403, `{"error":{"code":"Forbidden","message":"Pending status must be in progress to allow update."}}`), nil
					}
					return respond(200, tt.is), nil
				}),
			})
			o, err := c.CancelCertificateOperation(t.Context(), certificateNamed(t, "c"))
			if wantCode(t, err, tt.code); err == nil && !o.Done() {
				t.Errorf("%+v", o)
			}
		})
	}
}

// The permission that is missing is there for who keeps the configuration.
func TestMissingCertificatePermission(t *testing.T) {
	for message, want := range map[string]string{
		"Action: 'Microsoft.KeyVault/vaults/certificates/create/action'":  "Microsoft.KeyVault/vaults/certificates/create/action",
		"Action: 'Microsoft.KeyVault/vaults/certificates/read'":           "Microsoft.KeyVault/vaults/certificates/read",
		"Action: 'Microsoft.KeyVault/vaults/certificatecontacts/write'":   "Microsoft.KeyVault/vaults/certificatecontacts/write",
		"Action: 'Microsoft.KeyVault/vaults/certificatecas/read'":         "Microsoft.KeyVault/vaults/certificatecas/read",
		"does not have certificates import permission on key vault":       "certificates import",
		"does not have certificates managecontacts permission on":         "certificates managecontacts",
		"Action: 'Microsoft.KeyVault/vaults/certificates/" + canary + "'": "",
	} {
		_, err := certificateVault(t, 403, `{"error":{"code":"Forbidden","message":"`+message+`","innererror":{"code":"ForbiddenByRbac"}}}`).
			CreateCertificate(t.Context(), certificateNamed(t, "c"), broker.NewCertificate{})
		r, ok := errors.AsType[*keyvault.RefusedError](err)
		if !ok || r.Permission != want || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", message, err)
		}
	}
}

// While a delete or a recovery settles, whoever looks where the certificate was
// moved to is told to wait.
func TestCertificateSettles(t *testing.T) {
	der := aCertificate(t)
	gone := true
	c := newClient(t, keyvault.Config{
		URL: "https://v.vault.azure.net",
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			if gone && r.Method == http.MethodGet {
				return respond(404, `{"error":{"code":"CertificateNotFound","message":"m"}}`), nil
			}
			return respond(200, certificateBody(der)), nil
		}),
	})
	n := certificateNamed(t, "c")
	get := func(call string) error { _, err := bundleCalls[call].do(t.Context(), c, n, der); return err }
	for _, move := range []struct{ by, from, to string }{{"delete", "get", "get deleted"}, {"recover", "get deleted", "get"}} {
		if err := get(move.by); err != nil {
			t.Fatal(err)
		}
		wantCode(t, get(move.from), broker.CodeCertificateNotFound)
		wantCode(t, get(move.to), broker.CodeCertificateInTransition)
		gone = false
		wantCode(t, get(move.to), "")
		gone = true
		wantCode(t, get(move.to), broker.CodeCertificateNotFound)
	}
}
