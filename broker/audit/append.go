package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/broker"
)

// toWrite is a record that has no place yet. What the mirror is told is nil
// without one.
type toWrite struct {
	record []byte
	ctx    context.Context
	event  *broker.Event
}

type mirrored struct {
	toWrite

	from, to int
}

// add appends records as one, and a checkpoint where it is due, or now; or
// nothing.
func (w *writer) add(ctx context.Context, records []toWrite, checkpoint bool) error {
	at, since, now := place{w.size, w.seq, w.prev}, w.since, time.Now()
	err := w.lines(ctx, records, checkpoint, now)
	if err == nil {
		err = w.append(w.buf)
	}
	if err != nil {
		w.seq, w.prev, w.since = at.seq, at.prev, since
		return err
	}
	if since == 0 {
		w.pending = now
	}
	if at.size == 0 {
		w.began = now
	}
	if w.config.Sync == SyncAlways || w.proving {
		if err := w.file.Sync(); err != nil {
			return w.lost(err)
		}
		w.proving = false
	} else {
		w.syncer.wrote(w.file)
	}
	w.acked = true
	for _, m := range w.mirrored {
		w.config.Mirror(m.ctx, w.buf[m.from:m.to], *m.event)
	}
	if cap(w.buf) > 1<<20 { // lists of a thousand items, once
		w.buf = nil
	}
	return nil
}

// lines makes what is to be appended.
func (w *writer) lines(ctx context.Context, records []toWrite, checkpoint bool, now time.Time) error {
	w.buf, w.mirrored = w.buf[:0], w.mirrored[:0]
	for _, r := range records {
		w.line(r)
		w.since++
		// A new log has one from the beginning, so that who has the key can always
		// ask for one.
		if w.config.Signer != nil && (w.since >= w.config.CheckpointEvery || w.seq == 1) {
			if err := w.checkpoint(ctx, now); err != nil {
				return err
			}
		}
	}
	if checkpoint {
		return w.checkpoint(ctx, now)
	}
	return nil
}

func (w *writer) line(r toWrite) {
	w.seq++
	from := len(w.buf)
	w.buf, w.prev = appendLine(w.buf, w.seq, r.record, w.prev)
	if w.config.Mirror != nil {
		w.mirrored = append(w.mirrored, mirrored{r, from, len(w.buf) - len(newline)})
	}
}

func (w *writer) checkpoint(ctx context.Context, now time.Time) error {
	note, err := w.config.Signer.sign(w.seq, w.prev, now)
	if err != nil {
		return fmt.Errorf("audit: a checkpoint cannot be signed: %w", err)
	}
	e := ownEvent(ActionCheckpoint, now)
	record, err := encode(nil, e, note)
	if err != nil {
		return err
	}
	w.line(toWrite{record, ctx, &e})
	w.since = 0
	return nil
}

// writeCheckpoint writes one, if there is anything to say.
func (w *writer) writeCheckpoint(ctx context.Context) error {
	if w.config.Signer == nil || w.since == 0 {
		return nil
	}
	return w.add(ctx, nil, true)
}

// append writes text, or nothing.
func (w *writer) append(text []byte) error {
	n, err := w.file.Write(text)
	if n == len(text) && err == nil {
		w.size += int64(n)
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%d of %d bytes were written", n, len(text))
	}
	if terr := w.file.Truncate(w.size); terr != nil {
		w.torn = true
		err = errors.Join(err, terr)
	}
	return fmt.Errorf("audit: %w", err)
}
