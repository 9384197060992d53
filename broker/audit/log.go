// Package audit keeps the record of what was asked, decided and done: a file of
// JSON lines, appended to, in which each line holds the hash of the one before.
//
//	log, err := audit.Open(audit.Config{Path: "audit.jsonl"})
//	…
//	err = log.Record(ctx, event) // nil: the record is in the file
//
// # The chain
//
// "seq" counts records from 1. "prev" is the SHA-256, in hexadecimal, of the
// bytes of the line before, without its newline; it is empty in the first. A
// line changed, dropped, added or moved breaks the chain at the line behind it.
//
// The chain goes on over restarts and over what crashes leave behind: a last
// line without an end is given its newline and kept, the next record has its
// hash in "prev", and seq continues from the last whole record.
//
// # Rotation
//
// A file that was renamed or removed is left, and a new one of the configured
// name is begun before the next record is written, so that no record goes where
// nobody looks. It continues seq, and its first "prev" is the hash of the last
// line of the file before. A file that was cut or added to by others is
// continued from what it then holds. Both are logged.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
)

// syncInterval is how often SyncInterval syncs.
const syncInterval = time.Second

// Config says where the log is, and what a power cut may cost.
type Config struct {
	// Path is the file. It is made with mode 0600 if it is not there; its folder
	// must be.
	Path string
	// Sync is SyncInterval if it is not set.
	Sync Sync
	// Logger may be nil.
	Logger *slog.Logger
}

// Log is an audit log. All methods may be called concurrently.
//
// A record that could not be written whole is taken back, and the next one is
// tried as if nothing had been: a full disk heals by itself. A failed sync does
// not, since nobody knows what was lost: from then on Record fails until the
// log is opened again.
type Log struct {
	path string
	sync Sync
	log  *slog.Logger

	mu   sync.Mutex
	file file
	// size is where the last whole line ends, which is where the file does,
	// unless torn: then there may be a part of a record behind it.
	size int64
	torn bool
	// seq and prev are of the last record.
	seq  uint64
	prev string
	// dirty: something was written since the last sync.
	dirty bool
	// failed is why Record fails from now on.
	failed error

	stop    chan struct{}
	stopped sync.WaitGroup
}

var _ broker.Auditor = (*Log)(nil)

// errClosed is what Record returns behind Close.
var errClosed = errors.New("audit: the log is closed")

// Open opens or makes the log, and continues its chain. Only one process can
// have it open.
func Open(c Config) (*Log, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{path: c.Path, sync: c.Sync, log: c.Logger, stop: make(chan struct{})}
	f, err := openFile(c.Path)
	if err != nil {
		return nil, err
	}
	if err := l.adopt(context.Background(), f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if l.sync == SyncInterval {
		l.stopped.Go(l.syncOften)
	}
	return l, nil
}

// Record implements broker.Auditor: when it returns nil, the record is whole in
// the file of the configured name; with SyncAlways, it would survive a power
// cut. A record that fails is not in the file, except where it could be written
// but not synced.
func (l *Log) Record(ctx context.Context, e broker.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	record, err := encode(e, "")
	if err != nil {
		return err
	}
	line, sum := appendLine(nil, l.seq+1, record, l.prev)
	if err := l.append(line); err != nil {
		return err
	}
	l.seq++
	l.prev = sum
	if l.sync == SyncAlways {
		return l.flush(l.file)
	}
	return nil
}

// Err returns why every Record fails until the log is opened again, or nil. A
// failure that may pass, such as a full disk, is none.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Close syncs, unless the log is SyncNone, and closes the file. Record fails
// from then on.
func (l *Log) Close() error {
	l.mu.Lock()
	if errors.Is(l.failed, errClosed) {
		l.mu.Unlock()
		return nil
	}
	err := errors.Join(l.flushUnlessNone(l.file), l.file.Close())
	l.failed = errClosed
	close(l.stop)
	l.mu.Unlock()
	// It takes the lock.
	l.stopped.Wait()
	return err
}

// settle makes sure that the file is the one of that name and ends where the
// last record does.
func (l *Log) settle(ctx context.Context) error {
	ours, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	there, err := os.Stat(l.path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && !os.SameFile(ours, there):
		return l.rotate(ctx)
	case err != nil:
		return fmt.Errorf("audit: %w", err)
	case l.torn:
		if err := l.file.Truncate(l.size); err != nil {
			return fmt.Errorf("audit: a part of a record cannot be taken back: %w", err)
		}
		l.torn = false
	case ours.Size() != l.size:
		l.log.ErrorContext(ctx, "the audit log was cut or added to by others; the chain goes on from what it holds now",
			"path", l.path, "bytes", ours.Size(), "bytes_expected", l.size, "last_seq", l.seq)
		return l.adopt(ctx, l.file)
	}
	return nil
}

// rotate leaves a file that was renamed or removed, and begins another.
func (l *Log) rotate(ctx context.Context) error {
	f, err := openFile(l.path)
	if err != nil {
		return err
	}
	last := l.seq
	old := l.file
	if err := l.adopt(ctx, f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(l.flushUnlessNone(old), old.Close()); err != nil {
		return err
	}
	l.log.InfoContext(ctx, "the audit log was renamed or removed; it goes on in a new file", "path", l.path, "last_seq", last)
	return nil
}

// adopt makes f the file to append to, behind what it holds.
func (l *Log) adopt(ctx context.Context, f file) error {
	t, err := readTail(f)
	if err != nil {
		return fmt.Errorf("audit: %s: %w", l.path, err)
	}
	if t.unreadable > 0 {
		l.log.WarnContext(ctx, "the audit log does not end in a whole record; its last lines are kept as they are",
			"path", l.path, "lines", t.unreadable, "last_seq", t.seq)
	}
	if t.unended {
		// The chain is not touched yet: a failure here can be tried again.
		if n, err := f.Write(newline); n != len(newline) {
			return fmt.Errorf("audit: %s: %w", l.path, err)
		}
		t.size++
		l.dirty = true
	}
	if l.sync != SyncNone {
		if err := syncFolder(filepath.Dir(l.path)); err != nil {
			return err
		}
	}
	l.file, l.size, l.torn = f, t.size, false
	l.seq = max(l.seq, t.seq)
	// An empty file continues the one before it.
	if t.size > 0 {
		l.prev = t.hash
	}
	return nil
}

// append writes line, or nothing.
func (l *Log) append(line []byte) error {
	n, err := l.file.Write(line)
	if n == len(line) && err == nil {
		l.size += int64(n)
		l.dirty = true
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%d of %d bytes were written", n, len(line))
	}
	if terr := l.file.Truncate(l.size); terr != nil {
		l.torn = true
		err = errors.Join(err, terr)
	}
	return fmt.Errorf("audit: %w", err)
}

func (l *Log) flushUnlessNone(f file) error {
	if l.sync == SyncNone {
		return nil
	}
	return l.flush(f)
}
