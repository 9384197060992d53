package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Sync says when records are synced to the disk. With each, a record is in the
// file before Record returns, and so survives the process; they differ in what
// a power cut costs.
type Sync int

const (
	// SyncInterval syncs each second, in the background: a power cut costs the
	// records of about the last second.
	SyncInterval Sync = iota
	// SyncAlways syncs before Record returns: a power cut costs nothing.
	SyncAlways
	// SyncNone leaves it to the kernel, which may take half a minute.
	SyncNone
)

var syncNames = map[Sync]string{SyncInterval: "interval", SyncAlways: "always", SyncNone: "none"}

// String returns the word for s.
func (s Sync) String() string { return syncNames[s] }

// UnmarshalText implements encoding.TextUnmarshaler for "interval", "always"
// and "none".
func (s *Sync) UnmarshalText(text []byte) error {
	for v, name := range syncNames {
		if name == string(text) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf(`audit: sync is "interval", "always" or "none", not %q`, text)
}

// MarshalText implements encoding.TextMarshaler.
func (s Sync) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// syncOften syncs what was written, each second, until Close.
func (l *Log) syncOften() {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		f, dirty := l.file, l.dirty && l.failed == nil
		l.dirty = false
		l.mu.Unlock()
		if !dirty {
			continue
		}
		// Not under the lock: records go on being written meanwhile. A file that
		// was closed meanwhile was synced before.
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			l.mu.Lock()
			err = l.poison(err)
			l.mu.Unlock()
			l.log.ErrorContext(context.Background(), "the audit log cannot be synced", "path", l.path, "error", err)
		}
	}
}

// flush syncs f. The lock is held.
func (l *Log) flush(f file) error {
	if err := f.Sync(); err != nil {
		return l.poison(err)
	}
	l.dirty = false
	return nil
}

// poison makes Record fail from now on: after a failed sync the kernel may have
// dropped what it could not write, and a later sync would not tell. The lock is
// held.
func (l *Log) poison(err error) error {
	err = fmt.Errorf("audit: the log could not be synced, and records may be lost; check the disk and start again: %w", err)
	if l.failed == nil {
		l.failed = err
	}
	return err
}
