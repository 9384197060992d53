package brokertest

import (
	"fmt"
	"testing"

	"github.com/keyward/keyward/broker"
)

func testListPages(f fixture) {
	want := make(map[broker.Name]bool)
	for i := range 31 {
		name := f.name(fmt.Sprintf("list-%02d", i))
		f.set(name, plain("v"))
		want[name] = true
	}
	f.set(f.name("list-00"), plain("a second version is not a second item"))
	for _, size := range []int{0, 1, 7, broker.MaxStorePage, 1000} {
		f.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			f := f.in(t)
			most := size
			if most == 0 || most > broker.MaxStorePage {
				most = broker.MaxStorePage
			}
			seen := make(map[broker.Name]bool)
			for s := range f.list(size, most) {
				if s.Name.Version() != "" {
					f.Errorf("%v carries a version", s.Name)
				}
				if seen[s.Name] {
					f.Errorf("%v is listed twice", s.Name)
				}
				seen[s.Name] = true
			}
			for name := range want {
				if !seen[name] {
					f.Errorf("%v is not listed", name)
				}
			}
		})
	}
}

func testListLatest(f fixture) {
	name := f.name("latest")
	f.set(name, broker.NewSecret{Value: broker.NewValue("1"), Enabled: true, ContentType: "first"})
	last := broker.NewSecret{Value: broker.NewValue("2"), Enabled: true, ContentType: "second", Tags: map[string]string{"a": "b"}}
	f.set(name, last)
	got, ok := f.listed()[name]
	if !ok {
		f.Fatalf("%v is not listed", name)
	}
	f.wantAttributes("ListSecrets", got, last)
}

func testVersionsNewestFirst(f fixture) {
	name := f.name("order")
	var sets []broker.Secret
	// More than a page of a vault's list.
	for i := range broker.MaxStorePage + 5 {
		sets = append(sets, f.set(name, plain(fmt.Sprint(i))))
	}
	got := f.versions(name)
	if len(got) != len(sets) {
		f.Fatalf("%d versions, want %d", len(got), len(sets))
	}
	for i, s := range got {
		if want := sets[len(sets)-1-i]; s.Name != want.Name {
			f.Fatalf("version %d from the newest is %v, want %v", i, s.Name, want.Name)
		}
	}
	if latest := f.get(name); latest.Name != got[0].Name {
		f.Errorf("the latest is %v, but the newest of the list is %v", latest.Name, got[0].Name)
	}
}
