package audit

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func newSigner(t testing.TB, name string) *Signer {
	t.Helper()
	private, err := NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(private+"\n", "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keysOf(t testing.TB, s *Signer) *Keys {
	t.Helper()
	k, err := ParseKeys("# ours\n" + s.PublicKey() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// recorded makes a log of n records and its checkpoints, and returns its lines.
func recorded(t testing.TB, s *Signer, n, every int) (path string, lines [][]byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(Config{Path: path, Sync: SyncNone, Signer: s, CheckpointEvery: every})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, bytes.Split(bytes.TrimSuffix(text, newline), newline)
}

// TestCheckpointIsANote: others can read what is signed.
func TestCheckpointIsANote(t *testing.T) {
	s := newSigner(t, "audit.example.org/keyward")
	_, lines := recorded(t, s, 3, 100)
	last, err := decode(lines[4])
	if err != nil || last.Action != ActionCheckpoint {
		t.Fatalf("%+v, %v", last, err)
	}
	v, err := note.NewVerifier(s.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(last.Checkpoint), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	k := parseLink(rawLine{text: lines[3]})
	want := "audit.example.org/keyward\n4\n" + base64.StdEncoding.EncodeToString(k.hash[:]) + "\ntime " + last.Time.Format(time.RFC3339Nano) + "\n"
	if n.Text != want {
		t.Errorf("got %q, want %q", n.Text, want)
	}
	c, err := ParseCheckpoint(last.Checkpoint)
	if err != nil || c.Seq != 4 || c.Hash != k.hash || !c.Time.Equal(last.Time) || c.Origin != "audit.example.org/keyward" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCheckpointsWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		c := Config{Path: path, Signer: newSigner(t, "k"), CheckpointEvery: 3, CheckpointInterval: time.Minute}
		l, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		step := func(records int, wait time.Duration, want string) {
			t.Helper()
			for range records {
				if err := l.Record(t.Context(), act("a")); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(wait)
			synctest.Wait()
			if got := principals(t, path); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
		step(0, time.Hour, "")
		step(2, 0, "a [checkpoint] a") // a new log begins with one
		step(2, 0, "a [checkpoint] a a a [checkpoint]")
		step(0, time.Hour, "a [checkpoint] a a a [checkpoint]")
		step(1, 50*time.Second, "a [checkpoint] a a a [checkpoint] a")
		step(0, 15*time.Second, "a [checkpoint] a a a [checkpoint] a [checkpoint]")
		step(1, 0, "a [checkpoint] a a a [checkpoint] a [checkpoint] a")
		// At the end, and not again for nothing.
		all := "a [checkpoint] a a a [checkpoint] a [checkpoint] a [checkpoint]"
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = Open(c); err != nil {
				t.Fatal(err)
			}
			step(0, time.Hour, all)
		}
		_ = l.Close()
		r, err := Verify(VerifyConfig{Keys: keysOf(t, c.Signer)}, path)
		if err != nil || !r.OK() || r.Checkpoints != 4 || r.Checkpoint.Seq != 9 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestTruncated: what was cut off behind any record is found by a checkpoint
// that was kept elsewhere, and by nothing else.
func TestTruncated(t *testing.T) {
	s := newSigner(t, "k")
	path, lines := recorded(t, s, 10_000, 1000)
	keys := keysOf(t, s)
	r, err := Verify(VerifyConfig{Keys: keys}, path)
	if err != nil || !r.OK() || r.Checkpoints != 11 || r.Records != 10_011 {
		t.Fatalf("%+v, %v", r, err)
	}
	kept := *r.Checkpoint
	for n := len(lines) - 1; n >= 0; n -= 97 {
		r, err := Verify(VerifyConfig{Keys: keys, Anchors: []Checkpoint{kept}}, writeLines(t, path, lines[:n]))
		if err != nil {
			t.Fatal(err)
		}
		if n > int(kept.Seq)-1 {
			if !r.OK() { // all that the checkpoint tells of is there
				t.Errorf("%d lines: %v", n, r.Findings)
			}
			continue
		}
		f := r.Findings[len(r.Findings)-1]
		if r.OK() || f.Kind != Truncated || f.Seq != uint64(n)+1 || f.Last != kept.Seq || f.Position.Line != n {
			t.Fatalf("%d lines: %v", n, r.Findings)
		}
	}
}

// TestForged: a log that was made anew, by who has no key, is found by its
// checkpoints; by who has, by one that was kept elsewhere.
func TestForged(t *testing.T) {
	s, other := newSigner(t, "k"), newSigner(t, "k")
	path, lines := recorded(t, s, 20, 5)
	r, err := Verify(VerifyConfig{Keys: keysOf(t, s)}, path)
	if err != nil || !r.OK() {
		t.Fatal(r, err)
	}
	kept := *r.Checkpoint
	anew, _ := recorded(t, s, 20, 5)
	others, _ := recorded(t, other, 20, 5)
	bare, _ := recorded(t, nil, 30, 5)
	longer, _ := recorded(t, s, 30, 5)
	clone := func(change func(all [][]byte) [][]byte) string {
		all := make([][]byte, 0, len(lines))
		for _, l := range lines {
			all = append(all, bytes.Clone(l))
		}
		return writeLines(t, filepath.Join(t.TempDir(), "audit.jsonl"), change(all))
	}
	last := func(from, to string) string {
		return clone(func(all [][]byte) [][]byte {
			n := len(all) - 1
			all[n] = bytes.Replace(all[n], []byte(from), []byte(to), 1)
			return all
		})
	}
	for name, c := range map[string]struct {
		path  string
		keys  *Signer
		kept  bool
		kinds []Kind
	}{
		"as it was":                          {path, s, true, nil},
		"anew, with the key":                 {anew, s, false, nil},
		"anew, with the key; one was kept":   {anew, s, true, []Kind{Forged}},
		"longer, with the key; one was kept": {longer, s, true, []Kind{Forged}},
		"anew, with another key":             {others, s, false, []Kind{Forged, Forged, Forged, Forged, Forged, Forged}},
		"anew, without checkpoints":          {bare, s, false, []Kind{Forged}},
		"without a key":                      {others, nil, false, nil},
		"without a key; one was kept":        {others, nil, true, []Kind{Forged}},
		"one was kept that another signed":   {path, other, true, []Kind{Forged, Forged, Forged, Forged, Forged, Forged, Forged}},
		"the last line's field":              {last(`"outcome":"ok"`, `"outcome":"OK"`), s, false, []Kind{Forged}},
		"the last line's principal":          {last(`"principal":""`, `"principal":"x"`), s, false, []Kind{Forged}},
		"the last line's time":               {last(`"time":"2`, `"time":"3`), s, false, []Kind{Forged}},
		"the last line's spaces":             {last(`,"time`, `, "time`), s, false, []Kind{Forged}},
		"the last line's signature":          {last(`— k `, `— k A`), nil, false, nil},
		"its signature, with the key":        {last(`— k `, `— k A`), s, false, []Kind{Forged}},
		"its number":                         {last(`\n24\n`, `\n22\n`), nil, false, []Kind{Forged}},
	} {
		t.Run(name, func(t *testing.T) {
			conf := VerifyConfig{}
			if c.keys != nil {
				conf.Keys = keysOf(t, c.keys)
			}
			if c.kept {
				conf.Anchors = []Checkpoint{kept}
			}
			r, err := Verify(conf, c.path)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []Kind
			for _, f := range r.Findings {
				kinds = append(kinds, f.Kind)
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("got %v, want %v", r.Findings, c.kinds)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	private, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", "PRIVATE+KEY+k", strings.TrimSuffix(private, "=") + "A", private + private, "k+00000000+AAAA"} {
		if _, err := NewSigner(bad, ""); err == nil || strings.Contains(err.Error(), private[len(private)-20:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "# none", private, "k+00000000+AAAA", "x"} {
		if _, err := ParseKeys(bad); err == nil || strings.Contains(err.Error(), private[len(private)-20:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := NewKey("with space"); err == nil {
		t.Error("a name with a space")
	}
	if _, err := NewSigner(private, "two\nlines"); err == nil {
		t.Error("an origin of two lines")
	}
}

// FuzzCheckpoint: what is taken as a checkpoint says what its text does.
func FuzzCheckpoint(f *testing.F) {
	_, lines := recorded(f, newSigner(f, "k"), 1, 5)
	r, err := decode(lines[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Checkpoint)
	f.Add("o\n1\n\n\n— k A\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCheckpoint(text)
		if err != nil {
			return
		}
		head := c.Origin + "\n" + strconv.FormatUint(c.Seq, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Hash[:])
		if !strings.HasPrefix(text, head) {
			t.Errorf("%q reads as %q", text, head)
		}
	})
}
