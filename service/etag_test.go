package service

import (
	"slices"
	"strings"
	"testing"
)

func TestETagsOf(t *testing.T) {
	cases := map[string]struct {
		headers []string
		want    []string
	}{
		"none":              {nil, nil},
		"one":               {[]string{`"a"`}, []string{`"a"`}},
		"weak":              {[]string{`W/"a"`}, []string{`"a"`}},
		"a list":            {[]string{`"a", W/"b" ,"c"`}, []string{`"a"`, `"b"`, `"c"`}},
		"two headers":       {[]string{`"a"`, `"b"`}, []string{`"a"`, `"b"`}},
		"empty parts":       {[]string{`,, "a",,`}, []string{`"a"`}},
		"a comma in one":    {[]string{`"a,b"`}, []string{`"a,b"`}},
		"any":               {[]string{" * "}, []string{"*"}},
		"any, quoted":       {[]string{`"*"`}, []string{`"*"`}},
		"any in a list":     {[]string{`"a", *`}, []string{`"a"`}},
		"no quotes":         {[]string{"a"}, nil},
		"open at the end":   {[]string{`"a", "b`}, []string{`"a"`}},
		"a space in one":    {[]string{`"a b"`}, nil},
		"lower case weak":   {[]string{`w/"a"`}, nil},
		"malformed, others": {[]string{`"a", b, "c"`}, []string{`"a"`}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := etagsOf(c.headers); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzETags: what is read of a list is etags that a field would take too, and
// they are read again from a list made of them.
func FuzzETags(f *testing.F) {
	f.Add(`"a", W/"b"`)
	f.Add("*")
	f.Add(`"`)
	f.Add("\"a\x00\"")
	f.Fuzz(func(t *testing.T, header string) {
		all := etagsOf([]string{header})
		if slices.Equal(all, []string{"*"}) {
			return
		}
		for _, etag := range all {
			if got, err := etagOf("etag", etag); got != etag || err != nil || !strings.Contains(header, etag) {
				t.Errorf("%q was read from %q: %v", etag, header, err)
			}
		}
		if again := etagsOf([]string{`W/` + strings.Join(all, " , W/")}); !slices.Equal(again, all) {
			t.Errorf("%q became %q", all, again)
		}
	})
}
