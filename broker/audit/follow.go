package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"
)

// followInterval is how often Follow looks for more.
const followInterval = 250 * time.Millisecond

// Follow reads the records of the file that a log is written to, and goes on
// with those that come, also when the log goes on in a new file of that name,
// until ctx ends. It does not check the chain: what is behind is not known, and
// lines that are no records are left out. An error is the last.
func Follow(ctx context.Context, path string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(Record{}, fmt.Errorf("audit: %w", err))
			return
		}
		defer func() { f.Close() }()
		t := follower{position: Position{File: path}, in: bufio.NewReaderSize(f, tailWindow)}
		tick := time.NewTicker(followInterval)
		defer tick.Stop()
		for {
			// Whether there is a new file is asked first, or what came last into the
			// old one could be missed.
			next, err := successor(f, path)
			if err == nil {
				var more bool
				if more, err = t.read(yield); !more && err == nil {
					return
				}
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("audit: %w", err))
				return
			}
			if next != nil {
				f.Close()
				f, t = next, follower{position: Position{File: path}, in: bufio.NewReaderSize(next, tailWindow)}
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// successor opens the file of that name, if it is another than f.
func successor(f *os.File, path string) (*os.File, error) {
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ours, err := f.Stat()
	if err != nil || os.SameFile(ours, there) {
		return nil, err
	}
	next, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return next, err
}

// follower reads a file that grows.
type follower struct {
	in       *bufio.Reader
	position Position
	// begun is the beginning of a line whose end has not come.
	begun []byte
}

func (t *follower) read(yield func(Record, error) bool) (more bool, err error) {
	for {
		part, err := t.in.ReadSlice('\n')
		if len(t.begun)+len(part) > maxLine {
			return false, fmt.Errorf("%s: a line of more than %d MiB: %w", t.position.File, maxLine>>20, errNoLog)
		}
		t.begun = append(t.begun, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
		t.position.Line++
		r, err := decode(bytes.TrimSuffix(t.begun, newline))
		t.begun = t.begun[:0]
		if err != nil {
			continue
		}
		r.Position = t.position
		if !yield(r, nil) {
			return false, nil
		}
	}
}
