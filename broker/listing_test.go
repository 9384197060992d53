package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func TestListShowsWhatTheCallerMayList(t *testing.T) {
	w := newWorld(t, brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
		n := r.Resource.ObjectName()
		return broker.Decision{Allowed: n == "" || strings.HasSuffix(n, "7")}, nil
	}))
	for i := range 120 {
		w.put(t, fmt.Sprintf("s-%03d", i), "v")
	}
	var got []string
	page := broker.Page{Size: 5}
	for pages := 0; ; pages++ {
		p, err := w.ListSecrets(t.Context(), alice, w.vault, page)
		if err != nil || pages > 100 {
			t.Fatal(err, pages)
		}
		if len(p.Secrets) > page.Size {
			t.Fatalf("a page of %d, want at most %d", len(p.Secrets), page.Size)
		}
		for _, s := range p.Secrets {
			got = append(got, s.Name.ObjectName())
		}
		if page.Token = p.Next; p.Next == "" {
			break
		}
	}
	want := []string{}
	for i := 7; i < 120; i += 10 {
		want = append(want, fmt.Sprintf("s-%03d", i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	var items []string
	for _, e := range w.audit.Events() {
		for _, i := range e.Items {
			items = append(items, i.Resource.ObjectName())
		}
	}
	if !slices.Equal(items, want) {
		t.Errorf("recorded the items %v, want %v", items, want)
	}
}

// bulk decides in bulk, by the name, and keeps count.
type bulk struct {
	allow func(object string) bool
	// names were decided on, by calls of AuthorizeAll.
	names, calls int
	// answer may change what AuthorizeAll returns.
	answer func([]broker.Decision) ([]broker.Decision, error)
}

func (b *bulk) Authorize(_ context.Context, r broker.Request) (broker.Decision, error) {
	if r.Resource.ObjectName() != "" {
		return broker.Decision{}, errors.New("decided alone")
	}
	return broker.Decision{Allowed: true}, nil
}

func (b *bulk) AuthorizeAll(_ context.Context, r broker.Request, names []broker.Name) ([]broker.Decision, error) {
	if r.Principal.ID != alice.ID || r.Time.IsZero() || r.Transport != alice.Transport {
		return nil, fmt.Errorf("asked %+v", r)
	}
	b.calls++
	b.names += len(names)
	out := make([]broker.Decision, len(names))
	for i, n := range names {
		out[i] = broker.Decision{Allowed: b.allow(n.ObjectName()), Policies: []string{n.ObjectName()}}
	}
	if b.answer != nil {
		return b.answer(out)
	}
	return out, nil
}

// pages takes a list to its end, and returns the names of each page.
func (w *world) pages(t *testing.T, size int) (pages [][]string) {
	t.Helper()
	p := broker.Page{Size: size}
	for {
		got, err := w.ListSecrets(t.Context(), alice, w.vault, p)
		if err != nil || len(pages) > 1000 {
			t.Fatal(err, len(pages))
		}
		var names []string
		for _, s := range got.Secrets {
			names = append(names, s.Name.ObjectName())
		}
		pages = append(pages, names)
		if p.Token = got.Next; p.Token == "" {
			return pages
		}
	}
}

// A page is full unless it is the last, and the last is not empty unless it is
// the first: whether there are names that the caller may not list is not told.
// Each name is decided on once, but for the one that begins the next page; and
// a page decides no more than it needs.
func TestPagesAreFull(t *testing.T) {
	const names = 120
	every := func(n int) func(string) bool {
		return func(object string) bool {
			var i int
			fmt.Sscanf(object, "s-%03d", &i)
			return i%n == 0
		}
	}
	for label, allow := range map[string]func(string) bool{
		"all":       every(1),
		"some":      every(7),
		"few":       every(50),
		"none":      func(string) bool { return false },
		"the first": func(object string) bool { return object < "s-010" },
		"the last":  func(object string) bool { return object > "s-109" },
	} {
		for _, size := range []int{1, 3, 10, 119, 120, 1000} {
			t.Run(fmt.Sprint(label, " by ", size), func(t *testing.T) {
				authz := &bulk{allow: allow}
				w := newWorld(t, authz)
				var want []string
				for i := range names {
					n := w.put(t, fmt.Sprintf("s-%03d", i), "v").ObjectName()
					if allow(n) {
						want = append(want, n)
					}
				}
				pages := w.pages(t, size)
				if got := slices.Concat(pages...); !slices.Equal(got, want) {
					t.Errorf("listed %v, want %v", got, want)
				}
				for i, page := range pages {
					last := i == len(pages)-1
					if (len(page) < size && !last) || (len(page) == 0 && i > 0) {
						t.Errorf("page %d of %d has %d names, want %d", i, len(pages), len(page), size)
					}
				}
				if most := names + len(pages) - 1; authz.names > most {
					t.Errorf("%d decisions, want at most %d", authz.names, most)
				}

				authz.names = 0
				if _, err := w.ListSecrets(t.Context(), alice, w.vault, broker.Page{Size: size}); err != nil {
					t.Fatal(err)
				}
				if label == "all" && authz.names != min(size+1, names) {
					t.Errorf("%d decisions for a page of %d", authz.names, size)
				}
			})
		}
	}
}

// Between two pages names come and go, the list is walked anew, and the last
// name of the page before is deleted: none is skipped, none is shown twice.
func TestPagesGoOnWhateverHappensBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newCacheWorld(t, time.Minute)
		b, _ := cache.over(t, brokertest.AllowAll{})
		for _, object := range []string{"b", "d", "f", "h", "j"} { // and a
			cache.put(t, object)
		}
		page := func(token string) (names string, next string) {
			t.Helper()
			p, err := b.ListSecrets(t.Context(), alice, cache.name.Vault(), broker.Page{Size: 2, Token: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range p.Secrets {
				names += s.Name.ObjectName()
			}
			return names, p.Next
		}
		names, next := page("")
		if names != "ab" {
			t.Fatalf("the first page is %q, want ab", names)
		}
		// Through the cache: behind the token, before it, and the token itself.
		for _, object := range []string{"c", "aa"} {
			if _, err := cache.SetSecret(t.Context(), cache.secret(t, object), broker.NewSecret{Value: broker.NewValue("v")}); err != nil {
				t.Fatal(err)
			}
		}
		for _, object := range []string{"b", "f"} {
			if _, err := cache.DeleteSecret(t.Context(), cache.secret(t, object)); err != nil {
				t.Fatal(err)
			}
		}
		if names, next = page(next); names != "cd" {
			t.Fatalf("the second page is %q, want cd", names)
		}
		// Elsewhere, seen by the next walk.
		cache.put(t, "i")
		if _, err := cache.store.DeleteSecret(t.Context(), cache.secret(t, "d")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if names, next = page(next); names != "hi" {
			t.Fatalf("the third page is %q, want hi", names)
		}
		if names, next = page(next); names != "j" || next != "" {
			t.Errorf("the last page is %q, and next %q", names, next)
		}
	})
}

func TestListRefusesWhatIsNoToken(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	w.put(t, "a", "v")
	for _, token := range []string{"$skiptoken=eyJ", "a b", "vaults/pay/secrets/a", strings.Repeat("a", 128)} {
		_, err := w.ListSecrets(t.Context(), alice, w.vault, broker.Page{Token: token})
		_, derr := w.ListDeletedSecrets(t.Context(), alice, w.vault, broker.Page{Token: token})
		if broker.CodeOf(err) != broker.CodeBadPageToken || broker.CodeOf(derr) != broker.CodeBadPageToken {
			t.Errorf("%q: %v, %v; want BAD_PAGE_TOKEN", token, err, derr)
		}
	}
	if n := w.store.Calls(brokertest.ListSecrets) + w.store.Calls(brokertest.ListDeletedSecrets); n != 0 {
		t.Errorf("%d vault calls, want 0", n)
	}
}

// What could not be decided is left out of a list, whichever way it is decided.
func TestListsLeaveOutWhatCannotBeDecided(t *testing.T) {
	broken := errors.New("a forbid could not be evaluated\nand another")
	all := func(string) bool { return true }
	for label, tt := range map[string]struct {
		authz broker.Authorizer
		want  string
	}{
		"in bulk": {&bulk{allow: all, answer: func(d []broker.Decision) ([]broker.Decision, error) {
			d[1] = broker.Decision{}
			return d, broken
		}}, "a c"},
		"in bulk, no decision at all": {&bulk{allow: all, answer: func([]broker.Decision) ([]broker.Decision, error) { return nil, broken }}, ""},
		"in bulk, too few": {&bulk{allow: all, answer: func(d []broker.Decision) ([]broker.Decision, error) {
			return d[:len(d)-1], nil
		}}, ""},
		"one by one": {brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
			if r.Resource.ObjectName() == "b" {
				return broker.Decision{Allowed: true}, broken
			}
			return broker.Decision{Allowed: true}, nil
		}), "a c"},
	} {
		t.Run(label, func(t *testing.T) {
			w := newWorld(t, tt.authz)
			for _, object := range []string{"a", "b", "c"} {
				w.put(t, object, "v")
			}
			if got := strings.Join(slices.Concat(w.pages(t, 0)...), " "); got != tt.want {
				t.Errorf("listed %q, want %q", got, tt.want)
			}
		})
	}
}
