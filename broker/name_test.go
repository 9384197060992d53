package broker_test

import (
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestParseName(t *testing.T) {
	v32 := strings.Repeat("0a", 16)
	tests := map[string]struct {
		in   string
		want string // "" for refused
	}{
		"plain":                  {"vaults/pay/secrets/db-password", "vaults/pay/secrets/db-password"},
		"version":                {"vaults/pay/secrets/a/versions/" + v32, "vaults/pay/secrets/a/versions/" + v32},
		"upper case is folded":   {"vaults/pay/secrets/DB-Pass", "vaults/pay/secrets/db-pass"},
		"127 characters":         {"vaults/pay/secrets/" + strings.Repeat("x", 127), "vaults/pay/secrets/" + strings.Repeat("x", 127)},
		"128 characters":         {"vaults/pay/secrets/" + strings.Repeat("x", 128), ""},
		"upper case vault":       {"vaults/PAY/secrets/a", ""},
		"hyphen first in vault":  {"vaults/-pay/secrets/a", ""},
		"64-character vault":     {"vaults/" + strings.Repeat("v", 64) + "/secrets/a", ""},
		"dots":                   {"vaults/pay/secrets/..", ""},
		"percent":                {"vaults/pay/secrets/a%2fb", ""},
		"slash":                  {"vaults/pay/secrets/a/b", ""},
		"unicode":                {"vaults/pay/secrets/ä", ""},
		"kelvin sign":            {"vaults/pay/secrets/\u212a", ""},
		"NUL":                    {"vaults/pay/secrets/a\x00", ""},
		"underscore":             {"vaults/pay/secrets/a_b", ""},
		"empty":                  {"", ""},
		"empty object":           {"vaults/pay/secrets/", ""},
		"leading slash":          {"/vaults/pay/secrets/a", ""},
		"trailing slash":         {"vaults/pay/secrets/a/", ""},
		"other collection":       {"vaults/pay/keys/a", ""},
		"empty version":          {"vaults/pay/secrets/a/versions/", ""},
		"upper case version":     {"vaults/pay/secrets/a/versions/" + strings.ToUpper(v32), ""},
		"short version":          {"vaults/pay/secrets/a/versions/" + v32[1:], ""},
		"versions without vault": {"secrets/a/versions/" + v32, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n, err := broker.ParseName(broker.KindSecrets, tt.in)
			if tt.want == "" {
				if broker.CodeOf(err) != broker.CodeBadName {
					t.Fatalf("ParseName(%q) = %v, %v; want BAD_NAME", tt.in, n, err)
				}
				return
			}
			if err != nil || n.String() != tt.want {
				t.Fatalf("ParseName(%q) = %v, %v; want %s", tt.in, n, err, tt.want)
			}
		})
	}
}

// Whatever is accepted is canonical: it parses to itself, and its upper-case
// spelling is the same name.
func FuzzParseName(f *testing.F) {
	f.Add("vaults/pay/secrets/DB-Pass")
	f.Add("vaults/pay/secrets/a/versions/00000000000000000000000000000000")
	f.Add("vaults/../secrets/%2e%2e")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := broker.ParseName(broker.KindSecrets, s)
		if err != nil {
			return
		}
		again, err := broker.ParseName(broker.KindSecrets, n.String())
		if err != nil || again != n {
			t.Fatalf("%q parsed to %v, which parses to %v, %v", s, n, again, err)
		}
		upper, err := n.Vault().Object(broker.KindSecrets, strings.ToUpper(n.ObjectName()))
		if err != nil || upper != n.Base() {
			t.Fatalf("the upper-case spelling of %v is %v, %v", n, upper, err)
		}
		if strings.ContainsAny(n.ObjectName(), "/%.\\ \x00") || n.ObjectName() == "" {
			t.Fatalf("%q was accepted as %q", s, n.ObjectName())
		}
	})
}
