package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// addMethod adds an operation for each binding of m.
func (d *document) addMethod(s *protogen.Service, m *protogen.Method) error {
	routes, err := routesOf(m)
	if err != nil {
		return err
	}
	for i, r := range routes {
		id := m.GoName
		if i > 0 && r.ofVersion() {
			id += "Version"
		}
		o, err := d.operation(s, m, r, id)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(d.paths, func(p member) bool { return p.key == r.path })
		if at < 0 {
			at = len(d.paths)
			d.paths = append(d.paths, member{r.path, object{}})
		}
		path, _ := d.paths[at].value.(object)
		method := strings.ToLower(r.method)
		if slices.ContainsFunc(path, func(o member) bool { return o.key == method }) {
			return fmt.Errorf("%s: a second %s %s", id, r.method, r.path)
		}
		d.paths[at].value = append(path, member{method, o})
	}
	return nil
}

func (d *document) operation(s *protogen.Service, m *protogen.Method, r route, id string) (object, error) {
	example, ok := d.examples[id]
	if !ok {
		return nil, fmt.Errorf("examples.json: %s is not there", id)
	}
	delete(d.examples, id) // what is left in the end belongs to no operation
	responses, err := d.errorResponses(m)
	if err != nil {
		return nil, err
	}
	success := object{}
	if m.GoName == getSecret {
		success = append(success, notModified)
	}
	summary, about := d.words.split(m.Comments.Leading)
	if id != m.GoName {
		summary, about = "As "+m.GoName+", for the version that the path names.", summary+"\n\n"+about
	}
	return object{
		{"operationId", id},
		{"tags", []any{s.GoName}},
		{"summary", summary},
	}.
		with("description", strings.TrimSpace(about)).
		with("parameters", d.parameters(m, r, example)).
		with("requestBody", d.requestBody(m, r, example)).
		with("responses", slices.Concat(object{{"200", d.success(m, example)}}, success, responses)), nil
}

// getSecret is the one method with conditional requests.
const getSecret = "GetSecret"

var notModified = member{"304", object{
	{"description", "`If-None-Match` has the secret's etag: there is no body."},
	{"headers", object{{"ETag", object{{"$ref", "#/components/headers/ETag"}}}}},
}}

func headers() object {
	text := object{{"type", "string"}}
	return object{
		{"ETag", object{{"description", "The secret's etag, for `If-None-Match`."}, {"schema", text}}},
		{"RetryAfter", object{{"description", "How many seconds to wait before another try."}, {"schema", object{{"type", "integer"}}}}},
		{"Authenticate", object{{"description", "`Bearer`"}, {"schema", text}}},
	}
}

// parameters are those of the path, of the query and of headers.
func (d *document) parameters(m *protogen.Method, r route, e example) []any {
	var all []any
	for _, kind := range r.kinds {
		c := members[kind]
		if kind == "vaults" && m.GoName == "BatchGetSecrets" {
			c.pattern, c.about = anyVault, strings.TrimSuffix(c.about, ".")+`; "-" stands for all.`
		}
		value := e.Parameters[c.name]
		if value == "" {
			value = c.example
		}
		all = append(all, object{
			{"name", c.name},
			{"in", "path"},
			{"required", true},
			{"description", c.about},
			{"schema", object{{"type", "string"}, {"pattern", c.pattern}}},
			{"example", value},
		})
	}
	for _, f := range m.Input.Fields {
		name := string(f.Desc.Name())
		if r.body == "*" || r.body == name || r.field == name {
			continue
		}
		about := d.words.of(f.Comments.Leading)
		if f.Message != nil && f.Message.Desc.FullName() == "google.protobuf.FieldMask" {
			about = strings.TrimSpace(about + " With commas between them.")
		}
		all = append(all, object{{"name", f.Desc.JSONName()}, {"in", "query"}}.
			with("description", about).
			with("schema", d.schemas.field(f)).
			with("example", e.of(f)))
	}
	if m.GoName == getSecret {
		all = append(all, object{
			{"name", "If-None-Match"},
			{"in", "header"},
			{"description", "The etags that the caller has, or `*`: if the secret's is among them, the reply is 304. It is decided and recorded as a read."},
			{"schema", object{{"type", "string"}}},
			{"example", e.Parameters["If-None-Match"]},
		})
	}
	return append(all, object{
		{"name", "X-Keyward-Reason"},
		{"in", "header"},
		{"description", "Why this is called: one line of at most 500 printable characters, percent-encoded where it is not ASCII. It is recorded, and policies for an emergency ask for it."},
		{"schema", object{{"type", "string"}}},
	})
}

func (d *document) requestBody(m *protogen.Method, r route, e example) object {
	var schema object
	switch r.body {
	case "":
		return nil
	case "*":
		schema = d.schemas.body(m.Input, r.field)
	default:
		for _, f := range m.Input.Fields {
			if string(f.Desc.Name()) == r.body {
				schema = d.schemas.ref(f.Message)
			}
		}
	}
	return object{
		{"required", r.method != http.MethodPost || len(m.Input.Fields) > 1},
		{"content", object{{"application/json", object{{"schema", schema}, {"example", e.Body}}}}},
	}
}

func (d *document) success(m *protogen.Method, e example) object {
	schema := object{{"type", "object"}}
	about := "It is done; the object is empty."
	if m.Output.Desc.FullName() != "google.protobuf.Empty" {
		schema = d.schemas.ref(m.Output)
		about = "Done."
		if first, _ := d.words.split(m.Output.Comments.Leading); first != "" {
			about = first
		}
	}
	response := object{{"description", about}}
	if m.GoName == getSecret {
		response = response.with("headers", object{{"ETag", object{{"$ref", "#/components/headers/ETag"}}}})
	}
	media := "application/json"
	if m.Desc.IsStreamingServer() {
		media = "application/x-ndjson" // schema and example are of one line
	}
	return response.
		with("content", object{{media, object{{"schema", schema}, {"example", e.Reply}}}}).
		with("links", e.Links)
}
