package service_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/metadata"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// sayWhy read the secret db for the reasons in the headers.
var sayWhy = map[string]func(*world, identity, ...string) error{
	broker.TransportGRPC: func(w *world, id identity, reasons ...string) error {
		ctx := metadata.NewOutgoingContext(w.Context(), metadata.MD{"x-keyward-reason": reasons})
		_, err := w.client(id).GetSecret(ctx, &keywardv1.GetSecretRequest{Name: db})
		return err
	},
	broker.TransportREST: func(w *world, id identity, reasons ...string) error {
		var headers []string
		for _, r := range reasons {
			headers = append(headers, "X-Keyward-Reason", r)
		}
		return w.rest(id, "GET /v1/"+db, "", headers...).err(w.T)
	},
}

// askedWhy keeps the reasons that the policy was asked with.
type askedWhy struct {
	mu      sync.Mutex
	reasons []string
}

func (a *askedWhy) option(_ *service.Config, c *broker.Config) {
	decide := c.Authorizer
	c.Authorizer = brokertest.AuthorizerFunc(func(ctx context.Context, r broker.Request) (broker.Decision, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reasons = append(a.reasons, r.Reason)
		return decide.Authorize(ctx, r)
	})
}

func TestReasons(t *testing.T) {
	ue := strings.Repeat("ü", 500)
	cases := map[string]struct {
		sent []string
		want string
		bad  string // what the caller is told, instead
	}{
		"none":                 {},
		"empty":                {sent: []string{""}},
		"spaces":               {sent: []string{"%20%20"}},
		"plain":                {sent: []string{"ticket 4711: db is down"}, want: "ticket 4711: db is down"},
		"trimmed":              {sent: []string{"%20%20ticket%204711%09"}, want: "ticket 4711"},
		"encoded":              {sent: []string{"St%C3%B6rung"}, want: "Störung"},
		"an encoded percent":   {sent: []string{"disk at 100%25"}, want: "disk at 100%"},
		"a percent by hand":    {sent: []string{"disk at 100%"}, want: "disk at 100%"},
		"a percent before hex": {sent: []string{"50%zz%41"}, want: "50%zz%41"},
		"a plus":               {sent: []string{"a+b"}, want: "a+b"},
		"the longest":          {sent: []string{strings.Repeat("%C3%BC", 500)}, want: ue},
		"too long":             {sent: []string{strings.Repeat("a", 501)}, bad: "at most 500"},
		"too long, encoded":    {sent: []string{strings.Repeat("%C3%BC", 501)}, bad: "at most 500"},
		"two lines":            {sent: []string{"a%0Ab"}, bad: "one line"},
		"a control character":  {sent: []string{"a%1B[2J"}, bad: "printable"},
		"turned around":        {sent: []string{"a%E2%80%AEb"}, bad: "printable"},
		"no UTF-8":             {sent: []string{"a%FF"}, bad: "UTF-8"},
		"two":                  {sent: []string{"a", "b"}, bad: "twice"},
		"the same twice":       {sent: []string{"a", "a"}, bad: "twice"},
	}
	for transport, get := range sayWhy {
		for name, c := range cases {
			t.Run(transport+"/"+name, func(t *testing.T) {
				var asked askedWhy
				w := newWorld(t, asked.option)
				w.put(db, "x")
				err := get(w, w.billing(), c.sent...)
				events := w.audit.Events()
				if c.bad == "" {
					if err != nil || len(asked.reasons) != 1 || asked.reasons[0] != c.want {
						t.Errorf("%v; the policy was asked with %q, want %q", err, asked.reasons, c.want)
					}
					if len(events) != 1 || events[0].Caller.Reason != c.want {
						t.Errorf("recorded %+v, want %q", events, c.want)
					}
					return
				}
				if grpcVerdict(err) != (verdict{"InvalidArgument", "BAD_FIELD"}) || fieldAtFault(err) != "x-keyward-reason" || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("%v (field %q), want BAD_FIELD of x-keyward-reason and %q", err, fieldAtFault(err), c.bad)
				}
				if len(asked.reasons) != 0 || len(events) != 0 || w.store.Calls(brokertest.GetSecret) != 0 {
					t.Errorf("a refused call went on: %q, %+v", asked.reasons, events)
				}
				// To those whom nobody knows, nothing is said of their reasons.
				if err := get(w, identity{}, c.sent...); grpcVerdict(err).reason != "NO_CREDENTIALS" {
					t.Errorf("without credentials: %v", err)
				}
			})
		}
	}
}

// REST's headers may carry UTF-8 as it is.
func TestAReasonInUTF8OverREST(t *testing.T) {
	w := newWorld(t)
	w.put(db, "x")
	if r := w.rest(w.billing(), "GET /v1/"+db, "", "X-Keyward-Reason", "Störung: 100%"); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	if e := w.audit.Events(); len(e) != 1 || e[0].Caller.Reason != "Störung: 100%" {
		t.Errorf("recorded %+v", e)
	}
}

// A reason is the caller's own text: it is on record, and nowhere else.
func TestAReasonIsRecordedAndNoMore(t *testing.T) {
	const canary = "canary-91c4"
	w := newWorld(t)
	w.put(db, "x")
	var errs []string
	for _, get := range sayWhy {
		w.must(get(w, w.billing(), canary))
		errs = append(errs, fmt.Sprint(get(w, w.billing(), canary+"%0Ax")), fmt.Sprint(get(w, w.billing(), canary, canary)), fmt.Sprint(get(w, identity{}, canary)))
	}
	denied := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/forbidden", "", "X-Keyward-Reason", canary)
	errs = append(errs, string(denied.body))
	w.stop()
	receive(t, w.served, "the end of Serve")
	close(w.served)

	var all metricdata.ResourceMetrics
	w.must(w.meters.Collect(t.Context(), &all))
	var spans []string
	for _, s := range w.spans.Ended() {
		spans = append(spans, fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status(), s.Links()))
	}
	for what, text := range map[string]string{
		"log": w.logs.String(), "error": strings.Join(errs, "\n"), "span": strings.Join(spans, "\n"), "metric": fmt.Sprintf("%+v", all),
	} {
		if text == "" || strings.Contains(text, canary) {
			t.Errorf("%s holds the reason, or was not made: %s", what, text)
		}
	}
	recorded := 0
	for _, e := range w.audit.Events() {
		if e.Caller.Reason == canary {
			recorded++
		}
	}
	if recorded != 3 { // two that were allowed, one that was denied
		t.Errorf("%d records have the reason, want 3", recorded)
	}
}
