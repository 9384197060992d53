package openapi_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service/openapi"
)

func TestPages(t *testing.T) {
	for _, tc := range []struct{ path, contentType, has string }{
		{"/openapi.json", "application/json", `"openapi": "3.1.0"`},
		{"/docs", "text/html; charset=utf-8", "<!doctype html>"},
		{"/docs/page.css", "text/css; charset=utf-8", "color-scheme: light dark"},
		{"/docs/page.js", "text/javascript; charset=utf-8", `"use strict"`},
		{"/docs/icon.svg", "image/svg+xml", "<svg"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			h, ok := openapi.Page(tc.path)
			if !ok {
				t.Fatal("not served")
			}
			serve := func(method, etag string) *httptest.ResponseRecorder {
				r := httptest.NewRequest(method, tc.path, nil)
				r.Header.Set("If-None-Match", etag)
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w
			}
			got := serve(http.MethodGet, "")
			if got.Code != http.StatusOK || !strings.Contains(got.Body.String(), tc.has) {
				t.Fatalf("%d %.200s", got.Code, got.Body)
			}
			for name, want := range map[string]string{
				"Content-Type": tc.contentType, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			} {
				if v := got.Header().Get(name); v != want {
					t.Errorf("%s is %q, want %q", name, v, want)
				}
			}
			csp := got.Header().Get("Content-Security-Policy")
			if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
				t.Errorf("Content-Security-Policy is %q", csp)
			}
			if again := serve(http.MethodGet, got.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
				t.Errorf("with its ETag: %d and %d bytes", again.Code, again.Body.Len())
			}
			if head := serve(http.MethodHead, ""); head.Code != http.StatusOK || head.Body.Len() > 0 {
				t.Errorf("HEAD: %d and %d bytes", head.Code, head.Body.Len())
			}
		})
	}
	for _, path := range []string{"/", "/docs/", "/docs/index.html", "/docs/../docs", "/openapi.json/", "/%64ocs", "/v1/vaults/dev/secrets/x"} {
		if _, ok := openapi.Page(path); ok {
			t.Errorf("%s is served", path)
		}
	}
}

// The page needs nothing that its own policy would refuse.
func TestPageIsWhole(t *testing.T) {
	h, _ := openapi.Page("/docs")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/docs", nil))
	for _, m := range regexp.MustCompile(`(?:href|src)="([^"#]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
		if _, ok := openapi.Page(m[1]); !ok {
			t.Errorf("%s is not served", m[1])
		}
	}
	if m := regexp.MustCompile(`<style|style=|<script>| on[a-z]+=`).FindString(w.Body.String()); m != "" {
		t.Errorf("something inline: %s", m)
	}
}

var variable = regexp.MustCompile(`\{[^}=]*=?([^}]*)\}`)

// methods are those of every service of the API.
func methods() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("keyward.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				all = append(all, f.Services().Get(i).Methods().Get(j))
			}
		}
		return true
	})
	return all
}

// Every route of the gateway is described, and nothing else.
func TestRoutes(t *testing.T) {
	var want []string
	for _, m := range methods() {
		rule := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			method, template := "", ""
			r.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				if fd.ContainingOneof() != nil {
					method, template = strings.ToUpper(string(fd.Name())), v.String()
				}
				return true
			})
			want = append(want, method+" "+variable.ReplaceAllString(template, "$1"))
		}
	}
	var got []string
	for _, o := range readDocument(t).operations() {
		got = append(got, o.method+" "+regexp.MustCompile(`\{\w+\}`).ReplaceAllString(o.path, "*"))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// answer is a row of the broker's table of errors.
type answer struct {
	status, code int
	words        string
	retry        bool
}

// The errors are those of the broker's own tables, read from its source: a
// reason that is added there, or whose words change, is seen here.
func TestErrors(t *testing.T) {
	reasons := map[string]string{} // by the constant's name
	for _, file := range []string{"../../broker/errors.go", "../errors.go"} {
		ast.Inspect(parse(t, file), func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 && regexp.MustCompile(`^[cC]ode[A-Z]`).MatchString(v.Names[0].Name) {
				reasons[v.Names[0].Name] = literal(t, v.Values[0])
			}
			return true
		})
	}
	want := map[string]answer{}
	ast.Inspect(parse(t, "../errors.go"), func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "answers" {
			return true
		}
		for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
			row := row.(*ast.KeyValueExpr)
			var a answer
			for _, e := range row.Value.(*ast.CompositeLit).Elts {
				switch e := e.(*ast.KeyValueExpr); e.Key.(*ast.Ident).Name {
				case "grpc":
					a.code = int(codeOf(t, e.Value.(*ast.SelectorExpr).Sel.Name))
					a.status = runtime.HTTPStatusFromCode(codes.Code(a.code))
				case "words":
					a.words = literal(t, e.Value)
				case "retry":
					a.retry = true
				}
			}
			want[reasons[last(row.Key)]] = a
		}
		return false
	})
	// Nobody is left to read the one, and the other is of no operation.
	delete(want, "CANCELED")
	delete(want, "UNKNOWN_ROUTE")

	d := readDocument(t)
	got := map[string]answer{}
	for _, o := range d.operations() {
		for status, response := range object(o.is["responses"]) {
			content := d.json(response)
			for reason, example := range object(content["examples"]) {
				value := d.at(example)["value"]
				for _, wrong := range d.check(content["schema"], value, reason) {
					t.Error(wrong)
				}
				a := answer{code: int(object(value)["code"].(float64)), words: text(object(value)["message"])}
				a.status, _ = strconv.Atoi(status)
				for _, detail := range list(object(value)["details"]) {
					a.retry = a.retry || object(detail)["retryDelay"] != nil
				}
				got[reason] = a
			}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(want)) {
		if got[reason] != want[reason] {
			t.Errorf("%s\n got %+v\nwant %+v", reason, got[reason], want[reason])
		}
		delete(got, reason)
	}
	if len(got) > 0 {
		t.Errorf("the broker has no such errors: %v", got)
	}
}

// What goes wrong on a real server is described, by status, reason and schema.
func TestErrorsAreDescribed(t *testing.T) {
	d, s := readDocument(t), startServer(t)
	operations := d.operations()
	for _, tc := range []struct {
		name, operation, principal string
		change                     func(*request)
		reason                     string
	}{
		{"no credentials", "GetSecret", "", nil, "NO_CREDENTIALS"},
		{"denied", "BackupSecret", "nobody", nil, "POLICY_DENIED"},
		{"absent", "GetSecret", "admin", nil, "SECRET_NOT_FOUND"},
		{"no vault", "ListSecrets", "admin", func(r *request) { r.parameters["vault"] = "other" }, "VAULT_NOT_FOUND"},
		{"a bad name", "DeleteSecret", "admin", func(r *request) { r.parameters["secret"] = "a_b" }, "BAD_NAME"},
		{"an unknown field", "GenerateSecret", "admin", func(r *request) { r.body = map[string]any{"value": "mine"} }, "BAD_FIELD"},
		{"a foreign page token", "ListSecretVersions", "admin", func(r *request) { r.parameters["pageToken"] = "x" }, "BAD_PAGE_TOKEN"},
		{"a large value", "SetSecret", "admin", func(r *request) { r.body = map[string]any{"value": strings.Repeat("x", 25_601)} }, "VALUE_TOO_LARGE"},
		{"another's etag", "SetSecret", "admin", func(r *request) { r.body = map[string]any{"value": "x", "etag": `"0"`} }, "ETAG_MISMATCH"},
		{"nothing deleted", "PurgeSecret", "admin", nil, "SECRET_NOT_FOUND"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := operations[tc.operation]
			r := d.request(t, o)
			if tc.change != nil {
				tc.change(&r)
			}
			got := s.in(t).do(r.http(t, s.url, o), tc.principal)
			response := object(object(o.is["responses"])[strconv.Itoa(got.status)])
			if object(d.json(response)["examples"])[tc.reason] == nil || !strings.Contains(string(got.body), `"reason":"`+tc.reason+`"`) {
				t.Fatalf("%d %s", got.status, got.body)
			}
			var value any
			if err := json.Unmarshal(got.body, &value); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range d.check(d.json(response)["schema"], value, "reply") {
				t.Error(wrong)
			}
			if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
}

func parse(t *testing.T, file string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// last is the last name of a selector, or the name itself.
func last(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		return s.Sel.Name
	}
	return e.(*ast.Ident).Name
}

// codeOf is the code that a Go constant of gRPC's names.
func codeOf(t *testing.T, name string) codes.Code {
	t.Helper()
	for c := range codes.Code(17) {
		if c.String() == name {
			return c
		}
	}
	t.Fatalf("gRPC has no code %s", name)
	return 0
}
