package openapi_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// step is one operation of the tour, as its example has it, or as the named
// link from the last reply to another operation fills it in.
type step struct {
	operation string
	from      string
	link      string
	status    int // 0 means 200
	// change changes the request: what no example and no link can hold.
	change func(t *testing.T, r *request, after reply)
}

// tour runs every operation in an order in which each finds what it needs.
var tour = []step{
	{operation: "SetSecret"},
	{operation: "GetSecret"},
	{operation: "GetSecret", from: "GetSecret", link: "unlessModified", status: http.StatusNotModified},
	{operation: "GetSecretVersion", from: "SetSecret", link: "getThisVersion"},
	{operation: "UpdateSecret"},
	{operation: "UpdateSecretVersion", from: "SetSecret", link: "updateThisVersion"},
	{operation: "BatchGetSecrets"},
	{operation: "WatchSecrets"},
	{operation: "GenerateSecret"},
	{operation: "ListSecretVersions"},
	{operation: "ListSecrets"},
	{operation: "BackupSecret"},
	{operation: "DeleteSecret"},
	{operation: "GetDeletedSecret"},
	{operation: "ListDeletedSecrets"},
	{operation: "UndeleteSecret"},
	{operation: "DeleteSecret"},
	{operation: "PurgeSecret"},
	{operation: "RestoreSecret", from: "BackupSecret", link: "restore"},
	{operation: "SetSecret"},
	{operation: "DeleteSecret", from: "SetSecret", link: "deleteUnlessChanged"},
	{operation: "CreateKey"},
	{operation: "GetKey"},
	{operation: "GetKeyVersion", from: "CreateKey", link: "getThisVersion"},
	{operation: "UpdateKey"},
	{operation: "UpdateKeyVersion", from: "CreateKey", link: "updateThisVersion"},
	{operation: "ImportKey"},
	{operation: "ListKeys"},
	{operation: "ListKeyVersions"},
	{operation: "Encrypt"},
	{operation: "Decrypt", from: "Encrypt", link: "decrypt"},
	{operation: "WrapKey"},
	{operation: "UnwrapKey", from: "WrapKey", link: "unwrap"},
	{operation: "Sign"},
	{operation: "Verify", from: "Sign", link: "verify"},
	{operation: "EncryptVersion", from: "CreateKey", link: "encryptWithThisVersion"},
	{operation: "DecryptVersion", from: "EncryptVersion", link: "decrypt"},
	{operation: "WrapKeyVersion", from: "CreateKey", link: "wrapWithThisVersion"},
	{operation: "UnwrapKeyVersion", from: "WrapKeyVersion", link: "unwrap"},
	{operation: "SignVersion", from: "CreateKey", link: "signWithThisVersion"},
	{operation: "VerifyVersion", from: "SignVersion", link: "verify"},
	{operation: "UpdateRotationPolicy"},
	{operation: "GetRotationPolicy"},
	{operation: "BackupKey"},
	{operation: "DeleteKey"},
	{operation: "GetDeletedKey"},
	{operation: "ListDeletedKeys"},
	{operation: "UndeleteKey"},
	{operation: "DeleteKey"},
	{operation: "PurgeKey"},
	{operation: "RestoreKey", from: "BackupKey", link: "restore"},
	{operation: "RotateKey"},
	{operation: "CreateKey"},
	{operation: "DeleteKey", from: "CreateKey", link: "deleteUnlessChanged"},
	{operation: "CreateCertificate"},
	{operation: "GetCertificateOperation", from: "CreateCertificate", link: "operation"},
	{operation: "CancelCertificateOperation"},
	{operation: "GetCertificate"},
	{operation: "GetCertificateVersion", from: "GetCertificate", link: "getThisVersion"},
	{operation: "DownloadCertificate"},
	{operation: "DownloadCertificateVersion", from: "GetCertificate", link: "downloadThisVersion"},
	{operation: "UpdateCertificate"},
	{operation: "UpdateCertificateVersion", from: "GetCertificate", link: "updateThisVersion"},
	{operation: "GetCertificatePolicy"},
	{operation: "UpdateCertificatePolicy"},
	{operation: "DeleteCertificateOperation"},
	{operation: "ListCertificates"},
	{operation: "ListCertificateVersions"},
	{operation: "ImportCertificate"},
	{operation: "CreateCertificate", change: forSigning},
	{operation: "MergeCertificate", from: "CreateCertificate", link: "merge", change: signed},
	{operation: "BackupCertificate"},
	{operation: "DeleteCertificate"},
	{operation: "GetDeletedCertificate"},
	{operation: "ListDeletedCertificates"},
	{operation: "UndeleteCertificate"},
	{operation: "DeleteCertificate"},
	{operation: "PurgeCertificate"},
	{operation: "RestoreCertificate", from: "BackupCertificate", link: "restore"},
	{operation: "GetCertificate"},
	{operation: "DeleteCertificate", from: "GetCertificate", link: "deleteUnlessChanged"},
	{operation: "UpdateCertificateContacts"},
	{operation: "GetCertificateContacts"},
	{operation: "DeleteCertificateContacts"},
	{operation: "ListCertificateIssuers"},
	{operation: "GetCertificateIssuer", status: http.StatusNotFound}, // the local vault has none
	{operation: "CheckAccess"},
	{operation: "ListGrants"},
}

// Each operation's example is a request that works on a real server, and the
// example of its reply is true: of the same fields, by the same schema.
func TestExamples(t *testing.T) {
	d, s := readDocument(t), startServer(t)
	operations := d.operations()
	type exchange struct {
		filled request
		reply  reply
	}
	last := map[string]exchange{}
	for i, step := range tour {
		t.Run(fmt.Sprintf("%02d %s", i, step.operation), func(t *testing.T) {
			o, ok := operations[step.operation]
			if !ok {
				t.Fatal("there is no such operation")
			}
			r := d.request(t, o)
			if step.link != "" {
				before := last[step.from]
				r.follow(t, d.linked(t, operations[step.from], step.link, o.id), before.filled, before.reply)
			}
			if step.change != nil {
				step.change(t, &r, last[step.from].reply)
			}
			got := s.in(t).do(r.http(t, s.url, o), "admin")
			last[o.id] = exchange{r, got}
			if want := cmp.Or(step.status, http.StatusOK); got.status != want {
				t.Fatalf("%d, want %d: %s", got.status, want, got.body)
			}
			response, ok := object(o.is["responses"])[fmt.Sprint(got.status)]
			if !ok {
				t.Fatalf("%d is not described", got.status)
			}
			for name := range object(object(response)["headers"]) {
				if got.header.Get(name) == "" {
					t.Errorf("the header %s is missing", name)
				}
			}
			content := d.json(response)
			if content == nil {
				if len(got.body) > 0 {
					t.Errorf("a body that is not described: %s", got.body)
				}
				return
			}
			var value any
			if err := json.Unmarshal(got.body, &value); err != nil {
				t.Fatal(err)
			}
			if got.status >= http.StatusBadRequest { // which has an example for each reason
				for _, wrong := range d.check(content["schema"], value, "reply") {
					t.Error(wrong)
				}
				return
			}
			for _, wrong := range append(d.check(content["schema"], value, "reply"), d.check(content["schema"], content["example"], "example")...) {
				t.Error(wrong)
			}
			if got, want := shape(value), shape(content["example"]); !reflect.DeepEqual(got, want) {
				t.Errorf("the reply is of another shape than its example\n got %v\nwant %v", got, want)
			}
			// What a key gave back, and whether its signature is good.
			for _, field := range []string{"plaintext", "valid", "key"} {
				_, nested := object(value)[field].(map[string]any)
				if got, want := object(value)[field], object(content["example"])[field]; !nested && got != want {
					t.Errorf("%s is %v, want %v", field, got, want)
				}
			}
		})
	}
	for id := range operations {
		if !slices.ContainsFunc(tour, func(s step) bool { return s.operation == id }) {
			t.Errorf("%s is not in the tour", id)
		}
	}
}

// Lists go on by their link until there is no further page.
func TestNextPage(t *testing.T) {
	d, s := readDocument(t), startServer(t)
	operations := d.operations()
	for _, name := range []string{"one", "two", "three"} {
		r := d.request(t, operations["SetSecret"])
		r.parameters["secret"] = name
		if got := s.do(r.http(t, s.url, operations["SetSecret"]), "admin"); got.status != http.StatusOK {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	o := operations["ListSecrets"]
	r := d.request(t, o)
	r.parameters["pageSize"] = "1"
	var names []string
	for range 5 {
		got := s.do(r.http(t, s.url, o), "admin")
		var page struct {
			Secrets       []struct{ Name string }
			NextPageToken string
		}
		if err := json.Unmarshal(got.body, &page); err != nil || got.status != http.StatusOK {
			t.Fatalf("%d %s %v", got.status, got.body, err)
		}
		for _, s := range page.Secrets {
			names = append(names, s.Name)
		}
		if page.NextPageToken == "" {
			break
		}
		next := request{parameters: maps.Clone(r.parameters)}
		next.follow(t, d.linked(t, o, "nextPage", o.id), r, got)
		r = next
	}
	if len(names) != 3 {
		t.Errorf("got %v, want three secrets", names)
	}
}

// request is an operation's request before it is written out.
type request struct {
	parameters map[string]string
	body       any
}

// request returns the one of o's examples.
func (d document) request(t *testing.T, o operation) request {
	t.Helper()
	r := request{parameters: map[string]string{}}
	for _, p := range list(o.is["parameters"]) {
		p := object(p)
		example, ok := p["example"]
		if !ok {
			continue
		}
		for _, wrong := range d.check(p["schema"], example, o.id+": "+text(p["name"])) {
			t.Error(wrong)
		}
		r.parameters[text(p["name"])] = fmt.Sprint(example)
	}
	if content := d.json(o.is["requestBody"]); content != nil {
		r.body = content["example"]
		for _, wrong := range d.check(content["schema"], r.body, o.id+": body") {
			t.Error(wrong)
		}
	}
	return r
}

// linked returns a link of an operation's reply, which must lead to another.
func (d document) linked(t *testing.T, o operation, name, to string) map[string]any {
	t.Helper()
	link := object(object(object(object(o.is["responses"])["200"])["links"])[name])
	if text(link["operationId"]) != to {
		t.Fatalf("%s has no link %s to %s", o.id, name, to)
	}
	return link
}

// follow fills r in as a link says.
func (r *request) follow(t *testing.T, link map[string]any, before request, after reply) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(after.body, &body); err != nil {
		t.Fatal(err)
	}
	sent := object(before.body)
	value := func(expression string) string {
		switch in, key, _ := strings.Cut(strings.TrimPrefix(expression, "$"), "."); {
		case in == "request" && strings.HasPrefix(key, "body#/"):
			return at(sent, key)
		case in == "request":
			_, key, _ = strings.Cut(key, ".")
			return before.parameters[key]
		case strings.HasPrefix(key, "header."):
			return after.header.Get(strings.TrimPrefix(key, "header."))
		default:
			return at(body, key)
		}
	}
	for name, expression := range object(link["parameters"]) {
		if r.parameters[name] = value(text(expression)); r.parameters[name] == "" {
			t.Fatalf("%s: %v is empty", name, expression)
		}
	}
	switch want := link["requestBody"].(type) {
	case string:
		if want == "$response.body" {
			r.body = body
		}
	case map[string]any:
		// Expressions stand in braces within a body.
		filled := map[string]any{}
		for name, expression := range want {
			filled[name] = value(strings.Trim(text(expression), "{}"))
			if filled[name] == "" {
				t.Fatalf("%s: %v is empty", name, expression)
			}
		}
		r.body = filled
	}
}

// at is what a body has at "body#/some/field".
func at(body map[string]any, pointer string) string {
	steps := strings.Split(strings.TrimPrefix(pointer, "body#/"), "/")
	for _, s := range steps[:len(steps)-1] {
		body = object(body[s])
	}
	return text(body[steps[len(steps)-1]])
}

// http writes r out.
func (r request) http(t *testing.T, base string, o operation) *http.Request {
	t.Helper()
	path, query, header := o.path, url.Values{}, http.Header{}
	for _, p := range list(o.is["parameters"]) {
		name := text(object(p)["name"])
		value, ok := r.parameters[name]
		if !ok {
			continue
		}
		switch object(p)["in"] {
		case "path":
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
		case "query":
			query.Set(name, value)
		case "header":
			header.Set(name, value)
		}
	}
	var body strings.Builder
	if r.body != nil {
		header.Set("Content-Type", "application/json")
		if err := json.NewEncoder(&body).Encode(r.body); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), o.method, base+path+"?"+query.Encode(), strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	return req
}
