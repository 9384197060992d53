package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type keyOfTest struct{}

func limited(parent context.Context) (context.Context, context.CancelFunc) {
	d := &deadline{Context: parent}
	d.limit(time.Now())
	return d, d.end
}

// TestDeadline: a context whose timer starts late ends as package context's do.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, far := range map[string]time.Duration{"none": 0, "a far one": time.Hour} {
			parent, stop := context.WithCancel(context.WithValue(t.Context(), keyOfTest{}, name))
			want := callTimeout
			if far > 0 {
				parent, stop = context.WithTimeout(parent, far)
				want = maxCallTimeout
			}
			began := time.Now()
			ctx, cancel := limited(parent)
			if at, ok := ctx.Deadline(); !ok || at.Sub(began) != want {
				t.Fatalf("%s: deadline in %v, want %v", name, at.Sub(began), want)
			}
			if ctx.Err() != nil || ctx.Value(keyOfTest{}) != name {
				t.Errorf("%s: %v, %v", name, ctx.Err(), ctx.Value(keyOfTest{}))
			}
			child, end := context.WithCancel(ctx)
			<-ctx.Done()
			if passed := time.Since(began); passed != want {
				t.Errorf("%s: done after %v", name, passed)
			}
			<-child.Done()
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(child), context.DeadlineExceeded) {
				t.Errorf("%s: %v, of a child %v", name, ctx.Err(), child.Err())
			}
			end()
			cancel()
			stop()
		}

		ctx, cancel := limited(t.Context())
		time.Sleep(callTimeout)
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("nobody waited, and it is over: %v", ctx.Err())
		}
		cancel()

		ctx, cancel = limited(t.Context())
		cancel()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("canceled before anybody waited: %v", ctx.Err())
		}

		parent, stop := context.WithCancel(t.Context())
		ctx, cancel = limited(parent)
		defer cancel()
		stop()
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Errorf("with its parent: %v", ctx.Err())
		}
		<-ctx.Done()
	})
}

// TestDeadlineCostsNoTimer: who is answered from memory waits for nothing.
func TestDeadlineCostsNoTimer(t *testing.T) {
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		ctx, cancel := limited(ctx)
		_ = ctx.Err()
		cancel()
	}); n > 2 {
		t.Errorf("%v allocations, want the context and its end", n)
	}
}
