package brokertest

import (
	"context"
	"sync"

	"github.com/keyward/keyward/broker"
)

// hooks count the calls of a store's methods, and run a Hook before each. The zero
// value is ready, and its methods may be called concurrently.
type hooks struct {
	mu    sync.Mutex
	calls map[string]int
	hook  Hook
}

// Calls returns how often a method was called, failed calls included.
func (h *hooks) Calls(method string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[method]
}

// SetHook makes hook run before each later call; nil ends it.
func (h *hooks) SetHook(hook Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = hook
}

// hooked counts a call, and makes it if the hook lets it.
func hooked[T any](ctx context.Context, h *hooks, method string, name broker.Name, call func() (T, error)) (T, error) {
	h.mu.Lock()
	if h.calls == nil {
		h.calls = make(map[string]int)
	}
	h.calls[method]++
	hook := h.hook
	h.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, method, name); err != nil {
			var none T
			return none, err
		}
	}
	return call()
}
