package broker

import (
	"context"
	"errors"
	"time"
)

// Code is the reason of an error: what a caller can act on, what the audit
// record calls its outcome, and what the wire puts into ErrorInfo.reason.
type Code string

const (
	CodeInternal                Code = "INTERNAL"
	CodeNoCredentials           Code = "NO_CREDENTIALS"
	CodeBadCredentials          Code = "BAD_CREDENTIALS"
	CodeCallerRateLimited       Code = "CALLER_RATE_LIMITED"
	CodePolicyDenied            Code = "POLICY_DENIED"
	CodePolicyInvalid           Code = "POLICY_INVALID"
	CodeBadName                 Code = "BAD_NAME"
	CodeBadField                Code = "BAD_FIELD"
	CodeBadPageToken            Code = "BAD_PAGE_TOKEN"
	CodeValueTooLarge           Code = "VALUE_TOO_LARGE"
	CodeSecretNotFound          Code = "SECRET_NOT_FOUND"
	CodeVaultNotFound           Code = "VAULT_NOT_FOUND"
	CodeSecretExists            Code = "SECRET_EXISTS"
	CodeETagMismatch            Code = "ETAG_MISMATCH"
	CodeSecretDisabled          Code = "SECRET_DISABLED"
	CodeSecretSoftDeleted       Code = "SECRET_SOFT_DELETED"
	CodeSecretInTransition      Code = "SECRET_IN_TRANSITION"
	CodeKeyNotFound             Code = "KEY_NOT_FOUND"
	CodeKeyExists               Code = "KEY_EXISTS"
	CodeKeyDisabled             Code = "KEY_DISABLED"
	CodeKeySoftDeleted          Code = "KEY_SOFT_DELETED"
	CodeKeyInTransition         Code = "KEY_IN_TRANSITION"
	CodeKeyOperationForbidden   Code = "KEY_OPERATION_FORBIDDEN"
	CodeCertificateNotFound     Code = "CERTIFICATE_NOT_FOUND"
	CodeCertificateExists       Code = "CERTIFICATE_EXISTS"
	CodeCertificateDisabled     Code = "CERTIFICATE_DISABLED"
	CodeCertificateSoftDeleted  Code = "CERTIFICATE_SOFT_DELETED"
	CodeCertificateInTransition Code = "CERTIFICATE_IN_TRANSITION"
	CodeCertificateManaged      Code = "CERTIFICATE_MANAGED"
	CodeKeyNotExportable        Code = "KEY_NOT_EXPORTABLE"
	CodeOperationNotFound       Code = "OPERATION_NOT_FOUND"
	CodeOperationInProgress     Code = "OPERATION_IN_PROGRESS"
	CodeIssuerNotFound          Code = "ISSUER_NOT_FOUND"
	CodeVaultThrottled          Code = "VAULT_THROTTLED"
	CodeVaultUnavailable        Code = "VAULT_UNAVAILABLE"
	CodeVaultAuthentication     Code = "VAULT_AUTHENTICATION_FAILED"
	CodeAuditUnavailable        Code = "AUDIT_UNAVAILABLE"
	CodeStreamExpired           Code = "STREAM_EXPIRED"
	CodeReaderTooSlow           Code = "READER_TOO_SLOW"
	CodeNotSupported            Code = "NOT_SUPPORTED"
	CodeDeadlineExceeded        Code = "DEADLINE_EXCEEDED"
	CodeCanceled                Code = "CANCELED"
)

// Error is the one error type of the core and its stores.
type Error struct {
	Code Code
	// Message is told to the client. It holds no value, token, host, URL or
	// body of a vault. Empty means the code's standard words.
	Message string
	// Field is the request's field at fault, for the INVALID_ARGUMENT codes.
	Field string
	// RetryAfter is how long to wait before another try; 0 where waiting does
	// not help or nobody knows.
	RetryAfter time.Duration
	// Unasked: the vault was not asked, because there is no token to ask it with.
	// It tells this CodeVaultAuthentication from a vault's own refusal.
	Unasked bool
	// Err is the cause. It is for the log only.
	Err error
}

// Error returns the code, the message and the cause, for the log.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an *Error. A context's end becomes its code, and what
// no store gave a code to is INTERNAL. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeDeadlineExceeded, Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeCanceled, Err: err}
	}
	return &Error{Code: CodeInternal, Err: err}
}

// CodeOf returns the code of err, or "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}
