package service_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func codeText(c int) string { return codes.Code(c).String() }

// TestSecretsOverBothTransports walks one secret through its life, each step
// over gRPC and over REST.
func TestSecretsOverBothTransports(t *testing.T) {
	w := newWorld(t)
	c, me := w.client(w.billing()), w.billing()

	made, err := c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{
		Name: "vaults/dev/secrets/DB-Password", Value: "one", ContentType: "text/plain",
		Tags: map[string]string{"team": "pay"}, Enabled: new(true),
		ExpireTime: timestamppb.New(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.GetName() != "vaults/dev/secrets/db-password" || made.GetVersion() == "" || !made.GetEnabled() || made.GetEtag() == "" ||
		made.GetTags()["team"] != "pay" || made.GetExpireTime().AsTime().Year() != 2040 || made.GetNotBeforeTime() != nil {
		t.Errorf("made %v", made)
	}

	r := w.rest(me, "PUT /v1/vaults/dev/secrets/db-password", `{"value":"two \u00fc","contentType":"x","enabled":true}`)
	var second struct {
		Name, Version string
		Enabled       bool
		Managed       *bool
	}
	if err := json.Unmarshal(r.body, &second); err != nil || r.status != http.StatusOK || second.Version == made.GetVersion() || second.Managed == nil {
		t.Fatalf("PUT: %d %s", r.status, r.body)
	}

	got, err := c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: made.GetName()})
	if err != nil || got.GetValue() != "two ü" || got.GetSecret().GetVersion() != second.Version || got.GetFreshness().GetFetchTime() == nil {
		t.Errorf("Get: %v, %v", got, err)
	}
	old := made.GetName() + "/versions/" + made.GetVersion()
	r = w.rest(me, "GET /v1/"+old, "")
	var over struct {
		Secret    struct{ Version string }
		Value     string
		Freshness struct{ FetchTime time.Time }
	}
	if err := json.Unmarshal(r.body, &over); err != nil || r.status != http.StatusOK || over.Value != "one" || over.Secret.Version != made.GetVersion() {
		t.Errorf("GET of a version: %d %s", r.status, r.body)
	}

	versions, err := c.ListSecretVersions(t.Context(), &keywardv1.ListSecretVersionsRequest{Parent: made.GetName()})
	if err != nil || len(versions.GetSecrets()) != 2 || versions.GetSecrets()[0].GetVersion() != second.Version {
		t.Errorf("versions: %v, %v", versions, err)
	}
	if r = w.rest(me, "GET /v1/vaults/dev/secrets", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), "db-password") || strings.Contains(string(r.body), "two") {
		t.Errorf("list: %d %s", r.status, r.body)
	}
	r = w.rest(me, "DELETE /v1/vaults/dev/secrets/db-password", "")
	if r.status != http.StatusOK || !strings.Contains(string(r.body), "vaults/dev/deletedSecrets/db-password") {
		t.Errorf("DELETE: %d %s", r.status, r.body)
	}
	_, err = c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: made.GetName()})
	if v := grpcVerdict(err); v != (verdict{"NotFound", "SECRET_NOT_FOUND"}) {
		t.Errorf("Get after delete: %v", err)
	}
	for _, e := range w.audit.Events() {
		if !e.Caller.Peer.IsLoopback() || e.Caller.RequestID == "" || e.Caller.ID != "spiffe://example.org/billing" || (e.Caller.Transport != "grpc" && e.Caller.Transport != "rest") {
			t.Errorf("recorded caller %+v", e.Caller)
		}
	}
}

// TestErrorsOverBothTransports: each cause has one code and one reason, over
// gRPC and REST alike.
func TestErrorsOverBothTransports(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	w.put("vaults/dev/secrets/forbidden", "x")
	billing := w.billing()
	badName := verdict{"InvalidArgument", "BAD_NAME"}
	badField := verdict{"InvalidArgument", "BAD_FIELD"}
	badToken := verdict{"InvalidArgument", "BAD_PAGE_TOKEN"}
	noCreds := verdict{"Unauthenticated", "NO_CREDENTIALS"}
	badCreds := verdict{"Unauthenticated", "BAD_CREDENTIALS"}
	denied := verdict{"PermissionDenied", "POLICY_DENIED"}
	two := w.ca.issue(t, clientLeaf("spiffe://example.org/billing", "spiffe://example.org/other"))
	foreign := w.ca.issue(t, clientLeaf("spiffe://evil.org/billing"))
	nameless := w.ca.issue(t, clientLeaf())

	get := func(name string) *keywardv1.GetSecretRequest { return &keywardv1.GetSecretRequest{Name: name} }
	set := func(value string) *keywardv1.SetSecretRequest {
		return &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/new", Value: value}
	}
	list := func(parent string) *keywardv1.ListSecretsRequest {
		return &keywardv1.ListSecretsRequest{Parent: parent}
	}
	valueBody := func(v string) string { b, _ := json.Marshal(map[string]string{"value": v}); return string(b) }
	const db, path = "vaults/dev/secrets/db", "/v1/vaults/dev/secrets/db"

	cases := map[string]struct {
		id   identity
		grpc proto.Message
		rest string
		body string
		want verdict
	}{
		"ok by certificate":           {billing, get(db), "GET " + path, "", verdict{}},
		"ok by bearer":                {identity{bearer: w.token("billing")}, get(db), "GET " + path, "", verdict{}},
		"upper case is folded":        {billing, get("vaults/dev/secrets/DB"), "GET /v1/vaults/dev/secrets/DB", "", verdict{}},
		"no credentials":              {identity{}, get(db), "GET " + path, "", noCreds},
		"no credentials, bad name":    {identity{}, get("x/.."), "GET /v1/vaults/dev/secrets/..", "", noCreds},
		"a bad token":                 {identity{bearer: "x.y.z"}, get(db), "GET " + path, "", badCreds},
		"a bad token beside a cert":   {identity{bearer: "x.y.z", cert: billing.cert}, get(db), "GET " + path, "", badCreds},
		"foreign trust domain":        {identity{cert: &foreign}, get(db), "GET " + path, "", badCreds},
		"foreign domain, good bearer": {identity{cert: &foreign, bearer: w.token("billing")}, get(db), "GET " + path, "", verdict{}},
		"two URI names":               {identity{cert: &two}, get(db), "GET " + path, "", badCreds},
		"no URI name":                 {identity{cert: &nameless}, get(db), "GET " + path, "", badCreds},
		"denied":                      {w.cert("/stranger"), get(db), "GET " + path, "", denied},
		"denied secret":               {billing, get("vaults/dev/secrets/forbidden"), "GET /v1/vaults/dev/secrets/forbidden", "", denied},
		"denied in upper case":        {billing, get("vaults/dev/secrets/FORBIDDEN"), "GET /v1/vaults/dev/secrets/FORBIDDEN", "", denied},
		"absent secret, denied":       {w.cert("/stranger"), get("vaults/dev/secrets/none"), "GET /v1/vaults/dev/secrets/none", "", denied},
		"absent secret":               {billing, get("vaults/dev/secrets/none"), "GET /v1/vaults/dev/secrets/none", "", verdict{"NotFound", "SECRET_NOT_FOUND"}},
		"unknown vault":               {billing, get("vaults/nowhere/secrets/db"), "GET /v1/vaults/nowhere/secrets/db", "", verdict{"NotFound", "VAULT_NOT_FOUND"}},
		"unknown vault, denied":       {billing, get("vaults/hidden/secrets/db"), "GET /v1/vaults/hidden/secrets/db", "", denied},
		"unknown vault, list":         {billing, list("vaults/nowhere"), "GET /v1/vaults/nowhere/secrets", "", verdict{"NotFound", "VAULT_NOT_FOUND"}},

		"dot":                         {billing, get("vaults/dev/secrets/."), "GET /v1/vaults/dev/secrets/.", "", badName},
		"dot dot":                     {billing, get("vaults/dev/secrets/.."), "GET /v1/vaults/dev/secrets/..", "", badName},
		"escaped dot dot":             {billing, get("vaults/dev/secrets/.."), "GET /v1/vaults/dev/secrets/%2e%2e", "", badName},
		"dot dot as a vault":          {billing, get("vaults/../secrets/db"), "GET /v1/vaults/../secrets/db", "", badName},
		"escaped slash":               {billing, get("vaults/dev/secrets/a/b"), "GET /v1/vaults/dev/secrets/a%2fb", "", badName},
		"escaped slash, upper case":   {billing, get("vaults/dev/secrets/a/b"), "GET /v1/vaults/dev/secrets/a%2Fb", "", badName},
		"escaped way to a version":    {billing, get("vaults/dev/secrets/db/version/0"), "GET /v1/vaults/dev/secrets/db%2fversions%2f" + strings.Repeat("0", 32), "", badName},
		"twice escaped":               {billing, get("vaults/dev/secrets/a%2fb"), "GET /v1/vaults/dev/secrets/a%252fb", "", badName},
		"unicode":                     {billing, get("vaults/dev/secrets/пароль"), "GET /v1/vaults/dev/secrets/" + url.PathEscape("пароль"), "", badName},
		"full width letters":          {billing, get("vaults/dev/secrets/ｄｂ"), "GET /v1/vaults/dev/secrets/" + url.PathEscape("ｄｂ"), "", badName},
		"a long s, which folds to s":  {billing, get("vaults/dev/secrets/ſecret"), "GET /v1/vaults/dev/secrets/" + url.PathEscape("ſecret"), "", badName},
		"NUL":                         {billing, get("vaults/dev/secrets/a\x00b"), "GET /v1/vaults/dev/secrets/a%00b", "", badName},
		"128 characters":              {billing, get("vaults/dev/secrets/" + strings.Repeat("a", 128)), "GET /v1/vaults/dev/secrets/" + strings.Repeat("a", 128), "", badName},
		"empty name":                  {billing, get("vaults/dev/secrets/"), "GET /v1/vaults/dev/secrets/", "", badName},
		"empty vault":                 {billing, get("vaults//secrets/db"), "GET /v1/vaults//secrets/db", "", badName},
		"vault in upper case":         {billing, get("vaults/DEV/secrets/db"), "GET /v1/vaults/DEV/secrets/db", "", badName},
		"vault is a host":             {billing, get("vaults/pay.vault.azure.net/secrets/db"), "GET /v1/vaults/pay.vault.azure.net/secrets/db", "", badName},
		"a space":                     {billing, get("vaults/dev/secrets/a b"), "GET /v1/vaults/dev/secrets/a%20b", "", badName},
		"a verb that is none":         {billing, get("vaults/dev/secrets/db:nothing"), "GET /v1/vaults/dev/secrets/db:nothing", "", badName},
		"version of the wrong size":   {billing, get(db + "/versions/abc"), "GET " + path + "/versions/abc", "", badName},
		"version in upper case":       {billing, get(db + "/versions/" + strings.Repeat("A", 32)), "GET " + path + "/versions/" + strings.Repeat("A", 32), "", badName},
		"bad parent":                  {billing, list("vaults/DEV"), "GET /v1/vaults/DEV/secrets", "", badName},
		"bad name in a set":           {billing, &keywardv1.SetSecretRequest{Name: "vaults/dev/secrets/a_b", Value: "x"}, "PUT /v1/vaults/dev/secrets/a_b", `{"value":"x"}`, badName},
		"bad name in a delete":        {billing, &keywardv1.DeleteSecretRequest{Name: "vaults/dev/secrets/a_b"}, "DELETE /v1/vaults/dev/secrets/a_b", "", badName},
		"bad name of versions":        {billing, &keywardv1.ListSecretVersionsRequest{Parent: "vaults/dev/secrets/a_b"}, "GET /v1/vaults/dev/secrets/a_b/versions", "", badName},
		"value of 25,600 bytes":       {billing, set(strings.Repeat("x", 25_600)), "PUT /v1/vaults/dev/secrets/new", valueBody(strings.Repeat("x", 25_600)), verdict{}},
		"the same in escapes":         {billing, set(strings.Repeat("\x01", 25_600)), "PUT /v1/vaults/dev/secrets/new", valueBody(strings.Repeat("\x01", 25_600)), verdict{}},
		"value of 26,000 bytes":       {billing, set(strings.Repeat("x", 26_000)), "PUT /v1/vaults/dev/secrets/new", valueBody(strings.Repeat("x", 26_000)), verdict{"InvalidArgument", "VALUE_TOO_LARGE"}},
		"value of 300,000 bytes":      {billing, set(strings.Repeat("x", 300_000)), "PUT /v1/vaults/dev/secrets/new", valueBody(strings.Repeat("x", 300_000)), verdict{"InvalidArgument", "VALUE_TOO_LARGE"}},
		"no value":                    {billing, set(""), "PUT /v1/vaults/dev/secrets/new", "{}", badField},
		"no body":                     {billing, set(""), "PUT /v1/vaults/dev/secrets/new", "", badField},
		"a time before 1970":          {billing, &keywardv1.SetSecretRequest{Name: db, Value: "x", ExpireTime: &timestamppb.Timestamp{Seconds: -1}}, "PUT " + path, `{"value":"x","expireTime":"1969-12-31T23:59:59Z"}`, badField},
		"a negative page size":        {billing, &keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: -1}, "GET /v1/vaults/dev/secrets?pageSize=-1", "", badField},
		"a page token that is no one": {billing, &keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageToken: "hunter2"}, "GET /v1/vaults/dev/secrets?page_token=hunter2", "", badToken},
		"a huge page token":           {billing, &keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageToken: strings.Repeat("A", 9000)}, "GET /v1/vaults/dev/secrets?pageToken=" + strings.Repeat("A", 9000), "", badToken},
		"a set of a version":          {billing, &keywardv1.SetSecretRequest{Name: db + "/versions/" + strings.Repeat("0", 32), Value: "x"}, "", "", badName},
		"a delete of a version":       {billing, &keywardv1.DeleteSecretRequest{Name: db + "/versions/" + strings.Repeat("0", 32)}, "", "", badName},
		"versions of a version":       {billing, &keywardv1.ListSecretVersionsRequest{Parent: db + "/versions/" + strings.Repeat("0", 32)}, "", "", badName},
		"an oversize name":            {billing, get(strings.Repeat("x", 70_000)), "", "", badField},

		"malformed JSON":       {billing, nil, "PUT " + path, `{"value":`, badField},
		"JSON and more":        {billing, nil, "PUT " + path, `{"value":"x"} {"value":"y"}`, badField},
		"a JSON array":         {billing, nil, "PUT " + path, `[]`, badField},
		"a wrong type":         {billing, nil, "PUT " + path, `{"value":7}`, badField},
		"an unknown field":     {billing, nil, "PUT " + path, `{"value":"x","owner":"me"}`, badField},
		"a field twice":        {billing, nil, "PUT " + path, `{"value":"x","value":"y"}`, badField},
		"invalid UTF-8":        {billing, nil, "PUT " + path, "{\"value\":\"\xff\"}", badField},
		"an unknown parameter": {billing, nil, "GET /v1/vaults/dev/secrets?max=3", "", badField},
		"parameters of a get":  {billing, nil, "GET " + path + "?name=vaults/dev/secrets/other", "", badField},
		"parameters of a set":  {billing, nil, "PUT " + path + "?value=x", `{"value":"y"}`, badField},
		"a parameter twice":    {billing, nil, "GET /v1/vaults/dev/secrets?pageSize=1&pageSize=2", "", badField},
		"a parameter's type":   {billing, nil, "GET /v1/vaults/dev/secrets?pageSize=many", "", badField},
		"a malformed query":    {billing, nil, "GET /v1/vaults/dev/secrets?pageSize=%zz", "", badField},
		"name in the body":     {billing, nil, "PUT " + path, `{"name":"vaults/dev/secrets/forbidden","value":"y"}`, badName},
		"its name in the body": {billing, nil, "PUT " + path, `{"name":"` + path[len("/v1/"):] + `","value":"y"}`, verdict{}},
		"a body to a DELETE":   {billing, nil, "DELETE " + path, `{"etag":"\"x\""}`, badField},
		"a body to a GET":      {billing, nil, "GET " + path, "x", badField},

		"an unknown path":        {billing, nil, "GET /v2/anything", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"without credentials":    {identity{}, nil, "GET /v1/anything", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"the root":               {billing, nil, "GET /", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"an RPC's path":          {billing, nil, "POST /keyward.v1.SecretService/GetSecret", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"dots that would climb":  {billing, nil, "GET /v1/x/../vaults/dev/secrets/db", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"a doubled slash":        {billing, nil, "GET //v1/vaults/dev/secrets/db", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"an escaped literal":     {billing, nil, "GET /v1/vaults/dev/%73ecrets/db%2f", "", verdict{"NotFound", "UNKNOWN_ROUTE"}},
		"a wrong method":         {billing, nil, "POST " + path, "", verdict{"Unimplemented", "UNKNOWN_ROUTE"}},
		"a made-up method":       {billing, nil, "BREW " + path, "", verdict{"Unimplemented", "UNKNOWN_ROUTE"}},
		"a preflight of browser": {identity{}, nil, "OPTIONS " + path, "", verdict{"Unimplemented", "UNKNOWN_ROUTE"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			if c.grpc != nil {
				_, err := w.call(c.id, c.grpc)
				if got := grpcVerdict(err); got != c.want {
					t.Errorf("gRPC: got %v (%v), want %v", got, err, c.want)
				}
			}
			if c.rest != "" {
				r := w.rest(c.id, c.rest, c.body)
				if got := r.verdict(t); got != c.want {
					t.Errorf("REST: got %v (%d %s), want %v", got, r.status, r.body, c.want)
				}
				if r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" ||
					r.header.Get("Content-Type") != "application/json" || r.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("headers: %v", r.header)
				}
				if (r.status == http.StatusUnauthorized) != (r.header.Get("WWW-Authenticate") == "Bearer") {
					t.Errorf("%d with WWW-Authenticate %q", r.status, r.header.Get("WWW-Authenticate"))
				}
			}
		})
	}
}

func TestDeniedAndAbsentLookAlike(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	stranger := w.cert("/stranger")
	paths := []string{"vaults/dev/secrets/db", "vaults/dev/secrets/none", "vaults/none/secrets/db"}
	var first reply
	var firstErr error
	for i, p := range paths {
		r := w.rest(stranger, "GET /v1/"+p, "")
		_, err := w.client(stranger).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: p})
		if i == 0 {
			first, firstErr = r, err
			continue
		}
		if r.status != first.status || string(r.body) != string(first.body) || err.Error() != firstErr.Error() {
			t.Errorf("%s: %d %s, %v; the first: %d %s, %v", p, r.status, r.body, err, first.status, first.body, firstErr)
		}
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 0 {
		t.Errorf("%d calls of the vault", n)
	}
}

func TestRefusedCertificatesFailTheHandshake(t *testing.T) {
	w := newWorld(t)
	other := newAuthority(t)
	leaf := func(f func(*x509.Certificate)) *x509.Certificate {
		c := clientLeaf("spiffe://example.org/billing")
		f(c)
		return c
	}
	past := time.Now().Add(-time.Minute)
	certs := map[string]identity{}
	for name, c := range map[string]struct {
		by   authority
		leaf *x509.Certificate
	}{
		"another CA":       {other, clientLeaf("spiffe://example.org/billing")},
		"expired":          {w.ca, leaf(func(c *x509.Certificate) { c.NotAfter = past })},
		"not yet valid":    {w.ca, leaf(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })},
		"a server's usage": {w.ca, leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
	} {
		issued := c.by.issue(t, c.leaf)
		certs[name] = identity{cert: &issued, bearer: w.token("billing")}
	}
	for name, id := range certs {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			if r, err := w.client(id).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); codes.Unavailable.String() != grpcVerdict(err).code {
				t.Errorf("gRPC: %v, %v", r, err)
			}
			if resp, err := w.httpClient(id).Get("https://" + w.httpAddr + "/v1/vaults/dev/secrets/db"); err == nil {
				t.Errorf("REST: %d", resp.StatusCode)
				resp.Body.Close()
			}
		})
	}
	for _, e := range w.audit.Events() {
		t.Errorf("a call got through: %+v", e)
	}
}

func TestFailedAuthenticationIsRecorded(t *testing.T) {
	w := newWorld(t)
	_, _ = w.client(identity{bearer: "x"}).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	w.rest(identity{}, "GET /v1/vaults/dev/secrets/db", "", "X-Request-Id", "my-id.1")
	events := w.audit.Events()
	if len(events) != 2 {
		t.Fatalf("%d events, want 2", len(events))
	}
	for i, want := range []struct{ transport, outcome string }{{"grpc", "BAD_CREDENTIALS"}, {"rest", "NO_CREDENTIALS"}} {
		if e := events[i]; e.Action != broker.ActionAuthenticate || e.Outcome != want.outcome || e.Caller.Transport != want.transport || e.Caller.ID != "" || !e.Caller.Peer.IsLoopback() {
			t.Errorf("event %d: %+v, want %v", i, e, want)
		}
	}
	if id := events[1].Caller.RequestID; id != "my-id.1" {
		t.Errorf("request id %q", id)
	}

	// What cannot be recorded is answered as such.
	w.audit.Refuse(func(broker.Event) error { return http.ErrHandlerTimeout })
	want := verdict{"Unavailable", "AUDIT_UNAVAILABLE"}
	_, err := w.client(identity{bearer: "x"}).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
	if got := grpcVerdict(err); got != want {
		t.Errorf("gRPC: %v", err)
	}
	if r := w.rest(identity{}, "GET /v1/vaults/dev/secrets/db", ""); r.verdict(t) != want {
		t.Errorf("REST: %s", r.body)
	}
}
