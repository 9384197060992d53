package vaulthttp_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestUpdate(t *testing.T) {
	v := newVault(t)
	resp, got := v.do(t, "PUT", "/secrets/db?api-version=7.4",
		`{"value":"`+canary+`","contentType":"text/plain","tags":{"a":"b"},"attributes":{"nbf":1700000000,"exp":1800000000}}`)
	if resp.StatusCode != 200 {
		t.Fatal(got)
	}
	id := text(got, "id")
	version := id[strings.LastIndex(id, "/")+1:]
	// Each on top of the one before.
	tests := []struct {
		label, target, body string
		contentType         string
		tags                any
		enabled             bool
		nbf, exp            float64
	}{
		{"nothing", "/secrets/db", `{}`, "text/plain", map[string]any{"a": "b"}, true, 1.7e9, 1.8e9},
		{"the expiry, as recorded", "/secrets/db/" + version, `{"attributes":{"exp":2208992461}}`, "text/plain", map[string]any{"a": "b"}, true, 1.7e9, 2208992461},
		{"nulls", "/secrets/db/", `{"contentType":null,"tags":null,"attributes":{"enabled":null,"nbf":null,"exp":null}}`, "text/plain", map[string]any{"a": "b"}, true, 1.7e9, 2208992461},
		{"the tags", "/secrets/DB", `{"tags":{"c":"d"}}`, "text/plain", map[string]any{"c": "d"}, true, 1.7e9, 2208992461},
		{"no tags", "/secrets/db", `{"tags":{}}`, "text/plain", nil, true, 1.7e9, 2208992461},
		{"the rest", "/secrets/db/" + strings.ToUpper(version), `{"contentType":"x","attributes":{"enabled":false,"nbf":1}}`, "x", nil, false, 1, 2208992461},
		{"back", "/secrets/db", `{"attributes":{"enabled":true}}`, "x", nil, true, 1, 2208992461},
	}
	for _, tt := range tests {
		t.Run(tt.label, func(t *testing.T) {
			resp, got := v.do(t, "PATCH", tt.target+"?api-version=7.4", tt.body)
			if resp.StatusCode != 200 || text(got, "id") != id || at(got, "value") != nil {
				t.Fatalf("%d %v", resp.StatusCode, got)
			}
			if text(got, "contentType") != tt.contentType || fmt.Sprint(got["tags"]) != fmt.Sprint(tt.tags) ||
				at(got, "attributes", "enabled") != tt.enabled || at(got, "attributes", "nbf") != tt.nbf || at(got, "attributes", "exp") != tt.exp {
				t.Errorf("%v", got)
			}
		})
	}
	if resp, got := v.do(t, "GET", "/secrets/db?api-version=7.4", ""); resp.StatusCode != 200 || text(got, "value") != canary {
		t.Errorf("after the updates: %d", resp.StatusCode)
	}
}
