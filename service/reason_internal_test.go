package service

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzReason: what is taken is one line of printable characters without spaces
// around, and what such a line is sent as comes out as it was.
func FuzzReason(f *testing.F) {
	for _, s := range []string{"", " ", "ticket 4711", "100%", "100%25", "%41%zz", "Störung", "a\nb", "\u202e", "\xff", strings.Repeat("ü", 500), strings.Repeat("a", 501)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := reasonOf([]string{s})
		good := func(s string) bool {
			return utf8.ValidString(s) && utf8.RuneCountInString(s) <= 500 && s == strings.TrimSpace(s) &&
				!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
		}
		if err != nil && got != "" || !good(got) {
			t.Errorf("%q became %q, %v", s, got, err)
		}
		if good(s) {
			if sent, err := reasonOf([]string{url.PathEscape(s)}); err != nil || sent != s {
				t.Errorf("%q came out as %q, %v", s, sent, err)
			}
		}
	})
}
