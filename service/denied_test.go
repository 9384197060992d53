package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	cedar "github.com/keyward/keyward/broker/policy"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// withPolicies decides by real policies.
func withPolicies(t *testing.T, text string) option {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	engine, err := cedar.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ *service.Config, c *broker.Config) { c.Authorizer = engine }
}

// asked is a request in both forms. header is REST's alone.
type asked struct {
	request proto.Message
	rest    string
	body    string
	header  []string
}

// instead returns a for another name, where it has that one.
func (a asked) instead(t *testing.T, old, with string) asked {
	t.Helper()
	raw, err := protojson.Marshal(a.request)
	if err != nil {
		t.Fatal(err)
	}
	other := a.request.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(strings.ReplaceAll(string(raw), old, with)), other); err != nil {
		t.Fatal(err)
	}
	return asked{other, strings.ReplaceAll(a.rest, old, with), strings.ReplaceAll(a.body, old, with), a.header}
}

// elsewhere are what a asks, for what is not there: no such name, one in the
// other state (deleted for live, live for deleted), no such vault.
func (a asked) elsewhere(t *testing.T) map[string]asked {
	t.Helper()
	return map[string]asked{
		"absent":          a.renamed(t, "db", "nothing").renamed(t, "gone", "nothing").renamed(t, "csr", "nothing").renamed(t, "digicert", "nothing"),
		"the other state": a.renamed(t, "db", "GONE").renamed(t, "gone", "db").renamed(t, "csr", "GONE"),
		"no such vault":   a.instead(t, "vaults/dev", "vaults/nowhere"),
	}
}

// renamed returns a for another secret, key or certificate, deleted or not.
func (a asked) renamed(t *testing.T, old, with string) asked {
	t.Helper()
	for _, kind := range []string{"ecrets/", "eys/", "ertificates/", "Issuers/"} {
		a = a.instead(t, kind+old, kind+with)
	}
	return a
}

// answered is all that a client is sent, as text.
func (w *world) answered(id identity, a asked) (overGRPC, overREST string) {
	w.Helper()
	m := methodOf(w.T, a.request)
	var header, trailer metadata.MD
	reply := replyTo(w.T, a.request)
	err := w.dial(id).Invoke(w.Context(), fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), a.request, reply, grpc.Header(&header), grpc.Trailer(&trailer))
	raw, merr := proto.MarshalOptions{Deterministic: true}.Marshal(status.Convert(err).Proto())
	w.must(merr)
	body, merr := protojson.Marshal(reply)
	w.must(merr)
	overGRPC = fmt.Sprintf("%x\n%s\n%v\n%v", raw, strings.Join(strings.Fields(string(body)), ""), header, trailer)

	r := w.rest(id, a.rest, a.body, a.header...)
	r.header.Del("Date")
	overREST = fmt.Sprintf("%d\n%v\n%s", r.status, r.header, r.body)
	return overGRPC, overREST
}

// TestDeniedIsAsAbsent: to who may not, every method answers the same, to the
// byte, whether there is such a thing, is none, was one, or there is no such
// vault; and no vault is asked.
func TestDeniedIsAsAbsent(t *testing.T) {
	// The stranger has rights elsewhere, of every kind.
	w := newWorld(t, withPolicies(t, `
		permit (principal == Workload::"spiffe://example.org/stranger", action, resource is Secret in Vault::"other");
		permit (principal == Workload::"spiffe://example.org/stranger", action, resource is Key in Vault::"other");
		permit (principal == Workload::"spiffe://example.org/stranger", action, resource is Certificate in Vault::"other");
		permit (principal == Workload::"spiffe://example.org/stranger", action, resource == Vault::"other");`))
	table := rpcs(furnish(w))
	var calls atomic.Int64
	count := func(context.Context, string, broker.Name) error { calls.Add(1); return nil }
	w.store.SetHook(count)
	defer w.store.SetHook(nil)
	w.keys.SetHook(count)
	defer w.keys.SetHook(nil)
	w.certificates.SetHook(count)
	defer w.certificates.SetHook(nil)
	stranger := w.cert("/stranger")
	for _, m := range methods() {
		name := string(m.Name())
		c, ok := table[name]
		if !ok {
			t.Errorf("%s is not tested", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			there := asked{request: c.request, rest: c.rest, body: c.body}
			others := there.elsewhere(t)
			switch name {
			case "RestoreSecret":
				others["no backup"] = asked{request: &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: []byte("x")}, rest: c.rest, body: `{"blob":"eA=="}`}
			case "RestoreKey":
				others["no backup"] = asked{request: &keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: []byte("x")}, rest: c.rest, body: `{"blob":"eA=="}`}
			case "RestoreCertificate":
				others["no backup"] = asked{request: &keywardv1.RestoreCertificateRequest{Parent: "vaults/dev", Blob: []byte("x")}, rest: c.rest, body: `{"blob":"eA=="}`}
			}
			wantGRPC, wantREST := w.answered(stranger, there)
			for what, other := range others {
				gotGRPC, gotREST := w.answered(stranger, other)
				if name == "BatchGetSecrets" { // its items repeat the names that were asked for
					for _, n := range []string{"vaults/nowhere/secrets/db", "vaults/dev/secrets/nothing", "vaults/dev/secrets/GONE"} {
						gotGRPC, gotREST = strings.ReplaceAll(gotGRPC, n, "vaults/dev/secrets/db"), strings.ReplaceAll(gotREST, n, "vaults/dev/secrets/db")
					}
					// What they add to the length.
					gotREST, wantREST = withoutLength(gotREST), withoutLength(wantREST)
				}
				if gotGRPC != wantGRPC {
					t.Errorf("%s differs over gRPC:\n%s\n%s", what, gotGRPC, wantGRPC)
				}
				if gotREST != wantREST {
					t.Errorf("%s differs over REST:\n%s\n%s", what, gotREST, wantREST)
				}
			}
			if !strings.Contains(wantREST, "POLICY_DENIED") {
				t.Errorf("not denied:\n%s", wantREST)
			}
		})
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d vault calls", n)
	}
}

// TestDeniedIsAsAbsentUnderConditions: what a caller knows of a secret, by a
// version, an etag or a flag, does not make a denial another. Nor does asking
// whether one may.
func TestDeniedIsAsAbsentUnderConditions(t *testing.T) {
	w := newWorld(t, withPolicies(t, `
		permit (principal == Workload::"spiffe://example.org/setter", action in Action::"writeSecrets", resource is Secret);`))
	furnish(w)
	name, err := broker.ParseName(broker.KindSecrets, "vaults/dev/secrets/db")
	w.must(err)
	db, err := w.store.GetSecret(t.Context(), name)
	w.must(err)
	version, etag := db.Name.Version(), db.ETag()
	asJSON := strconv.Quote(etag)
	var calls atomic.Int64
	w.store.SetHook(func(context.Context, string, broker.Name) error { calls.Add(1); return nil })
	defer w.store.SetHook(nil)

	const text = "vaults/dev/secrets/db"
	const denied = "POLICY_DENIED"
	stranger, setter := w.cert("/stranger"), w.cert("/setter")
	for what, c := range map[string]struct {
		id   identity
		ask  asked
		says string
	}{
		"a version": {stranger, asked{
			request: &keywardv1.GetSecretRequest{Name: text + "/versions/" + version}, rest: "GET /v1/" + text + "/versions/" + version,
		}, denied},
		"the known version": {stranger, asked{
			request: &keywardv1.GetSecretRequest{Name: text, KnownVersion: version}, rest: "GET /v1/" + text + "?knownVersion=" + version,
		}, denied},
		"its etag": {stranger, asked{
			request: &keywardv1.GetSecretRequest{Name: text}, rest: "GET /v1/" + text, header: []string{"If-None-Match", etag},
		}, denied},
		"any etag": {stranger, asked{
			request: &keywardv1.GetSecretRequest{Name: text}, rest: "GET /v1/" + text, header: []string{"If-None-Match", "*"},
		}, denied},
		"straight from the vault": {stranger, asked{
			request: &keywardv1.GetSecretRequest{Name: text, MaxAge: durationpb.New(0)}, rest: "GET /v1/" + text + "?maxAge=0s",
		}, denied},
		"a set with its etag": {stranger, asked{
			request: &keywardv1.SetSecretRequest{Name: text, Value: "y", Etag: etag}, rest: "PUT /v1/" + text, body: `{"value":"y","etag":` + asJSON + `}`,
		}, denied},
		"a generate with its etag": {stranger, asked{
			request: &keywardv1.GenerateSecretRequest{Name: text, Etag: etag}, rest: "POST /v1/" + text + ":generate", body: `{"etag":` + asJSON + `}`,
		}, denied},
		"an update with its etag": {stranger, asked{
			request: &keywardv1.UpdateSecretRequest{
				Secret:     &keywardv1.Secret{Name: text + "/versions/" + version, ContentType: "x", Etag: etag},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type"}},
			},
			rest: "PATCH /v1/" + text + "/versions/" + version + "?updateMask=contentType", body: `{"contentType":"x","etag":` + asJSON + `}`,
		}, denied},
		"a delete with its etag": {stranger, asked{
			request: &keywardv1.DeleteSecretRequest{Name: text, Etag: etag}, rest: "DELETE /v1/" + text + "?etag=" + url.QueryEscape(etag),
		}, denied},
		"a delete with another's": {stranger, asked{
			request: &keywardv1.DeleteSecretRequest{Name: text, Etag: `"0"`}, rest: "DELETE /v1/" + text + "?etag=%220%22",
		}, denied},
		// Who may set, and not recover.
		"a set that would recover": {setter, asked{
			request: &keywardv1.SetSecretRequest{Name: text, Value: "y", RecoverDeleted: true}, rest: "PUT /v1/" + text, body: `{"value":"y","recoverDeleted":true}`,
		}, denied},
		"may I?": {stranger, asked{
			request: &keywardv1.CheckAccessRequest{Action: "getSecret", Resource: text}, rest: "POST /v1/access:check", body: `{"action":"getSecret","resource":"` + text + `"}`,
		}, `"allowed":false`},
		"I may, if there is one": {setter, asked{
			request: &keywardv1.CheckAccessRequest{Action: "setSecret", Resource: text}, rest: "POST /v1/access:check", body: `{"action":"setSecret","resource":"` + text + `"}`,
		}, `"allowed":true`},
	} {
		t.Run(what, func(t *testing.T) {
			w := w.in(t)
			wantGRPC, wantREST := w.answered(c.id, c.ask)
			if !strings.Contains(wantREST, c.says) {
				t.Fatalf("REST does not say %s:\n%s", c.says, wantREST)
			}
			for where, other := range c.ask.elsewhere(t) {
				gotGRPC, gotREST := w.answered(c.id, other)
				if gotGRPC != wantGRPC {
					t.Errorf("%s differs over gRPC:\n%s\n%s", where, gotGRPC, wantGRPC)
				}
				if gotREST != wantREST {
					t.Errorf("%s differs over REST:\n%s\n%s", where, gotREST, wantREST)
				}
			}
		})
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d vault calls", n)
	}
}

// TestABatchTellsNothingOfTheRest: beside a name that the caller may read, every
// other has one status, to the byte, whatever there is of it; and the vault is
// asked for the one alone.
func TestABatchTellsNothingOfTheRest(t *testing.T) {
	w := newWorld(t, withPolicies(t, `
		permit (principal == Workload::"spiffe://example.org/reader", action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/db");`))
	furnish(w)
	w.put("vaults/dev/secrets/other", "x")
	var asked []string
	w.store.SetHook(func(_ context.Context, method string, n broker.Name) error {
		asked = append(asked, method+" "+n.String())
		return nil
	})
	defer w.store.SetHook(nil)
	names := []string{"vaults/dev/secrets/db", "vaults/dev/secrets/other", "vaults/dev/secrets/nothing", "vaults/dev/secrets/gone", "vaults/nowhere/secrets/db"}
	body, err := json.Marshal(map[string]any{"names": names})
	w.must(err)

	overGRPC, err := w.call(w.cert("/reader"), &keywardv1.BatchGetSecretsRequest{Parent: "vaults/-", Names: names})
	w.must(err)
	overREST := new(keywardv1.BatchGetSecretsResponse)
	r := w.rest(w.cert("/reader"), "POST /v1/vaults/-/secrets:batchGet", string(body))
	w.must(protojson.Unmarshal(r.body, overREST))
	for transport, reply := range map[string]proto.Message{"gRPC": overGRPC, "REST": overREST} {
		results := reply.(*keywardv1.BatchGetSecretsResponse).GetResults()
		if len(results) != len(names) || results[0].GetResponse().GetValue() != "x" {
			t.Fatalf("%s: %v", transport, results)
		}
		for i, result := range results[1:] {
			if v := grpcVerdict(status.ErrorProto(result.GetStatus())); v.reason != "POLICY_DENIED" {
				t.Errorf("%s: %s: %v", transport, names[i+1], v)
			}
			if !proto.Equal(result.GetStatus(), results[1].GetStatus()) {
				t.Errorf("%s: %s: %v differs from %v", transport, names[i+1], result.GetStatus(), results[1].GetStatus())
			}
		}
	}
	if want := []string{"GetSecret vaults/dev/secrets/db", "GetSecret vaults/dev/secrets/db"}; !slices.Equal(asked, want) {
		t.Errorf("the vault was asked %q, want %q", asked, want)
	}
}

func withoutLength(reply string) string {
	before, after, ok := strings.Cut(reply, "Content-Length:[")
	if !ok {
		return reply
	}
	_, after, _ = strings.Cut(after, "]")
	return before + after
}

// TestAListTellsNothingOfTheRest: the page of who may list one secret is the
// same, whether or not there are others.
func TestAListTellsNothingOfTheRest(t *testing.T) {
	policies := withPolicies(t, `
		permit (principal == Workload::"spiffe://example.org/lister", action in [Action::"listSecrets", Action::"listDeletedSecrets"], resource == Secret::"vaults/dev/secrets/mine");`)
	for _, deleted := range []bool{false, true} {
		var pages []string
		for _, others := range []int{0, 1, 60} {
			w := newWorld(t, policies)
			for i := range others {
				w.put(fmt.Sprintf("vaults/dev/secrets/a-%d", i), "x") // before it, and behind
				w.put(fmt.Sprintf("vaults/dev/secrets/z-%d", i), "x")
			}
			w.put("vaults/dev/secrets/mine", "x")
			list := asked{request: &keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: 1}, rest: "GET /v1/vaults/dev/secrets?pageSize=1"}
			if deleted {
				for i := range others {
					w.remove(fmt.Sprintf("vaults/dev/secrets/a-%d", i))
				}
				w.remove("vaults/dev/secrets/mine")
				list = asked{request: &keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev", PageSize: 1}, rest: "GET /v1/vaults/dev/deletedSecrets?pageSize=1"}
			}
			reply, err := w.call(w.cert("/lister"), list.request)
			if err != nil {
				t.Fatal(err)
			}
			r := w.rest(w.cert("/lister"), list.rest, "")
			if r.status != http.StatusOK {
				t.Fatalf("%d %s", r.status, r.body)
			}
			pages = append(pages, shapeOf(reply)+" "+fmt.Sprint(strings.Count(string(r.body), "/mine"), strings.Count(string(r.body), "vaults/")))
		}
		if len(slices.Compact(pages)) != 1 {
			t.Errorf("deleted %v: the pages differ: %v", deleted, pages)
		}
	}
}

// shapeOf is what a page has beside times and versions.
func shapeOf(page proto.Message) string {
	switch p := page.(type) {
	case *keywardv1.ListSecretsResponse:
		return fmt.Sprint(len(p.GetSecrets()), p.GetSecrets()[0].GetName(), len(p.GetNextPageToken()))
	case *keywardv1.ListDeletedSecretsResponse:
		return fmt.Sprint(len(p.GetDeletedSecrets()), p.GetDeletedSecrets()[0].GetName(), len(p.GetNextPageToken()))
	}
	return reflect.TypeOf(page).String()
}
