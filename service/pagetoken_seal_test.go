package service

import (
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestPageTokenIsOfItsMethod(t *testing.T) {
	pages, err := newPageTokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	if next, err := pages.open(pageOf{"p", "ListB", "vaults/dev"}, pages.seal(pageOf{"p", "ListA", "vaults/dev"}, "x")); err == nil {
		t.Errorf("another method's opened to %q", next)
	}
}

// FuzzPageToken: only what was sealed for a list opens, and to what it was.
func FuzzPageToken(f *testing.F) {
	pages, err := newPageTokens(nil)
	if err != nil {
		f.Fatal(err)
	}
	list := pageOf{"p", "m", "vaults/dev"}
	good := pages.seal(list, "next")
	f.Add("")
	f.Add("AQ")
	f.Add(good)
	f.Add(good[1:])
	f.Add("\x00")
	f.Add("\x80\x00\x80")
	f.Fuzz(func(t *testing.T, token string) {
		next, err := pages.open(list, token)
		switch {
		case token == "" && next == "" && err == nil:
		case token == good && next == "next" && err == nil:
		case broker.CodeOf(err) != broker.CodeBadPageToken:
			t.Errorf("%q opened to %q, %v", token, next, err)
		}
		if token != "" {
			for _, p := range []pageOf{list, {"pm", "", "vaults/dev"}, {token, "m", token}} {
				if back, err := pages.open(p, pages.seal(p, token)); len(token) < 4096 && (err != nil || back != token) {
					t.Errorf("round trip: %q, %v", back, err)
				}
			}
			if _, err := pages.open(pageOf{"pm", "", "vaults/dev"}, pages.seal(list, token)); err == nil {
				t.Error("two lists look alike")
			}
		}
	})
}
