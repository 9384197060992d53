package keyvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// eachMember calls f with each member of the one JSON object that text is, in
// order.
func eachMember(text []byte, f func(name string, value json.RawMessage)) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errNoJWK
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errNoJWK
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return errNoJWK
		}
		f(name, value)
		clear(value)
	}
	if _, err := d.Token(); err != nil {
		return errNoJWK
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errNoJWK
	}
	return nil
}
