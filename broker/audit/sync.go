package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// syncInterval is how often SyncInterval syncs.
	syncInterval = time.Second
	// syncPatience is how long records are still taken while a sync goes on.
	syncPatience = 5 * time.Second
)

var errSyncHangs = fmt.Errorf("audit: a sync of the log takes more than %v; look at its disk", syncPatience)

// Sync says when records are synced to the disk. With each, a record is in the
// file before Record returns, and so survives the process; they differ in what
// a power cut costs.
type Sync int

const (
	// SyncInterval syncs each second, in the background: a power cut costs the
	// records of about the last second, or of the last five if a sync takes so long;
	// beyond that nothing is recorded.
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
	// began is when the sync that goes on did; zero if none does.
	began   time.Time
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

// hangs: a sync goes on for so long that more than the last seconds are at stake.
func (s *syncer) hangs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.began.IsZero() && time.Since(s.began) > syncPatience
}

// sync syncs f, and keeps the time.
func (s *syncer) sync(f file) error {
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	err := f.Sync()
	s.mu.Lock()
	s.began = time.Time{}
	s.mu.Unlock()
	return err
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
		if err := s.sync(f); err != nil && !errors.Is(err, os.ErrClosed) {
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
		if err := errors.Join(s.sync(f), f.Close()); err != nil {
			s.log.log.ErrorContext(context.Background(), "a file that the audit log has left could not be synced; a power cut may have cost records at its end",
				"path", s.log.config.Path, "error", err)
		}
	}
}
