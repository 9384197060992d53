package audit

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
)

// utf8Of is s as JSON can hold it.
func utf8Of(s string) string { return string([]rune(s)) }

func utf8All(all ...string) []string {
	out := []string{}
	for _, s := range all {
		out = append(out, utf8Of(s))
	}
	return out
}

// FuzzRoundTrip: what is recorded is what encoding/json would write, and what is
// read.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), int64(1_900_000_000_123456789), "spiffe://example.org/a", "dev/g", "key", "value", "grpc", "why?", "db-password", "p.cedar:1:1", "5e7", "ok", "intent", "0af7", "r-1", uint16(0))
	f.Add(uint64(1)<<63, int64(0), "\xff\"\\\n\u2028", "<&>", "", "\x00", "rest", "\x1b[2J", "A", "", "", "NOT_FOUND", "", "", "", uint16(0xffff))
	f.Fuzz(func(t *testing.T, seq uint64, nanos int64, who, group, key, value, transport, reason, object, policy, set, outcome, phase, trace, request string, flags uint16) {
		on := func(bit int) bool { return flags&(1<<bit) != 0 }
		vault, err := broker.VaultName("pay")
		if err != nil {
			t.Fatal(err)
		}
		name, err := vault.Object(broker.KindSecrets, object)
		if err != nil || seq == 0 {
			t.Skip()
		}
		decision := func(bit int) (broker.Decision, string) {
			if on(bit) {
				return broker.Decision{Allowed: true, Policies: []string{policy}, PolicySet: set, BreakGlass: on(bit + 1)}, Allow
			}
			return broker.Decision{PolicySet: set, BreakGlass: on(bit + 1)}, Deny
		}
		var e broker.Event
		want := Record{
			Seq: seq, Time: time.Unix(0, nanos).UTC(), Principal: utf8Of(who), Groups: utf8All(group), Attributes: map[string]string{utf8Of(key): utf8Of(value)},
			Context: Context{Transport: utf8Of(transport), Reason: utf8Of(reason)},
			Action:  broker.ActionGetSecret, Resource: name.String(), Phase: utf8Of(phase), BreakGlass: on(1), Policies: []string{}, PolicySet: utf8Of(set),
			Outcome: utf8Of(outcome), Stale: on(2), Cached: on(3), Trace: utf8Of(trace), Request: utf8Of(request), Prev: strings.Repeat("0a", 32),
		}
		e.Time, e.Action, e.Resource, e.Phase, e.Outcome, e.Stale, e.Cached, e.Trace = time.Unix(0, nanos), want.Action, name, phase, outcome, on(2), on(3), trace
		e.Caller = broker.Caller{Principal: broker.Principal{ID: who, Groups: []string{group}, Attributes: map[string]string{key: value}}, Transport: transport, RequestID: request, Reason: reason}
		e.Decision, want.Decision = decision(0)
		if on(0) {
			want.Policies = utf8All(policy)
		}
		if on(4) {
			e.Caller.Peer = netip.MustParseAddr("10.0.0.1")
			want.Peer = "10.0.0.1"
		}
		if on(5) {
			e.Question = &broker.Question{Action: broker.ActionSetSecret, Resource: name, Principal: e.Caller.Principal}
			want.Question = &Question{Action: broker.ActionSetSecret, Resource: name.String(), Principal: want.Principal, Groups: want.Groups, Attributes: want.Attributes}
			if on(6) {
				d, text := decision(7)
				e.Question.Answer, want.Question.Decision = &d, text
				if d.Policies != nil {
					want.Question.Policies = utf8All(policy)
				}
			}
		}
		if on(9) {
			d, text := decision(10)
			e.Items = []broker.Item{{Resource: name, Decision: d, Outcome: outcome, Cached: on(12), Stale: on(13)}}
			item := Item{Resource: name.String(), Decision: text, BreakGlass: on(11), PolicySet: want.PolicySet, Outcome: want.Outcome, Cached: on(12), Stale: on(13)}
			if d.Policies != nil {
				item.Policies = utf8All(policy)
			}
			want.Items = []Item{item}
		}
		note := ""
		if on(14) {
			note, want.Checkpoint = group, utf8Of(group)
		}
		record, err := encode(nil, e, note)
		if err != nil {
			t.Fatal(err)
		}
		var prev digest
		if _, err := hex.Decode(prev[:], []byte(want.Prev)); err != nil {
			t.Fatal(err)
		}
		line, sum := appendLine(nil, seq, record, prev)
		line = line[:len(line)-1]
		written := want
		written.Items = slices.Clone(want.Items)
		for i := range written.Items {
			written.Items[i].PolicySet = "" // it is the record's
		}
		// What is no UTF-8 is escaped in the one and not in the other.
		valid := utf8.ValidString(strings.Join([]string{who, group, key, value, transport, reason, policy, set, outcome, phase, trace, request}, " "))
		if other, err := appendJSON(nil, written); valid && (err != nil || string(other) != string(line)) {
			t.Fatalf("%s\nencoding/json would write\n%s, %v", line, other, err)
		}
		got, err := decode(line)
		if err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v\nwant %+v", line, got, want)
		}
		k := parseLink(rawLine{text: line})
		var slow link
		slow.parseSlow(line)
		if k.seq != seq || !k.record || k.prev != prev || k.hash != sum || slow.seq != k.seq || slow.prev != k.prev {
			t.Errorf("%s: %+v, %+v", line, k, slow)
		}
		if note != "" && k.note != want.Checkpoint {
			t.Errorf("the note is %q", k.note)
		}
	})
}

// FuzzRead: whatever a file holds, it is read without a panic, and lines that
// are no records are never passed over in silence.
func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"seq\":1,\"decision\":\"allow\",\"prev\":\"\"}\n{\"seq\":2,\"ti"))
	f.Add([]byte("\x00\x00\n\n{\"seq\":2,\"prev\":\"\"}\n{\"prev\":\"" + strings.Repeat("ab", 32) + "\",\"seq\":3}"))
	f.Add([]byte("{\"seq\":18446744073709551615,\"prev\":\"\"}\n{\"seq\":1,\"prev\":\"\"}\n{\"seq\":0,\"prev\":\"\"}"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		records, findings := 0, 0
		for _, err := range Read(path) {
			if _, ok := errors.AsType[*ChainError](err); ok {
				findings++
			} else if err != nil {
				t.Fatal(err)
			} else {
				records++
			}
		}
		r, err := Verify(VerifyConfig{}, path)
		if err != nil {
			t.Fatal(err)
		}
		if r.Lines != uint64(records) && findings == 0 || r.Lines != r.Records && r.Total == 0 {
			t.Errorf("%d lines, %d records and %d findings; verified: %+v", r.Lines, records, findings, r)
		}
	})
}
