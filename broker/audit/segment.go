package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// noRotation is how long a file stays that could not be renamed.
const noRotation = time.Minute

// settle makes sure that the file is the one of that name and ends where the
// last record does.
func (w *writer) settle(ctx context.Context) error {
	there, err := os.Stat(w.config.Path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && !os.SameFile(w.is, there):
		last := w.seq
		if err := w.reopen(ctx); err != nil {
			return err
		}
		w.log.InfoContext(ctx, "the audit log was renamed or removed; it goes on in a new file", "path", w.config.Path, "last_seq", last)
	case err != nil:
		return fmt.Errorf("audit: %w", err)
	case w.torn:
		if err := w.file.Truncate(w.size); err != nil {
			return fmt.Errorf("audit: a part of a record cannot be taken back: %w", err)
		}
		w.torn = false
	case there.Size() != w.size:
		w.log.ErrorContext(ctx, "the audit log was cut or added to by others; the chain goes on from what it holds now",
			"path", w.config.Path, "bytes", there.Size(), "bytes_expected", w.size, "last_seq", w.seq)
		return w.adopt(ctx, w.file)
	}
	return nil
}

// reopen leaves the file for that of the configured name, which is made.
func (w *writer) reopen(ctx context.Context) error {
	f, err := w.config.open(w.config.Path)
	if err != nil {
		return err
	}
	old := w.file
	if err := w.adopt(ctx, f); err != nil {
		return errors.Join(err, f.Close())
	}
	// It was synced, or the syncer will.
	if w.config.Sync == SyncInterval {
		w.syncer.retire(old)
	} else {
		_ = old.Close()
	}
	return nil
}

// isFull: it is time for a new file.
func (w *writer) isFull() bool {
	c := &w.config
	return w.size > 0 && (c.RotateSize > 0 && w.size >= c.RotateSize || c.RotateAge > 0 && time.Since(w.began) >= c.RotateAge)
}

// rotate leaves a file that is large or old enough. If it cannot, the file
// stays for now: that is no reason to refuse a record.
func (w *writer) rotate(ctx context.Context) {
	if !w.isFull() || time.Now().Before(w.noRotation) {
		return
	}
	err := w.writeCheckpoint(ctx)
	var name string
	if err == nil {
		name, err = w.rename()
	}
	if err == nil {
		err = w.reopen(ctx)
	}
	if err != nil {
		w.noRotation = time.Now().Add(noRotation)
		w.log.ErrorContext(ctx, "the audit log cannot be rotated; it goes on in the file that it has, and is tried again",
			"path", w.config.Path, "error", err, "again_in", noRotation)
		return
	}
	w.log.InfoContext(ctx, "the audit log goes on in a new file", "path", w.config.Path, "old", name, "last_seq", w.seq)
}

// rename gives the file the name under which it is kept: its last seq, so that
// names sort in the order of the log, and when it was left.
//
//	audit-000000012345-20261121T120000Z.jsonl
func (w *writer) rename() (string, error) {
	ext := filepath.Ext(w.config.Path)
	name := fmt.Sprintf("%s-%012d-%s%s", strings.TrimSuffix(w.config.Path, ext), w.seq, time.Now().UTC().Format("20060102T150405Z"), ext)
	// Rename would replace what is there, and a log is never removed.
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		return name, fmt.Errorf("audit: %s is there already: %w", name, errors.Join(err, os.ErrExist))
	}
	if err := os.Rename(w.config.Path, name); err != nil {
		return name, fmt.Errorf("audit: %w", err)
	}
	return name, nil
}

// lost takes note that the file could not be synced.
func (w *writer) lost(err error) error {
	return w.health.lose(fmt.Errorf("audit: the log could not be synced; look at its disk: %w", err))
}

// leaveBroken goes on in a new file behind a sync that failed: the kernel may
// have dropped what it could not write, and a later sync of that file would not
// tell. What nobody was told to be recorded is cut off instead, or else each try
// would leave a file behind.
func (w *writer) leaveBroken(ctx context.Context) error {
	if !w.acked {
		if err := w.file.Truncate(w.base.size); err != nil {
			return fmt.Errorf("audit: what could not be synced cannot be taken back: %w", err)
		}
		w.size, w.seq, w.prev, w.torn = w.base.size, w.base.seq, w.base.prev, false
		w.mended()
		return nil
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	if w.acked && w.size > 0 { // settle may have left it already
		name, err := w.rename()
		if err != nil {
			return err
		}
		w.log.ErrorContext(ctx, "the audit log could not be synced, and goes on in a new file; a power cut may have cost records at the end of the old one",
			"path", w.config.Path, "old", name, "last_seq", w.seq)
		if err := w.reopen(ctx); err != nil {
			return err
		}
	}
	w.mended()
	return nil
}

// mended: what could not be synced is behind us. What comes is to prove that the
// disk is well.
func (w *writer) mended() {
	w.health.mend()
	w.proving = w.config.Sync != SyncNone
}

// adopt makes f the file to append to, behind what it holds.
func (w *writer) adopt(ctx context.Context, f file) error {
	t, err := readTail(f)
	if err != nil {
		return fmt.Errorf("audit: %s: %w", w.config.Path, err)
	}
	if t.unreadable > 0 {
		w.log.WarnContext(ctx, "the audit log does not end in a whole record; its last lines are kept as they are",
			"path", w.config.Path, "lines", t.unreadable, "last_seq", t.seq)
	}
	if t.unended {
		// The chain is not touched yet: a failure here can be tried again.
		if n, err := f.Write(newline); n != len(newline) {
			return fmt.Errorf("audit: %s: %w", w.config.Path, err)
		}
		t.size++
	}
	if w.config.Sync != SyncNone {
		if err := syncFolder(filepath.Dir(w.config.Path)); err != nil {
			return err
		}
	}
	w.file, w.is, w.size, w.torn = f, t.is, t.size, false
	w.seq = max(w.seq, t.seq)
	// An empty file continues the one before it.
	if t.size > 0 {
		w.prev = t.hash
		w.began = firstTime(f)
		w.syncer.wrote(f)
		if !t.checkpoint { // it has records that none has
			w.since, w.pending = max(w.since, 1), time.Now()
		}
	}
	w.base, w.acked = place{w.size, w.seq, w.prev}, false
	return nil
}

// firstTime is when the first record of f was made, or now.
func firstTime(f file) time.Time {
	text := make([]byte, tailWindow)
	n, _ := f.ReadAt(text, 0)
	line, _, _ := bytes.Cut(text[:n], newline)
	var r struct {
		Time time.Time `json:"time"`
	}
	if json.Unmarshal(line, &r) != nil || r.Time.IsZero() {
		return time.Now()
	}
	return r.Time
}
