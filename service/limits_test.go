package service_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// clock is time that passes when a test says so.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(1_000_000_000, c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }

// limited gives a world limits, by a clock of its own.
func limited(l service.Limits) (*clock, option) {
	c := new(clock)
	return c, func(sc *service.Config, _ *broker.Config) {
		sc.Limits = l
		service.SetClock(sc, c.now)
	}
}

const db = "vaults/dev/secrets/db"

// bothWays read the secret db.
var bothWays = map[string]func(*world, identity) error{
	broker.TransportGRPC: func(w *world, id identity) error {
		_, err := w.client(id).GetSecret(w.Context(), &keywardv1.GetSecretRequest{Name: db})
		return err
	},
	broker.TransportREST: func(w *world, id identity) error {
		r := w.rest(id, "GET /v1/"+db, "")
		if r.status == http.StatusTooManyRequests && (r.header.Get("Retry-After") == "" || r.header.Get("WWW-Authenticate") != "") {
			w.Errorf("the headers of a 429 are %v", r.header)
		}
		return r.err(w.T)
	},
}

var tooMany = verdict{"ResourceExhausted", "CALLER_RATE_LIMITED"}

// wait is the delay of an error's RetryInfo; 0 for none.
func wait(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

// counted is keyward.calls.limited by kind and transport.
func (w *world) counted() map[string]int64 {
	w.Helper()
	var all metricdata.ResourceMetrics
	w.must(w.meters.Collect(w.Context(), &all))
	got := map[string]int64{}
	for _, sm := range all.ScopeMetrics {
		for _, m := range sm.Metrics {
			if m.Name != "keyward.calls.limited" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				got[labels(p.Attributes, "kind", "transport")] = p.Value
			}
		}
	}
	return got
}

func TestPrincipalsAreLimited(t *testing.T) {
	for transport, get := range bothWays {
		t.Run(transport, func(t *testing.T) {
			clock, limits := limited(service.Limits{Principal: service.Limit{Rate: 0.5, Burst: 3}})
			w := newWorld(t, limits)
			w.put(db, "x")
			id := w.billing()
			allowed := func(n int) {
				t.Helper()
				for i := range n {
					if err := get(w, id); err != nil {
						t.Fatalf("call %d: %v", i, err)
					}
				}
			}
			refused := func(want time.Duration) {
				t.Helper()
				if err := get(w, id); grpcVerdict(err) != tooMany || wait(err) != want {
					t.Fatalf("%v, wait %v; want %v and %v", err, wait(err), tooMany, want)
				}
			}
			allowed(3)
			refused(2 * time.Second)
			refused(2 * time.Second) // it was not charged
			clock.pass(500 * time.Millisecond)
			refused(1500 * time.Millisecond)
			if r := w.rest(id, "GET /v1/"+db, ""); r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") != "2" {
				t.Errorf("REST: %d, Retry-After %q; want 429 and 2", r.status, r.header.Get("Retry-After"))
			}
			// Nobody else is held back, and what is open to all is not held back.
			if err := get(w, w.cert("/second")); err != nil {
				t.Errorf("another principal: %v", err)
			}
			if err := get(w, identity{bearer: w.token("billing")}); err != nil {
				t.Errorf("another principal with the same last part: %v", err)
			}
			if _, err := grpc_health_v1.NewHealthClient(w.dial(id)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("health: %v", err)
			}
			if r := w.rest(id, "GET /openapi.json", ""); r.status != http.StatusOK {
				t.Errorf("the description: %d", r.status)
			}
			clock.pass(1500 * time.Millisecond)
			allowed(1)
			refused(2 * time.Second)
			clock.pass(time.Hour)
			allowed(3) // and no more than the burst
			refused(2 * time.Second)

			const calls, others, limitedCalls = 7, 2, 5
			if n := w.store.Calls(brokertest.GetSecret); n != calls+others {
				t.Errorf("%d vault calls, want %d", n, calls+others)
			}
			if events := w.audit.Events(); len(events) != calls+others {
				t.Errorf("%d records, want %d: none of what was refused", len(events), calls+others)
			}
			want := map[string]int64{"principal rest": 1}
			want["principal "+transport] += limitedCalls
			if got := w.counted(); !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			seen := 0
			for line := range strings.Lines(w.logs.String()) {
				if strings.Contains(line, "CALLER_RATE_LIMITED") && strings.Contains(line, "level=DEBUG") && strings.Contains(line, "/billing") {
					seen++
				}
			}
			if seen != limitedCalls+1 {
				t.Errorf("%d lines in the log, want %d", seen, limitedCalls+1)
			}
		})
	}
}

// A principal has one bucket, however it calls and whatever comes of it.
func TestOneBucketForBothTransports(t *testing.T) {
	_, limits := limited(service.Limits{Principal: service.Limit{Rate: 1, Burst: 4}})
	w := newWorld(t, limits)
	w.put(db, "x")
	id := w.billing()
	w.must(bothWays[broker.TransportGRPC](w, id))
	w.must(bothWays[broker.TransportREST](w, id))
	if r := w.rest(id, "GET /v1/vaults/dev/secrets/forbidden", ""); r.status != http.StatusForbidden {
		t.Errorf("denied: %d", r.status)
	}
	if r := w.rest(id, "GET /v1/"+db+"?made=up", ""); r.status != http.StatusBadRequest {
		t.Errorf("malformed: %d", r.status)
	}
	for transport, get := range bothWays {
		if err := get(w, id); grpcVerdict(err) != tooMany {
			t.Errorf("%s: %v", transport, err)
		}
	}
}

// echo is a service with a stream, which answers with nothing and ends.
var echo = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		return s.SendMsg(&emptypb.Empty{})
	}}},
}

// A stream is one call, refused like any other before its handler runs.
func TestStreamsAreLimited(t *testing.T) {
	var config *service.Config
	_, limits := limited(service.Limits{Principal: service.Limit{Rate: 1, Burst: 3}, FailedAuthentication: service.Limit{Rate: 1, Burst: 2}})
	w := newWorld(t, limits, func(sc *service.Config, _ *broker.Config) { config = sc })
	s, err := service.New(*config)
	w.must(err)
	service.GRPC(s).RegisterService(&echo, nil)
	ctx, stop := context.WithCancel(t.Context())
	g := listen(t)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, g, listen(t)) }()
	defer func() { stop(); <-served }()
	w.grpcAddr = g.Addr().String()

	watch := func(id identity) error {
		stream, err := w.dial(id).NewStream(ctx, &echo.Streams[0], "/test.Echo/Watch")
		if err == nil {
			err = stream.SendMsg(&emptypb.Empty{})
		}
		if err != nil {
			return err
		}
		w.must(stream.CloseSend())
		return stream.RecvMsg(&emptypb.Empty{})
	}
	id := w.billing()
	for range 3 {
		w.must(watch(id))
	}
	if err := watch(id); grpcVerdict(err) != tooMany || wait(err) != time.Second {
		t.Errorf("the fourth stream: %v", err)
	}
	for range 2 {
		if err := watch(identity{}); grpcVerdict(err).reason != "NO_CREDENTIALS" {
			t.Errorf("without credentials: %v", err)
		}
	}
	if err := watch(identity{}); grpcVerdict(err) != tooMany {
		t.Errorf("without credentials, the third: %v", err)
	}
	if err := watch(w.cert("/second")); err != nil {
		t.Errorf("a neighbour of the two: %v", err)
	}
}

// authentications are the outcomes of the failed authentications on record.
func (w *world) authentications() map[string]int {
	got := map[string]int{}
	for _, e := range w.audit.Events() {
		if e.Action == broker.ActionAuthenticate {
			got[e.Outcome]++
		}
	}
	return got
}

// A flood of calls without credentials costs a bounded number of records, is let
// through nowhere, and locks out none who call from the same address.
func TestFloodOfFailedAuthentications(t *testing.T) {
	const flood, burst = 10_000, 10
	for transport, get := range bothWays {
		t.Run(transport, func(t *testing.T) {
			clock, limits := limited(service.Limits{FailedAuthentication: service.Limit{Rate: 1, Burst: burst}})
			w := newWorld(t, limits)
			w.put(db, "x")
			good, forged := identity{bearer: w.token("billing")}, identity{bearer: "forged"}

			client := w.client(identity{})
			verdicts, mu := map[verdict]int{}, sync.Mutex{}
			fail := func(credentials string) {
				ctx := t.Context()
				if credentials != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credentials)
				}
				_, err := client.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: db})
				mu.Lock()
				defer mu.Unlock()
				verdicts[grpcVerdict(err)]++
				if status.Code(err) == codes.ResourceExhausted && wait(err) != time.Second {
					t.Errorf("wait %v, want 1s", wait(err))
				}
			}
			var callers sync.WaitGroup
			for range 20 {
				callers.Go(func() {
					for range flood / 20 {
						fail("")
					}
				})
			}
			callers.Wait()
			want := map[verdict]int{{"Unauthenticated", "NO_CREDENTIALS"}: burst, tooMany: flood - burst}
			if !maps.Equal(verdicts, want) {
				t.Errorf("answered %v, want %v", verdicts, want)
			}
			if got, want := w.authentications(), map[string]int{"NO_CREDENTIALS": burst, "CALLER_RATE_LIMITED": 1}; !maps.Equal(got, want) {
				t.Errorf("recorded %v, want %v", got, want)
			}
			if got := w.counted(); !maps.Equal(got, map[string]int64{"failedAuthentication grpc": flood - burst}) {
				t.Errorf("counted %v", got)
			}
			if n := w.store.Calls(brokertest.GetSecret); n != 0 {
				t.Errorf("%d vault calls", n)
			}

			// In the midst of it.
			if err := get(w, good); err != nil {
				t.Errorf("a good token from the same address: %v", err)
			}
			if err := get(w, w.billing()); err != nil {
				t.Errorf("a good certificate from the same address: %v", err)
			}
			if err := get(w, forged); grpcVerdict(err) != tooMany || wait(err) != time.Second {
				t.Errorf("a forged token: %v", err)
			}

			// A token has come: a failure like those before, and the run goes on.
			clock.pass(time.Second)
			if err := get(w, forged); grpcVerdict(err) != (verdict{"Unauthenticated", "BAD_CREDENTIALS"}) {
				t.Errorf("after a second: %v", err)
			}
			if err := get(w, forged); grpcVerdict(err) != tooMany {
				t.Errorf("after a second, once more: %v", err)
			}
			if got, want := w.authentications(), map[string]int{"NO_CREDENTIALS": burst, "BAD_CREDENTIALS": 1, "CALLER_RATE_LIMITED": 1}; !maps.Equal(got, want) {
				t.Errorf("recorded %v, want %v", got, want)
			}
			// The bucket is full again: a run of its own.
			clock.pass(burst * time.Second)
			for range burst + 5 {
				_ = get(w, forged)
			}
			if got, want := w.authentications(), map[string]int{"NO_CREDENTIALS": burst, "BAD_CREDENTIALS": burst + 1, "CALLER_RATE_LIMITED": 2}; !maps.Equal(got, want) {
				t.Errorf("recorded %v, want %v", got, want)
			}
		})
	}
}

// The first refusal of a run that cannot be recorded leaves that to the next.
func TestARunIsRecordedOnceItCanBe(t *testing.T) {
	for transport, get := range bothWays {
		t.Run(transport, func(t *testing.T) {
			_, limits := limited(service.Limits{FailedAuthentication: service.Limit{Rate: 1, Burst: 1}})
			w := newWorld(t, limits)
			_ = get(w, identity{})
			w.audit.Refuse(func(broker.Event) error { return errors.New("disk full") })
			if err := get(w, identity{}); grpcVerdict(err).reason != "AUDIT_UNAVAILABLE" {
				t.Errorf("unrecorded: %v", err)
			}
			w.audit.Refuse(nil)
			for range 3 {
				if err := get(w, identity{}); grpcVerdict(err) != tooMany {
					t.Errorf("recorded: %v", err)
				}
			}
			if got, want := w.authentications(), map[string]int{"NO_CREDENTIALS": 1, "CALLER_RATE_LIMITED": 1}; !maps.Equal(got, want) {
				t.Errorf("recorded %v, want %v", got, want)
			}
		})
	}
}

// A caller whom the authenticator could not name for a fault of ours is told so,
// however often.
func TestOurFaultsAreNotTheCallers(t *testing.T) {
	_, limits := limited(service.Limits{FailedAuthentication: service.Limit{Rate: 1, Burst: 1}})
	w := newWorld(t, limits, func(c *service.Config, _ *broker.Config) { c.Authenticator = nobody{} })
	for range 5 {
		if err := bothWays[broker.TransportGRPC](w, w.billing()); grpcVerdict(err).reason != "INTERNAL" {
			t.Errorf("got %v", err)
		}
	}
	if got := w.counted(); len(got) != 0 {
		t.Errorf("counted %v", got)
	}
}

func TestNoLimitsByDefault(t *testing.T) {
	w := newWorld(t)
	w.put(db, "x")
	client, stranger := w.client(w.billing()), w.client(identity{})
	for range 500 {
		if _, err := client.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: db}); err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: db}); grpcVerdict(err).reason != "NO_CREDENTIALS" {
			t.Fatal(err)
		}
	}
	if n := w.authentications()["NO_CREDENTIALS"]; n != 500 {
		t.Errorf("%d failed authentications on record, want 500", n)
	}
}

// Who leaves before the answer has failed all the same: it takes a token, and a
// flood of it is not recorded one by one.
func TestFailuresOfWhoLeavesAreLimited(t *testing.T) {
	w := newWorld(t, func(c *service.Config, _ *broker.Config) {
		c.Limits.FailedAuthentication = service.Limit{Rate: 0.001, Burst: 1}
	})
	token := w.token("billing")
	token = token[:len(token)-4] + "AAAA" // of a known issuer, and not signed by it
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.httpAddr+"/v1/vaults/dev/secrets/db", http.NoBody)
		r.RemoteAddr = "192.0.2.1:1"
		r.Header.Set("Authorization", "Bearer "+token)
		service.Gateway(w.server).ServeHTTP(httptest.NewRecorder(), r)
	}
	var outcomes []string
	for _, e := range w.audit.Events() {
		outcomes = append(outcomes, e.Outcome)
	}
	if got := strings.Join(outcomes, " "); got != "BAD_CREDENTIALS CALLER_RATE_LIMITED" {
		t.Errorf("recorded %d: %s", len(outcomes), got)
	}
}
