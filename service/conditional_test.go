package service_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// TestIfNoneMatch: who has the etag gets no value; the decision and the record
// are as always.
func TestIfNoneMatch(t *testing.T) {
	w := newWorld(t)
	version := w.put("vaults/dev/secrets/db", "hunter2").Version()
	w.put("vaults/dev/secrets/forbidden", "x")
	const path = "/v1/vaults/dev/secrets/db"
	etag := w.rest(w.billing(), "GET "+path, "").header.Get("ETag")
	if len(etag) < 3 || etag[0] != '"' {
		t.Fatalf("ETag %q", etag)
	}
	cases := map[string]struct {
		target      string
		ifNoneMatch string
		want        int
		value       bool
	}{
		"the same":          {path, etag, 304, false},
		"a version":         {path + "/versions/" + version, etag, 304, false},
		"weak":              {path, "W/" + etag, 304, false},
		"in a list":         {path, `"x", ` + etag, 304, false},
		"any":               {path, "*", 304, false},
		"another":           {path, `"x"`, 200, true},
		"malformed":         {path, strings.Trim(etag, `"`), 200, true},
		"of nothing":        {"/v1/vaults/dev/secrets/none", "*", 404, false},
		"of the forbidden":  {"/v1/vaults/dev/secrets/forbidden", "*", 403, false},
		"a known version":   {path + "?knownVersion=" + version, "", 200, false},
		"both":              {path + "?known_version=" + version, etag, 304, false},
		"version, not etag": {path + "?knownVersion=" + version, `"x"`, 200, false},
		"of a list":         {"/v1/vaults/dev/secrets", "*", 200, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			before := len(w.audit.Events())
			r := w.rest(w.billing(), "GET "+c.target, "", "If-None-Match", c.ifNoneMatch)
			if r.status != c.want || strings.Contains(string(r.body), "hunter2") != c.value {
				t.Errorf("%d %s", r.status, r.body)
			}
			if r.status == http.StatusNotModified && (len(r.body) != 0 || r.header.Get("ETag") != etag || r.header.Get("Content-Type") != "" || r.header.Get("Cache-Control") != "no-store") {
				t.Errorf("304 %v %q", r.header, r.body)
			}
			if n := len(w.audit.Events()) - before; n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
	// A further version has another.
	w.put("vaults/dev/secrets/db", "new")
	if r := w.rest(w.billing(), "GET "+path, "", "If-None-Match", etag); r.status != http.StatusOK || r.header.Get("ETag") == etag {
		t.Errorf("after a set: %d, ETag %q", r.status, r.header.Get("ETag"))
	}
}

// HTTP's own preconditions are not heeded for a change, and so not taken.
func TestConditionalHeadersOfAChangeAreRefused(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	const path = "/v1/vaults/dev/secrets/db"
	for _, header := range []string{"If-Match", "If-None-Match", "If-Unmodified-Since"} {
		for target, body := range map[string]string{"PUT " + path: `{"value":"y"}`, "DELETE " + path: "", "PATCH " + path: `{"contentType":"y"}`} {
			if r := w.rest(w.billing(), target, body, header, "*"); r.verdict(t) != (verdict{"InvalidArgument", "BAD_FIELD"}) {
				t.Errorf("%s with %s: %d %s", target, header, r.status, r.body)
			}
		}
	}
	if got := w.value("vaults/dev/secrets/db"); got != "x" {
		t.Error("the secret was changed")
	}
}

func TestKnownVersion(t *testing.T) {
	w := newWorld(t)
	version := w.put("vaults/dev/secrets/db", "x").Version()
	for known, want := range map[string]bool{version: true, strings.Repeat("f", 32): false, "": false} {
		reply, err := w.call(w.billing(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db", KnownVersion: known})
		w.must(err)
		r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db?knownVersion="+known, "")
		over := new(keywardv1.GetSecretResponse)
		w.must(protojson.Unmarshal(r.body, over))
		for _, got := range []*keywardv1.GetSecretResponse{reply.(*keywardv1.GetSecretResponse), over} {
			if got.GetNotModified() != want || (got.GetValue() == "") != want || got.GetSecret().GetVersion() != version || got.GetFreshness().GetFetchTime() == nil {
				t.Errorf("known %q: %v", known, got)
			}
		}
	}
}

// TestMaxAge: 0s asks the vault, whatever the cache has.
func TestMaxAge(t *testing.T) {
	w := newWorld(t, func(_ *service.Config, bc *broker.Config) {
		bc.Vaults["dev"] = broker.Vault{Secrets: broker.NewSecretCache(bc.Vaults["dev"].Secrets, broker.SecretCacheConfig{TTL: time.Hour})}
	})
	w.put("vaults/dev/secrets/db", "x")
	const path = "/v1/vaults/dev/secrets/db"
	get := func(age *durationpb.Duration) func() {
		return func() {
			_, err := w.call(w.billing(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db", MaxAge: age})
			w.must(err)
		}
	}
	rest := func(target, body string) func() {
		return func() {
			if r := w.rest(w.billing(), target, body); r.status != http.StatusOK {
				t.Errorf("%s: %d %s", target, r.status, r.body)
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func()
		asks int
	}{
		{"cold", get(nil), 1},
		{"warm", get(nil), 0},
		{"0s", get(durationpb.New(0)), 1},
		{"an hour", get(durationpb.New(time.Hour)), 0},
		{"0s over REST", rest("GET "+path+"?maxAge=0s", ""), 1},
		{"an hour over REST", rest("GET "+path+"?max_age=3600s", ""), 0},
		{"a batch", rest("POST /v1/vaults/dev/secrets:batchGet", `{"names":["vaults/dev/secrets/db"]}`), 0},
		{"a batch, 0s", rest("POST /v1/vaults/dev/secrets:batchGet", `{"names":["vaults/dev/secrets/db"],"maxAge":"0s"}`), 1},
	} {
		before := w.store.Calls(brokertest.GetSecret)
		c.do()
		if n := w.store.Calls(brokertest.GetSecret) - before; n != c.asks {
			t.Errorf("%s: asked the vault %d times, want %d", c.name, n, c.asks)
		}
	}
}

// TestForeignPagesChangeNothing: a browser shows a client certificate to any
// page's request.
func TestForeignPagesChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	const db = "/v1/vaults/dev/secrets/db"
	refused := verdict{"Unauthenticated", "BAD_CREDENTIALS"}
	cases := map[string]struct {
		target string
		header []string
		want   verdict
	}{
		"another site's form":      {"POST " + db + ":generate", []string{"Sec-Fetch-Site", "cross-site"}, refused},
		"a sibling's":              {"POST " + db + ":generate", []string{"Sec-Fetch-Site", "same-site"}, refused},
		"an old browser's":         {"POST " + db + ":generate", []string{"Origin", "https://evil.example"}, refused},
		"a page without an origin": {"POST " + db + ":generate", []string{"Origin", "null"}, refused},
		"a deletion":               {"DELETE " + db, []string{"Sec-Fetch-Site", "cross-site"}, refused},
		"our own page's":           {"POST " + db + ":generate", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://" + w.httpAddr}, verdict{}},
		"our own, an old browser":  {"POST " + db + ":generate", []string{"Origin", "https://" + w.httpAddr}, verdict{}},
		"no browser":               {"POST " + db + ":generate", nil, verdict{}},
		"a read":                   {"GET " + db, []string{"Sec-Fetch-Site", "cross-site"}, verdict{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			before := w.store.Calls(brokertest.SetSecret) + w.store.Calls(brokertest.DeleteSecret)
			r := w.rest(w.billing(), c.target, "", c.header...)
			if got := r.verdict(t); got != c.want {
				t.Errorf("%d %s", r.status, r.body)
			}
			events := w.audit.Events()
			if last := events[len(events)-1]; c.want == refused && (last.Action != broker.ActionAuthenticate || last.Outcome != "BAD_CREDENTIALS" ||
				w.store.Calls(brokertest.SetSecret)+w.store.Calls(brokertest.DeleteSecret) != before) {
				t.Errorf("recorded %+v", last)
			}
		})
	}
}
