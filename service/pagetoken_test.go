package service_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

func withPageKey(b byte) option {
	return func(c *service.Config, bc *broker.Config) {
		c.PageTokenKey = bytes.Repeat([]byte{b}, 32)
		bc.Vaults["other"] = bc.Vaults["dev"]
	}
}

func TestPageTokens(t *testing.T) {
	w, replica, otherKey := newWorld(t, withPageKey(1)), newWorld(t, withPageKey(1)), newWorld(t, withPageKey(2))
	for _, each := range []*world{w, replica, otherKey} {
		for i := range 30 {
			each.put(fmt.Sprintf("vaults/dev/secrets/s%02d", i)+strings.Repeat("x", 4*i), "x")
		}
		for range 3 {
			each.put("vaults/dev/secrets/s00", "x")
		}
	}
	me := w.billing()
	list := func(w *world, id identity, parent, token string) (*keywardv1.ListSecretsResponse, error) {
		return w.client(id).ListSecrets(t.Context(), &keywardv1.ListSecretsRequest{Parent: parent, PageSize: 10, PageToken: token})
	}

	// All pages, each secret once.
	seen, lengths := map[string]bool{}, map[int]bool{}
	token := ""
	for {
		p, err := list(w, me, "vaults/dev", token)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.GetSecrets() {
			if seen[s.GetName()] || s.GetEtag() != "" {
				t.Errorf("%v", s)
			}
			seen[s.GetName()] = true
		}
		if token = p.GetNextPageToken(); token == "" {
			break
		}
		lengths[len(token)] = true
	}
	if len(lengths) != 1 {
		t.Errorf("tokens of the lengths %v tell how long the names in them are", lengths)
	}
	if len(seen) != 30 {
		t.Errorf("%d secrets, want 30", len(seen))
	}

	first, err := list(w, me, "vaults/dev", "")
	if err != nil {
		t.Fatal(err)
	}
	token = first.GetNextPageToken()
	versions, err := w.client(me).ListSecretVersions(t.Context(), &keywardv1.ListSecretVersionsRequest{Parent: "vaults/dev/secrets/s00", PageSize: 2})
	if err != nil || versions.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", versions, err)
	}
	for i := range 12 {
		name := fmt.Sprintf("vaults/dev/secrets/t%02d", i)
		w.put(name, "x")
		w.remove(name)
	}
	deleted := func(token string) (*keywardv1.ListDeletedSecretsResponse, error) {
		return w.client(me).ListDeletedSecrets(t.Context(), &keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev", PageSize: 10, PageToken: token})
	}
	ofDeleted, err := deleted("")
	if err != nil || len(ofDeleted.GetDeletedSecrets()) != 10 || ofDeleted.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", ofDeleted, err)
	}
	if p, err := deleted(ofDeleted.GetNextPageToken()); err != nil || len(p.GetDeletedSecrets()) != 2 || p.GetNextPageToken() != "" {
		t.Errorf("the second page of what is deleted: %v, %v", p, err)
	}
	if _, err := deleted(token); grpcVerdict(err).reason != "BAD_PAGE_TOKEN" {
		t.Errorf("a token of the living for the deleted: %v", err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(i int) string {
		b := bytes.Clone(raw)
		b[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(b)
	}
	cases := map[string]struct {
		on            *world
		id            identity
		parent, token string
		want          string
	}{
		"its own":              {w, me, "vaults/dev", token, ""},
		"a replica":            {replica, replica.billing(), "vaults/dev", token, ""},
		"another key":          {otherKey, otherKey.billing(), "vaults/dev", token, "BAD_PAGE_TOKEN"},
		"another principal":    {w, w.cert("/second"), "vaults/dev", token, "BAD_PAGE_TOKEN"},
		"another parent":       {w, me, "vaults/other", token, "BAD_PAGE_TOKEN"},
		"another method's":     {w, me, "vaults/dev", versions.GetNextPageToken(), "BAD_PAGE_TOKEN"},
		"the deleted's":        {w, me, "vaults/dev", ofDeleted.GetNextPageToken(), "BAD_PAGE_TOKEN"},
		"altered version byte": {w, me, "vaults/dev", flip(0), "BAD_PAGE_TOKEN"},
		"altered nonce":        {w, me, "vaults/dev", flip(3), "BAD_PAGE_TOKEN"},
		"altered text":         {w, me, "vaults/dev", flip(14), "BAD_PAGE_TOKEN"},
		"altered seal":         {w, me, "vaults/dev", flip(len(raw) - 1), "BAD_PAGE_TOKEN"},
		"cut":                  {w, me, "vaults/dev", token[:len(token)-4], "BAD_PAGE_TOKEN"},
		"one byte":             {w, me, "vaults/dev", "AQ", "BAD_PAGE_TOKEN"},
		"padded":               {w, me, "vaults/dev", token + "=", "BAD_PAGE_TOKEN"},
		"a line break in it":   {w, me, "vaults/dev", token[:8] + "\n" + token[8:], "BAD_PAGE_TOKEN"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			on := c.on.in(t)
			_, err := list(on, c.id, c.parent, c.token)
			if got := grpcVerdict(err).reason; got != c.want {
				t.Errorf("gRPC: %q (%v), want %q", got, err, c.want)
			}
			q := strings.ReplaceAll(c.token, "\n", "%0A")
			if r := on.rest(c.id, "GET /v1/"+c.parent+"/secrets?pageSize=10&pageToken="+q, ""); r.verdict(t).reason != c.want {
				t.Errorf("REST: %d %s, want %q", r.status, r.body, c.want)
			}
		})
	}
	if v, err := w.client(me).ListSecretVersions(t.Context(), &keywardv1.ListSecretVersionsRequest{Parent: "vaults/dev/secrets/s00", PageSize: 2, PageToken: versions.GetNextPageToken()}); err != nil || len(v.GetSecrets()) != 2 || v.GetNextPageToken() != "" {
		t.Errorf("the second page of versions: %v, %v", v, err)
	}
	_, err = w.client(me).ListSecretVersions(t.Context(), &keywardv1.ListSecretVersionsRequest{Parent: "vaults/dev/secrets/s01", PageToken: versions.GetNextPageToken()})
	if grpcVerdict(err).reason != "BAD_PAGE_TOKEN" {
		t.Errorf("another secret's: %v", err)
	}
}
