package audit

import (
	"context"
	"errors"
	"os"
	"runtime"
	"time"
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
	is   os.FileInfo // which file it is
	// size is where the last whole line ends, which is where the file does,
	// unless torn: then there may be a part of a record behind it.
	size int64
	torn bool
	// seq is of the last record, and prev the hash of the last line, or zero.
	seq  uint64
	prev digest
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

	batch   []*entry
	records []toWrite // of batch
	buf     []byte
	// mirrored says where in buf the lines for the mirror are.
	mirrored []mirrored
}

// place is an end of the log.
type place struct {
	size int64
	seq  uint64
	prev digest
}

// run writes what comes until Close.
func (w *writer) run() {
	defer close(w.done)
	ctx := context.Background()
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-w.queue.some:
			// Whoever can run now may have a record too: one write for many costs
			// less than one for each.
			runtime.Gosched()
			if w.commit(ctx) == nil {
				w.resume(ctx) // others may have been refused meanwhile
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

// commit writes what those who wait have, and tells them.
func (w *writer) commit(ctx context.Context) error {
	w.batch = w.queue.take(w.batch[:0])
	if len(w.batch) == 0 { // they have given up
		return nil
	}
	w.records = w.records[:0]
	for _, e := range w.batch {
		w.records = append(w.records, e.toWrite)
	}
	err := w.write(ctx, w.records)
	clear(w.records)
	told := w.queue.written()
	if err != nil {
		w.health.fail(err, len(told))
	}
	for _, e := range told {
		e.done <- err
	}
	clear(w.batch)
	return err
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
func (w *writer) write(ctx context.Context, records []toWrite) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	resumed := w.health.get() != nil
	if resumed {
		e := ownEvent(ActionResume, time.Now())
		record, err := encode(nil, e, "")
		if err != nil {
			return err
		}
		records = append([]toWrite{{record, ctx, &e}}, records...)
	}
	if err := w.add(ctx, records, false); err != nil {
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
	if w.syncer.hangs() {
		return errSyncHangs
	}
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
		err = w.writeCheckpoint(ctx)
	}
	if err != nil {
		w.health.fail(err, 0)
		w.log.ErrorContext(ctx, "the audit log cannot be written", "path", w.config.Path, "error", err)
	}
}

// end writes what waits, a checkpoint, and closes.
func (w *writer) end(ctx context.Context) error {
	w.queue.close()
	for more := true; more; more = len(w.batch) > 0 {
		_ = w.commit(ctx) // told to those who wait
	}
	var errs []error
	if w.since > 0 && w.config.Signer != nil {
		err := w.prepare(ctx)
		if err == nil {
			err = w.writeCheckpoint(ctx)
		}
		errs = append(errs, err)
	}
	w.syncer.end()
	if w.config.Sync != SyncNone {
		errs = append(errs, w.file.Sync())
	}
	return errors.Join(append(errs, w.file.Close())...)
}
