package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// watchWorld is a Broker over a cache over a store, in virtual time.
type watchWorld struct {
	*broker.Broker
	t     *testing.T
	store *brokertest.SecretStore
	audit *brokertest.Auditor
	vault broker.Name
	allow atomic.Pointer[func(broker.Request) bool]
}

func newWatchWorld(t *testing.T, ttl time.Duration) *watchWorld {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	w := &watchWorld{t: t, store: brokertest.NewSecretStore(vault), audit: &brokertest.Auditor{}, vault: vault}
	w.permit(func(broker.Request) bool { return true })
	w.Broker, err = broker.New(broker.Config{
		Vaults: map[string]broker.Vault{"pay": {Secrets: broker.NewSecretCache(w.store, broker.SecretCacheConfig{
			TTL: ttl, StaleIfError: time.Hour, NegativeTTL: time.Second,
		})}},
		Authorizer: brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
			return broker.Decision{Allowed: (*w.allow.Load())(r)}, nil
		}),
		Auditor: w.audit,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watchWorld) permit(f func(broker.Request) bool) { w.allow.Store(&f) }

func (w *watchWorld) name(object string) broker.Name {
	w.t.Helper()
	n, err := w.vault.Object(broker.KindSecrets, object)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// set makes a version: through the broker, or elsewhere.
func (w *watchWorld) set(object string, elsewhere bool) string {
	w.t.Helper()
	value := broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}
	var s broker.Secret
	var err error
	if elsewhere {
		s, err = w.store.SetSecret(w.t.Context(), w.name(object), value)
	} else {
		s, err = w.SetSecret(w.t.Context(), alice, w.name(object), value, broker.SetSecretOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Name.Version()
}

// watching is a watch that is on, and what it was told.
type watching struct {
	err  chan error
	stop context.CancelCauseFunc

	mu     sync.Mutex
	begun  bool
	events []told
	send   func(broker.SecretEvent) error
}

type told struct {
	at   time.Time
	what string // such as "a changed 0123…"
}

func (w *watching) Caller(context.Context) (broker.Caller, error) { return alice, nil }

func (w *watching) Begun() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	return nil
}

func (w *watching) Send(e broker.SecretEvent) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, told{time.Now(), event(e.Name.ObjectName(), e.State, e.Name.Version())})
	if w.send != nil {
		return w.send(e)
	}
	return nil
}

func event(object string, s broker.SecretState, version string) string {
	return fmt.Sprintf("%s %s %s", object, s, version)
}

// told are the events so far.
func (w *watching) told() []string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, e := range w.events {
		all = append(all, e.what)
	}
	return all
}

func (w *watchWorld) watch(targets ...broker.WatchTarget) *watching {
	w.t.Helper()
	ctx, stop := context.WithCancelCause(w.t.Context())
	one := &watching{err: make(chan error, 1), stop: stop}
	go func() { one.err <- w.WatchSecrets(ctx, one, targets) }()
	synctest.Wait()
	return one
}

func (w *watchWorld) want(one *watching, events ...string) {
	w.t.Helper()
	if got := one.told(); !slices.Equal(got, events) {
		w.t.Fatalf("told %q, want %q", got, events)
	}
}

// A change through the broker is told at once, for one call to the vault however
// many watch; one made elsewhere within the time to live.
func TestWatchTellsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl, watchers = time.Minute, 5
		w := newWatchWorld(t, ttl)
		first := w.set("a", true)
		var all []*watching
		for range watchers {
			all = append(all, w.watch(broker.WatchTarget{Name: w.name("a")}, broker.WatchTarget{Name: w.name("b")}))
		}
		want := []string{event("a", broker.SecretChanged, first)}
		everybody := func(more ...string) {
			t.Helper()
			want = append(want, more...)
			for _, one := range all {
				w.want(one, want...)
			}
		}
		everybody()
		before := w.store.Calls(brokertest.GetSecret)
		everybody(event("a", broker.SecretChanged, w.set("a", false)))
		if n := w.store.Calls(brokertest.GetSecret) - before; n != 1 {
			t.Errorf("%d calls for a change that many watch, want 1", n)
		}
		everybody(event("b", broker.SecretChanged, w.set("b", false)))

		for range 8 {
			time.Sleep(7 * time.Second)
			version := w.set("a", true)
			began := time.Now()
			time.Sleep(ttl)
			everybody(event("a", broker.SecretChanged, version))
			for _, one := range all {
				if last := one.events[len(one.events)-1]; last.at.Sub(began) > ttl {
					t.Errorf("told after %v", last.at.Sub(began))
				}
			}
		}
		// A quiet time costs a call per secret and four fifths of the time to live, at
		// most: that is when answers are renewed.
		before = w.store.Calls(brokertest.GetSecret)
		time.Sleep(24 * ttl)
		if n := w.store.Calls(brokertest.GetSecret) - before; n > 2*30 {
			t.Errorf("%d calls in 24 times to live for two secrets that many watch", n)
		}
		everybody()
		for _, one := range all {
			one.stop(nil)
			if err := <-one.err; broker.CodeOf(err) != broker.CodeCanceled {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

// Whatever a secret becomes is told, and once; who knows it is not told again.
func TestWatchTellsEveryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchWorld(t, time.Minute)
		a := w.name("a")
		one := w.watch(broker.WatchTarget{Name: a})
		w.want(one) // there is none, and nothing is known
		first := w.set("a", false)
		synctest.Wait() // of two changes at once the last is told for certain
		off, on := false, true
		_, err := w.UpdateSecret(t.Context(), alice, a, broker.SecretUpdate{Enabled: &off}, "")
		must(t, err)
		synctest.Wait()
		_, err = w.UpdateSecret(t.Context(), alice, a, broker.SecretUpdate{Enabled: &on}, "")
		must(t, err)
		synctest.Wait()
		tags := map[string]string{"k": "v"}
		_, err = w.UpdateSecret(t.Context(), alice, a, broker.SecretUpdate{Tags: &tags}, "")
		must(t, err)
		synctest.Wait()
		blob, err := w.BackupSecret(t.Context(), alice, a)
		must(t, err)
		_, err = w.DeleteSecret(t.Context(), alice, a, "")
		must(t, err)
		synctest.Wait()
		_, err = w.UndeleteSecret(t.Context(), alice, a)
		must(t, err)
		synctest.Wait()
		_, err = w.DeleteSecret(t.Context(), alice, a, "")
		must(t, err)
		must(t, w.PurgeSecret(t.Context(), alice, a))
		synctest.Wait()
		_, err = w.RestoreSecret(t.Context(), alice, w.vault, blob)
		must(t, err)
		changed, gone := event("a", broker.SecretChanged, first), event("a", broker.SecretGone, "")
		w.want(one, changed, event("a", broker.SecretOff, ""), changed, gone, changed, gone, changed)

		if got := w.watch(broker.WatchTarget{Name: a, KnownVersion: first}).told(); len(got) != 0 {
			t.Errorf("who knows it is told %q", got)
		}
		second := w.set("a", false)
		w.want(w.watch(broker.WatchTarget{Name: a, KnownVersion: first}), event("a", broker.SecretChanged, second))
		_, err = w.DeleteSecret(t.Context(), alice, a, "")
		must(t, err)
		w.want(w.watch(broker.WatchTarget{Name: a, KnownVersion: second}), gone)

		// Each event, and each begin, is on record, and nothing else.
		n := 0
		for _, e := range w.audit.Events() {
			if e.Action == broker.ActionWatchSecret {
				n++
				if !e.Decision.Allowed || e.Outcome != broker.OutcomeOK || e.Phase != "" {
					t.Errorf("recorded %+v", e)
				}
			}
		}
		// The first two go on beside the others: two more events each.
		if begins, events := 4, 7+2+2+1+1+1; n < begins+events-3 || n > begins+events {
			t.Errorf("%d records", n)
		}
	})
}

// Who comes from elsewhere may know what is younger than what is kept here. That is
// not told as news, and however many come cost a call or two.
func TestAWatchIsNotToldOfThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchWorld(t, time.Minute)
		first := w.set("a", true)
		w.want(w.watch(broker.WatchTarget{Name: w.name("a")}), event("a", broker.SecretChanged, first))
		second := w.set("a", true)
		before := w.store.Calls(brokertest.GetSecret)
		var all []*watching
		for range 20 {
			all = append(all, w.watch(broker.WatchTarget{Name: w.name("a"), KnownVersion: second}))
		}
		for _, one := range all {
			w.want(one)
		}
		if n := w.store.Calls(brokertest.GetSecret) - before; n > 2 {
			t.Errorf("%d calls", n)
		}
		// Nor is it while the vault does not answer.
		third := w.set("a", true)
		w.store.SetHook(func(context.Context, string, broker.Name) error {
			return &broker.Error{Code: broker.CodeVaultUnavailable}
		})
		late := w.watch(broker.WatchTarget{Name: w.name("a"), KnownVersion: third})
		time.Sleep(5 * time.Minute)
		w.want(late)
		w.store.SetHook(nil)
		time.Sleep(time.Minute)
		w.want(late)
		fourth := w.set("a", false)
		w.want(late, event("a", broker.SecretChanged, fourth))
	})
}

// While the vault does not answer, nothing is told and nothing ends; what changed
// meanwhile is told when it answers again.
func TestAWatchOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchWorld(t, time.Minute)
		first := w.set("a", true)
		one := w.watch(broker.WatchTarget{Name: w.name("a")})
		w.want(one, event("a", broker.SecretChanged, first))
		for _, down := range []broker.Code{broker.CodeVaultUnavailable, broker.CodeVaultThrottled, broker.CodeVaultAuthentication} {
			w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
				if method == brokertest.GetSecret {
					return &broker.Error{Code: down}
				}
				return nil
			})
			second := w.set("a", false)
			time.Sleep(10 * time.Minute)
			before := one.told()
			w.store.SetHook(nil)
			time.Sleep(time.Minute)
			w.want(one, append(before, event("a", broker.SecretChanged, second))...)
		}
		// Deleted meanwhile, it is told so too, and so is one that hangs for long.
		w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error { <-ctx.Done(); return ctx.Err() })
		time.Sleep(5 * time.Minute)
		before := one.told()
		w.store.SetHook(nil)
		_, err := w.store.DeleteSecret(t.Context(), w.name("a"))
		must(t, err)
		time.Sleep(time.Minute + 10*time.Second)
		w.want(one, append(before, event("a", broker.SecretGone, ""))...)
	})
}

// Who may not watch one of the targets watches none; who may not any more is told
// nothing more, within seconds if nothing happens.
func TestAWatchIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchWorld(t, time.Minute)
		onlyA := func(r broker.Request) bool {
			return r.Action != broker.ActionWatchSecret || r.Resource.ObjectName() == "a"
		}
		version := w.set("a", true)
		w.permit(onlyA)
		calls := w.store.Calls(brokertest.GetSecret)
		denied := w.watch(broker.WatchTarget{Name: w.name("a")}, broker.WatchTarget{Name: w.name("b")})
		if err := <-denied.err; broker.CodeOf(err) != broker.CodePolicyDenied || denied.begun || w.store.Calls(brokertest.GetSecret) != calls {
			t.Errorf("denied: %v, begun %v", err, denied.begun)
		}
		nobody := func(r broker.Request) bool { return r.Action != broker.ActionWatchSecret }

		one := w.watch(broker.WatchTarget{Name: w.name("a"), KnownVersion: version})
		w.permit(nobody)
		w.set("a", false) // at once: it is not told
		w.want(one)
		if err := <-one.err; broker.CodeOf(err) != broker.CodePolicyDenied {
			t.Errorf("after a change: %v", err)
		}

		w.permit(onlyA)
		two := w.watch(broker.WatchTarget{Name: w.name("a")})
		records := len(w.audit.Events())
		time.Sleep(time.Hour)
		if got := len(w.audit.Events()); got != records || len(two.err) != 0 {
			t.Errorf("%d records of an hour in which nothing happened", got-records)
		}
		w.permit(nobody)
		began := time.Now()
		if err := <-two.err; broker.CodeOf(err) != broker.CodePolicyDenied || time.Since(began) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		events := w.audit.Events()
		if last := events[len(events)-1]; last.Outcome != "POLICY_DENIED" || last.Action != broker.ActionWatchSecret || last.Resource != w.name("a") {
			t.Errorf("recorded last %+v", last)
		}
	})
}

// A watch ends with its context's cause and with what its watcher returns. It does
// not end with a panic of a store, nor does the process.
func TestAWatchEndsAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatchWorld(t, time.Minute)
		w.set("a", true)
		one := w.watch(broker.WatchTarget{Name: w.name("a")})
		one.stop(&broker.Error{Code: broker.CodeStreamExpired})
		if err := <-one.err; broker.CodeOf(err) != broker.CodeStreamExpired {
			t.Errorf("got %v", err)
		}
		full := errors.New("full")
		two := w.watch(broker.WatchTarget{Name: w.name("a")})
		two.mu.Lock()
		two.send = func(broker.SecretEvent) error { return full }
		two.mu.Unlock()
		w.set("a", false)
		if err := <-two.err; !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
		three := w.watch(broker.WatchTarget{Name: w.name("b")})
		w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
			if method == brokertest.GetSecret {
				panic("a value")
			}
			return nil
		})
		version := w.set("b", false)
		time.Sleep(time.Minute)
		w.want(three)
		w.store.SetHook(nil)
		time.Sleep(time.Minute)
		w.want(three, event("b", broker.SecretChanged, version))
		three.stop(nil)
		<-three.err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
