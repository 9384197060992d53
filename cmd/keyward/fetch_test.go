package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// newBatching returns a broker with these values by full name. What it has not
// is denied.
func newBatching(values map[string]string) *fakeBroker {
	return &fakeBroker{batch: func(r *keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
		reply := &keywardv1.BatchGetSecretsResponse{}
		for _, name := range r.GetNames() {
			result := &keywardv1.BatchGetSecretsResult{Name: name}
			if value, ok := values[name]; ok {
				result.Result = &keywardv1.BatchGetSecretsResult_Response{Response: &keywardv1.GetSecretResponse{
					Secret: &keywardv1.Secret{Name: name, Version: testVersion}, Value: value,
				}}
			} else {
				s, err := status.New(codes.PermissionDenied, "the policy does not allow this").
					WithDetails(&errdetails.ErrorInfo{Domain: "keyward", Reason: string(broker.CodePolicyDenied)})
				if err != nil {
					return nil, err
				}
				result.Result = &keywardv1.BatchGetSecretsResult_Status{Status: s.Proto()}
			}
			reply.Results = append(reply.Results, result)
		}
		return reply, nil
	}}
}

func dialFake(t *testing.T, b *fakeBroker) *client {
	t.Helper()
	dir := b.serve(t)
	cl, err := callFlags{Context: dir + "/context.json", Timeout: patience}.dial(&app{env: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.close)
	return cl
}

func TestFetchTakesOneCallForEach100(t *testing.T) {
	values := map[string]string{}
	var names []string
	for i := range 250 {
		name := fmt.Sprintf("vaults/dev/secrets/s-%03d", i)
		values[name] = "v" + name
		names = append(names, name, name)
	}
	b := newBatching(values)
	got, err := dialFake(t, b).fetch(t.Context(), names)
	if err != nil || len(got) != len(values) {
		t.Fatalf("%d values, %v", len(got), err)
	}
	for name, want := range values {
		if got[name].value.Reveal() != want || got[name].version != testVersion {
			t.Errorf("%s is %q of version %q", name, got[name].value.Reveal(), got[name].version)
		}
	}
	var sizes []int
	for _, r := range b.requests {
		sizes = append(sizes, len(r.(*keywardv1.BatchGetSecretsRequest).GetNames()))
	}
	if !slices.Equal(sizes, []int{100, 100, 50}) {
		t.Errorf("calls of %v names", sizes)
	}
}

func TestFetchAsksTheVaultThatAllAreIn(t *testing.T) {
	values := map[string]string{"vaults/dev/secrets/a": "1", "vaults/dev/secrets/b": "2", "vaults/pay/secrets/a": "3"}
	tests := []struct {
		names  []string
		parent string
	}{
		{names: []string{"vaults/dev/secrets/a", "vaults/dev/secrets/b"}, parent: "vaults/dev"},
		{names: []string{"vaults/dev/secrets/a", "vaults/pay/secrets/a"}, parent: "vaults/-"},
	}
	b := newBatching(values)
	cl := dialFake(t, b)
	for _, tt := range tests {
		t.Run(tt.parent, func(t *testing.T) {
			b.requests = nil
			if _, err := cl.fetch(t.Context(), tt.names); err != nil {
				t.Fatal(err)
			}
			if got := b.requests[0].(*keywardv1.BatchGetSecretsRequest).GetParent(); got != tt.parent {
				t.Errorf("asked %s", got)
			}
		})
	}
	b.requests = nil
	if got, err := cl.fetch(t.Context(), nil); err != nil || len(got) != 0 || len(b.requests) != 0 {
		t.Errorf("of nothing: %v, %v, %v", got, err, b.requests)
	}
}

func TestFetchIsAllOrNothing(t *testing.T) {
	b := newBatching(map[string]string{"vaults/dev/secrets/a": "s3cret"})
	got, err := dialFake(t, b).fetch(t.Context(), []string{"vaults/dev/secrets/a", "vaults/dev/secrets/b", "vaults/dev/secrets/c"})
	if err == nil || got != nil {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, want := range []string{
		"2 of 3 secrets",
		"\n  vaults/dev/secrets/b: the policy does not allow this (POLICY_DENIED)",
		"\n  vaults/dev/secrets/c: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}

// A reply that is not what was asked for never becomes somebody's value.
func TestFetchOfAWrongReply(t *testing.T) {
	answer := func(name string) *keywardv1.BatchGetSecretsResult {
		return &keywardv1.BatchGetSecretsResult{Name: name, Result: &keywardv1.BatchGetSecretsResult_Response{
			Response: &keywardv1.GetSecretResponse{Value: "v"},
		}}
	}
	for name, results := range map[string][]*keywardv1.BatchGetSecretsResult{
		"too few": {answer("vaults/dev/secrets/a")},
		"swapped": {answer("vaults/dev/secrets/b"), answer("vaults/dev/secrets/a")},
	} {
		t.Run(name, func(t *testing.T) {
			b := &fakeBroker{batch: func(*keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
				return &keywardv1.BatchGetSecretsResponse{Results: results}, nil
			}}
			if got, err := dialFake(t, b).fetch(t.Context(), []string{"vaults/dev/secrets/a", "vaults/dev/secrets/b"}); err == nil {
				t.Errorf("got %v", got)
			}
		})
	}
}
