package broker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestValueIsRedactedHoweverItIsPrinted(t *testing.T) {
	const canary = "canary-5f1d"
	v := broker.SecretValue{Value: broker.NewValue(canary)}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n"+verb+"\n", v.Value, &v)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("value", "value", v.Value, "struct", v, "pointer", &v, "new", broker.NewSecret{Value: v.Value})
	}
	js, err := json.Marshal(map[string]any{"a": v, "b": &v.Value, "c": map[broker.Value]int{v.Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	hex := fmt.Sprintf("%x", canary)
	if s := out.String(); strings.Contains(s, canary) || strings.Contains(strings.ToLower(s), hex) {
		t.Errorf("the value shows in:\n%s", s)
	}
	if v.Value.Reveal() != canary {
		t.Error("Reveal does not return the text")
	}
}
