package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/keyward/keyward/broker"
)

// jsonForm is protobuf's JSON: lower camel case, unknown fields refused. In
// replies a field that is zero is shown ("enabled": false), one that is unset
// is not.
type jsonForm struct {
	runtime.JSONPb
}

func newJSONForm() *jsonForm {
	return &jsonForm{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitDefaultValues: true}}}
}

// Marshal implements runtime.Marshaler: one line, and of one form. protojson
// varies its spaces from build to build, so that nobody relies on them.
func (j *jsonForm) Marshal(v any) ([]byte, error) {
	raw, err := j.JSONPb.Marshal(v)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	line.Grow(len(raw) + 1)
	if err := json.Compact(&line, raw); err != nil {
		return nil, err
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

// NewDecoder implements runtime.Marshaler: the whole body is one message, and
// nothing may follow it. The gateway keeps only an error's text, which could
// quote a value; the error itself is left in the requestBody.
func (j *jsonForm) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		m, err := messageAt(v)
		if err != nil {
			return err
		}
		b, ok := r.(*requestBody)
		if !ok {
			// A body that was checked already.
			b = &requestBody{ReadCloser: io.NopCloser(r)}
		}
		if b.err = b.decode(m); b.err != nil {
			return errBody
		}
		return nil
	})
}

// messageAt returns the message that the gateway wants decoded at v: a message,
// or where the body is one field of it, the address of that field.
func messageAt(v any) (proto.Message, error) {
	if m, ok := v.(proto.Message); ok {
		return m, nil
	}
	at := reflect.ValueOf(v)
	if at.Kind() == reflect.Pointer && at.Type().Elem().Kind() == reflect.Pointer {
		made := reflect.New(at.Type().Elem().Elem())
		if m, ok := reflect.TypeAssert[proto.Message](made); ok {
			at.Elem().Set(made)
			return m, nil
		}
	}
	return nil, fmt.Errorf("service: %T is no message", v)
}

// errBody stands for the error that is in the requestBody.
var errBody = errors.New("see the body")

// requestBody is the body of a REST call, with what was wrong with it.
type requestBody struct {
	io.ReadCloser

	bound bound
	// path are the fields that the path gives. The gateway lets them win over
	// the body's; here a body that names another thing is refused.
	path map[string]string
	err  error
}

// wantNone refuses a body where none is taken: what it asks for, such as a
// precondition, would not be heeded.
func (b *requestBody) wantNone() error {
	raw, err := io.ReadAll(b.ReadCloser)
	if err != nil || len(bytes.TrimSpace(raw)) > 0 {
		return &broker.Error{Code: broker.CodeBadField, Message: "this route takes no body; its fields are in the path and the query", Err: err}
	}
	return nil
}

// check reads the body to its end, refuses it if it is no message of the type,
// and leaves it to be read again. The gateway decodes the body of a patch from
// a copy, whose error would be lost.
func (b *requestBody) check(d protoreflect.MessageDescriptor) error {
	var read bytes.Buffer
	whole := requestBody{ReadCloser: io.NopCloser(io.TeeReader(b.ReadCloser, &read)), bound: b.bound, path: b.path}
	if err := whole.decode(dynamicpb.NewMessage(d)); err != nil {
		return err
	}
	b.ReadCloser = io.NopCloser(&read)
	return nil
}

func (b *requestBody) decode(m proto.Message) error {
	raw, err := io.ReadAll(b.ReadCloser)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return b.bound.exceeded()
		}
		return &broker.Error{Code: broker.CodeBadField, Message: "the body could not be read to its end", Err: err}
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if err := (protojson.UnmarshalOptions{}).Unmarshal(raw, m); err != nil {
		return &broker.Error{
			Code:    broker.CodeBadField,
			Message: "the body is no JSON of this request: malformed, a wrong type or an unknown field" + where(err),
		}
	}
	return b.agree(m.ProtoReflect())
}

// agree refuses a message that names another thing than the path does.
func (b *requestBody) agree(m protoreflect.Message) error {
	for field, want := range b.path {
		_, name, nested := strings.Cut(field, ".") // secret.name, where the body is the secret
		if !nested {
			name = field
		}
		f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if f == nil || f.Kind() != protoreflect.StringKind || !m.Has(f) {
			continue
		}
		got := m.Get(f).String()
		base, _, _ := strings.Cut(want, "/versions/")
		if !strings.EqualFold(got, want) && (!nested || !strings.EqualFold(got, base)) {
			return &broker.Error{Code: broker.CodeBadName, Field: field, Message: "the body has another " + field + " than the path"}
		}
	}
	return nil
}

var position = regexp.MustCompile(`\(line (\d+:\d+)\)`)

// where returns the place in the body that err complains of. The rest of its
// text may quote the body, a value included.
func where(err error) string {
	if m := position.FindStringSubmatch(err.Error()); m != nil {
		return ", at line and column " + m[1]
	}
	return ""
}
