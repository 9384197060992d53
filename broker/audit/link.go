package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
)

type digest = [sha256.Size]byte

// link is what the chain needs of a line.
type link struct {
	Position

	hash digest
	// record: the line is one, with these two. first is a record without prev.
	record bool
	seq    uint64
	prev   digest
	first  bool
	// cut: the line is the beginning of a record, as a crash leaves it.
	cut bool
	// note is that of a checkpoint, and text its line.
	note string
	text []byte
}

var (
	seqBegins  = []byte(`{"seq":`)
	prevBegins = []byte(`,"prev":"`)
	prevEnds   = []byte(`"}`)
	// A quote that is not escaped stands only at a string's ends, so these bytes
	// are a member wherever they are in valid JSON.
	noteBegins = []byte(`,"checkpoint":"`)
)

// parseLink reads a line. It is called for each line of a log, and reads those
// that Log has written without a parser for all of JSON; the chain says whether
// the rest of the line is what it was.
func parseLink(l rawLine) link {
	k := link{Position: l.Position, hash: sha256.Sum256(l.text)}
	if !k.parseQuick(l.text) {
		k.parseSlow(l.text)
	}
	if k.record && bytes.Contains(l.text, noteBegins) {
		var c struct {
			Checkpoint string `json:"checkpoint"`
		}
		_ = json.Unmarshal(l.text, &c)
		k.note, k.text = c.Checkpoint, bytes.Clone(l.text)
	}
	return k
}

// parseQuick reads {"seq":1,…,"prev":"…"}.
func (k *link) parseQuick(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, seqBegins)
	if !ok {
		return false
	}
	digits := bytes.IndexByte(rest, ',')
	if digits < 1 || digits > 20 || rest[0] == '0' {
		return false
	}
	seq, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
	if err != nil {
		return false
	}
	rest, ok = bytes.CutSuffix(rest, prevEnds)
	if !ok {
		return false
	}
	at := len(rest) - hex.EncodedLen(sha256.Size)
	if bytes.HasSuffix(rest, prevBegins) {
		k.first = true
	} else if at < len(prevBegins) || !bytes.HasSuffix(rest[:at], prevBegins) || !k.setPrev(rest[at:]) {
		return false
	}
	k.record, k.seq = true, seq
	return true
}

// setPrev takes lower case only: what differs from what was written is changed.
func (k *link) setPrev(text []byte) bool {
	n, err := hex.Decode(k.prev[:], text)
	return err == nil && n == sha256.Size && !bytes.ContainsAny(text, "ABCDEF")
}

// parseSlow tells what else a line is.
func (k *link) parseSlow(text []byte) {
	var r struct {
		Seq  uint64  `json:"seq"`
		Prev *string `json:"prev"`
	}
	err := json.Unmarshal(text, &r)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		// Zeros are what a power cut leaves of a block that was never written.
		zeros := len(bytes.TrimRight(text, "\x00")) < len(text)
		k.cut = zeros || beginsRecord(text) && syntax.Error() == "unexpected end of JSON input"
		return
	}
	if err != nil || r.Seq == 0 || r.Prev == nil {
		return
	}
	k.seq, k.first = r.Seq, *r.Prev == ""
	k.record = k.first || len(*r.Prev) == hex.EncodedLen(sha256.Size) && k.setPrev([]byte(*r.Prev))
}
