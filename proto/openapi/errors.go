package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// failure is what a client is told of a reason: the broker's table of errors
// (service/errors.go) once more, since this runs before anything of the service
// is built. A test holds the two together.
type failure struct {
	reason string
	status int // HTTP's
	code   int // google.rpc.Code
	words  string
	retry  bool
}

var failures = []failure{
	{"BAD_NAME", http.StatusBadRequest, 3, "the name is malformed; a secret is vaults/{vault}/secrets/{secret}, and alike keys/{key} and certificates/{certificate}", false},
	{"BAD_FIELD", http.StatusBadRequest, 3, "a field of the request is not valid; correct it", false},
	{"BAD_PAGE_TOKEN", http.StatusBadRequest, 3, "the page token is not valid for this caller and list; begin again without one", false},
	{"VALUE_TOO_LARGE", http.StatusBadRequest, 3, "the value is too large; it is at most 25600 bytes", false},
	{"SECRET_DISABLED", http.StatusBadRequest, 9, "the secret is disabled; enable it, or set a new version", false},
	{"SECRET_SOFT_DELETED", http.StatusBadRequest, 9, "a deleted secret holds this name; recover it or purge it first", false},
	{"KEY_DISABLED", http.StatusBadRequest, 9, "the key is disabled; enable it, or make a new version", false},
	{"KEY_SOFT_DELETED", http.StatusBadRequest, 9, "a deleted key holds this name; undelete it or purge it first", false},
	{"KEY_OPERATION_FORBIDDEN", http.StatusBadRequest, 9, "the key may not be used for this, or not at this time; see what it is for, and from when to when", false},
	{"CERTIFICATE_DISABLED", http.StatusBadRequest, 9, "the certificate is disabled; enable it, or make a new version", false},
	{"CERTIFICATE_SOFT_DELETED", http.StatusBadRequest, 9, "a deleted certificate holds this name; undelete it or purge it first", false},
	{"CERTIFICATE_MANAGED", http.StatusBadRequest, 9, "this is the key or the secret of a certificate, and changes with it alone; change, delete or back up the certificate of the same name", false},
	{"KEY_NOT_EXPORTABLE", http.StatusBadRequest, 9, "the private key of this certificate does not leave the vault; use it there, or make a version whose policy says exportable", false},
	{"OPERATION_IN_PROGRESS", http.StatusBadRequest, 9, "the certificate is still being made; wait until its operation is done, merge it, or delete the operation", false},
	{"NO_CREDENTIALS", http.StatusUnauthorized, 16, "no credentials; send a bearer token, or connect with a client certificate", false},
	{"BAD_CREDENTIALS", http.StatusUnauthorized, 16, "the credentials are not valid here; get new ones", false},
	{"POLICY_DENIED", http.StatusForbidden, 7, "the policy does not allow this, or there is no such thing; whoever keeps the policy can grant it", false},
	{"SECRET_NOT_FOUND", http.StatusNotFound, 5, "there is no such secret or version; set it first, or list the vault", false},
	{"KEY_NOT_FOUND", http.StatusNotFound, 5, "there is no such key or version; create it first, or list the vault's keys", false},
	{"CERTIFICATE_NOT_FOUND", http.StatusNotFound, 5, "there is no such certificate or version; create or import it first, or list the vault's certificates", false},
	{"OPERATION_NOT_FOUND", http.StatusNotFound, 5, "this certificate has no operation; it was made long ago, or is not being made: create it first", false},
	{"ISSUER_NOT_FOUND", http.StatusNotFound, 5, "the vault has no such issuer; choose Self or Unknown, or one of its certificateIssuers", false},
	{"VAULT_NOT_FOUND", http.StatusNotFound, 5, "no vault of this name is configured", false},
	{"SECRET_EXISTS", http.StatusConflict, 6, "a secret has this name; delete and purge it before its backup is restored", false},
	{"KEY_EXISTS", http.StatusConflict, 6, "a key has this name; delete and purge it before its backup is restored", false},
	{"CERTIFICATE_EXISTS", http.StatusConflict, 6, "a certificate, or a key or a secret of its own, has this name; delete and purge it, or choose another name", false},
	{"ETAG_MISMATCH", http.StatusConflict, 10, "it has changed since its etag was read; read it again", false},
	{"SECRET_IN_TRANSITION", http.StatusConflict, 10, "the secret is being deleted or recovered; try again in a moment", true},
	{"KEY_IN_TRANSITION", http.StatusConflict, 10, "the key is being deleted or recovered; try again in a moment", true},
	{"CERTIFICATE_IN_TRANSITION", http.StatusConflict, 10, "the certificate is being deleted or recovered; try again in a moment", true},
	{"CALLER_RATE_LIMITED", http.StatusTooManyRequests, 8, "too many calls; wait before the next one, and make fewer", true},
	{"READER_TOO_SLOW", http.StatusTooManyRequests, 8, "the caller did not read what it was sent; watch again, and read on", false},
	{"INTERNAL", http.StatusInternalServerError, 13, "internal error; tell whoever runs the broker the time of the call", false},
	{"NOT_SUPPORTED", http.StatusNotImplemented, 12, "this vault does not offer that", false},
	{"VAULT_THROTTLED", http.StatusServiceUnavailable, 14, "the vault asks for fewer calls; try again later", true},
	{"VAULT_UNAVAILABLE", http.StatusServiceUnavailable, 14, "the vault does not answer as it should; try again later", true},
	{"VAULT_AUTHENTICATION_FAILED", http.StatusServiceUnavailable, 14, "the broker is not let into the vault; try again later, or tell whoever runs the broker", true},
	{"AUDIT_UNAVAILABLE", http.StatusServiceUnavailable, 14, "the audit log cannot be written, so nothing was disclosed or changed; tell whoever runs the broker", false},
	{"STREAM_EXPIRED", http.StatusServiceUnavailable, 14, "the stream has had its time; watch again, with the versions that are known", false},
	{"DEADLINE_EXCEEDED", http.StatusGatewayTimeout, 4, "the time for the call is over; a change may have happened", false},
}

var (
	// anyCall can end so.
	anyCall = []string{"BAD_NAME", "BAD_FIELD", "NO_CREDENTIALS", "BAD_CREDENTIALS", "CALLER_RATE_LIMITED", "INTERNAL", "AUDIT_UNAVAILABLE", "DEADLINE_EXCEEDED"}
	// oneVault: the call as a whole is decided, and asks one vault.
	oneVault = []string{"POLICY_DENIED", "VAULT_NOT_FOUND", "NOT_SUPPORTED", "VAULT_THROTTLED", "VAULT_UNAVAILABLE", "VAULT_AUTHENTICATION_FAILED"}
	// ofOthers: a question about others is decided, and asks no vault.
	ofOthers = []string{"POLICY_DENIED", "VAULT_NOT_FOUND", "NOT_SUPPORTED"}
	// oneKey: the call is of a key that must be there.
	oneKey = slices.Concat(oneVault, []string{"KEY_NOT_FOUND", "KEY_IN_TRANSITION"})
	// useKey: and it must be fit for use.
	useKey = slices.Concat(oneKey, []string{"KEY_DISABLED", "KEY_OPERATION_FORBIDDEN"})
	// managed: a secret or a key may be a certificate's.
	managed = []string{"CERTIFICATE_MANAGED"}
	// oneCertificate: the call is of a certificate that must be there.
	oneCertificate = slices.Concat(oneVault, []string{"CERTIFICATE_NOT_FOUND", "CERTIFICATE_IN_TRANSITION"})
	// oneOperation: and of the operation that makes it.
	oneOperation = slices.Concat(oneVault, []string{"OPERATION_NOT_FOUND", "CERTIFICATE_IN_TRANSITION"})
	// makeCertificate: the call makes a version.
	makeCertificate = slices.Concat(oneVault, []string{"CERTIFICATE_EXISTS", "CERTIFICATE_SOFT_DELETED", "CERTIFICATE_IN_TRANSITION", "OPERATION_IN_PROGRESS", "ISSUER_NOT_FOUND", "ETAG_MISMATCH"})
)

// own are the reasons that a method has beside those of any call. A batch asks
// no vault as a whole: each of its results has a status.
var own = map[string][]string{
	"GetSecret":                  slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "SECRET_DISABLED", "SECRET_IN_TRANSITION"}),
	"SetSecret":                  slices.Concat(oneVault, []string{"VALUE_TOO_LARGE", "SECRET_SOFT_DELETED", "ETAG_MISMATCH", "SECRET_IN_TRANSITION"}, managed),
	"UpdateSecret":               slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "ETAG_MISMATCH", "SECRET_IN_TRANSITION"}, managed),
	"DeleteSecret":               slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "ETAG_MISMATCH", "SECRET_IN_TRANSITION"}, managed),
	"ListSecrets":                slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"ListSecretVersions":         slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN", "SECRET_NOT_FOUND", "SECRET_IN_TRANSITION"}),
	"BatchGetSecrets":            nil,
	"WatchSecrets":               {"POLICY_DENIED", "VAULT_NOT_FOUND", "NOT_SUPPORTED", "READER_TOO_SLOW", "STREAM_EXPIRED"},
	"GenerateSecret":             slices.Concat(oneVault, []string{"SECRET_SOFT_DELETED", "ETAG_MISMATCH", "SECRET_IN_TRANSITION"}, managed),
	"GetDeletedSecret":           slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "SECRET_IN_TRANSITION"}),
	"ListDeletedSecrets":         slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"UndeleteSecret":             slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "SECRET_IN_TRANSITION"}, managed),
	"PurgeSecret":                slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "SECRET_IN_TRANSITION"}, managed),
	"BackupSecret":               slices.Concat(oneVault, []string{"SECRET_NOT_FOUND", "VALUE_TOO_LARGE", "SECRET_IN_TRANSITION"}, managed),
	"RestoreSecret":              slices.Concat(oneVault, []string{"VALUE_TOO_LARGE", "SECRET_EXISTS", "SECRET_SOFT_DELETED", "SECRET_IN_TRANSITION"}),
	"CreateKey":                  slices.Concat(oneVault, []string{"KEY_SOFT_DELETED", "ETAG_MISMATCH", "KEY_IN_TRANSITION"}, managed),
	"ImportKey":                  slices.Concat(oneVault, []string{"VALUE_TOO_LARGE", "KEY_SOFT_DELETED", "ETAG_MISMATCH", "KEY_IN_TRANSITION"}, managed),
	"GetKey":                     oneKey,
	"ListKeys":                   slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"ListKeyVersions":            slices.Concat(oneKey, []string{"BAD_PAGE_TOKEN"}),
	"UpdateKey":                  slices.Concat(oneKey, []string{"ETAG_MISMATCH"}, managed),
	"DeleteKey":                  slices.Concat(oneKey, []string{"ETAG_MISMATCH"}, managed),
	"GetDeletedKey":              oneKey,
	"ListDeletedKeys":            slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"UndeleteKey":                slices.Concat(oneKey, managed),
	"PurgeKey":                   slices.Concat(oneKey, managed),
	"BackupKey":                  slices.Concat(oneKey, []string{"VALUE_TOO_LARGE"}, managed),
	"RestoreKey":                 slices.Concat(oneVault, []string{"VALUE_TOO_LARGE", "KEY_EXISTS", "KEY_SOFT_DELETED", "KEY_IN_TRANSITION"}),
	"RotateKey":                  slices.Concat(oneKey, []string{"KEY_DISABLED"}, managed),
	"GetRotationPolicy":          oneKey,
	"UpdateRotationPolicy":       slices.Concat(oneKey, managed),
	"Encrypt":                    useKey,
	"Decrypt":                    useKey,
	"WrapKey":                    useKey,
	"UnwrapKey":                  useKey,
	"Sign":                       useKey,
	"Verify":                     useKey,
	"CreateCertificate":          makeCertificate,
	"GetCertificateOperation":    oneOperation,
	"CancelCertificateOperation": oneOperation,
	"DeleteCertificateOperation": oneOperation,
	"MergeCertificate":           slices.Concat(oneOperation, []string{"VALUE_TOO_LARGE"}),
	"ImportCertificate":          slices.Concat(makeCertificate, []string{"VALUE_TOO_LARGE"}),
	"GetCertificate":             slices.Concat(oneCertificate, []string{"CERTIFICATE_DISABLED"}),
	"DownloadCertificate":        slices.Concat(oneCertificate, []string{"CERTIFICATE_DISABLED", "KEY_NOT_EXPORTABLE", "OPERATION_IN_PROGRESS"}),
	"ListCertificates":           slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"ListCertificateVersions":    slices.Concat(oneCertificate, []string{"BAD_PAGE_TOKEN"}),
	"UpdateCertificate":          slices.Concat(oneCertificate, []string{"ETAG_MISMATCH", "OPERATION_IN_PROGRESS"}),
	"GetCertificatePolicy":       oneCertificate,
	"UpdateCertificatePolicy":    slices.Concat(oneCertificate, []string{"ISSUER_NOT_FOUND"}),
	"DeleteCertificate":          slices.Concat(oneCertificate, []string{"ETAG_MISMATCH"}),
	"GetDeletedCertificate":      oneCertificate,
	"ListDeletedCertificates":    slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"UndeleteCertificate":        oneCertificate,
	"PurgeCertificate":           oneCertificate,
	"BackupCertificate":          slices.Concat(oneCertificate, []string{"VALUE_TOO_LARGE"}),
	"RestoreCertificate":         slices.Concat(oneVault, []string{"VALUE_TOO_LARGE", "CERTIFICATE_EXISTS", "CERTIFICATE_SOFT_DELETED", "CERTIFICATE_IN_TRANSITION"}),
	"GetCertificateContacts":     oneVault,
	"UpdateCertificateContacts":  oneVault,
	"DeleteCertificateContacts":  oneVault,
	"ListCertificateIssuers":     slices.Concat(oneVault, []string{"BAD_PAGE_TOKEN"}),
	"GetCertificateIssuer":       slices.Concat(oneVault, []string{"ISSUER_NOT_FOUND"}),
	"CheckAccess":                ofOthers,
	"ListGrants":                 ofOthers,
}

// errorResponses are the replies to m that are errors, by status, each with an
// example for every reason it can have.
func (d *document) errorResponses(m *protogen.Method) (object, error) {
	mine, ok := own[m.GoName]
	if !ok {
		return nil, fmt.Errorf("errors.go: %s is not there", m.GoName)
	}
	reasons := slices.Concat(anyCall, mine)
	var all object
	for _, group := range byStatus() {
		var examples, headers object
		var names []string
		for _, f := range group {
			if !slices.Contains(reasons, f.reason) {
				continue
			}
			d.reasons[f.reason] = true
			names = append(names, "`"+f.reason+"`")
			examples = append(examples, member{f.reason, object{{"$ref", "#/components/examples/" + f.reason}}})
			if f.retry && len(headers) == 0 {
				headers = object{{"Retry-After", object{{"$ref", "#/components/headers/RetryAfter"}}}}
			}
		}
		if len(names) == 0 {
			continue
		}
		if group[0].status == http.StatusUnauthorized {
			headers = object{{"WWW-Authenticate", object{{"$ref", "#/components/headers/Authenticate"}}}}
		}
		response := object{{"description", strings.Join(names, ", ")}}.
			with("headers", headers).
			with("content", object{{"application/json", object{
				{"schema", refTo("Status")},
				{"examples", examples},
			}}})
		all = append(all, member{strconv.Itoa(group[0].status), response})
	}
	return all, nil
}

// errorExamples are the replies for reasons.
func errorExamples(reasons map[string]bool) object {
	const google = "type.googleapis.com/google.rpc."
	var all object
	for _, f := range failures {
		if !reasons[f.reason] {
			continue
		}
		details := []any{object{{"@type", google + "ErrorInfo"}, {"reason", f.reason}, {"domain", "keyward"}, {"metadata", object{}}}}
		if f.code == 3 {
			details = append(details, object{{"@type", google + "BadRequest"}, {"fieldViolations", []any{
				object{{"field", atFault(f.reason)}, {"description", f.words}, {"reason", f.reason}},
			}}})
		}
		if f.retry {
			details = append(details, object{{"@type", google + "RetryInfo"}, {"retryDelay", "1s"}})
		}
		all = append(all, member{f.reason, object{
			{"summary", f.words},
			{"value", object{{"code", f.code}, {"message", f.words}, {"details", details}}},
		}})
	}
	return all
}

// atFault is a field that a reason of INVALID_ARGUMENT may complain of.
func atFault(reason string) string {
	switch reason {
	case "BAD_NAME":
		return "name"
	case "BAD_PAGE_TOKEN":
		return "page_token"
	case "VALUE_TOO_LARGE":
		return "value"
	}
	return ""
}

// byStatus are the failures of each status.
func byStatus() [][]failure {
	var all [][]failure
	for i, f := range failures {
		if i == 0 || f.status != failures[i-1].status {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], f)
	}
	return all
}
