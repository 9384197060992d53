package service_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// batch sends a batch over both transports and returns the replies.
func (w *world) batch(id identity, parent string, names []string) map[string]*keywardv1.BatchGetSecretsResponse {
	w.Helper()
	reply, err := w.call(id, &keywardv1.BatchGetSecretsRequest{Parent: parent, Names: names})
	w.must(err)
	body, err := json.Marshal(map[string]any{"names": names})
	w.must(err)
	r := w.rest(id, "POST /v1/"+parent+"/secrets:batchGet", string(body))
	if r.status != http.StatusOK {
		w.Fatalf("REST: %d %s", r.status, r.body)
	}
	over := new(keywardv1.BatchGetSecretsResponse)
	w.must(protojson.Unmarshal(r.body, over))
	return map[string]*keywardv1.BatchGetSecretsResponse{"gRPC": reply.(*keywardv1.BatchGetSecretsResponse), "REST": over}
}

// TestABatchOfAHundred: one denied, one absent and one disabled fail none of
// the others, and all are one record.
func TestABatchOfAHundred(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 100 {
		name := fmt.Sprintf("vaults/dev/secrets/s%02d", i)
		switch i {
		case 17:
			name = "vaults/dev/secrets/forbidden"
			w.put(name, "hunter2")
		case 42:
			name = "vaults/dev/secrets/absent"
		case 99:
			n, err := broker.ParseName(broker.KindSecrets, name)
			w.must(err)
			_, err = w.store.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("hunter2")})
			w.must(err)
		default:
			w.put(name, fmt.Sprint("value ", i))
		}
		names = append(names, name)
	}
	before := len(w.audit.Events())
	replies := w.batch(w.billing(), "vaults/dev", names)
	events := w.audit.Events()[before:]
	if len(events) != 2 || len(events[0].Items) != 100 || len(events[1].Items) != 100 {
		t.Fatalf("%d records", len(events))
	}
	for transport, reply := range replies {
		if len(reply.GetResults()) != 100 {
			t.Fatalf("%s: %d results", transport, len(reply.GetResults()))
		}
		for i, r := range reply.GetResults() {
			if r.GetName() != names[i] {
				t.Errorf("%s: result %d is of %q, want %q", transport, i, r.GetName(), names[i])
			}
			switch i {
			case 17, 42, 99:
				_, err := w.call(w.billing(), &keywardv1.GetSecretRequest{Name: names[i]})
				if want := status.Convert(err).Proto(); !proto.Equal(r.GetStatus(), want) {
					t.Errorf("%s: %s: %v, want as GetSecret says, %v", transport, names[i], r.GetStatus(), want)
				}
			default:
				if got := r.GetResponse(); got.GetValue() != fmt.Sprint("value ", i) || got.GetSecret().GetName() != names[i] || got.GetFreshness() == nil {
					t.Errorf("%s: %s: %v", transport, names[i], r)
				}
			}
		}
	}
}

func TestBatchNames(t *testing.T) {
	w := newWorld(t, withPageKey(1))
	version := w.put("vaults/dev/secrets/db", "x").Version()
	w.put("vaults/dev/secrets/db", "y")
	cases := map[string]struct {
		parent, name string
		want         string // the value, or the reason
	}{
		"in the parent":         {"vaults/dev", "vaults/dev/secrets/db", "y"},
		"folded, named as sent": {"vaults/dev", "vaults/dev/secrets/DB", "y"},
		"a version":             {"vaults/dev", "vaults/dev/secrets/db/versions/" + version, "x"},
		"of all vaults":         {"vaults/-", "vaults/dev/secrets/db", "y"},
		"outside the parent":    {"vaults/other", "vaults/dev/secrets/db", "BAD_NAME"},
		"malformed":             {"vaults/dev", "vaults/dev/secrets/a_b", "BAD_NAME"},
		"malformed, all vaults": {"vaults/-", "vaults/-/secrets/db", "BAD_NAME"},
		"empty":                 {"vaults/dev", "", "BAD_NAME"},
		"denied":                {"vaults/dev", "vaults/dev/secrets/forbidden", "POLICY_DENIED"},
		"no such vault":         {"vaults/-", "vaults/nowhere/secrets/db", "VAULT_NOT_FOUND"},
		"a hidden vault":        {"vaults/-", "vaults/hidden/secrets/db", "POLICY_DENIED"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// Alone, and beside one that is found: it comes back either way.
			for _, names := range [][]string{{c.name}, {c.name, "vaults/dev/secrets/db"}} {
				for transport, reply := range w.in(t).batch(w.billing(), c.parent, names) {
					r := reply.GetResults()[0]
					got := r.GetResponse().GetValue()
					if r.GetStatus() != nil {
						got = grpcVerdict(status.ErrorProto(r.GetStatus())).reason
					}
					if got != c.want || r.GetName() != c.name || len(reply.GetResults()) != len(names) {
						t.Errorf("%s: %q of %q, want %q", transport, got, r.GetName(), c.want)
					}
				}
			}
		})
	}
}

func TestBatchesThatAreNone(t *testing.T) {
	w := newWorld(t)
	name := `"vaults/dev/secrets/db"`
	many := strings.TrimSuffix(strings.Repeat(name+",", 101), ",")
	for what, c := range map[string]struct{ body, field string }{
		"no body":        {"", "names"},
		"no names":       {`{"names":[]}`, "names"},
		"101 names":      {`{"names":[` + many + `]}`, "names"},
		"a negative age": {`{"names":[` + name + `],"maxAge":"-1s"}`, "max_age"},
	} {
		t.Run(what, func(t *testing.T) {
			req := &keywardv1.BatchGetSecretsRequest{}
			if c.body != "" {
				w.must(protojson.Unmarshal([]byte(c.body), req))
			}
			req.Parent = "vaults/dev"
			_, err := w.in(t).call(w.billing(), req)
			rest := w.in(t).rest(w.billing(), "POST /v1/vaults/dev/secrets:batchGet", c.body).err(t)
			for transport, err := range map[string]error{"gRPC": err, "REST": rest} {
				if grpcVerdict(err) != (verdict{"InvalidArgument", "BAD_FIELD"}) || fieldAtFault(err) != c.field {
					t.Errorf("%s: %v", transport, err)
				}
			}
		})
	}
	if n := len(w.audit.Events()); n != 0 {
		t.Errorf("%d records", n)
	}
}
