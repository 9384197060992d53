package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// maxBatch is how many records share a write, and a sync.
	maxBatch = 256
	// pulse is how often the writer looks whether something is due.
	pulse = time.Second
)

// writer is the goroutine that has the file. Nobody else touches what is here.
type writer struct {
	*Log

	file file
	// size is where the last whole line ends, which is where the file does,
	// unless torn: then there may be a part of a record behind it.
	size int64
	torn bool
	// seq and prev are of the last record and line.
	seq  uint64
	prev string
	// began is when the file's first record was made.
	began time.Time
	// base is where the log ended when it came to this file, until a record of it
	// was acknowledged: what is behind can be cut off.
	base  place
	acked bool
	// proving: the file was begun behind a sync that failed, and none has
	// succeeded since. Until then each write is synced.
	proving bool
	// since counts the records behind the last checkpoint, of which the oldest is
	// of pending.
	since   int
	pending time.Time
	// noRotation is until when the file stays, since it could not be renamed.
	noRotation time.Time

	batch []*entry
	buf   []byte
}

// place is an end of the log.
type place struct {
	size int64
	seq  uint64
	prev string
}

// run writes what comes until Close.
func (w *writer) run() {
	defer close(w.done)
	ctx := context.Background()
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case e := <-w.queue:
			w.take(e)
			w.commit(ctx)
			if w.health.get() != nil {
				// Others were refused meanwhile, or it may have been a moment's fault.
				w.resume(ctx)
			}
		case <-tick.C:
			w.resume(ctx)
			w.due(ctx)
		case <-w.stop:
			w.ended = w.end(ctx)
			return
		}
	}
}

// take collects who waits, beginning with e.
func (w *writer) take(e *entry) {
	w.batch = w.batch[:0]
	for {
		if e.state.CompareAndSwap(waiting, taken) {
			w.batch = append(w.batch, e)
		}
		if len(w.batch) == maxBatch {
			return
		}
		select {
		case e = <-w.queue:
		default:
			return
		}
	}
}

// commit writes the batch, and tells those who wait.
func (w *writer) commit(ctx context.Context) {
	if len(w.batch) == 0 {
		return
	}
	records := make([][]byte, 0, len(w.batch)+1)
	for _, e := range w.batch {
		records = append(records, e.record)
	}
	err := w.write(ctx, records)
	if err != nil {
		w.health.fail(err, len(w.batch))
	}
	for i, e := range w.batch {
		e.done <- err
		w.batch[i] = nil
	}
}

// resume tries whether the log can be written again.
func (w *writer) resume(ctx context.Context) {
	if w.health.get() == nil {
		return
	}
	if err := w.write(ctx, nil); err != nil {
		w.health.fail(err, 0)
	}
}

// write appends records as one; or nothing. If the log could not be written
// before, a record of that comes first.
func (w *writer) write(ctx context.Context, records [][]byte) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	resumed := w.health.get() != nil
	if resumed {
		record, err := encode(broker.Event{
			Time: time.Now(), Action: ActionResume, Decision: broker.Decision{Allowed: true}, Outcome: broker.OutcomeOK,
		}, "")
		if err != nil {
			return err
		}
		records = append([][]byte{record}, records...)
	}
	if err := w.add(records, false); err != nil {
		return err
	}
	if resumed {
		was, refused := w.health.resume()
		w.log.WarnContext(ctx, "the audit log can be written again", "path", w.config.Path, "was", was, "records_refused", refused, "seq", w.seq)
	}
	return nil
}

// prepare makes sure that the file is the one to write to.
func (w *writer) prepare(ctx context.Context) error {
	if w.health.isBroken() {
		if err := w.leaveBroken(ctx); err != nil {
			return err
		}
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	w.rotate(ctx)
	if w.health.isBroken() { // by its checkpoint
		return w.health.get()
	}
	return nil
}

// add appends records as one, and a checkpoint where it is due, or now; or
// nothing.
func (w *writer) add(records [][]byte, checkpoint bool) error {
	at, since, now := place{w.size, w.seq, w.prev}, w.since, time.Now()
	err := w.lines(records, checkpoint, now)
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
	if cap(w.buf) > 1<<20 { // lists of a thousand items, once
		w.buf = nil
	}
	return nil
}

// lines makes what is to be appended.
func (w *writer) lines(records [][]byte, checkpoint bool, now time.Time) error {
	w.buf = w.buf[:0]
	for _, r := range records {
		w.line(r)
		w.since++
		if w.config.Signer != nil && w.since >= w.config.CheckpointEvery {
			if err := w.checkpoint(now); err != nil {
				return err
			}
		}
	}
	if checkpoint {
		return w.checkpoint(now)
	}
	return nil
}

func (w *writer) line(record []byte) {
	w.seq++
	w.buf, w.prev = appendLine(w.buf, w.seq, record, w.prev)
}

func (w *writer) checkpoint(now time.Time) error {
	note, err := w.config.Signer.sign(w.seq, w.prev, now)
	if err != nil {
		return fmt.Errorf("audit: a checkpoint cannot be signed: %w", err)
	}
	record, err := encode(checkpointEvent(now), note)
	if err != nil {
		return err
	}
	w.line(record)
	w.since = 0
	return nil
}

// writeCheckpoint writes one, if there is anything to say.
func (w *writer) writeCheckpoint() error {
	if w.config.Signer == nil || w.since == 0 {
		return nil
	}
	return w.add(nil, true)
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

// due writes the checkpoint that time asks for, and rotates by age.
func (w *writer) due(ctx context.Context) {
	if w.health.get() != nil {
		return
	}
	checkpoint := w.config.Signer != nil && w.since > 0 && time.Since(w.pending) >= w.config.CheckpointInterval
	if !checkpoint && !w.isFull() {
		return
	}
	err := w.prepare(ctx)
	if err == nil && checkpoint {
		err = w.writeCheckpoint()
	}
	if err != nil {
		w.health.fail(err, 0)
		w.log.ErrorContext(ctx, "the audit log cannot be written", "path", w.config.Path, "error", err)
	}
}

// end writes what waits, a checkpoint, and closes.
func (w *writer) end(ctx context.Context) error {
	for {
		select {
		case e := <-w.queue:
			w.take(e)
			w.commit(ctx)
			continue
		default:
		}
		break
	}
	var errs []error
	if w.since > 0 && w.config.Signer != nil {
		err := w.prepare(ctx)
		if err == nil {
			err = w.writeCheckpoint()
		}
		errs = append(errs, err)
	}
	w.syncer.end()
	if w.config.Sync != SyncNone {
		errs = append(errs, w.file.Sync())
	}
	return errors.Join(append(errs, w.file.Close())...)
}
