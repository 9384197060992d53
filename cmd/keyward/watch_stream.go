package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// noVersion is a version that no secret has. Said to be known, it has the broker
// tell whatever a secret is.
var noVersion = strings.Repeat("0", 32)

// steadyWatch is for how long a stream must last for the next one to follow it
// without more of a pause than the first.
const steadyWatch = 10 * time.Second

// secretWatch tells what becomes of secrets. A stream that ends is followed by
// another, which begins with what is known: nothing is missed between the two.
type secretWatch struct {
	flags callFlags
	// known is the last event of each secret by its full name; nil if there was
	// none.
	known map[string]*keywardv1.SecretEvent
	// patient: once a stream has begun, nothing ends the watch.
	patient bool
	// begun is called as a stream begins.
	begun   func()
	trouble trouble
}

func newSecretWatch(f callFlags, t trouble) *secretWatch {
	return &secretWatch{flags: f, known: map[string]*keywardv1.SecretEvent{}, begun: func() {}, trouble: t}
}

// events returns what becomes of the secrets, until ctx ends or the loop over it.
// The last may be an error: a refusal, or whatever kept the first stream from
// beginning. What else goes wrong is told as trouble.
func (w *secretWatch) events(ctx context.Context, a *app) iter.Seq2[*keywardv1.SecretEvent, error] {
	return func(yield func(*keywardv1.SecretEvent, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var wait pauses
		ever := false
		for {
			attempt := time.Now()
			began, err := w.stream(ctx, a, func(event *keywardv1.SecretEvent) {
				if !yield(event, nil) {
					cancel()
				}
			})
			ever = ever || began
			expired := reasonOf(status.Convert(err)) == broker.CodeStreamExpired
			switch {
			case ctx.Err() != nil:
				return
			case expired: // as it is meant to
			case !ever || !w.patient && refusal(err, began):
				yield(nil, err)
				return
			default:
				w.trouble.tell(err)
			}
			if began && time.Since(attempt) > steadyWatch {
				wait.over()
			}
			if !sleep(ctx, wait.next(err)) {
				return
			}
		}
	}
}

// refusal reports whether there is no use in another attempt.
func refusal(err error, began bool) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.InvalidArgument, codes.NotFound, codes.Unimplemented, codes.FailedPrecondition:
		return true
	case codes.Unauthenticated:
		return !began // or else they were good, and may have been renewed
	}
	return false
}

// stream watches until the stream ends, and returns whether it had begun, and its
// error. Its connection is made anew: the caller's own certificate and token may
// have been renewed.
func (w *secretWatch) stream(ctx context.Context, a *app, tell func(*keywardv1.SecretEvent)) (began bool, err error) {
	err = withClient(a, w.flags, func(cl *client) error {
		stream, err := cl.secrets.WatchSecrets(ctx, w.request())
		if err != nil {
			return err
		}
		header, err := stream.Header()
		if err != nil {
			return err
		}
		if header != nil {
			began = true
			w.begun()
			w.trouble.tell(nil)
		}
		for {
			event, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				return errors.New("the broker ended the watch without a word")
			case err != nil:
				return err
			}
			was, ok := w.known[event.GetName()]
			if !ok {
				return errors.New("the broker told of another secret")
			}
			// A disabled secret is told again by each stream.
			if proto.Equal(was, event) {
				continue
			}
			w.known[event.GetName()] = event
			if tell(event); ctx.Err() != nil {
				return ctx.Err()
			}
		}
	})
	return began, err
}

// request asks for whatever is not as it is known.
func (w *secretWatch) request() *keywardv1.WatchSecretsRequest {
	r := &keywardv1.WatchSecretsRequest{}
	for _, name := range slices.Sorted(maps.Keys(w.known)) {
		t := &keywardv1.WatchTarget{Name: name}
		switch event := w.known[name]; event.GetType() {
		case keywardv1.SecretEvent_TYPE_CHANGED:
			t.KnownVersion = event.GetVersion()
		case keywardv1.SecretEvent_TYPE_DISABLED:
			// The version may be enabled again, and the secret be deleted.
			t.KnownVersion = noVersion
		}
		r.Targets = append(r.Targets, t)
	}
	return r
}
