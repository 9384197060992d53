package localvault

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// Names are written as Key Vault writes them.
func TestFormatSubject(t *testing.T) {
	tests := map[string]string{
		"":               "",
		"CN=example.org": "CN=example.org",
		"O=Internet Widgits Pty Ltd,ST=Some-State,C=AU": "O=Internet Widgits Pty Ltd, S=Some-State, C=AU",
		`cn = "a, b" ; o = c`:                           `CN=a\, b, O=c`,
		`CN="say ""x"""`:                                `CN=say \"x\"`,
		`CN=\20a\ `:                                     `CN=\ a\ `,
		`CN=\#a`:                                        `CN=\#a`,
		`CN=a\0ab`:                                      `CN=a\0ab`,
		`CN=b\C3\BC`:                                    "CN=bü",
		"EMAIL=a@example.org, DC=example, DC=org": "E=a@example.org, DC=example, DC=org",
		"OID.1.2.3.4=x+2.5.4.3=y":                 "OID.1.2.3.4=x + CN=y",
		`CN=a+b`:                                  "",
	}
	for text, want := range tests {
		der, err := parseSubject(text)
		if want == "" && text != "" {
			if err == nil {
				t.Errorf("%q is taken", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		// A set has an order of its own in DER.
		got := formatSubject(der)
		if parts := strings.Split(got, " + "); len(parts) == 2 && parts[1]+" + "+parts[0] == want {
			got = want
		}
		if got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// Attributes have the types of string that RFC 5280 gives them.
func TestSubjectEncoding(t *testing.T) {
	for text, want := range map[string]string{
		"C=DE":          "300d310b3009060355040613024445",                    // PrintableString
		"CN=é":          "300d310b300906035504030c02c3a9",                    // UTF8String
		"E=a@b":         "3014311230100" + "6092a864886f70d0109011603614062", // IA5String
		"O=b, C=DE":     "3019310b3009060355040613024445310a3008060355040a130162",
		"CN=a+UID=b":    "",
		"O=b+C=DE,CN=c": "",
	} {
		der, err := parseSubject(text)
		if got := hex.EncodeToString(der); err != nil || want != "" && got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

// What is parsed and written is parsed to the same.
func FuzzSubject(f *testing.F) {
	for _, text := range []string{
		"", `CN=\20`, "CN=example.org", `CN="a, b" ; O = c`, `CN=\20a\ , OU=\#b`, "1.2.3.4=x + CN=y, C=DE", `E=a@b,DC=c`, `CN=a\,b\+c\"d\\`, "CN=a,", "=", `CN="`, "O=#0403",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		der, err := parseSubject(text)
		if err != nil {
			return
		}
		written := formatSubject(der)
		again, err := parseSubject(written)
		if err != nil && len(written) > maxSubjectLen {
			return // escapes made it longer
		}
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%q became %q, which is %x (%v), not %x", text, written, again, err, der)
		}
	})
}

func TestMonths(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for _, tt := range []struct {
		from   string
		months int
		to     string
	}{
		{"2001-01-31T10:00:00Z", 1, "2001-02-28T10:00:00Z"},
		{"2000-01-31T10:00:00Z", 1, "2000-02-29T10:00:00Z"},
		{"2000-02-29T10:00:00Z", 12, "2001-02-28T10:00:00Z"},
		{"2000-10-31T10:00:00Z", 4, "2001-02-28T10:00:00Z"},
		{"2023-03-23T20:56:42Z", 12, "2024-03-23T20:56:42Z"},
		{"2000-12-15T10:00:00Z", 1200, "2100-12-15T10:00:00Z"},
	} {
		if got := addMonths(at(tt.from), tt.months); !got.Equal(at(tt.to)) {
			t.Errorf("%d months after %s is %v, want %s", tt.months, tt.from, got, tt.to)
		}
		for d, want := range map[time.Duration]int{0: tt.months, time.Second: tt.months + 1} {
			if got := monthsBetween(at(tt.from), at(tt.to).Add(d)); got != want {
				t.Errorf("from %s to %s + %v are %d months, want %d", tt.from, tt.to, d, got, want)
			}
		}
	}
}
