package audit_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

// A line says why its caller called, if that was said, and what was allowed by
// break-glass, if anything was.
func TestReasonAndBreakGlass(t *testing.T) {
	name, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/a")
	if err != nil {
		t.Fatal(err)
	}
	emergency := broker.Decision{Allowed: true, Policies: []string{"e"}, BreakGlass: true}
	why := broker.Caller{Transport: broker.TransportGRPC, Reason: `Störung "4711" <db>`}
	cases := map[string]struct {
		event         broker.Event
		has, has2, no string
	}{
		"neither": {
			broker.Event{Caller: broker.Caller{Transport: broker.TransportREST}, Decision: broker.Decision{Allowed: true}},
			`"context":{"transport":"rest"}`, `"decision":"allow","policies":[]`, "breakGlass",
		},
		"a reason": {
			broker.Event{Caller: why},
			`"context":{"transport":"grpc","reason":"Störung \"4711\" <db>"}`, `"decision":"deny"`, "breakGlass",
		},
		"break-glass": {
			broker.Event{Caller: why, Resource: name, Decision: emergency},
			`"decision":"allow","breakGlass":true,"policies":["e"]`, "Störung", "false,false",
		},
		"of one item": {
			broker.Event{Items: []broker.Item{{Resource: name, Decision: emergency}, {Resource: name, Decision: broker.Decision{Allowed: true}}}},
			`{"resource":"vaults/pay/secrets/a","decision":"allow","breakGlass":true,"policies":["e"]`,
			`{"resource":"vaults/pay/secrets/a","decision":"allow","outcome"`,
			`"decision":"deny","breakGlass"`,
		},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l := open(t, audit.Config{Path: path})
			if err := l.Record(t.Context(), c.event); err != nil {
				t.Fatal(err)
			}
			line := lines(t, path)[0]
			if !strings.Contains(line, c.has) || !strings.Contains(line, c.has2) || strings.Contains(line, c.no) {
				t.Errorf("%s\n  lacks %s\n  or %s,\n  or has %s", line, c.has, c.has2, c.no)
			}
		})
	}
}
