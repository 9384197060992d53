// Package audit keeps the record of what was asked, decided and done: a file of
// JSON lines, appended to, in which each line holds the hash of the one before.
//
//	log, err := audit.Open(audit.Config{Path: "audit.jsonl"})
//	…
//	err = log.Record(ctx, event) // nil: the record is in the file
//
// Read and Verify read it again.
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
// A chain alone does not show that its end was cut off, or that all of it was
// made anew. A Checkpoint does, to who has kept one elsewhere.
//
// # Rotation
//
// A file that is large or old enough is renamed, and a new one of the configured
// name goes on: seq continues, and its first "prev" is the hash of the last line
// of the file before. The names of the old ones sort in the order of the log.
// None is ever removed.
//
// A file that others renamed or removed is left as well, before the next record
// is written, so that no record goes where nobody looks. A file that was cut or
// added to by others is continued from what it then holds. Both are logged.
//
// # Faults
//
// Record returns within a quarter of a second, whatever the disk does. One
// goroutine writes, so that a write that hangs holds nobody else. A record that
// could not be written whole is taken back, and the next is tried as if nothing
// had been: a full disk heals by itself. After a sync that failed nobody knows
// what of the file is on the disk, so the log goes on in a new one. While the log
// cannot be written it tries each second, and what it writes first when it can
// again is a record of that, of ActionResume.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// timeout bounds Record: with what is around it, a caller has its answer
	// within 250 ms.
	timeout = 200 * time.Millisecond
	// closeTimeout is what a write that hangs costs Close.
	closeTimeout = 5 * time.Second
)

// Config says where the log is, and what a power cut may cost.
type Config struct {
	// Path is the file. It is made with mode 0600 if it is not there; its folder
	// must be.
	Path string
	// Sync is SyncInterval if it is not set.
	Sync Sync
	// RotateSize, in bytes, and RotateAge are when a file is left for a new one;
	// 0 is never.
	RotateSize int64
	RotateAge  time.Duration
	// Signer signs checkpoints, if there is one: behind the first record, behind
	// CheckpointEvery (0: 1000) more, and at the latest CheckpointInterval (0: a
	// minute) behind a record; before a file is left; and by Close.
	Signer             *Signer
	CheckpointEvery    int
	CheckpointInterval time.Duration
	// Mirror, if it is not nil, is told of each line, without its newline, once it
	// is recorded, one at a time and in order. It must not wait, nor keep the
	// line.
	Mirror func(ctx context.Context, line []byte, e broker.Event)
	// Logger may be nil.
	Logger *slog.Logger

	// open is openFile, but in tests.
	open func(path string) (file, error)
}

func (c *Config) setDefaults() {
	if c.CheckpointEvery <= 0 {
		c.CheckpointEvery = 1000
	}
	if c.CheckpointInterval <= 0 {
		c.CheckpointInterval = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.open == nil {
		c.open = func(path string) (file, error) { return openFile(path) }
	}
}

// Log is an audit log. All methods may be called concurrently.
type Log struct {
	config  Config
	log     *slog.Logger
	queue   *queue
	entries sync.Pool
	health  health
	syncer  syncer

	stop    chan struct{}
	closing sync.Once
	done    chan struct{} // the writer has ended
	// ended is what became of the end; it is set before done is closed.
	ended error
}

var _ broker.Auditor = (*Log)(nil)

var (
	// errClosed is what Record returns behind Close.
	errClosed = errors.New("audit: the log is closed")
	errSlow   = fmt.Errorf("audit: the log did not take the record within %v; look at its disk", timeout)
)

// maxKept is how large a buffer may be that is kept for the next record: a list's is
// not.
const maxKept = 4 << 10

// Open opens or makes the log, and continues its chain. Only one process can
// have it open.
func Open(c Config) (*Log, error) {
	c.setDefaults()
	l := &Log{
		config: c,
		log:    c.Logger,
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	l.queue = newQueue(func(n int) { l.health.fail(errSlow, n) })
	// Not shared by logs: what is made in one test's time belongs to it.
	l.entries.New = func() any { return &entry{done: make(chan error, 1)} }
	w := &writer{Log: l}
	f, err := c.open(c.Path)
	if err != nil {
		return nil, err
	}
	if err := w.adopt(context.Background(), f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if c.Sync == SyncInterval {
		l.syncer.start(l)
	}
	go w.run()
	return l, nil
}

// Record implements broker.Auditor: when it returns nil, the record is whole in
// the file of the configured name; with SyncAlways, it would survive a power
// cut. Whoever waits at the same time shares the write and the sync.
//
// An error comes within 250 ms. The record may be in the file all the same, if
// it could be written but not synced, or not in time.
func (l *Log) Record(ctx context.Context, e broker.Event) error {
	w, _ := l.entries.Get().(*entry)
	record, err := encode(w.buf[:0], e, "")
	if err != nil {
		return err
	}
	w.record = record
	if l.config.Mirror != nil {
		told := e
		w.ctx, w.event = ctx, &told
	}
	if !l.queue.put(w) {
		return errClosed
	}
	err = <-w.done
	if err != nil {
		return err // the writer may still have the entry
	}
	if cap(record) <= maxKept {
		w.buf = record
	}
	w.toWrite = toWrite{}
	l.entries.Put(w)
	return nil
}

// Err returns why the log cannot be written, or nil. It heals by itself.
func (l *Log) Err() error { return l.health.get() }

// Close writes what waits and a checkpoint, syncs, unless the log is SyncNone,
// and closes the file. Record fails from then on. It takes at most five seconds.
func (l *Log) Close() error {
	l.closing.Do(func() { close(l.stop) })
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	select {
	case <-l.done:
		return l.ended
	case <-late.C:
		return fmt.Errorf("audit: the log could not be closed within %v; look at its disk", closeTimeout)
	}
}
