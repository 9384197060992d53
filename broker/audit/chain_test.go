package audit

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

// A log of ten thousand records, as lines without newlines.
func tenThousand(t testing.TB) [][]byte { return made(t, 10_000) }

func made(t testing.TB, n int) [][]byte {
	t.Helper()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	lines := make([][]byte, 0, n)
	var prev digest
	for i := range n {
		name, err := vault.Object(broker.KindSecrets, fmt.Sprintf("secret-%d", i%40))
		if err != nil {
			t.Fatal(err)
		}
		e := broker.Event{
			Time: at.Add(time.Duration(i) * time.Second),
			Caller: broker.Caller{
				Principal: broker.Principal{ID: fmt.Sprintf("spiffe://example.org/workload-%d", i%12), Groups: []string{"kubernetes/team-pay"}},
				Transport: broker.TransportGRPC, RequestID: fmt.Sprintf("r-%d", i), Peer: netip.MustParseAddr("10.0.0.1"),
			},
			Action: broker.ActionGetSecret, Resource: name, Outcome: broker.OutcomeOK,
			Decision: broker.Decision{Allowed: true, Policies: []string{"pay.cedar:3:1"}, PolicySet: strings.Repeat("5e", 32)},
		}
		record, err := encode(nil, e, "")
		if err != nil {
			t.Fatal(err)
		}
		var line []byte
		line, prev = appendLine(nil, uint64(i+1), record, prev)
		lines = append(lines, bytes.TrimSuffix(line, newline))
	}
	return lines
}

// tampering changes the lines of a window; i is the line that it is about.
type tampering struct {
	name string
	do   func(lines [][]byte, i int) [][]byte
	kind Kind
	// at are the lines that a finding may name, from i.
	at []int
	// reach is how many lines behind i it touches.
	reach int
}

func edit(from, to string) func([][]byte, int) [][]byte {
	return func(lines [][]byte, i int) [][]byte {
		lines[i] = bytes.Replace(lines[i], []byte(from), []byte(to), 1)
		return lines
	}
}

func swap(by int) func([][]byte, int) [][]byte {
	return func(lines [][]byte, i int) [][]byte {
		lines[i], lines[i+by] = lines[i+by], lines[i]
		return lines
	}
}

func move(by int) func([][]byte, int) [][]byte {
	return func(lines [][]byte, i int) [][]byte {
		line := lines[i]
		lines = slices.Delete(lines, i, i+1)
		return slices.Insert(lines, i+by, line)
	}
}

var tamperings = []tampering{
	{"a field", edit(`"decision":"allow"`, `"decision":"deny"`), Changed, []int{0}, 0},
	{"a character", func(l [][]byte, i int) [][]byte { l[i][len(l[i])/2] ^= 1; return l }, Changed, []int{0}, 0},
	{"its prev", func(l [][]byte, i int) [][]byte { l[i][len(l[i])-3] ^= 1; return l }, Changed, []int{0}, 0},
	{"its prev, to upper case", func(l [][]byte, i int) [][]byte {
		l[i] = append(l[i][:len(l[i])-66], bytes.ToUpper(l[i][len(l[i])-66:])...)
		return l
	}, Changed, []int{0}, 0},
	{"its seq", edit(`{"seq":`, `{"seq":7`), Changed, []int{0}, 0},
	{"to garbage", func(l [][]byte, i int) [][]byte { l[i] = []byte("garbage"); return l }, Changed, []int{0}, 0},
	{"cut", func(l [][]byte, i int) [][]byte { l[i] = l[i][:100]; return l }, Changed, []int{0}, 0},
	{"emptied", func(l [][]byte, i int) [][]byte { l[i] = nil; return l }, Changed, []int{0}, 0},
	{"dropped", func(l [][]byte, i int) [][]byte { return slices.Delete(l, i, i+1) }, Dropped, []int{0}, 0},
	{"three dropped", func(l [][]byte, i int) [][]byte { return slices.Delete(l, i, i+3) }, Dropped, []int{0}, 2},
	{"swapped", swap(1), Swapped, []int{0, 1}, 1},
	{"swapped over one", swap(2), Swapped, []int{0, 2}, 2},
	{"swapped, far", swap(9), Swapped, []int{0, 9}, 9},
	{"duplicated", func(l [][]byte, i int) [][]byte { return slices.Insert(l, i, bytes.Clone(l[i])) }, Duplicated, []int{1}, 0},
	{"duplicated, far", func(l [][]byte, i int) [][]byte { return slices.Insert(l, i+7, bytes.Clone(l[i])) }, Duplicated, []int{7}, 7},
	{"moved back", move(5), Moved, []int{0, 5}, 5},
	{"moved to the front", func(l [][]byte, i int) [][]byte {
		line := l[i+5]
		return slices.Insert(slices.Delete(l, i+5, i+6), i, line)
	}, Moved, []int{0, 1, 2, 3, 4, 5}, 5},
	{"an empty line added", func(l [][]byte, i int) [][]byte { return slices.Insert(l, i, nil) }, Added, []int{0}, 0},
}

// TestEveryRecord tampers with each record of a log in each way, and asks for
// what is found, where, and of which record.
//
// A log of ten thousand records need not be read ten thousand times: the chain
// over what is before a tampering is known, and once it is again as it would be,
// nothing behind can be found.
func TestEveryRecord(t *testing.T) {
	lines := tenThousand(t)
	links := make([]link, len(lines))
	for i, text := range lines {
		links[i] = parseLink(rawLine{Position: Position{File: "log", Line: i + 1}, text: text})
	}
	const context = 4
	for _, way := range tamperings {
		t.Run(way.name, func(t *testing.T) {
			tried := 0
			// What has no record behind it is TestTruncated's.
			for i := 0; i+way.reach+1 < len(lines); i += step {
				tried++
				end := min(i+way.reach+1+context, len(lines))
				window := make([][]byte, 0, end-i+1)
				for _, l := range lines[i:end] {
					window = append(window, bytes.Clone(l))
				}
				window = way.do(window, 0)
				c := newChain()
				if i > 0 {
					c.place(links[i-1])
				}
				for n, text := range window {
					c.add(parseLink(rawLine{Position: Position{File: "log", Line: i + n + 1}, text: text}))
				}
				c.end()
				if len(c.findings) == 0 {
					t.Fatalf("record %d: nothing is found", i+1)
				}
				if c.next != uint64(end+1) || c.hash != links[end-1].hash && end-i > way.reach+2 {
					t.Fatalf("record %d: the chain does not go on as it should: %d, want %d", i+1, c.next, end+1)
				}
				kind := way.kind
				if kind == Dropped && i == 0 {
					kind = Begins
				}
				for _, f := range c.findings {
					if f.Kind != kind || !slices.Contains(way.at, f.Position.Line-i-1) {
						t.Fatalf("record %d: %v, want %s at %v", i+1, f, kind, way.at)
					}
					if seq := uint64(i + 1); kind != Added && (f.Seq < seq || f.Seq > seq+uint64(way.reach)) {
						t.Fatalf("record %d: %v", i+1, f)
					}
				}
			}
			t.Logf("%d records", tried)
		})
	}
}

// writeLines writes a file of lines.
func writeLines(t testing.TB, path string, lines [][]byte) string {
	t.Helper()
	if err := os.WriteFile(path, append(bytes.Join(lines, newline), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestVerifyFile does the same with a whole file, for some of the records.
func TestVerifyFile(t *testing.T) {
	lines := made(t, 500)
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if r, err := Verify(VerifyConfig{}, writeLines(t, path, lines)); err != nil || !r.OK() || r.Records != 500 || r.First != 1 || r.Last != 500 || len(r.Findings) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, way := range tamperings {
		for _, i := range []int{0, 1, 249, 480, 499 - way.reach - 1} {
			changed := make([][]byte, 0, len(lines))
			for _, l := range lines {
				changed = append(changed, bytes.Clone(l))
			}
			r, err := Verify(VerifyConfig{}, writeLines(t, path, way.do(changed, i)))
			if err != nil || r.OK() || len(r.Findings) == 0 {
				t.Fatalf("%s, record %d: %+v, %v", way.name, i+1, r, err)
			}
			for _, f := range r.Findings {
				if !slices.Contains(way.at, f.Position.Line-i-1) || f.Position.File != path {
					t.Errorf("%s, record %d: %v", way.name, i+1, f)
				}
			}
		}
	}
}

// BenchmarkVerify is a log of a million records.
func BenchmarkVerify(b *testing.B) {
	const records = 1_000_000
	path := writeLines(b, filepath.Join(b.TempDir(), "audit.jsonl"), made(b, records))
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		r, err := Verify(VerifyConfig{}, path)
		if err != nil || !r.OK() || r.Records != records {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkRead reads each record in full as well.
func BenchmarkRead(b *testing.B) {
	const records = 100_000
	path := writeLines(b, filepath.Join(b.TempDir(), "audit.jsonl"), made(b, records))
	for b.Loop() {
		for _, err := range Read(path) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
