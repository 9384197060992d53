package service

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyward/keyward/broker"
)

// errorDomain is ErrorInfo.domain of every error.
const errorDomain = "keyward"

// codeUnknownRoute is the wire's own: no route, or none with that HTTP method.
const codeUnknownRoute broker.Code = "UNKNOWN_ROUTE"

// answer is what a client is told of a code, and how loudly the log is.
type answer struct {
	grpc  codes.Code
	words string
	// retry is the RetryInfo where the error brings none of its own. 0: a retry
	// does not help, or may do a change twice.
	retry time.Duration
	level slog.Level
}

// answers is the one table of errors.
var answers = map[broker.Code]answer{
	broker.CodeNoCredentials: {
		grpc: codes.Unauthenticated, level: slog.LevelDebug,
		words: "no credentials; send a bearer token, or connect with a client certificate",
	},
	broker.CodeBadCredentials: {
		grpc: codes.Unauthenticated, level: slog.LevelDebug,
		words: "the credentials are not valid here; get new ones",
	},
	broker.CodeCallerRateLimited: {
		grpc: codes.ResourceExhausted, level: slog.LevelDebug, retry: time.Second,
		words: "too many calls; wait before the next one, and make fewer",
	},
	broker.CodePolicyDenied: {
		grpc: codes.PermissionDenied, level: slog.LevelDebug,
		words: "the policy does not allow this, or there is no such thing; whoever keeps the policy can grant it",
	},
	broker.CodeBadName: {
		grpc: codes.InvalidArgument, level: slog.LevelDebug,
		words: "the name is malformed; a secret is vaults/{vault}/secrets/{secret}, and alike keys/{key} and certificates/{certificate}",
	},
	broker.CodeBadField: {
		grpc: codes.InvalidArgument, level: slog.LevelDebug,
		words: "a field of the request is not valid; correct it",
	},
	broker.CodeBadPageToken: {
		grpc: codes.InvalidArgument, level: slog.LevelDebug,
		words: "the page token is not valid for this caller and list; begin again without one",
	},
	broker.CodeValueTooLarge: {
		grpc: codes.InvalidArgument, level: slog.LevelDebug,
		words: "the value is too large; it is at most 25600 bytes",
	},
	broker.CodeSecretNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "there is no such secret or version; set it first, or list the vault",
	},
	broker.CodeVaultNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "no vault of this name is configured",
	},
	codeUnknownRoute: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "no such route; /openapi.json has them all, such as /v1/vaults/{vault}/secrets/{secret}",
	},
	broker.CodeSecretExists: {
		grpc: codes.AlreadyExists, level: slog.LevelDebug,
		words: "a secret has this name; delete and purge it before its backup is restored",
	},
	broker.CodeETagMismatch: {
		grpc: codes.Aborted, level: slog.LevelDebug,
		words: "it has changed since its etag was read; read it again",
	},
	broker.CodeSecretDisabled: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the secret is disabled; enable it, or set a new version",
	},
	broker.CodeSecretSoftDeleted: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "a deleted secret holds this name; recover it or purge it first",
	},
	broker.CodeSecretInTransition: {
		grpc: codes.Aborted, level: slog.LevelDebug, retry: time.Second,
		words: "the secret is being deleted or recovered; try again in a moment",
	},
	broker.CodeKeyNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "there is no such key or version; create it first, or list the vault's keys",
	},
	broker.CodeKeyExists: {
		grpc: codes.AlreadyExists, level: slog.LevelDebug,
		words: "a key has this name; delete and purge it before its backup is restored",
	},
	broker.CodeKeyDisabled: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the key is disabled; enable it, or make a new version",
	},
	broker.CodeKeySoftDeleted: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "a deleted key holds this name; undelete it or purge it first",
	},
	broker.CodeKeyOperationForbidden: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the key may not be used for this, or not at this time; see what it is for, and from when to when",
	},
	broker.CodeKeyInTransition: {
		grpc: codes.Aborted, level: slog.LevelDebug, retry: time.Second,
		words: "the key is being deleted or recovered; try again in a moment",
	},
	broker.CodeCertificateNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "there is no such certificate or version; create or import it first, or list the vault's certificates",
	},
	broker.CodeCertificateExists: {
		grpc: codes.AlreadyExists, level: slog.LevelDebug,
		words: "a certificate, or a key or a secret of its own, has this name; delete and purge it, or choose another name",
	},
	broker.CodeCertificateDisabled: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the certificate is disabled; enable it, or make a new version",
	},
	broker.CodeCertificateSoftDeleted: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "a deleted certificate holds this name; undelete it or purge it first",
	},
	broker.CodeCertificateInTransition: {
		grpc: codes.Aborted, level: slog.LevelDebug, retry: time.Second,
		words: "the certificate is being deleted or recovered; try again in a moment",
	},
	broker.CodeCertificateManaged: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "this is the key or the secret of a certificate, and changes with it alone; change, delete or back up the certificate of the same name",
	},
	broker.CodeKeyNotExportable: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the private key of this certificate does not leave the vault; use it there, or make a version whose policy says exportable",
	},
	broker.CodeOperationNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "this certificate has no operation; it was made long ago, or is not being made: create it first",
	},
	broker.CodeOperationInProgress: {
		grpc: codes.FailedPrecondition, level: slog.LevelDebug,
		words: "the certificate is still being made; wait until its operation is done, merge it, or delete the operation",
	},
	broker.CodeIssuerNotFound: {
		grpc: codes.NotFound, level: slog.LevelDebug,
		words: "the vault has no such issuer; choose Self or Unknown, or one of its certificateIssuers",
	},
	broker.CodeVaultThrottled: {
		grpc: codes.Unavailable, level: slog.LevelWarn, retry: time.Second,
		words: "the vault asks for fewer calls; try again later",
	},
	broker.CodeVaultUnavailable: {
		grpc: codes.Unavailable, level: slog.LevelWarn, retry: time.Second,
		words: "the vault does not answer as it should; try again later",
	},
	broker.CodeVaultAuthentication: {
		grpc: codes.Unavailable, level: slog.LevelWarn, retry: time.Second,
		words: "the broker is not let into the vault; try again later, or tell whoever runs the broker",
	},
	broker.CodeAuditUnavailable: {
		grpc: codes.Unavailable, level: slog.LevelError,
		words: "the audit log cannot be written, so nothing was disclosed or changed; tell whoever runs the broker",
	},
	broker.CodeNotSupported: {
		grpc: codes.Unimplemented, level: slog.LevelDebug,
		words: "this vault does not offer that",
	},
	broker.CodeStreamExpired: {
		grpc: codes.Unavailable, level: slog.LevelDebug,
		words: "the stream has had its time; watch again, with the versions that are known",
	},
	broker.CodeReaderTooSlow: {
		grpc: codes.ResourceExhausted, level: slog.LevelInfo,
		words: "the caller did not read what it was sent; watch again, and read on",
	},
	broker.CodeDeadlineExceeded: {
		grpc: codes.DeadlineExceeded, level: slog.LevelDebug,
		words: "the time for the call is over; a change may have happened",
	},
	broker.CodeCanceled: {
		grpc: codes.Canceled, level: slog.LevelDebug,
		words: "the call was cancelled; a change may have happened",
	},
	broker.CodeInternal: {
		grpc: codes.Internal, level: slog.LevelError,
		words: "internal error; tell whoever runs the broker the time of the call",
	},
}

// statusOf returns what a client is told of err: the code, the words, the
// reason, and nothing of the cause.
func statusOf(err error) *status.Status {
	e := broker.AsError(err)
	a, ok := answers[e.Code]
	if !ok {
		e, a = &broker.Error{Code: broker.CodeInternal}, answers[broker.CodeInternal]
	}
	words, details := a.words, []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Domain: errorDomain, Reason: string(e.Code)},
	}
	switch {
	case e.Code == broker.CodePolicyDenied, e.Code == broker.CodeInternal:
		// The same for all: neither what was denied nor what broke can be told
		// apart.
	case e.Message != "":
		words = e.Message
	}
	if a.grpc == codes.InvalidArgument {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: e.Field, Description: words, Reason: string(e.Code)},
		}})
	}
	if wait := cmp.Or(e.RetryAfter, a.retry); wait > 0 && e.Code != broker.CodePolicyDenied {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	s := status.New(a.grpc, words)
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s
}

// refuse returns the status for err and logs its cause.
func (s *Server) refuse(ctx context.Context, err error) *status.Status {
	e, st := broker.AsError(err), statusOf(err)
	level := slog.LevelError
	if a, ok := answers[e.Code]; ok {
		level = a.level
	}
	if s.log.Enabled(ctx, level) {
		attrs := []slog.Attr{slog.String("reason", string(e.Code)), slog.String("code", codeName(st.Code()))}
		if c := callIn(ctx); c != nil {
			attrs = append(attrs, slog.String("method", c.method), slog.String("transport", c.caller.Transport),
				slog.String("principal", c.caller.ID), slog.String("request", c.caller.RequestID))
		}
		attrs = append(attrs, slog.Any("error", err))
		s.log.LogAttrs(ctx, level, "a call was refused", attrs...)
	}
	return st
}

// retryAfter returns the Retry-After header for st, in whole seconds, or "".
func retryAfter(st *status.Status) string {
	for _, d := range st.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return strconv.Itoa(int(math.Ceil(r.GetRetryDelay().AsDuration().Seconds())))
		}
	}
	return ""
}

// unknownRoute returns the status of a path that is no route, or of one that
// has other methods.
func unknownRoute(httpStatus int) *status.Status {
	st := statusOf(&broker.Error{Code: codeUnknownRoute})
	if httpStatus != http.StatusMethodNotAllowed {
		return st
	}
	p := st.Proto()
	p.Code, p.Message = int32(codes.Unimplemented), "this route has no such method; the Allow header lists those it has"
	return status.FromProto(p)
}
