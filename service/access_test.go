package service_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// What a question about another is decided on is what the proto says: the
// principal as given, the present time, and a call from nowhere. About oneself
// it is the call itself, whose transport, address and reason count.
func TestAccessIsCheckedInItsContext(t *testing.T) {
	w := newWorld(t, withPolicies(t, `
		@id("explain") permit (principal == Workload::"spiffe://example.org/explainer", action == Action::"explainAccess", resource == Vault::"dev");
		@id("rest") permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/rest") when { context.transport == "rest" };
		@id("local") permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/local") when { context has peer && context.peer.isLoopback() };
		@id("now") permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/now") when { context.time > datetime("2020-01-01") };
		@id("team") permit (principal in Group::"dev/team", action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/team");
		@id("pod") permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/pod") when { principal has pod && principal.pod == "p-1" };
		@id("glass") @breakglass("incident")
		permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/glass") when { context has reason };
		@id("all") permit (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/guarded");
		@id("abroad") forbid (principal, action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/guarded") unless { context has peer && context.peer.isLoopback() };`))
	explainer := w.cert("/explainer")
	const denied = "denied "
	for name, c := range map[string]struct {
		secret             string
		about              *keywardv1.CheckAccessRequest
		reason             string
		overREST, overGRPC string
	}{
		"oneself, by transport":   {"rest", nil, "", "allowed rest", denied},
		"oneself, by address":     {"local", nil, "", "allowed local", "allowed local"},
		"oneself, spared":         {"guarded", nil, "", "allowed all", "allowed all"},
		"oneself, with a reason":  {"glass", nil, "INC-1", "allowed broken glass", "allowed broken glass"},
		"oneself, without":        {"glass", nil, "", denied, denied},
		"another, by transport":   {"rest", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "", denied, denied},
		"another, by address":     {"local", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "", denied, denied},
		"another, not spared":     {"guarded", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "", "denied abroad", "denied abroad"},
		"another, by time":        {"now", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "", "allowed now", "allowed now"},
		"the asker's reason":      {"glass", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "INC-1", denied, denied},
		"another, in a group":     {"team", &keywardv1.CheckAccessRequest{Principal: "dev/a", Groups: []string{"dev/team"}}, "", "allowed team", "allowed team"},
		"another, in no group":    {"team", &keywardv1.CheckAccessRequest{Principal: "dev/a"}, "", denied, denied},
		"another's attribute":     {"pod", &keywardv1.CheckAccessRequest{Principal: "dev/a", Attributes: map[string]string{"pod": "p-1"}}, "", "allowed pod", "allowed pod"},
		"one that no policy has":  {"pod", &keywardv1.CheckAccessRequest{Principal: "dev/a", Attributes: map[string]string{"podd": "p-1"}}, "", denied, denied},
		"oneself as if in groups": {"team", &keywardv1.CheckAccessRequest{Principal: "spiffe://example.org/explainer", Groups: []string{"dev/team"}}, "", "allowed team", "allowed team"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			req := &keywardv1.CheckAccessRequest{}
			if c.about != nil {
				req = c.about
			}
			req.Action, req.Resource = "getSecret", "vaults/dev/secrets/"+c.secret
			body, err := protojson.Marshal(req)
			w.must(err)
			overREST := new(keywardv1.CheckAccessResponse)
			r := w.rest(explainer, "POST /v1/access:check", string(body), "X-Keyward-Reason", c.reason)
			w.must(protojson.Unmarshal(r.body, overREST))
			if got := decided(t, overREST); got != c.overREST {
				t.Errorf("REST: %q, want %q", got, c.overREST)
			}
			overGRPC, err := keywardv1.NewAccessServiceClient(w.dial(explainer)).CheckAccess(
				metadata.AppendToOutgoingContext(t.Context(), "x-keyward-reason", c.reason), req)
			w.must(err)
			if got := decided(t, overGRPC); got != c.overGRPC {
				t.Errorf("gRPC: %q, want %q", got, c.overGRPC)
			}
		})
	}
}

// decided is an answer in words, with the policies that decided.
func decided(t *testing.T, r *keywardv1.CheckAccessResponse) string {
	t.Helper()
	what := "denied "
	if r.GetAllowed() {
		what = "allowed "
	}
	if r.GetBreakGlass() {
		what += "broken "
	}
	var ids []string
	for _, p := range r.GetPolicies() {
		if !strings.HasPrefix(p.GetPosition(), "a.cedar:") {
			t.Errorf("%s stands at %q", p.GetId(), p.GetPosition())
		}
		ids = append(ids, p.GetId())
	}
	return what + strings.Join(ids, " ")
}

// What is no question is refused the same over both transports, before anything
// is decided or recorded, and says what to write.
func TestBadQuestionsAreRefused(t *testing.T) {
	w := newWorld(t)
	billing := w.billing()
	const db = "vaults/dev/secrets/db"
	for name, c := range map[string]struct {
		check        *keywardv1.CheckAccessRequest
		field, words string
	}{
		"no action":             {&keywardv1.CheckAccessRequest{Resource: db}, "action", "such as getSecret"},
		"an unknown action":     {&keywardv1.CheckAccessRequest{Action: "getSecrets", Resource: db}, "action", "did you mean getSecret?"},
		"an action's group":     {&keywardv1.CheckAccessRequest{Action: "readSecrets", Resource: db}, "action", `there is no action "readSecrets"`},
		"an act of ours":        {&keywardv1.CheckAccessRequest{Action: "checkAccess", Resource: db}, "action", `there is no action "checkAccess"`},
		"no resource":           {&keywardv1.CheckAccessRequest{Action: "getSecret"}, "resource", "vaults/{vault}/secrets/{name}"},
		"a vault for a secret":  {&keywardv1.CheckAccessRequest{Action: "listSecrets", Resource: "vaults/dev"}, "resource", "vaults/{vault}/secrets/{name}"},
		"a secret for a vault":  {&keywardv1.CheckAccessRequest{Action: "restoreSecret", Resource: db}, "resource", "decided on a vault"},
		"of another collection": {&keywardv1.CheckAccessRequest{Action: "downloadCertificate", Resource: db}, "resource", "vaults/{vault}/certificates/{name}"},
		"a deleted secret":      {&keywardv1.CheckAccessRequest{Action: "purgeSecret", Resource: "vaults/dev/deletedSecrets/db"}, "resource", "vaults/{vault}/secrets/{name}"},
		"a host":                {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: "vaults/x.vault.azure.net/secrets/db"}, "resource", "vaults/{vault}/secrets/{name}"},
		"groups of nobody":      {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Groups: []string{"dev/a"}}, "principal", "name the principal"},
		"attributes of nobody":  {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Attributes: map[string]string{"pod": "p"}}, "principal", "name the principal"},
		"a group without name":  {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Principal: "dev/a", Groups: []string{""}}, "groups", "a group is named"},
		"too many groups":       {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Principal: "dev/a", Groups: slices.Repeat([]string{"dev/g"}, 1001)}, "groups", "at most 1000 groups"},
		"too many attributes":   {&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: db, Principal: "dev/a", Attributes: many(101)}, "attributes", "at most 100 attributes"},
	} {
		requests := map[string]proto.Message{"POST /v1/access:check": c.check}
		if c.field == "action" || c.field == "resource" {
			requests["POST /v1/access:grants"] = &keywardv1.ListGrantsRequest{Action: c.check.GetAction(), Resource: c.check.GetResource()}
		}
		for target, req := range requests {
			t.Run(name+" "+target, func(t *testing.T) {
				w := w.in(t)
				body, err := protojson.Marshal(req)
				w.must(err)
				_, overGRPC := w.call(billing, req)
				for transport, err := range map[string]error{"gRPC": overGRPC, "REST": w.rest(billing, target, string(body)).err(t)} {
					if status.Code(err) != codes.InvalidArgument || fieldAtFault(err) != c.field || !strings.Contains(err.Error(), c.words) {
						t.Errorf("%s: %v of field %q, want %q of %q", transport, err, fieldAtFault(err), c.words, c.field)
					}
				}
			})
		}
	}
	if events := w.audit.Events(); len(events) != 0 {
		t.Errorf("recorded %+v", events)
	}
}

// many returns as many attributes.
func many(n int) map[string]string {
	all := make(map[string]string, n)
	for i := range n {
		all[strconv.Itoa(i)] = "x"
	}
	return all
}

// Names are canonical before they are decided on and recorded, and a version
// asks of its secret.
func TestQuestionsAreOfCanonicalNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"vaults/dev/secrets/DB", "vaults/dev/secrets/db/versions/" + strings.Repeat("0", 32)} {
		for _, req := range []proto.Message{
			&keywardv1.CheckAccessRequest{Action: "getSecret", Resource: name},
			&keywardv1.ListGrantsRequest{Action: "getSecret", Resource: name},
		} {
			before := len(w.audit.Events())
			if _, err := w.call(w.billing(), req); err != nil {
				t.Fatal(err)
			}
			events := w.audit.Events()[before:]
			if len(events) != 1 || events[0].Question == nil || events[0].Question.Resource.String() != "vaults/dev/secrets/db" {
				t.Errorf("%T on %s: recorded %+v", req, name, events)
			}
		}
	}
}

// A broker whose policies cannot explain themselves says so to those who may ask.
func TestWhatCannotExplainItself(t *testing.T) {
	w := newWorld(t, func(_ *service.Config, c *broker.Config) { c.Authorizer = brokertest.AuthorizerFunc(policy) })
	table := rpcs(furnished{})
	for who, want := range map[string]map[string]verdict{
		"/billing":  {"CheckAccess": {"Unimplemented", "NOT_SUPPORTED"}, "ListGrants": {"Unimplemented", "NOT_SUPPORTED"}},
		"/stranger": {"CheckAccess": {"PermissionDenied", "POLICY_DENIED"}, "ListGrants": {"PermissionDenied", "POLICY_DENIED"}},
	} {
		for method, want := range want {
			_, err := w.call(w.cert(who), table[method].request)
			if got := grpcVerdict(err); got != want {
				t.Errorf("%s by %s: %v, want %v", method, who, err, want)
			}
		}
	}
}
