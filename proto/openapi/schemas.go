package main

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// schemas are the messages as protobuf's JSON has them.
type schemas struct {
	words *words
	all   object
}

func (s *schemas) done() object { return append(s.all, status...) }

// ref returns a reference to m's schema, which it adds where it is new.
func (s *schemas) ref(m *protogen.Message) object {
	if m.Desc.FullName() == "google.rpc.Status" {
		return refTo("Status")
	}
	return s.add(m.GoIdent.GoName, func() object { return s.message(m) })
}

// body is ref for a request, whose unknown fields are refused, and which lacks
// the field that the path sets.
func (s *schemas) body(m *protogen.Message, bound string) object {
	return s.add(m.GoIdent.GoName, func() object { return s.message(m, bound).with("additionalProperties", false) })
}

func (s *schemas) add(name string, schema func() object) object {
	if !slices.ContainsFunc(s.all, func(o member) bool { return o.key == name }) {
		i := len(s.all)
		s.all = append(s.all, member{name, nil}) // before those that it refers to
		s.all[i].value = schema()
	}
	return refTo(name)
}

func refTo(name string) object { return object{{"$ref", "#/components/schemas/" + name}} }

func (s *schemas) message(m *protogen.Message, without ...string) object {
	var properties object
	var required, choices []any
	for _, f := range m.Fields {
		name := f.Desc.JSONName()
		if slices.Contains(without, string(f.Desc.Name())) {
			continue
		}
		properties = append(properties, member{name, s.property(f)})
		if behaves(f, annotations.FieldBehavior_REQUIRED) {
			required = append(required, name)
		}
		if f.Oneof != nil && !f.Oneof.Desc.IsSynthetic() {
			choices = append(choices, object{{"required", []any{name}}})
		}
	}
	return object{{"type", "object"}}.
		with("description", s.words.of(m.Comments.Leading)).
		with("properties", properties).
		with("required", required).
		with("oneOf", choices)
}

// property is the schema of a field, with what its comment says.
func (s *schemas) property(f *protogen.Field) object {
	about := s.words.of(f.Comments.Leading)
	if about == "" && f.Enum != nil {
		about = s.words.of(f.Enum.Comments.Leading)
	}
	schema := s.field(f).with("description", about)
	if behaves(f, annotations.FieldBehavior_OUTPUT_ONLY) {
		schema = schema.with("readOnly", true)
	}
	return schema
}

func (s *schemas) field(f *protogen.Field) object {
	switch {
	case f.Desc.IsMap():
		return object{{"type", "object"}, {"additionalProperties", s.one(f.Message.Fields[1])}}
	case f.Desc.IsList():
		return object{{"type", "array"}, {"items", s.one(f)}}
	}
	return s.one(f)
}

// one is the schema of a single value.
func (s *schemas) one(f *protogen.Field) object {
	switch f.Desc.Kind() {
	case protoreflect.BoolKind:
		return object{{"type", "boolean"}}
	case protoreflect.Int32Kind:
		return object{{"type", "integer"}, {"format", "int32"}}
	case protoreflect.BytesKind:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case protoreflect.EnumKind:
		var names []any
		for _, v := range f.Enum.Values {
			names = append(names, string(v.Desc.Name()))
		}
		return object{{"type", "string"}, {"enum", names}}
	case protoreflect.MessageKind:
		switch f.Message.Desc.FullName() {
		case "google.protobuf.Timestamp":
			return object{{"type", "string"}, {"format", "date-time"}}
		case "google.protobuf.Duration":
			return object{{"type", "string"}, {"pattern", `^[0-9]+(\.[0-9]{1,9})?s$`}}
		case "google.protobuf.FieldMask":
			return object{{"type", "string"}}
		}
		return s.ref(f.Message)
	}
	return object{{"type", "string"}}
}

func behaves(f *protogen.Field, want annotations.FieldBehavior) bool {
	all, _ := proto.GetExtension(f.Desc.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Contains(all, want)
}

// status is google.rpc.Status with the details that the broker sends.
var status = object{
	{"Status", object{
		{"type", "object"},
		{"description", "An error: `google.rpc.Status`. What to act on is the `reason` of its `ErrorInfo`."},
		{"properties", object{
			{"code", object{{"type", "integer"}, {"format", "int32"}, {"description", "A code of `google.rpc.Code`."}}},
			{"message", object{{"type", "string"}, {"description", "What to do next, for people. It may change."}}},
			{"details", object{{"type", "array"}, {"items", object{{"oneOf", []any{
				object{{"$ref", "#/components/schemas/ErrorInfo"}},
				object{{"$ref", "#/components/schemas/BadRequest"}},
				object{{"$ref", "#/components/schemas/RetryInfo"}},
			}}}}}},
		}},
		{"required", []any{"code", "message", "details"}},
	}},
	{"ErrorInfo", detail("ErrorInfo", "Why. Every error has one.", object{
		{"domain", object{{"const", "keyward"}}},
		{"reason", object{{"type", "string"}, {"description", "Stable, such as `SECRET_NOT_FOUND`."}}},
		{"metadata", object{{"type", "object"}, {"additionalProperties", object{{"type", "string"}}}}},
	})},
	{"BadRequest", detail("BadRequest", "Which field is at fault.", object{
		{"fieldViolations", object{{"type", "array"}, {"items", object{
			{"type", "object"},
			{"properties", object{
				{"field", object{{"type", "string"}, {"description", "The field, under its name in the protos; empty where it is none."}}},
				{"description", object{{"type", "string"}}},
				{"reason", object{{"type", "string"}}},
			}},
			{"required", []any{"field", "description", "reason"}},
		}}}},
	})},
	{"RetryInfo", detail("RetryInfo", "How long to wait before another try; the `Retry-After` header too.", object{
		{"retryDelay", object{{"type", "string"}, {"pattern", `^[0-9]+(\.[0-9]{1,9})?s$`}}},
	})},
}

func detail(name, about string, properties object) object {
	properties = append(object{{"@type", object{{"const", "type.googleapis.com/google.rpc." + name}}}}, properties...)
	required := make([]any, len(properties))
	for i, p := range properties {
		required[i] = p.key
	}
	return object{
		{"type", "object"},
		{"description", strings.TrimSpace(about)},
		{"properties", properties},
		{"required", required},
	}
}
