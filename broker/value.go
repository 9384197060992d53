package broker

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Value is a secret value. However it is printed, logged or marshalled, it
// shows as "[redacted]"; Reveal is the one way to the text.
type Value struct{ text string }

// NewValue returns a Value that holds text.
func NewValue(text string) Value { return Value{text: text} }

// Reveal returns the text.
func (v Value) Reveal() string { return v.text }

// Len returns the length in bytes.
func (v Value) Len() int { return len(v.text) }

// Format implements fmt.Formatter for every verb, %#v and %x included.
func (Value) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// String implements fmt.Stringer.
func (Value) String() string { return redacted }

// MarshalText implements encoding.TextMarshaler, and with it JSON.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }
