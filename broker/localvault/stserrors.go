package localvault

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

// stsError is one of Entra's refusals: an OAuth error and an AADSTS code, which
// clients show to their users and look up. What the request said is not quoted.
type stsError struct {
	status int
	oauth  string
	code   int
	text   string
}

var (
	errBadForm     = stsError{http.StatusBadRequest, "invalid_request", 90013, "Invalid input: the body must be a form of at most 64 KiB."}
	errWrongTenant = stsError{http.StatusBadRequest, "invalid_request", 90002, "Tenant not found. Use the tenant ID that this vault was started with."}
	errGrant       = stsError{http.StatusBadRequest, "unsupported_grant_type", 70003, "The grant type is not supported. Use client_credentials."}
	errClient      = stsError{http.StatusBadRequest, "unauthorized_client", 700016, "Application not found in the directory. Use the client ID that this vault was started with."}
	errScope       = stsError{http.StatusBadRequest, "invalid_scope", 70011, "The scope is not valid. Use the vault's audience followed by /.default."}
	errNoSecret    = stsError{http.StatusUnauthorized, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
	errSecret      = stsError{http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. Use the secret that this vault was started with."}
	errInternal    = stsError{http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Try again."}
)

// Of assertions. Which of them a client is told never depends on a key.
var (
	errAssertionType  = stsError{http.StatusBadRequest, "invalid_request", 90013, "Invalid input: the client_assertion_type must be " + assertionType + "."}
	errAssertionForm  = stsError{http.StatusBadRequest, "invalid_request", 50027, "JWT token is invalid or malformed. An assertion is signed with PS256 or RS256, and at most 16 KiB long."}
	errAssertionKey   = stsError{http.StatusUnauthorized, "invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application, is not valid now, or did not make this signature."}
	errAssertionApp   = stsError{http.StatusUnauthorized, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter."}
	errAssertionAud   = stsError{http.StatusUnauthorized, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer. Use the token endpoint."}
	errAssertionTime  = stsError{http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range."}
	errFederatedIss   = stsError{http.StatusUnauthorized, "invalid_client", 700211, "No matching federated identity record found for presented assertion issuer."}
	errFederatedAud   = stsError{http.StatusUnauthorized, "invalid_client", 700212, "No matching federated identity record found for presented assertion audience."}
	errFederatedSub   = stsError{http.StatusUnauthorized, "invalid_client", 700213, "No matching federated identity record found for presented assertion subject."}
	errFederatedToken = stsError{http.StatusUnauthorized, "invalid_client", 700027, "Client assertion failed signature validation: no configured key of the issuer made it."}
)

func missingParameter(name string) stsError {
	return stsError{http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: '" + name + "'."}
}

// refuse answers with e in the form of Entra.
func (s *STS) refuse(w http.ResponseWriter, r *http.Request, e stsError) {
	code := strconv.Itoa(e.code)
	s.log.WarnContext(r.Context(), "refused a token", "aadsts", e.code, "error", e.text)
	trace, now := guid(), time.Now().UTC().Format("2006-01-02 15:04:05Z")
	correlation := r.Header.Get("client-request-id")
	if !isGUID(correlation) {
		correlation = guid()
	}
	writeJSON(w, e.status, map[string]any{
		"error": e.oauth,
		"error_description": "AADSTS" + code + ": " + e.text + "\r\nTrace ID: " + trace +
			"\r\nCorrelation ID: " + correlation + "\r\nTimestamp: " + now,
		"error_codes":    []int{e.code},
		"timestamp":      now,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      s.config.Authority + "/error?code=" + code,
	})
}

// guid returns a random (version 4) UUID.
func guid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
	}
	return true
}
