package main

import (
	"strings"
	"testing"
	"time"
)

// What a vault's section leaves out is as for all, and that as by default.
func TestConfigOfACacheByVault(t *testing.T) {
	const rest = `
tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
audit: {path: a}
vaults: {pay: {url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}`
	for text, want := range map[string]struct {
		ttl, stale, negative time.Duration
		bytes                uint64
		warned               string
	}{
		rest + "}}": {time.Minute, time.Hour, time.Second, 64 << 20, ""},
		rest + "}}\ncache: {staleIfError: 0s, maxBytes: 2097152}":                  {time.Minute, 0, time.Second, 2 << 20, ""},
		rest + ", cache: {ttl: 5s}}}\ncache: {ttl: 1h, negativeTtl: 0s}":           {5 * time.Second, time.Hour, 0, 64 << 20, ""},
		rest + ", cache: {staleIfError: 5m}}}\ncache: {staleIfError: 0s}":          {time.Minute, 5 * time.Minute, time.Second, 64 << 20, ""},
		rest + "}}\ncache: {ttl: 0s, staleIfError: 1h}":                            {0, time.Hour, time.Second, 64 << 20, "k.yaml:7:32: staleIfError has no effect"},
		rest + ", cache: {ttl: 0s, staleIfError: 1h}}}\ncache: {staleIfError: 1h}": {0, time.Hour, time.Second, 64 << 20, "k.yaml:6:"},
	} {
		c, warnings, err := parseConfig("k.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		k := c.Vaults["pay"].Cache.or(c.Cache.Kept)
		if k.TTL.Duration != want.ttl || k.StaleIfError.Duration != want.stale || k.NegativeTTL.Duration != want.negative || *k.MaxBytes != want.bytes {
			t.Errorf("%s: ttl %v, stale %v, negative %v, %d bytes", text, k.TTL, k.StaleIfError, k.NegativeTTL, *k.MaxBytes)
		}
		if all := strings.Join(warnings, "\n"); (all == "") != (want.warned == "") || !strings.HasPrefix(all, want.warned) {
			t.Errorf("%s: warnings %q, want %q", text, warnings, want.warned)
		}
	}
}
