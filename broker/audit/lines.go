package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// maxLine is the longest line that is read. A record of a thousand items has
// some 200 KiB.
const maxLine = maxTail

// Position is a line of a file. Lines count from 1.
type Position struct {
	File string
	Line int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// rawLine is a line without its newline. The text is valid until the next one.
type rawLine struct {
	Position

	text []byte
	// unended: the file ends without a newline.
	unended bool
}

// eachLine calls f for each line of the files, in order, until f returns false.
// A file that cannot be read is an error.
func eachLine(files []string, f func(rawLine) bool) error {
	for _, name := range files {
		in, err := os.Open(name) //nolint:gosec // the user names them
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		more, err := linesOf(name, in, f)
		if err = errors.Join(err, in.Close()); err != nil || !more {
			return err
		}
	}
	return nil
}

func linesOf(name string, in io.Reader, f func(rawLine) bool) (more bool, err error) {
	r := bufio.NewReaderSize(in, 256<<10)
	var long []byte
	l := rawLine{Position: Position{File: name}}
	for {
		part, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(long)+len(part) <= maxLine:
			long = append(long, part...)
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return false, fmt.Errorf("audit: %s:%d: a line of more than %d MiB: %w", name, l.Line+1, maxLine>>20, errNoLog)
		case err != nil && !errors.Is(err, io.EOF):
			return false, fmt.Errorf("audit: %w", err)
		}
		l.text = part
		if len(long) > 0 {
			long = append(long, part...)
			l.text = long
		}
		if len(l.text) == 0 { // the end
			return true, nil
		}
		l.Line++
		l.unended = err != nil
		l.text = bytes.TrimSuffix(l.text, newline)
		if !f(l) {
			return false, nil
		}
		long = long[:0]
	}
}

// Order sorts the files of one log by the seq of their first records, so that
// any way to name a rotated log will do. Files without a record come last.
func Order(files []string) ([]string, error) {
	first := make(map[string]uint64, len(files))
	for _, name := range files {
		first[name] = ^uint64(0)
		err := eachLine([]string{name}, func(l rawLine) bool {
			seq, ok := parseSeq(l.text)
			if ok {
				first[name] = seq
			}
			return !ok
		})
		if err != nil {
			return nil, err
		}
	}
	ordered := slices.Clone(files)
	slices.SortStableFunc(ordered, func(a, b string) int {
		switch {
		case first[a] < first[b]:
			return -1
		case first[a] > first[b]:
			return 1
		}
		return 0
	})
	return ordered, nil
}
