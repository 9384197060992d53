package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
)

// explainer turns the error of a call into words for the person who made it.
type explainer struct {
	context string // the context file
	address string // the broker's
	timeout time.Duration
}

// explainedError is the error of a call, in words for the person who made it.
type explainedError struct {
	error

	status *status.Status
}

// GRPCStatus lets the functions of the package status see what it was.
func (e explainedError) GRPCStatus() *status.Status { return e.status }

// explain returns what happened, with the reason in parentheses, and on further
// lines what to do next. It returns nil for nil.
func (e explainer) explain(err error, requestID string) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	return explainedError{e.words(s, requestID), s}
}

func (e explainer) words(s *status.Status, requestID string) error {
	var next []string
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				if v.GetField() == "" { // the vault does not say which
					continue
				}
				next = append(next, v.GetField()+": "+v.GetDescription())
			}
		case *errdetails.RetryInfo:
			next = append(next, "try again in "+d.GetRetryDelay().AsDuration().String())
		}
	}
	reason := reasonOf(s)
	if reason == "" {
		return e.explainUnanswered(s)
	}
	if step := e.nextStep(reason, requestID); step != "" {
		next = append(next, step)
	}
	return advise(fmt.Sprintf("%s (%s)", s.Message(), reason), next...)
}

// reasonOf returns the broker's reason for s, or "" if s is not of the broker.
func reasonOf(s *status.Status) broker.Code {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return broker.Code(info.GetReason())
		}
	}
	return ""
}

// nextStep adds to the broker's words what only this side knows: its files and
// flags, and the request's id.
func (e explainer) nextStep(reason broker.Code, requestID string) string {
	switch reason {
	case broker.CodeNoCredentials:
		return fmt.Sprintf(`name "certificate" and "key", or a "tokenFile", in %s`, e.context)
	case broker.CodeBadCredentials:
		return "those used are named in " + e.context + ", or by --token-file"
	case broker.CodeCallerRateLimited:
		return "whoever runs the broker sets how many: limits in its configuration"
	case broker.CodeVaultNotFound:
		return "choose a vault with --vault"
	case broker.CodeSecretNotFound:
		return "see what there is with: keyward list"
	case broker.CodeSecretDisabled:
		return "see which versions are enabled with: keyward versions NAME"
	case broker.CodeCertificateNotFound:
		return "see what there is with: keyward certificate list"
	case broker.CodeCertificateExists:
		return "see what has the name: keyward certificate list, keyward key list, keyward list, and the deleted list of each"
	case broker.CodeCertificateSoftDeleted:
		return "bring it back with: keyward certificate undelete NAME"
	case broker.CodeOperationNotFound:
		return "begin one with: keyward certificate create NAME"
	case broker.CodeOperationInProgress:
		return "see it with: keyward certificate operation get NAME; make way with: keyward certificate operation delete NAME"
	case broker.CodeCertificateManaged:
		return "it changes with: keyward certificate create NAME, and goes with: keyward certificate delete NAME"
	case broker.CodeKeyNotExportable:
		return "its policy says so: keyward certificate policy NAME; the next version can have --export"
	case broker.CodeETagMismatch:
		return "see what it is now with: keyward get NAME -o json"
	case broker.CodeSecretExists:
		return "to replace it: keyward delete NAME, then keyward purge NAME"
	case broker.CodeSecretSoftDeleted:
		return "bring it back with: keyward undelete NAME, or with --recover-deleted of keyward set"
	case broker.CodeNotSupported:
		return "a vault that keeps deleted secrets by force cannot purge them; whoever runs the broker knows what it offers"
	case broker.CodePolicyDenied:
		return "the broker's audit log has this request as " + requestID
	case broker.CodeInternal, broker.CodeAuditUnavailable, broker.CodeVaultAuthentication, broker.CodeVaultUnavailable:
		return "the broker's log has this request as " + requestID
	}
	return ""
}

// explainUnanswered explains an error that is not the broker's: it was not
// reached, or did not answer.
func (e explainer) explainUnanswered(s *status.Status) error {
	switch s.Code() {
	case codes.DeadlineExceeded:
		return advise(fmt.Sprintf("no answer from the broker at %s within %s", e.address, e.timeout),
			"a change may have been made all the same; look before you repeat it",
			"wait longer with --timeout")
	case codes.Canceled:
		return advise("interrupted", "a change may have been made all the same")
	case codes.Unavailable:
		return e.explainUnreached(s.Message())
	}
	return fmt.Errorf("%s (%s)", s.Message(), s.Code())
}

// explainUnreached explains a connection that was not made. gRPC tells why in
// its message only.
func (e explainer) explainUnreached(message string) error {
	cause := message
	if _, after, ok := strings.Cut(message, "desc = "); ok {
		cause = strings.Trim(after, `"`)
	}
	if _, why, ok := strings.Cut(cause, "authentication handshake failed: "); ok {
		return advise(fmt.Sprintf("the broker at %s cannot be trusted: %s", e.address, why),
			fmt.Sprintf(`"ca" in %s must name the CA of the broker at "grpc"`, e.context))
	}
	if _, why, ok := strings.Cut(cause, "Error while dialing: "); ok {
		return advise(fmt.Sprintf("the broker at %s cannot be reached: %s", e.address, why),
			"is it running? start one on this machine with: keyward dev")
	}
	// In TLS 1.3 the server judges a client's certificate after the client's
	// part of the handshake, and its words may be lost with the connection.
	return advise(fmt.Sprintf("the broker at %s ended the connection: %s", e.address, cause),
		fmt.Sprintf(`is "certificate" in %s still valid, and of a CA that the broker accepts?`, e.context),
		"a broker that is restarting does this too; then try again")
}

// advise returns an error that says what happened and, on lines of their own,
// what to do next.
func advise(what string, next ...string) error {
	return errors.New(strings.Join(append([]string{what}, next...), "\n  "))
}
