package service_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

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

// asked is a request in both forms.
type asked struct {
	request proto.Message
	rest    string
	body    string
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
	return asked{other, strings.ReplaceAll(a.rest, old, with), strings.ReplaceAll(a.body, old, with)}
}

// renamed returns a for another secret or key, deleted or not.
func (a asked) renamed(t *testing.T, old, with string) asked {
	t.Helper()
	for _, kind := range []string{"ecrets/", "eys/"} {
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

	r := w.rest(id, a.rest, a.body)
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
		permit (principal == Workload::"spiffe://example.org/stranger", action, resource == Vault::"other");`))
	table := rpcs(furnish(w))
	var calls atomic.Int64
	count := func(context.Context, string, broker.Name) error { calls.Add(1); return nil }
	w.store.SetHook(count)
	defer w.store.SetHook(nil)
	w.keys.SetHook(count)
	defer w.keys.SetHook(nil)
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
			there := asked{c.request, c.rest, c.body}
			others := map[string]asked{"no such vault": there.instead(t, "vaults/dev", "vaults/nowhere")}
			switch name {
			case "ListSecrets", "ListDeletedSecrets", "ListKeys", "ListDeletedKeys":
			case "RestoreSecret":
				others["no backup"] = asked{&keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: []byte("x")}, c.rest, `{"blob":"eA=="}`}
			case "RestoreKey":
				others["no backup"] = asked{&keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: []byte("x")}, c.rest, `{"blob":"eA=="}`}
			default:
				others["absent"] = there.renamed(t, "db", "nothing").renamed(t, "gone", "nothing")
				others["the other state"] = there.renamed(t, "db", "GONE").renamed(t, "gone", "db")
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
			list := asked{&keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: 1}, "GET /v1/vaults/dev/secrets?pageSize=1", ""}
			if deleted {
				for i := range others {
					w.remove(fmt.Sprintf("vaults/dev/secrets/a-%d", i))
				}
				w.remove("vaults/dev/secrets/mine")
				list = asked{&keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev", PageSize: 1}, "GET /v1/vaults/dev/deletedSecrets?pageSize=1", ""}
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
