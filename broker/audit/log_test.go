package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

func open(t *testing.T, c audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func record(t *testing.T, l *audit.Log, principals ...string) {
	t.Helper()
	for _, p := range principals {
		if err := l.Record(t.Context(), event(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func event(principal string) broker.Event {
	return broker.Event{
		Caller:  broker.Caller{Principal: broker.Principal{ID: principal}},
		Action:  broker.ActionGetSecret,
		Outcome: broker.OutcomeOK,
	}
}

// lines returns the lines of a file, which ends with a newline.
func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 {
		return nil
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		t.Fatalf("%s does not end with a newline: %q", path, text)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// verify walks the chain over lines, and returns the principals of the records
// with their seq. A line that is no record is a link of the chain, too.
func verify(t *testing.T, lines []string) (records []string) {
	t.Helper()
	prev := ""
	for i, line := range lines {
		var r struct {
			Seq       int
			Principal string
			Prev      string
		}
		if json.Unmarshal([]byte(line), &r) != nil {
			records = append(records, "-")
		} else {
			if r.Prev != prev {
				t.Errorf("line %d: prev is %q, want %q", i+1, r.Prev, prev)
			}
			records = append(records, fmt.Sprint(r.Seq, r.Principal))
		}
		sum := sha256.Sum256([]byte(line))
		prev = hex.EncodeToString(sum[:])
	}
	return records
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRecordLine(t *testing.T) {
	name, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/db-password")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: path})
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_900_000, time.FixedZone("", 3600))
	decision := broker.Decision{Allowed: true, Policies: []string{"a", "b"}, PolicySet: "5e7"}
	for _, e := range []broker.Event{
		{Time: at, Action: broker.ActionAuthenticate, Outcome: string(broker.CodeBadCredentials)},
		{
			Time: at,
			Caller: broker.Caller{
				Principal: broker.Principal{
					ID:         "spiffe://example.org/<billing>&\"\n\u2028",
					Groups:     []string{"dev/a", "dev/b"},
					Attributes: map[string]string{"pod": "p-1", "namespace": "pay"},
				},
				Peer:      netip.MustParseAddr("10.0.0.1"),
				Transport: broker.TransportREST,
				RequestID: "r-1",
			},
			Action:   broker.ActionListSecrets,
			Resource: name.Vault().Collection(broker.KindSecrets),
			Decision: decision,
			Outcome:  broker.OutcomeOK,
			Cached:   true,
			Stale:    true,
			Items:    []broker.Item{{Resource: name, Decision: decision, Outcome: broker.OutcomeOK}, {Resource: name, Outcome: string(broker.CodePolicyDenied)}},
			Trace:    "0af7651916cd43dd8448eb211c80319c",
		},
		{Time: at, Action: broker.ActionSetSecret, Resource: name, Phase: broker.PhaseIntent, Decision: decision},
		{
			Time: at, Action: broker.ActionExplainAccess, Resource: name.Vault(), Decision: decision, Outcome: broker.OutcomeOK,
			Question: &broker.Question{
				Action: broker.ActionGetSecret, Resource: name, Answer: &broker.Decision{Policies: []string{"c"}},
				Principal: broker.Principal{ID: "dev/a", Groups: []string{"dev/g"}, Attributes: map[string]string{"pod": "p-1"}},
			},
		},
		{
			Time: at, Action: broker.ActionExplainAccess, Resource: name.Vault(), Decision: decision, Outcome: broker.OutcomeOK,
			Question: &broker.Question{Action: broker.ActionGetSecret, Resource: name},
		},
	} {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got := lines(t, path)
	verify(t, got)
	for i := range got {
		_, rest, _ := strings.Cut(got[i], `"prev":"`)
		got[i] = strings.TrimSuffix(got[i], rest)
	}
	want(
		t, got,
		`{"seq":1,"time":"2026-03-04T04:06:07.0089Z","principal":"","groups":[],"attributes":{},"context":{},"action":"authenticate","resource":"",`+
			`"decision":"deny","policies":[],"policySet":"","outcome":"BAD_CREDENTIALS","stale":false,"cached":false,"trace":"","request":"","peer":"","prev":"`,
		`{"seq":2,"time":"2026-03-04T04:06:07.0089Z","principal":"spiffe://example.org/<billing>&\"\n\u2028","groups":["dev/a","dev/b"],`+
			`"attributes":{"namespace":"pay","pod":"p-1"},"context":{"transport":"rest"},"action":"listSecrets","resource":"vaults/pay/secrets",`+
			`"decision":"allow","policies":["a","b"],"policySet":"5e7","outcome":"ok","stale":true,"cached":true,`+
			`"items":[{"resource":"vaults/pay/secrets/db-password","decision":"allow","policies":["a","b"],"outcome":"ok"},`+
			`{"resource":"vaults/pay/secrets/db-password","decision":"deny","outcome":"POLICY_DENIED"}],`+
			`"trace":"0af7651916cd43dd8448eb211c80319c","request":"r-1","peer":"10.0.0.1","prev":"`,
		`{"seq":3,"time":"2026-03-04T04:06:07.0089Z","principal":"","groups":[],"attributes":{},"context":{},"action":"setSecret","resource":"vaults/pay/secrets/db-password","phase":"intent",`+
			`"decision":"allow","policies":["a","b"],"policySet":"5e7","outcome":"","stale":false,"cached":false,"trace":"","request":"","peer":"","prev":"`,
		`{"seq":4,"time":"2026-03-04T04:06:07.0089Z","principal":"","groups":[],"attributes":{},"context":{},"action":"explainAccess","resource":"vaults/pay",`+
			`"decision":"allow","policies":["a","b"],"policySet":"5e7","outcome":"ok","stale":false,"cached":false,`+
			`"question":{"principal":"dev/a","groups":["dev/g"],"attributes":{"pod":"p-1"},"action":"getSecret","resource":"vaults/pay/secrets/db-password",`+
			`"decision":"deny","policies":["c"]},"trace":"","request":"","peer":"","prev":"`,
		`{"seq":5,"time":"2026-03-04T04:06:07.0089Z","principal":"","groups":[],"attributes":{},"context":{},"action":"explainAccess","resource":"vaults/pay",`+
			`"decision":"allow","policies":["a","b"],"policySet":"5e7","outcome":"ok","stale":false,"cached":false,`+
			`"question":{"action":"getSecret","resource":"vaults/pay/secrets/db-password"},"trace":"","request":"","peer":"","prev":"`,
	)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestEventHasNoValue: there is no way for a value into a record.
func TestEventHasNoValue(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Interface, reflect.Func, reflect.Chan:
			t.Errorf("%s is a %s, which could hold anything", path, typ)
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			if typ.Kind() == reflect.Map {
				walk(path+" key", typ.Key())
			}
			walk(path+"[]", typ.Elem())
		case reflect.Struct:
			if typ == reflect.TypeFor[broker.Value]() || typ == reflect.TypeFor[broker.SecretValue]() {
				t.Errorf("%s holds a value", path)
			}
			if typ == reflect.TypeFor[time.Time]() || typ == reflect.TypeFor[netip.Addr]() {
				return
			}
			for f := range typ.Fields() {
				walk(path+"."+f.Name, f.Type)
			}
		}
	}
	walk("Event", reflect.TypeFor[broker.Event]())
}

func TestConcurrentWritersAndReopen(t *testing.T) {
	for _, s := range []audit.Sync{audit.SyncInterval, audit.SyncAlways, audit.SyncNone} {
		t.Run(s.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			const writers, each, times = 8, 20, 3
			var acknowledged atomic.Int64
			for range times {
				l := open(t, audit.Config{Path: path, Sync: s})
				var wg sync.WaitGroup
				for w := range writers {
					wg.Go(func() {
						for range each {
							switch err := l.Record(t.Context(), event(fmt.Sprintf("w%d", w))); {
							case err == nil:
								acknowledged.Add(1)
							case !strings.Contains(err.Error(), "look at its disk"): // a busy one is slow, and may have it
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var written int64
			for i, r := range verify(t, lines(t, path)) {
				if r == fmt.Sprint(i+1) { // the log's own, that it is well again
					continue
				}
				written++
				if !strings.HasPrefix(r, fmt.Sprintf("%dw", i+1)) {
					t.Fatalf("record %d is %q", i+1, r)
				}
			}
			if written < acknowledged.Load() || written > writers*each*times || acknowledged.Load() < writers*each*times/2 {
				t.Errorf("%d records of %d, and %d were acknowledged", written, writers*each*times, acknowledged.Load())
			}
		})
	}
}

// TestOpenContinues opens what crashes leave behind.
func TestOpenContinues(t *testing.T) {
	whole := func(t *testing.T) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "whole")
		l := open(t, audit.Config{Path: path})
		record(t, l, "a", "b")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, c := range map[string]struct {
		change func(string) string
		want   []string
		warns  bool
	}{
		"whole":                       {func(s string) string { return s }, []string{"1a", "2b", "3c"}, false},
		"a record begun":              {func(s string) string { return s + `{"seq":3,"ti` }, []string{"1a", "2b", "-", "3c"}, true},
		"a record begun, long":        {func(s string) string { return s + `{"seq":3,"ti` + strings.Repeat("x", 300_000) }, []string{"1a", "2b", "-", "3c"}, true},
		"two crashes":                 {func(s string) string { return s + "{\"seq\":3,\n{\"seq\":3" }, []string{"1a", "2b", "-", "-", "3c"}, true},
		"zeros":                       {func(s string) string { return s + "\x00\x00\x00" }, []string{"1a", "2b", "-", "3c"}, true},
		"only the newline is missing": {func(s string) string { return strings.TrimSuffix(s, "\n") }, []string{"1a", "2b", "3c"}, false},
		"empty":                       {func(string) string { return "" }, []string{"1c"}, false},
		"the first record begun":      {func(s string) string { return s[:20] }, []string{"-", "1c"}, true},
		"the first record just begun": {func(s string) string { return s[:3] }, []string{"-", "1c"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			if err := os.WriteFile(path, []byte(c.change(whole(t))), 0o600); err != nil {
				t.Fatal(err)
			}
			var logged bytes.Buffer
			l := open(t, audit.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			record(t, l, "c")
			want(t, verify(t, lines(t, path)), c.want...)
			if warned := strings.Contains(logged.String(), "level=WARN"); warned != c.warns {
				t.Errorf("warned: %t, want %t: %s", warned, c.warns, &logged)
			}
		})
	}
}

// TestOpenRefuses: what is no audit log is left as it is.
func TestOpenRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"text":                     "hello\n",
		"JSON lines":               "{\"level\":\"info\"}\n{\"level\":\"info\"}\n",
		"binary":                   strings.Repeat("\x00\x01", 100_000),
		"a record begun, and more": "{\"seq\":1,\n{\"x\":1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Open(audit.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "no audit log") {
				t.Errorf("got %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != text {
				t.Errorf("the file was changed: %q, %v", after, err)
			}
		})
	}
	t.Run("no folder", func(t *testing.T) {
		_, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "no", "audit.jsonl")})
		if err == nil || !strings.Contains(err.Error(), "make it") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a device", func(t *testing.T) {
		if _, err := audit.Open(audit.Config{Path: os.DevNull}); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("got %v", err)
		}
	})
}

func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: path})
	if _, err := audit.Open(audit.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("a second writer: %v", err)
	}
	record(t, l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	record(t, open(t, audit.Config{Path: path}), "b")
	want(t, verify(t, lines(t, path)), "1a", "2b")
}

// TestRotation takes the file away while it is open.
func TestRotation(t *testing.T) {
	start := func(t *testing.T) (l *audit.Log, path, old string) {
		t.Helper()
		path = filepath.Join(t.TempDir(), "audit.jsonl")
		l = open(t, audit.Config{Path: path, Sync: audit.SyncAlways})
		record(t, l, "a", "b")
		return l, path, path + ".1"
	}
	t.Run("renamed", func(t *testing.T) {
		l, path, old := start(t)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		record(t, l, "c", "d")
		want(t, verify(t, append(lines(t, old), lines(t, path)...)), "1a", "2b", "3c", "4d")
		if n := len(lines(t, path)); n != 2 {
			t.Errorf("the new file has %d lines, want 2", n)
		}
		if _, err := audit.Open(audit.Config{Path: path}); err == nil {
			t.Error("the new file is not locked")
		}
		if err := open(t, audit.Config{Path: old}).Close(); err != nil {
			t.Errorf("the old file: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		record(t, open(t, audit.Config{Path: path}), "e")
		want(t, verify(t, append(lines(t, old), lines(t, path)...)), "1a", "2b", "3c", "4d", "5e")
	})
	t.Run("renamed, and made anew", func(t *testing.T) {
		l, path, old := start(t)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		record(t, l, "c")
		want(t, verify(t, append(lines(t, old), lines(t, path)...)), "1a", "2b", "3c")
	})
	t.Run("removed", func(t *testing.T) {
		l, path, _ := start(t)
		before := lines(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		record(t, l, "c")
		want(t, verify(t, append(before, lines(t, path)...)), "1a", "2b", "3c")
	})
	t.Run("copied and cut", func(t *testing.T) {
		l, path, _ := start(t)
		before := lines(t, path)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		record(t, l, "c")
		want(t, verify(t, append(before, lines(t, path)...)), "1a", "2b", "3c")
	})
	t.Run("added to", func(t *testing.T) {
		l, path, _ := start(t)
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("mine"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		record(t, l, "c")
		want(t, verify(t, lines(t, path)), "1a", "2b", "-", "3c")
	})
	t.Run("the folder gone, and back", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "logs")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "audit.jsonl")
		l := open(t, audit.Config{Path: path})
		record(t, l, "a")
		before := lines(t, path)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := l.Record(t.Context(), event("lost")); err == nil {
			t.Fatal("recorded without a folder")
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		record(t, l, "b")
		// The second says that the log could not be written.
		want(t, verify(t, append(before, lines(t, path)...)), "1a", "2", "3b")
	})
	t.Run("replaced by what is no log", func(t *testing.T) {
		l, path, old := start(t)
		if err := os.Rename(path, old); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Record(t.Context(), event("c")); err == nil || !strings.Contains(err.Error(), "no audit log") {
			t.Fatalf("got %v", err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		record(t, l, "d")
		want(t, verify(t, append(lines(t, old), lines(t, path)...)), "1a", "2b", "3", "4d")
	})
}

func TestClosed(t *testing.T) {
	l := open(t, audit.Config{Path: filepath.Join(t.TempDir(), "audit.jsonl")})
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Record(t.Context(), event("a")); err == nil {
		t.Error("recorded in a closed log")
	}
}

// TestCanceled: a caller that is gone is recorded all the same.
func TestCanceled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, audit.Config{Path: path})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Record(ctx, event("a")); err != nil {
		t.Fatal(err)
	}
	want(t, verify(t, lines(t, path)), "1a")
}

func TestSyncWords(t *testing.T) {
	for _, s := range []audit.Sync{audit.SyncInterval, audit.SyncAlways, audit.SyncNone} {
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got := audit.Sync(-1)
		if err := got.UnmarshalText(text); err != nil || got != s {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	var s audit.Sync
	if err := s.UnmarshalText([]byte("often")); err == nil || !strings.Contains(err.Error(), `"always"`) {
		t.Errorf("got %v", err)
	}
}
