package authn

import (
	"testing"
)

// A template that is accepted never makes one subject of different claims, and
// makes no subject that a principal's id must not have.
func FuzzTemplate(f *testing.F) {
	f.Add("{a}--{b}", "x-", "y", "x", "-y")
	f.Add("{/kubernetes.io/namespace}:{b}", "n", "b", "n:b", "")
	f.Add("job={a}, {b}!", "1", "2", "1, 2", "!")
	f.Add("{b}{a}", "", "", "", "")
	f.Add("{/a~1b/c~0d}/{a}/{b}", "é", "\xff", "\ufffd", "\x00")
	f.Fuzz(func(t *testing.T, text, a1, b1, a2, b2 string) {
		tmpl, err := parseTemplate(text)
		if err != nil {
			return
		}
		fill := func(a, b string) (string, []string) {
			c := claims{
				"a": a, "b": b,
				"kubernetes.io": map[string]any{"namespace": a},
				"a/b":           map[string]any{"c~d": b},
			}
			s, err := tmpl.subject(c)
			if err != nil {
				return "", nil
			}
			if !validText(s) {
				t.Fatalf("%q makes the subject %q", text, s)
			}
			var values []string
			for _, path := range tmpl.claims {
				v, err := c.text(path...)
				if err != nil {
					t.Fatalf("%q makes %q without %v: %v", text, s, path, err)
				}
				values = append(values, v)
			}
			return s, values
		}
		one, of := fill(a1, b1)
		two, from := fill(a2, b2)
		if one == "" || one != two {
			return
		}
		for i := range of {
			if of[i] != from[i] {
				t.Fatalf("%q makes %q of %q and of %q", text, one, of, from)
			}
		}
	})
}
