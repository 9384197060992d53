package service_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// A request is weighed as a whole before its fields are looked at: which field
// is at fault tells the two apart. What no method takes is not even read.
func TestRequestsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	billing := w.billing()
	const db = "vaults/dev/secrets/db"
	tags := func(size int) map[string]string { return map[string]string{"k": strings.Repeat("v", size)} }
	set := func(size int) proto.Message {
		return &keywardv1.SetSecretRequest{Name: db, Value: "y", Tags: tags(size)}
	}
	update := func(size int) proto.Message {
		return &keywardv1.UpdateSecretRequest{
			Secret:     &keywardv1.Secret{Name: db, Tags: tags(size)},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"tags"}},
		}
	}
	restore := func(size int) proto.Message {
		return &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: make([]byte, size)}
	}
	spaces := strings.Repeat(" ", 300_000)
	patch := "PATCH /v1/" + db + "?updateMask=contentType"
	tooLarge, badField := verdict{"InvalidArgument", "VALUE_TOO_LARGE"}, verdict{"InvalidArgument", "BAD_FIELD"}
	unread := verdict{"ResourceExhausted", ""}
	cases := map[string]struct {
		grpc       proto.Message // nil: not over gRPC
		rest, body string        // "": not over REST
		want       verdict
		field      string
	}{
		"a set with 200 KB of tags":     {grpc: set(200_000), want: badField, field: "tags"},
		"a set with 300 KB of tags":     {grpc: set(300_000), want: tooLarge, field: "value"},
		"a set of 2 MiB":                {grpc: set(2 << 20), want: unread},
		"an update with 50 KB of tags":  {grpc: update(50_000), want: badField, field: "secret.tags"},
		"an update with 300 KB of tags": {grpc: update(300_000), want: badField},
		"an update with 70 KB of tags":  {grpc: update(70_000), want: badField},
		"an update of 2 MiB":            {grpc: update(2 << 20), want: unread},
		"a blob of 1 MiB":               {grpc: restore(1 << 20), want: badField, field: "blob"},
		"a blob of 1.5 MiB":             {grpc: restore(3 << 19), want: tooLarge, field: "blob"},
		"a blob of 2 MiB":               {grpc: restore(2 << 20), want: unread},

		"a set in spaces":       {rest: "PUT /v1/" + db, body: spaces + `{"value":"y"}`, want: tooLarge, field: "value"},
		"a set before spaces":   {rest: "PUT /v1/" + db, body: `{"value":"y"}` + spaces, want: tooLarge, field: "value"},
		"a set in a few spaces": {rest: "PUT /v1/" + db, body: spaces[:200_000] + `{"value":"y"}`},
		"a patch in spaces":     {rest: patch, body: spaces + `{"contentType":"y"}`, want: badField},
		"a patch before spaces": {rest: patch, body: `{"contentType":"y"}` + spaces, want: badField},
		"a batch in spaces":     {rest: "POST /v1/vaults/dev/secrets:batchGet", body: spaces + `{"names":["` + db + `"]}`, want: badField},
		"a restore in spaces":   {rest: "POST /v1/vaults/dev/secrets:restore", body: spaces + `{"blob":"eA=="}`, want: badField, field: "blob"},
		"a restore in 2 MiB":    {rest: "POST /v1/vaults/dev/secrets:restore", body: strings.Repeat(spaces, 7) + `{"blob":"eA=="}`, want: tooLarge, field: "blob"},
		"a patch in a few":      {rest: patch, body: spaces[:200_000] + `{"contentType":"y"}`},
		"a generate in spaces":  {rest: "POST /v1/" + db + ":generate", body: spaces + `{}`, want: badField},
		"nothing but 300 KB":    {rest: "PUT /v1/" + db, body: spaces, want: tooLarge, field: "value"},
		"nothing but 200 KB":    {rest: "PUT /v1/" + db, body: spaces[:200_000], want: badField, field: "value"},
		"a deeply nested array": {rest: "PUT /v1/" + db, body: strings.Repeat("[", 300_000), want: tooLarge, field: "value"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			c := cases[name]
			if c.grpc != nil {
				_, err := w.call(billing, c.grpc)
				if got, field := grpcVerdict(err), fieldAtFault(err); got != c.want || field != c.field {
					t.Errorf("gRPC: got %v of %q (%v), want %v of %q", got, field, err, c.want, c.field)
				}
			}
			if c.rest != "" {
				r := w.rest(billing, c.rest, c.body)
				if got, field := r.verdict(t), fieldAtFault(r.err(t)); got != c.want || field != c.field {
					t.Errorf("REST: got %v of %q (%d %.200s), want %v of %q", got, field, r.status, r.body, c.want, c.field)
				}
			}
		})
	}
}
