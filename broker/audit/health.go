package audit

import (
	"fmt"
	"sync"
)

// health is whether the log can be written.
type health struct {
	mu sync.Mutex
	// err is why not, and refused how many records it has cost.
	err     error
	refused int
	// broken: what was written may not be on the disk.
	broken bool
}

// fail takes note of what refused some records.
func (h *health) fail(err error, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = err
	h.refused += refused
}

// lose takes note of a sync that failed.
func (h *health) lose(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err, h.broken = err, true
	return err
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

func (h *health) isBroken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.broken
}

// mend: what was broken is left behind.
func (h *health) mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = false
}

// resume returns what it was, and that it is no more.
func (h *health) resume() (was string, refused int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, refused = fmt.Sprint(h.err), h.refused
	h.err, h.refused = nil, 0
	return was, refused
}
