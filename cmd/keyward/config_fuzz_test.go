package main

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/service/authn"
)

// FuzzConfig: what is wrong with a configuration has a place and is told without a
// secret that stands in it by mistake; and what is accepted lacks nothing that is
// needed to serve safely, and is accepted by the parts that it is for.
func FuzzConfig(f *testing.F) {
	for at := range uint16(60) {
		f.Add([]byte(fullConfig), at)
	}
	for _, replace := range [][2]string{
		{"https://pay.vault.azure.net", "https://pay.vault.azure.net#f"},
		{"https://pay.vault.azure.net", "https://:443"},
		{"https://pay.vault.azure.net", "https://pay.vault.azure.net?"},
		{"https://pay.vault.azure.net", "https://pay.vault.azure.net:x"},
		{"https://kubernetes.example", "https://kubernetes.example?x"},
		{"rate: 100", "rate: .nan"},
		{"burst: 200", "burst: 1.5"},
		{"  shop:", "  a.b:"},
		{"  shop:", "  \"$\":"},
		{"  shop:", "  \"a[0\":"},
		{"  shop:", "  'a''b':"},
		{"trustDomain: example.org", "trustDomain: EXAMPLE.org"},
		{"ttl: \"90s\"", "ttl: &a [*a]"},
	} {
		f.Add([]byte(strings.Replace(fullConfig, replace[0], replace[1], 1)), uint16(3))
	}
	f.Add([]byte("vaults: {a: {local: {path: x, keyFile: y}}}"), uint16(0))
	f.Add([]byte(""), uint16(0))
	f.Add([]byte("\xff: [}"), uint16(1))
	place := regexp.MustCompile(`^k\.yaml:[1-9]\d*:[1-9]\d*: .`)
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		c, _, err := parseConfig("k.yaml", text)
		if err == nil {
			wantUsable(t, c)
		} else {
			for line := range strings.Lines(err.Error()) {
				if !place.MatchString(line) {
					t.Errorf("no place: %q", line)
				}
			}
		}
		for _, planted := range plant(string(text), int(at)) {
			_, warnings, err := parseConfig("k.yaml", []byte(planted))
			said := strings.Join(warnings, "\n")
			if err != nil {
				said += err.Error()
			}
			if strings.Contains(said, plantedSecret) {
				t.Errorf("a secret is repeated: %s\nin %s", said, planted)
			}
		}
	})
}

const plantedSecret = "canary-5e9b1f"

// plant puts a secret where people put one by mistake: on a line of its own before
// that of the number at, and into the mapping in braces of that number.
func plant(text string, at int) []string {
	key := inlineSecrets[at%len(inlineSecrets)]
	lines := strings.SplitAfter(text, "\n")
	at %= len(lines)
	line := lines[at]
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	planted := []string{strings.Join(lines[:at], "") + indent + key + ": " + plantedSecret + "\n" + strings.Join(lines[at:], "")}
	if before, after, ok := strings.Cut(strings.Join(lines[at:], ""), "}"); ok {
		planted = append(planted, strings.Join(lines[:at], "")+before+", "+key+": "+plantedSecret+"}"+after)
	}
	return planted
}

// wantUsable wants a configuration that was accepted to be whole, and its parts to
// take it.
func wantUsable(t *testing.T, c *config) {
	t.Helper()
	if c.Policy.Path == "" || c.Audit.Path == "" || len(c.Vaults) == 0 || c.TLS.Certificate == "" || c.TLS.Key == "" {
		t.Error("accepted without policy, audit log, certificate or vault")
	}
	if c.Identity.MTLS == nil && len(c.Identity.JWT) == 0 || c.Identity.MTLS != nil && c.TLS.ClientCA == "" {
		t.Error("accepted without anybody to believe")
	}
	if m := c.Identity.MTLS; m != nil {
		if _, err := authn.NewMTLS(authn.MTLSConfig{TrustDomain: m.TrustDomain, DNS: authn.DNSConfig(m.DNS)}); err != nil {
			t.Errorf("accepted, and refused later: %v", err)
		}
	}
	for alias, v := range c.Vaults {
		name, err := broker.VaultName(alias)
		if err != nil {
			t.Errorf("accepted the alias %q", alias)
		}
		if (v.Local == nil) == (v.URL == "") || v.Local == nil && v.Credential.count() != 1 {
			t.Errorf("accepted a vault of both kinds or none: %+v", v)
		}
		if v.Local != nil {
			continue
		}
		client, err := keyvault.New(keyvault.Config{
			Vault: name, URL: v.URL, Tokens: noTokens{}, ManagedHSM: v.Kind == kindManagedHSM, Budget: v.Limits.budget(),
		})
		if err != nil {
			t.Errorf("accepted, and refused later: %v", err)
			continue
		}
		client.Close()
	}
}

type noTokens struct{}

func (noTokens) Token(context.Context, string, string) (keyvault.Token, error) {
	return keyvault.Token{}, &broker.Error{Code: broker.CodeVaultAuthentication}
}
