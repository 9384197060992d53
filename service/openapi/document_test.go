package openapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/service/openapi"
)

// document is openapi.json as it is served.
type document map[string]any

func readDocument(t *testing.T) document {
	t.Helper()
	w := httptest.NewRecorder()
	h, ok := openapi.Page("/openapi.json")
	if !ok {
		t.Fatal("openapi.json is not served")
	}
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var d document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operation is one method of a path.
type operation struct {
	id, method, path string
	is               map[string]any
}

func (d document) operations() map[string]operation {
	all := map[string]operation{}
	for path, methods := range object(d["paths"]) {
		for method, o := range object(methods) {
			id := text(object(o)["operationId"])
			all[id] = operation{id: id, method: strings.ToUpper(method), path: path, is: object(o)}
		}
	}
	return all
}

// json is the JSON content of a request's or a response's body, or of a line of it.
func (d document) json(body any) map[string]any {
	content := object(object(body)["content"])
	if lines, ok := content["application/x-ndjson"]; ok {
		return object(lines)
	}
	return object(content["application/json"])
}

// at follows references until there is none.
func (d document) at(v any) map[string]any {
	o := object(v)
	for ref := text(o["$ref"]); ref != ""; ref = text(o["$ref"]) {
		o = d
		for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			o = object(o[key])
		}
	}
	return o
}

func object(v any) map[string]any { o, _ := v.(map[string]any); return o }
func list(v any) []any            { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }

// check returns what is wrong with a value by its schema, of which it knows the
// words that openapi.json uses. Fields that the schema lacks are wrong too: a
// description that leaves some out is not whole.
func (d document) check(schema, value any, at string) []string {
	s := d.at(schema)
	if choices := list(s["oneOf"]); choices != nil {
		fits := 0
		for _, c := range choices {
			if object(c)["required"] != nil && object(c)["type"] == nil {
				_, has := object(value)[text(list(object(c)["required"])[0])]
				fits += map[bool]int{true: 1}[has]
			} else if len(d.check(c, value, at)) == 0 {
				fits++
			}
		}
		if fits != 1 {
			return []string{fmt.Sprintf("%s: fits %d of oneOf: %v", at, fits, value)}
		}
		if s["properties"] == nil {
			return nil
		}
	}
	if want, ok := s["const"]; ok {
		if !reflect.DeepEqual(want, value) {
			return []string{fmt.Sprintf("%s: %v, want %v", at, value, want)}
		}
		return nil
	}
	wrong := func() []string { return []string{fmt.Sprintf("%s: %v is no %v", at, value, s)} }
	var found []string
	switch s["type"] {
	case "object":
		fields, ok := value.(map[string]any)
		if !ok {
			return wrong()
		}
		for _, name := range list(s["required"]) {
			if _, ok := fields[text(name)]; !ok {
				found = append(found, at+": lacks "+text(name))
			}
		}
		for name, v := range fields {
			property, ok := object(s["properties"])[name]
			if !ok {
				property, ok = s["additionalProperties"].(map[string]any)
			}
			if !ok {
				found = append(found, at+": "+name+" is not described")
				continue
			}
			found = append(found, d.check(property, v, at+"."+name)...)
		}
	case "array":
		items, ok := value.([]any)
		if !ok {
			return wrong()
		}
		for i, v := range items {
			found = append(found, d.check(s["items"], v, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return wrong()
		}
	case "integer":
		if n, ok := value.(float64); !ok || n != float64(int32(n)) {
			return wrong()
		}
	case "string":
		v, ok := value.(string)
		if !ok {
			return wrong()
		}
		if choices := list(s["enum"]); choices != nil && !slices.Contains(choices, value) {
			return wrong()
		}
		if p := text(s["pattern"]); p != "" && !regexp.MustCompile(p).MatchString(v) {
			return wrong()
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				return wrong()
			}
		}
	default:
		return []string{fmt.Sprintf("%s: the schema has no type that is known here: %v", at, s)}
	}
	slices.Sort(found)
	return found
}

// shape is a value with its keys and without its contents. Tags differ from
// secret to secret.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := map[string]any{}
		for k, member := range v {
			if k == "tags" {
				member = nil
			}
			keys[k] = shape(member)
		}
		return keys
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = shape(v[i])
		}
		return items
	}
	return fmt.Sprintf("%T", v)
}
