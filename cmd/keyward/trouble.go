package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// trouble tells what goes wrong in a command that runs on all the same: once,
// and when it is over.
type trouble struct {
	to io.Writer
	// meanwhile is what is done about it.
	meanwhile string
	// said is the last error that was told.
	said string
}

// tell says how an attempt went, if that is news.
func (t *trouble) tell(err error) {
	switch {
	case err == nil && t.said != "":
		t.said = ""
		fmt.Fprintln(t.to, "keyward: it works again")
	case err != nil && status.Convert(err).Message() != t.said: // without the request's id
		t.said = status.Convert(err).Message()
		fmt.Fprintf(t.to, "keyward: %v\n  %s\n", err, t.meanwhile)
	}
}

// pauses are the waits between attempts that fail. Its zero value is ready.
type pauses struct{ b backoff.ExponentialBackOff }

// next is how long to wait after err: about twice as long as the last time, and
// not less than the broker asks for.
func (p *pauses) next(err error) time.Duration {
	p.b.InitialInterval, p.b.Multiplier, p.b.MaxInterval = 200*time.Millisecond, 2, 30*time.Second
	p.b.RandomizationFactor = 0.5
	return max(p.b.NextBackOff(), retryDelay(err))
}

// over says that an attempt went well.
func (p *pauses) over() { p.b.Reset() }

// retryDelay is how long the broker asks to wait after err, if it does.
func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if d, ok := detail.(*errdetails.RetryInfo); ok {
			return d.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// sleep waits for d, and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wait.C:
		return true
	}
}
