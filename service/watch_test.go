package service_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
	"github.com/keyward/keyward/service/authn"
)

// watch is a watch that is open; next waits for its next event, or the error that
// ends it.
type watch struct {
	next  func() (*keywardv1.SecretEvent, error)
	close func()
}

// watchBothWays begin a watch over each transport. An error is one that came
// before the watch was on.
var watchBothWays = map[string]func(*world, identity, *keywardv1.WatchSecretsRequest) (*watch, error){
	"gRPC": func(w *world, id identity, req *keywardv1.WatchSecretsRequest) (*watch, error) {
		ctx, cancel := context.WithCancel(w.Context())
		w.Cleanup(cancel)
		stream, err := w.client(id).WatchSecrets(ctx, req)
		w.must(err)
		if header, err := stream.Header(); err != nil || header == nil { // it ended before it began
			_, err := stream.Recv()
			return nil, err
		}
		return &watch{stream.Recv, cancel}, nil
	},
	"REST": func(w *world, id identity, req *keywardv1.WatchSecretsRequest) (*watch, error) {
		return watchREST(w, id, req, true)
	},
	"REST, HTTP/1": func(w *world, id identity, req *keywardv1.WatchSecretsRequest) (*watch, error) {
		return watchREST(w, id, req, false)
	},
}

func watchREST(w *world, id identity, m *keywardv1.WatchSecretsRequest, http2 bool) (*watch, error) {
	body, err := protojson.Marshal(m)
	w.must(err)
	ctx, cancel := context.WithCancel(w.Context())
	w.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.httpAddr+"/v1/secrets:watch", strings.NewReader(string(body)))
	w.must(err)
	tr := &http.Transport{TLSClientConfig: w.tls(id), ForceAttemptHTTP2: http2, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}}
	w.Cleanup(tr.CloseIdleConnections)
	resp, err := (&http.Client{Transport: tr}).Do(req)
	w.must(err)
	w.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		raw, err := io.ReadAll(resp.Body)
		w.must(err)
		return nil, reply{resp.StatusCode, resp.Header, raw}.err(w.T)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" || (resp.ProtoMajor == 2) != http2 {
		w.Errorf("%s of %s", got, resp.Proto)
	}
	lines := bufio.NewReader(resp.Body)
	return &watch{func() (*keywardv1.SecretEvent, error) {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		var last struct{ Error json.RawMessage }
		if json.Unmarshal(line, &last) == nil && last.Error != nil {
			st := new(statuspb.Status)
			w.must(protojson.Unmarshal(last.Error, st))
			if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
				w.Errorf("behind the last line: %v", err)
			}
			return nil, status.ErrorProto(st)
		}
		e := new(keywardv1.SecretEvent)
		return e, protojson.Unmarshal(line, e)
	}, cancel}, nil
}

func targets(names ...string) *keywardv1.WatchSecretsRequest {
	req := &keywardv1.WatchSecretsRequest{}
	for _, n := range names {
		name, version, _ := strings.Cut(n, "@")
		req.Targets = append(req.Targets, &keywardv1.WatchTarget{Name: name, KnownVersion: version})
	}
	return req
}

const watched = "vaults/dev/secrets/watched"

// TestWatchSecrets: what changes through the server is told, over both transports;
// who comes back with what it knows is told what it missed, and that only.
func TestWatchSecrets(t *testing.T) {
	for transport, begin := range watchBothWays {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			id := w.billing()
			c := w.client(id)
			set := func(value string) string {
				s, err := c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: watched, Value: value})
				w.must(err)
				return s.GetVersion()
			}
			one, err := begin(w, id, targets("vaults/dev/secrets/Watched", "vaults/dev/secrets/other"))
			w.must(err)
			want := func(of *watch, kind keywardv1.SecretEvent_Type, version string) {
				t.Helper()
				e, err := of.next()
				if err != nil || e.GetName() != watched || e.GetType() != kind || e.GetVersion() != version {
					t.Fatalf("got %v, %v; want %v %s", e, err, kind, version)
				}
			}
			first := set("canary-one")
			want(one, keywardv1.SecretEvent_TYPE_CHANGED, first)
			second := set("canary-two")
			want(one, keywardv1.SecretEvent_TYPE_CHANGED, second)
			off := &keywardv1.UpdateSecretRequest{Secret: &keywardv1.Secret{Name: watched}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}}}
			_, err = c.UpdateSecret(t.Context(), off)
			w.must(err)
			want(one, keywardv1.SecretEvent_TYPE_DISABLED, "")
			off.Secret.Enabled = true
			_, err = c.UpdateSecret(t.Context(), off)
			w.must(err)
			want(one, keywardv1.SecretEvent_TYPE_CHANGED, second)
			one.close()

			third := set("canary-three")
			two, err := begin(w, id, targets(watched+"@"+second))
			w.must(err)
			want(two, keywardv1.SecretEvent_TYPE_CHANGED, third)
			two.close()

			three, err := begin(w, id, targets(watched+"@"+third))
			w.must(err)
			_, err = c.DeleteSecret(t.Context(), &keywardv1.DeleteSecretRequest{Name: watched})
			w.must(err)
			want(three, keywardv1.SecretEvent_TYPE_DELETED, "")
			w.stop()
			if _, err := three.next(); grpcVerdict(err) != (verdict{"Unavailable", "STREAM_EXPIRED"}) {
				t.Errorf("at the drain: %v", err)
			}

			var told []string
			for _, e := range w.audit.Events() {
				if e.Action == broker.ActionWatchSecret {
					told = append(told, e.Outcome)
					if !e.Decision.Allowed || e.Caller.ID != "spiffe://example.org/billing" {
						t.Errorf("recorded %+v", e)
					}
				}
			}
			// Four targets, six events; and what was not sent any more, by watches that had
			// not noticed yet that their clients had gone: two of the first, one of the next.
			if n := len(told) - 4 - 6; n < 0 || n > 3 {
				t.Errorf("%d records: %v", len(told), told)
			}
			if strings.Contains(w.logs.String(), "canary") {
				t.Error("a value is in the log")
			}
		})
	}
}

// A watch that is none ends before it begins, over both transports alike.
func TestWatchesThatAreNone(t *testing.T) {
	hundred := targets()
	for i := range 101 {
		hundred.Targets = append(hundred.Targets, &keywardv1.WatchTarget{Name: fmt.Sprintf("vaults/dev/secrets/s-%d", i)})
	}
	w := newWorld(t)
	for name, c := range map[string]struct {
		req   *keywardv1.WatchSecretsRequest
		want  verdict
		field string
	}{
		"none":             {targets(), verdict{"InvalidArgument", "BAD_FIELD"}, "targets"},
		"too many":         {hundred, verdict{"InvalidArgument", "BAD_FIELD"}, "targets"},
		"no name":          {targets(watched, "vaults/dev/secrets/"), verdict{"InvalidArgument", "BAD_NAME"}, "targets[1].name"},
		"a key":            {targets("vaults/dev/keys/a"), verdict{"InvalidArgument", "BAD_NAME"}, "targets[0].name"},
		"a version":        {targets(watched + "/versions/" + strings.Repeat("0", 32)), verdict{"InvalidArgument", "BAD_NAME"}, "targets[0].name"},
		"a known nonsense": {targets(watched, "vaults/dev/secrets/b@latest"), verdict{"InvalidArgument", "BAD_FIELD"}, "targets[1].known_version"},
		"twice":            {targets(watched, "vaults/dev/secrets/WATCHED"), verdict{"InvalidArgument", "BAD_FIELD"}, "targets[1].name"},
		"one denied":       {targets(watched, "vaults/dev/secrets/forbidden"), verdict{"PermissionDenied", "POLICY_DENIED"}, ""},
		"no vault":         {targets("vaults/other/secrets/a"), verdict{"NotFound", "VAULT_NOT_FOUND"}, ""},
	} {
		for transport, begin := range watchBothWays {
			t.Run(name+" over "+transport, func(t *testing.T) {
				w := w.in(t)
				_, err := begin(w, w.billing(), c.req)
				if got := grpcVerdict(err); got != c.want || fieldAtFault(err) != c.field {
					t.Errorf("got %v of field %q (%v), want %v of %q", got, fieldAtFault(err), err, c.want, c.field)
				}
				_, err = begin(w, identity{}, c.req)
				if got := grpcVerdict(err); got.reason != "NO_CREDENTIALS" {
					t.Errorf("without credentials: %v", err)
				}
			})
		}
	}
	if r := w.rest(w.billing(), "POST /v1/secrets:watch", `{"targets":[{"nam":"x"}]}`); r.verdict(t) != (verdict{"InvalidArgument", "BAD_FIELD"}) {
		t.Errorf("an unknown field: %d %s", r.status, r.body)
	}
	if r := w.rest(w.billing(), "POST /v1/secrets:watch", `{"targets":[]}`+strings.Repeat(" ", 300_000)); r.verdict(t).reason != "BAD_FIELD" {
		t.Errorf("a large body: %d %s", r.status, r.body)
	}
}

// switchable is an authenticator that can be told to name nobody.
type switchable struct {
	authn.Authenticator

	off atomic.Bool
}

func (s *switchable) Authenticate(ctx context.Context, c authn.Credentials) (broker.Principal, error) {
	if s.off.Load() {
		return broker.Principal{}, &broker.Error{Code: broker.CodeBadCredentials}
	}
	return s.Authenticator.Authenticate(ctx, c)
}

// A watch ends with the credentials that it began with, before another event.
func TestAWatchEndsWithItsCredentials(t *testing.T) {
	for transport, begin := range watchBothWays {
		t.Run(transport, func(t *testing.T) {
			who := &switchable{}
			w := newWorld(t, func(c *service.Config, _ *broker.Config) {
				who.Authenticator, c.Authenticator = c.Authenticator, who
			})
			one, err := begin(w, w.billing(), targets(watched))
			w.must(err)
			who.off.Store(true)
			if e, err := one.next(); grpcVerdict(err) != (verdict{"Unauthenticated", "BAD_CREDENTIALS"}) {
				t.Errorf("got %v, %v", e, err)
			}
			events := w.audit.Events()
			if last := events[len(events)-1]; last.Action != broker.ActionAuthenticate || last.Outcome != "BAD_CREDENTIALS" {
				t.Errorf("recorded last %+v", last)
			}
		})
	}
}

// A principal has a number of watches at a time, and room again when one ends.
func TestWatchesAreBounded(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) { service.SetWatches(c, 2, 0) })
	id := w.billing()
	var open []*watch
	for _, transport := range []string{"gRPC", "REST"} {
		one, err := watchBothWays[transport](w, id, targets(watched))
		w.must(err)
		open = append(open, one)
	}
	for transport, begin := range watchBothWays {
		if _, err := begin(w, id, targets(watched)); grpcVerdict(err) != tooMany || wait(err) != time.Minute {
			t.Errorf("%s: the third: %v", transport, err)
		}
	}
	other, err := watchBothWays["gRPC"](w, w.cert("/second"), targets(watched))
	w.must(err)
	other.close()
	open[0].close()
	for {
		if _, err := watchBothWays["gRPC"](w, id, targets(watched)); err == nil {
			break
		}
	}
}

// A reader that does not read is let go, and another goes on.
func TestASlowReaderIsLetGo(t *testing.T) {
	// What the kernel buffers of an HTTP/1 connection takes too long to fill.
	for _, transport := range []string{"gRPC", "REST"} {
		t.Run(transport, func(t *testing.T) {
			begin := watchBothWays[transport]
			w := newWorld(t, func(c *service.Config, _ *broker.Config) { service.SetWatches(c, 0, 200*time.Millisecond) })
			id := w.billing()
			req := targets()
			for i := range broker.MaxWatchTargets {
				req.Targets = append(req.Targets, &keywardv1.WatchTarget{Name: fmt.Sprintf("vaults/dev/secrets/%s-%d", strings.Repeat("s", 100), i)})
			}
			slow, err := begin(w, id, req)
			w.must(err)
			quick, err := watchBothWays["gRPC"](w, id, req)
			w.must(err)
			over := make(chan struct{})
			var events atomic.Int64
			go func() {
				for {
					if _, err := quick.next(); err != nil {
						return
					}
					events.Add(1)
				}
			}()
			var writers sync.WaitGroup
			for _, target := range req.GetTargets()[:4] {
				writers.Go(func() {
					n, err := broker.ParseName(broker.KindSecrets, target.GetName())
					if err != nil {
						t.Error(err)
					}
					c := w.client(id)
					for {
						select {
						case <-over:
							return
						default:
						}
						if _, err := c.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: n.String(), Value: "v"}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for !strings.Contains(w.logs.String(), "READER_TOO_SLOW") && !t.Failed() {
				time.Sleep(10 * time.Millisecond)
			}
			close(over)
			writers.Wait()
			for err = nil; err == nil; {
				_, err = slow.next()
			}
			// Over REST the line that would say so does not get through either.
			if transport == "gRPC" && grpcVerdict(err) != (verdict{"ResourceExhausted", "READER_TOO_SLOW"}) {
				t.Errorf("the slow reader was told %v", err)
			}
			now := events.Load()
			_, err = w.client(id).SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: req.GetTargets()[9].GetName(), Value: "v"})
			w.must(err)
			for events.Load() == now {
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// The audit record comes first: what cannot be recorded is not told.
func TestAnEventThatCannotBeRecordedIsNotSent(t *testing.T) {
	for transport, begin := range watchBothWays {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			one, err := begin(w, w.billing(), targets(watched))
			w.must(err)
			w.audit.Refuse(func(e broker.Event) error {
				if e.Action == broker.ActionWatchSecret {
					return errors.New("full")
				}
				return nil
			})
			_, err = w.client(w.billing()).SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: watched, Value: "v"})
			w.must(err)
			if e, err := one.next(); grpcVerdict(err) != (verdict{"Unavailable", "AUDIT_UNAVAILABLE"}) {
				t.Errorf("got %v, %v", e, err)
			}
		})
	}
}
