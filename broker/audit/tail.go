package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// tailWindow is how much of the end of a file is read first, and maxTail how
	// much at most to find a record.
	tailWindow = 64 << 10
	maxTail    = 64 << 20
)

var newline = []byte("\n")

// tail is how a file ends.
type tail struct {
	is   os.FileInfo // which file it is
	size int64
	// seq is that of the last whole record; 0 if there is none.
	seq uint64
	// hash is that of the last line, whatever it is.
	hash digest
	// unended: the last line has no newline.
	unended bool
	// checkpoint: the last record is one.
	checkpoint bool
	// unreadable counts the lines behind the last whole record.
	unreadable int
}

var errNoLog = errors.New("this is no audit log, and is left alone; name another file")

// readTail reads how f ends. A file without a record is refused, unless it is
// empty or begins like one.
func readTail(f file) (tail, error) {
	info, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	t := tail{is: info, size: info.Size()}
	if t.size == 0 {
		return t, nil
	}
	for window := int64(tailWindow); ; window *= 2 {
		from := max(0, t.size-window)
		text := make([]byte, t.size-from)
		if _, err := f.ReadAt(text, from); err != nil && !errors.Is(err, io.EOF) {
			return tail{}, err
		}
		t.unended = !bytes.HasSuffix(text, newline)
		lines := bytes.Split(bytes.TrimSuffix(text, newline), newline)
		if from > 0 {
			lines = lines[1:] // its beginning is not in the window
		}
		for t.unreadable = 0; t.unreadable < len(lines); t.unreadable++ {
			if seq, ok := parseSeq(lines[len(lines)-1-t.unreadable]); ok {
				t.seq, t.hash = seq, sha256.Sum256(lines[len(lines)-1])
				t.checkpoint = bytes.Contains(lines[len(lines)-1], noteBegins)
				return t, nil
			}
		}
		switch {
		case from > 0 && window < maxTail:
		case from > 0:
			return tail{}, fmt.Errorf("there is no record in the last %d MiB: %w", maxTail>>20, errNoLog)
		case len(lines) == 1 && beginsRecord(lines[0]):
			t.hash = sha256.Sum256(lines[0])
			return t, nil
		default:
			return tail{}, errNoLog
		}
	}
}

// parseSeq returns the seq of a line that is a record.
func parseSeq(line []byte) (seq uint64, ok bool) {
	var r struct {
		Seq  uint64  `json:"seq"`
		Prev *string `json:"prev"`
	}
	if json.Unmarshal(line, &r) != nil || r.Seq == 0 || r.Prev == nil {
		return 0, false
	}
	return r.Seq, true
}

// beginsRecord reports whether line could be the first part of a record.
func beginsRecord(line []byte) bool {
	const first = `{"seq":`
	n := min(len(line), len(first))
	return string(line[:n]) == first[:n]
}
