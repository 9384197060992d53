package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

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
		err := decodeJSON(r, v)
		if b, ok := r.(*requestBody); ok && err != nil {
			b.err = err
			return errBody
		}
		return err
	})
}

// errBody stands for the error that is in the requestBody.
var errBody = errors.New("see the body")

// requestBody is the body of a REST call, with what was wrong with it.
type requestBody struct {
	io.ReadCloser

	err error
}

func decodeJSON(r io.Reader, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("service: %T is no message", v)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &broker.Error{Code: broker.CodeValueTooLarge, Field: "value", Message: "a body is at most 256 KiB, and a value in it 25600 bytes"}
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
