package service

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
)

// TestEveryCodeHasAnAnswer reads the core's codes from its source.
func TestEveryCodeHasAnAnswer(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../broker/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		// No call is answered with this one: it is an outcome of records only.
		if broker.Code(code) == broker.CodePolicyInvalid {
			return true
		}
		found++
		if a, ok := answers[broker.Code(code)]; !ok || a.words == "" || a.grpc == codes.OK {
			t.Errorf("%s has no answer", code)
		}
		return true
	})
	if found < 20 || found+1 != len(answers) {
		t.Errorf("%d codes in the core, %d answers", found, len(answers))
	}
}

func TestStatusOf(t *testing.T) {
	cause := errors.New("https://pay.vault.azure.net said hunter2")
	cases := map[string]struct {
		err    error
		code   codes.Code
		reason string
		words  string
		field  string
		retry  time.Duration
	}{
		"standard words":           {&broker.Error{Code: broker.CodeSecretNotFound, Err: cause}, codes.NotFound, "SECRET_NOT_FOUND", answers[broker.CodeSecretNotFound].words, "", 0},
		"words of its own":         {&broker.Error{Code: broker.CodeBadField, Field: "tags", Message: "fewer", Err: cause}, codes.InvalidArgument, "BAD_FIELD", "fewer", "tags", 0},
		"denied has one wording":   {&broker.Error{Code: broker.CodePolicyDenied, Message: "because", Field: "x", RetryAfter: time.Hour, Err: cause}, codes.PermissionDenied, "POLICY_DENIED", answers[broker.CodePolicyDenied].words, "", 0},
		"internal has one wording": {&broker.Error{Code: broker.CodeInternal, Message: "nil map", Err: cause}, codes.Internal, "INTERNAL", answers[broker.CodeInternal].words, "", 0},
		"an unknown error":         {cause, codes.Internal, "INTERNAL", answers[broker.CodeInternal].words, "", 0},
		"a foreign status error":   {status.Error(codes.NotFound, "hunter2"), codes.Internal, "INTERNAL", answers[broker.CodeInternal].words, "", 0},
		"a deadline":               {fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "DEADLINE_EXCEEDED", answers[broker.CodeDeadlineExceeded].words, "", 0},
		"a cancelled call":         {context.Canceled, codes.Canceled, "CANCELED", answers[broker.CodeCanceled].words, "", 0},
		"an unknown code":          {&broker.Error{Code: "NEW", Message: "hunter2"}, codes.Internal, "INTERNAL", answers[broker.CodeInternal].words, "", 0},
		"wrapped":                  {fmt.Errorf("x: %w", &broker.Error{Code: broker.CodeVaultThrottled, RetryAfter: 3 * time.Second}), codes.Unavailable, "VAULT_THROTTLED", answers[broker.CodeVaultThrottled].words, "", 3 * time.Second},
		"retry by default":         {&broker.Error{Code: broker.CodeSecretInTransition}, codes.Aborted, "SECRET_IN_TRANSITION", answers[broker.CodeSecretInTransition].words, "", time.Second},
		"no retry of a change":     {&broker.Error{Code: broker.CodeAuditUnavailable}, codes.Unavailable, "AUDIT_UNAVAILABLE", answers[broker.CodeAuditUnavailable].words, "", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			st := statusOf(c.err)
			if st.Code() != c.code || st.Message() != c.words {
				t.Errorf("got %v %q", st.Code(), st.Message())
			}
			var reason, field string
			var retry time.Duration
			for _, d := range st.Details() {
				switch d := d.(type) {
				case *errdetails.ErrorInfo:
					reason = d.GetReason()
					if d.GetDomain() != "keyward" || len(d.GetMetadata()) != 0 {
						t.Errorf("info %v", d)
					}
				case *errdetails.BadRequest:
					field = d.GetFieldViolations()[0].GetField()
				case *errdetails.RetryInfo:
					retry = d.GetRetryDelay().AsDuration()
				}
			}
			if reason != c.reason || field != c.field || retry != c.retry {
				t.Errorf("got %q, %q, %v", reason, field, retry)
			}
			raw, err := proto.Marshal(st.Proto())
			if err != nil || strings.Contains(string(raw), "hunter2") || strings.Contains(string(raw), "azure") {
				t.Errorf("the cause is told: %s", raw)
			}
		})
	}
}
