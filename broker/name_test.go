package broker_test

import (
	"regexp"
	"strings"
	"testing"
	"unsafe"

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

// Whatever is accepted is canonical: it is the text itself but for the case of the
// object, it parses to itself and as nothing else, and its upper-case spelling is
// the same name.
func FuzzParseName(f *testing.F) {
	kinds := []broker.Kind{broker.KindSecrets, broker.KindDeletedSecrets, broker.KindKeys, broker.KindDeletedKeys, broker.KindCertificates, broker.KindDeletedCertificates}
	for i, kind := range kinds {
		f.Add(uint8(i), "vaults/pay/"+string(kind)+"/DB-Pass")
		f.Add(uint8(i), "vaults/pay/"+string(kind)+"/a/versions/00000000000000000000000000000000")
	}
	for _, s := range []string{
		"vaults/../secrets/%2e%2e", "vaults/pay", "vaults/-pay/secrets/a", "vaults/pay/secrets/a/versions/0000000000000000000000000000000G",
		"vaults/pay/secrets/\u212aey", "vaults/pay/secrets/\u017fecret", "vaults/pay/secrets/a\x00", "vaults/pay/secrets/a/", "/vaults/pay/secrets/a", "vaults/pay/secrets/a/versions/",
		"vaults/" + strings.Repeat("v", 64) + "/secrets/a", "vaults/v/secrets/" + strings.Repeat("s", 128),
	} {
		f.Add(uint8(0), s)
	}
	object, vault := regexp.MustCompile(`^[0-9a-z-]{1,127}$`), regexp.MustCompile(`^[0-9a-z]([0-9a-z-]{0,61}[0-9a-z])?$`)
	f.Fuzz(func(t *testing.T, k uint8, s string) {
		kind := kinds[int(k)%len(kinds)]
		if v, err := broker.ParseVaultName(s); err == nil && (v.String() != s || !vault.MatchString(v.VaultAlias())) {
			t.Errorf("%q is the vault %q", s, v)
		}
		n, err := broker.ParseName(kind, s)
		if err != nil {
			if broker.CodeOf(err) != broker.CodeBadName || !n.IsZero() {
				t.Errorf("%q: %v beside %v", s, n, err)
			}
			return
		}
		// Upper case is folded in the object alone, and only ASCII's.
		parts := strings.Split(s, "/")
		parts[3] = n.ObjectName()
		if strings.Join(parts, "/") != n.String() || len(s) != len(n.String()) || !strings.EqualFold(s, n.String()) {
			t.Fatalf("%q was accepted as %q", s, n)
		}
		if !object.MatchString(n.ObjectName()) || !vault.MatchString(n.VaultAlias()) || n.Kind() != kind {
			t.Fatalf("%q was accepted as %q", s, n)
		}
		for _, other := range kinds {
			again, err := broker.ParseName(other, n.String())
			if other == kind && (err != nil || again != n) || other != kind && err == nil {
				t.Fatalf("%q parsed to %v, which parses to %v, %v", s, n, again, err)
			}
		}
		upper, err := n.Vault().Object(kind, strings.ToUpper(n.ObjectName()))
		if err != nil || upper != n.Base() {
			t.Fatalf("the upper-case spelling of %v is %v, %v", n, upper, err)
		}
	})
}

// What is kept of a name does not keep the request that it was read from.
func TestOwnName(t *testing.T) {
	request := strings.Repeat("x", 1<<10) + "vaults/pay/secrets/db/versions/" + strings.Repeat("0a", 16)
	name, err := broker.ParseName(broker.KindSecrets, request[1<<10:])
	if err != nil {
		t.Fatal(err)
	}
	own := name.Own()
	if own != name {
		t.Errorf("%v became %v", name, own)
	}
	begin := uintptr(unsafe.Pointer(unsafe.StringData(request)))
	for _, text := range []string{own.VaultAlias(), own.ObjectName(), own.Version()} {
		if at := uintptr(unsafe.Pointer(unsafe.StringData(text))); at >= begin && at < begin+uintptr(len(request)) {
			t.Errorf("%q is a part of the request", text)
		}
	}
}
