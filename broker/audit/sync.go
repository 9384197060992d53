package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// syncInterval is how often SyncInterval syncs.
const syncInterval = time.Second

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

// syncer syncs in the background what was written, each second.
type syncer struct {
	log     *Log // nil: there is none
	mu      sync.Mutex
	dirty   file
	retired []file
	stop    chan struct{}
	stopped sync.WaitGroup
}

func (s *syncer) start(l *Log) {
	s.log, s.stop = l, make(chan struct{})
	s.stopped.Go(s.run)
}

// wrote: there is something to sync.
func (s *syncer) wrote(f file) {
	s.mu.Lock()
	s.dirty = f
	s.mu.Unlock()
}

// retire takes a file that nothing will be written to any more.
func (s *syncer) retire(f file) {
	s.mu.Lock()
	s.retired = append(s.retired, f)
	if s.dirty == f {
		s.dirty = nil
	}
	s.mu.Unlock()
}

// end syncs what was retired, and ends.
func (s *syncer) end() {
	if s.log != nil {
		close(s.stop)
		s.stopped.Wait()
	}
}

func (s *syncer) run() {
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			s.finish()
			return
		case <-tick.C:
		}
		s.finish()
		s.mu.Lock()
		f := s.dirty
		s.dirty = nil
		s.mu.Unlock()
		if f == nil {
			continue
		}
		// Records go on being written meanwhile. A file that was closed meanwhile
		// was synced before.
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
			err = s.log.health.lose(fmt.Errorf("audit: the log could not be synced; look at its disk: %w", err))
			s.log.log.ErrorContext(context.Background(), "the audit log cannot be synced", "path", s.log.config.Path, "error", err)
		}
	}
}

// finish syncs and closes the files that were left.
func (s *syncer) finish() {
	s.mu.Lock()
	all := s.retired
	s.retired = nil
	s.mu.Unlock()
	for _, f := range all {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			s.log.log.ErrorContext(context.Background(), "a file that the audit log has left could not be synced; a power cut may have cost records at its end",
				"path", s.log.config.Path, "error", err)
		}
	}
}
