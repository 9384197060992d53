package vaulthttp

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// refusal is an error in Key Vault's terms. {name} in a message stands for the
// secret's or the key's.
type refusal struct {
	status  int
	code    string
	inner   string
	message string
	// challenge is added to that of a 401.
	challenge string
	// retryAfter is told if it is not zero.
	retryAfter time.Duration
	// cause is for the log.
	cause error
}

// Error implements error.
func (e *refusal) Error() string { return e.code + ": " + e.message }

func badParameter(message string) error {
	return &refusal{status: http.StatusBadRequest, code: keyvault.ErrorBadParameter, message: message}
}

// refusals is how Key Vault says what a store's code means. What is not here is
// the vault's own fault.
var refusals = map[broker.Code]refusal{
	broker.CodeBadName:      {status: http.StatusBadRequest, code: keyvault.ErrorBadParameter},
	broker.CodeBadField:     {status: http.StatusBadRequest, code: keyvault.ErrorBadParameter},
	broker.CodeBadPageToken: {status: http.StatusBadRequest, code: keyvault.ErrorBadParameter, message: "Invalid $skiptoken."},
	broker.CodeValueTooLarge: {
		status: http.StatusBadRequest, code: keyvault.ErrorBadParameter,
		message: "The secret value is longer than 25600 bytes.",
	},
	broker.CodePolicyDenied: {
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerForbiddenByRbac,
		message: "Caller is not authorized to perform action on resource.",
	},
	broker.CodeSecretDisabled: {
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerSecretDisabled,
		message: "Operation get is not allowed on a disabled secret.",
	},
	broker.CodeSecretNotFound: {
		status: http.StatusNotFound, code: keyvault.ErrorSecretNotFound,
		message: "A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret " +
			"you may be able to recover it using the correct recovery command. " +
			"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
	},
	broker.CodeSecretSoftDeleted: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerDeleted,
		message: "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; " +
			"in this state, the secret can only be recovered or purged.",
	},
	broker.CodeSecretExists: {
		status: http.StatusConflict, code: keyvault.ErrorConflict,
		message: "There was a conflict restoring the secret. Its name is already in use.",
	},
	broker.CodeSecretInTransition: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerBeingDeleted,
		message: "Secret is currently being deleted.",
	},
	broker.CodeKeyDisabled: {
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerKeyDisabled,
		message: "Operation is not allowed on a disabled key.",
	},
	broker.CodeKeyOperationForbidden: {
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerKeyForbidden,
		message: "Operation is not permitted on this key, or not at this time.",
	},
	broker.CodeKeyNotFound: {
		status: http.StatusNotFound, code: keyvault.ErrorKeyNotFound,
		message: "A key with (name/id) {name} was not found in this key vault. If you recently deleted this key " +
			"you may be able to recover it using the correct recovery command. " +
			"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
	},
	broker.CodeKeySoftDeleted: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerDeleted,
		message: "Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; " +
			"in this state, the key can only be recovered or purged.",
	},
	broker.CodeKeyExists: {
		status: http.StatusConflict, code: keyvault.ErrorConflict,
		message: "There was a conflict restoring the key. Its name is already in use.",
	},
	broker.CodeKeyInTransition: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerBeingDeleted,
		message: "Key is currently being deleted.",
	},
	broker.CodeCertificateDisabled: {
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerCertificateDisabled,
		message: "Operation is not allowed on a disabled certificate.",
	},
	broker.CodeCertificateNotFound: {
		status: http.StatusNotFound, code: keyvault.ErrorCertificateNotFound,
		message: "A certificate with (name/id) {name} was not found in this key vault. If you recently deleted this certificate " +
			"you may be able to recover it using the correct recovery command. " +
			"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
	},
	broker.CodeCertificateSoftDeleted: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerDeleted,
		message: "Certificate {name} is currently in a deleted but recoverable state, and its name cannot be reused; " +
			"in this state, the certificate can only be recovered or purged.",
	},
	broker.CodeCertificateExists: {
		status: http.StatusConflict, code: keyvault.ErrorConflict,
		message: "There was a conflict restoring the certificate. Its name is already in use.",
	},
	broker.CodeCertificateInTransition: {
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerBeingDeleted,
		message: "Certificate is currently being deleted.",
	},
	broker.CodeOperationNotFound: {
		status: http.StatusNotFound, code: keyvault.ErrorOperationNotFound, message: "Pending certificate not found: {name}",
	},
	broker.CodeOperationInProgress: {
		status: http.StatusConflict, code: keyvault.ErrorConflict,
		message: "A new key vault certificate can not be created or imported while a pending key vault certificate's status is inProgress.",
	},
	broker.CodeIssuerNotFound: {
		status: http.StatusNotFound, code: keyvault.ErrorIssuerNotFound, message: "Issuer not found",
	},
	broker.CodeVaultThrottled: {
		status: http.StatusTooManyRequests, code: keyvault.ErrorThrottled,
		message: "Request was not processed because too many requests were received.",
	},
	broker.CodeVaultUnavailable:    {status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The service is unavailable."},
	broker.CodeVaultAuthentication: {status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The service is unavailable."},
	broker.CodeAuditUnavailable:    {status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The service is unavailable."},
	broker.CodeDeadlineExceeded:    {status: http.StatusGatewayTimeout, code: "Timeout", message: "The operation did not end in time."},
	broker.CodeNotSupported:        {status: http.StatusNotImplemented, code: "NotSupported", message: "The operation is not supported."},
}

// refuse answers with err. The client is told the kind of error; the log gets
// its cause.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*refusal](err)
	if !ok {
		e = h.translate(r, broker.AsError(err))
	}
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	if e.status == http.StatusUnauthorized {
		w.Header().Set("Www-Authenticate", h.challengeTo(r.Host)+e.challenge)
	}
	if e.cause != nil {
		level := slog.LevelInfo
		if e.status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		h.Logger.Log(r.Context(), level, "a request to the vault was refused",
			"vault", h.Vault.VaultAlias(), "status", e.status, "request", w.Header().Get("X-Ms-Request-Id"), "error", e.cause)
	}
	if h.ManagedHSM && e.status == http.StatusUnauthorized {
		w.Header().Set("Content-Type", jsonType)
		w.WriteHeader(e.status) // and no more
		return
	}
	body := keyvault.ErrorBody{Code: e.code, Message: e.message}
	if e.inner != "" {
		body.Inner = &keyvault.InnerError{Code: e.inner}
	}
	h.write(w, e.status, keyvault.ErrorReply{Error: body})
}

// translate returns a store's error in Key Vault's terms.
func (h *handler) translate(r *http.Request, err *broker.Error) *refusal {
	e, ok := refusals[err.Code]
	if err.Code == broker.CodeCertificateManaged {
		e, ok = managed(r), true
	}
	if !ok {
		e = refusal{status: http.StatusInternalServerError, code: "InternalServerError", message: "An internal error occurred."}
	}
	if e.message == "" {
		e.message = err.Message
	}
	e.message = strings.ReplaceAll(e.message, "{name}", shorten(namePart(r)))
	e.retryAfter = err.RetryAfter
	if e.status >= http.StatusInternalServerError {
		e.cause = err
	}
	return &e
}

// managed refuses to change the key or the secret of a certificate by itself.
func managed(r *http.Request) refusal {
	inner := keyvault.InnerSecretManaged
	if strings.Contains(r.URL.Path, "keys/") {
		inner = keyvault.InnerKeyManaged
	}
	return refusal{
		status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: inner,
		message: "The operation is not allowed as this object's lifetime is managed by Key Vault.",
	}
}

// namePart returns what a request's path says after "/secrets/" or "/keys/",
// without the operation at its end. A restore's does not say.
func namePart(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[1] == "restore" && r.Method == http.MethodPost:
		return "of the backup"
	case len(parts) < 2:
		return ""
	case len(parts) > 2 && len(parts[2]) == versionLen:
		return parts[1] + "/" + parts[2]
	}
	return parts[1]
}

// versionLen is the length of a version, which no operation's name has.
const versionLen = 32
