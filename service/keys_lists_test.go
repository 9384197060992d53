package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// Lists of keys come in pages, and a token opens its own list alone.
func TestKeyPages(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		n := w.keyName(name)
		for range 3 {
			_, err := w.keys.CreateKey(t.Context(), n, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
			w.must(err)
		}
		gone := w.keyName("gone-" + name)
		_, err := w.keys.CreateKey(t.Context(), gone, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		w.must(err)
		_, err = w.keys.DeleteKey(t.Context(), gone)
		w.must(err)
	}
	type page interface{ GetNextPageToken() string }
	lists := map[string]struct {
		request func(token string) proto.Message
		names   func(proto.Message) []string
		want    []string
	}{
		"keys": {
			func(token string) proto.Message {
				return &keywardv1.ListKeysRequest{Parent: "vaults/dev", PageSize: 2, PageToken: token}
			},
			func(m proto.Message) (all []string) {
				for _, k := range m.(*keywardv1.ListKeysResponse).GetKeys() {
					all = append(all, k.GetName())
				}
				return all
			},
			[]string{"vaults/dev/keys/a", "vaults/dev/keys/b", "vaults/dev/keys/c"},
		},
		"versions": {
			func(token string) proto.Message {
				return &keywardv1.ListKeyVersionsRequest{Parent: "vaults/dev/keys/b", PageSize: 2, PageToken: token}
			},
			func(m proto.Message) (all []string) {
				for _, k := range m.(*keywardv1.ListKeyVersionsResponse).GetKeys() {
					all = append(all, k.GetName())
				}
				return all
			},
			slices.Repeat([]string{"vaults/dev/keys/b"}, 3),
		},
		"deleted keys": {
			func(token string) proto.Message {
				return &keywardv1.ListDeletedKeysRequest{Parent: "vaults/dev", PageSize: 2, PageToken: token}
			},
			func(m proto.Message) (all []string) {
				for _, d := range m.(*keywardv1.ListDeletedKeysResponse).GetDeletedKeys() {
					all = append(all, d.GetName())
				}
				return all
			},
			[]string{"vaults/dev/deletedKeys/gone-a", "vaults/dev/deletedKeys/gone-b", "vaults/dev/deletedKeys/gone-c"},
		},
	}
	tokens := map[string]string{}
	for name, l := range lists {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			first, err := w.call(w.billing(), l.request(""))
			w.must(err)
			tokens[name] = first.(page).GetNextPageToken()
			second, err := w.call(w.billing(), l.request(tokens[name]))
			w.must(err)
			if got := append(l.names(first), l.names(second)...); !slices.Equal(got, l.want) || len(l.names(first)) != 2 || second.(page).GetNextPageToken() != "" {
				t.Errorf("got %v, want %v in two pages", got, l.want)
			}
			_, err = w.call(w.cert("/second"), l.request(tokens[name]))
			if got := grpcVerdict(err).reason; got != "BAD_PAGE_TOKEN" {
				t.Errorf("another's token: %v", err)
			}
		})
	}
	for name, l := range lists {
		for of, token := range tokens {
			if of == name {
				continue
			}
			if _, err := w.call(w.billing(), l.request(token)); grpcVerdict(err).reason != "BAD_PAGE_TOKEN" {
				t.Errorf("a token of %s opens %s: %v", of, name, err)
			}
		}
	}
}

// TestAListOfKeysTellsNothingOfTheRest: the page of who may list one key is the
// same, whether or not there are others.
func TestAListOfKeysTellsNothingOfTheRest(t *testing.T) {
	policies := withPolicies(t, `
		permit (principal == Workload::"spiffe://example.org/lister", action in [Action::"listKeys", Action::"listDeletedKeys"], resource == Key::"vaults/dev/keys/mine");`)
	var pages []string
	for _, others := range []int{0, 1, 12} {
		w := newWorld(t, policies)
		names := []string{"mine"}
		for i := range others {
			names = append(names, fmt.Sprintf("a-%d", i), fmt.Sprintf("z-%d", i)) // before it, and behind
		}
		for _, name := range names {
			_, err := w.keys.CreateKey(t.Context(), w.keyName(name), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
			w.must(err)
		}
		live, err := w.call(w.cert("/lister"), &keywardv1.ListKeysRequest{Parent: "vaults/dev", PageSize: 1})
		w.must(err)
		for _, name := range names {
			_, err := w.keys.DeleteKey(t.Context(), w.keyName(name))
			w.must(err)
		}
		deleted, err := w.call(w.cert("/lister"), &keywardv1.ListDeletedKeysRequest{Parent: "vaults/dev", PageSize: 1})
		w.must(err)
		l, d := live.(*keywardv1.ListKeysResponse), deleted.(*keywardv1.ListDeletedKeysResponse)
		pages = append(pages, fmt.Sprint(len(l.GetKeys()), l.GetKeys()[0].GetName(), len(l.GetNextPageToken()),
			len(d.GetDeletedKeys()), d.GetDeletedKeys()[0].GetName(), len(d.GetNextPageToken())))
	}
	if len(slices.Compact(pages)) != 1 || strings.Count(pages[0], "mine") != 2 {
		t.Errorf("the pages differ: %v", pages)
	}
}
