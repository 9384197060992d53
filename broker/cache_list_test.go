package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// fill puts n secrets into the store, s-00000 and so on.
func (w *cacheWorld) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if _, err := w.store.SetSecret(t.Context(), w.secret(t, fmt.Sprintf("s-%05d", i)), broker.NewSecret{Value: broker.NewValue("v"), Enabled: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *cacheWorld) secret(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := w.name.Vault().Object(broker.KindSecrets, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// all lists what lives, and fails unless the answer is as wanted: cached, and
// after that many walks' pages in all.
func (w *cacheWorld) all(t *testing.T, cached bool, pages int) []*broker.Secret {
	t.Helper()
	got, err := w.AllSecrets(t.Context(), w.name.Vault())
	if err != nil || got.Cached != cached {
		t.Fatalf("cached %v, %v; want cached %v", got.Cached, err, cached)
	}
	w.wantPages(t, pages)
	return got.Items
}

func (w *cacheWorld) wantPages(t *testing.T, pages int) {
	t.Helper()
	if n := w.store.Calls(brokertest.ListSecrets); n != pages {
		t.Fatalf("%d pages were asked for, want %d", n, pages)
	}
}

// over returns a broker over the cache.
func (w *cacheWorld) over(t *testing.T, authz broker.Authorizer) (*broker.Broker, *brokertest.Auditor) {
	t.Helper()
	audit := &brokertest.Auditor{}
	b, err := broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": {Secrets: w}}, Authorizer: authz, Auditor: audit})
	if err != nil {
		t.Fatal(err)
	}
	return b, audit
}

// 10,000 names are 400 calls for the first who lists them, and none for the
// next. Each page is one record.
func TestTheWholeListIsOneWalk(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.fill(t, 9_999) // and w.name
	b, audit := w.over(t, brokertest.AllowAll{})
	for _, calls := range []int{400, 400} {
		before := len(audit.Events())
		seen, last, p := 0, "", broker.Page{Size: 1_000}
		for {
			page, err := b.ListSecrets(t.Context(), alice, w.name.Vault(), p)
			if err != nil || len(page.Secrets) != 1_000 {
				t.Fatalf("a page of %d, %v; want 1,000", len(page.Secrets), err)
			}
			for _, s := range page.Secrets {
				if s.Name.ObjectName() <= last {
					t.Fatalf("%v behind %s", s.Name, last)
				}
				last = s.Name.ObjectName()
				seen++
			}
			if p.Token = page.Next; p.Token == "" {
				break
			}
		}
		if n := w.store.Calls(brokertest.ListSecrets); seen != 10_000 || n != calls {
			t.Errorf("%d names after %d calls, want 10,000 after %d", seen, n, calls)
		}
		events := audit.Events()[before:]
		if len(events) != 10 {
			t.Errorf("%d records of 10 pages", len(events))
		}
		for i, e := range events {
			// Only the first of all waited for the vault.
			if cached := before > 0 || i > 0; len(e.Items) != 1_000 || e.Cached != cached {
				t.Errorf("page %d is recorded with %d items, cached %v", i, len(e.Items), e.Cached)
			}
		}
	}
}

// Two hundred who list at the same time cost one walk, and each sees what is
// his. The first of them leaves, which fails nobody else.
func TestConcurrentListsShareOneWalk(t *testing.T) {
	for label, ttl := range map[string]time.Duration{"kept": time.Hour, "not kept": 0} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const callers, each = 200, 5
				w := newCacheWorld(t, ttl)
				for i := range callers * each {
					w.put(t, fmt.Sprintf("of-%03d-%d", i%callers, i/callers))
				}
				b, audit := w.over(t, brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
					n := r.Resource.ObjectName()
					return broker.Decision{Allowed: n == "" || strings.HasPrefix(n, "of-"+r.Principal.ID)}, nil
				}))
				release := make(chan struct{})
				w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
					<-release
					return ctx.Err()
				})
				leader, leave := context.WithCancel(t.Context())
				left := make(chan error, 1)
				go func() {
					_, err := b.ListSecrets(leader, broker.Caller{Principal: broker.Principal{ID: "leader"}}, w.name.Vault(), broker.Page{})
					left <- err
				}()
				synctest.Wait()
				var served sync.WaitGroup
				for i := range callers {
					served.Go(func() {
						id := fmt.Sprintf("%03d", i)
						page, err := b.ListSecrets(t.Context(), broker.Caller{Principal: broker.Principal{ID: id}}, w.name.Vault(), broker.Page{})
						var got []string
						for _, s := range page.Secrets {
							got = append(got, s.Name.ObjectName())
						}
						var want []string
						for k := range each {
							want = append(want, fmt.Sprintf("of-%s-%d", id, k))
						}
						if err != nil || !slices.Equal(got, want) || page.Next != "" {
							t.Errorf("%s sees %v, %v; want %v", id, got, err, want)
						}
					})
				}
				synctest.Wait() // all wait
				leave()
				if err := <-left; broker.CodeOf(err) != broker.CodeCanceled {
					t.Errorf("who left got %v, want CANCELED", err)
				}
				close(release)
				served.Wait()
				w.wantPages(t, 41) // of 1,001 secrets
				if n := len(audit.Events()); n != callers+1 {
					t.Errorf("%d records of %d lists", n, callers+1)
				}
			})
		})
	}
}

func (w *cacheWorld) put(t *testing.T, object string) broker.Secret {
	t.Helper()
	s, err := w.store.SetSecret(t.Context(), w.secret(t, object), broker.NewSecret{Value: broker.NewValue("v"), Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A list is served for its time to live, and renewed behind the callers' backs
// in its last quarter. One that nobody asks for is not.
func TestAListAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		w.fill(t, 29) // two pages, with w.name
		failing := false
		w.store.SetHook(func(context.Context, string, broker.Name) error {
			if failing {
				return &broker.Error{Code: broker.CodeVaultUnavailable}
			}
			time.Sleep(time.Second)
			return nil
		})
		w.all(t, false, 2) // asked 2 s ago
		time.Sleep(42 * time.Second)
		w.all(t, true, 2)
		time.Sleep(time.Second)
		for range 2 {
			if got, err := w.AllSecrets(t.Context(), w.name.Vault()); err != nil || !got.Cached {
				t.Fatalf("cached %v, %v; want the list that is renewed", got.Cached, err)
			}
		}
		synctest.Wait() // the renewal has asked for its first page
		w.wantPages(t, 3)
		time.Sleep(2 * time.Second) // and has ended
		w.wantPages(t, 4)
		time.Sleep(40 * time.Second) // 42 s after the renewal began
		w.all(t, true, 4)
		time.Sleep(18 * time.Second)
		w.all(t, false, 6) // nobody asked in the last quarter
		failing = true
		time.Sleep(45 * time.Second)
		for range 3 {
			if got, err := w.AllSecrets(t.Context(), w.name.Vault()); err != nil || !got.Cached {
				t.Fatalf("cached %v, %v; want the list that is young enough", got.Cached, err)
			}
			synctest.Wait()
			w.wantPages(t, 7) // what fails is tried once
		}
		time.Sleep(15 * time.Second)
		for i := range 2 {
			if _, err := w.AllSecrets(t.Context(), w.name.Vault()); broker.CodeOf(err) != broker.CodeVaultUnavailable {
				t.Fatalf("got %v, want VAULT_UNAVAILABLE: the list is too old", err)
			}
			w.wantPages(t, 8+i)
		}
		failing = false
		w.all(t, false, 11)
	})
}

// What a walk had found before it failed is served to nobody, and the next
// caller has it walked again.
func TestAFailedWalkIsNotKept(t *testing.T) {
	unavailable := &broker.Error{Code: broker.CodeVaultUnavailable}
	for label, tt := range map[string]struct {
		fail func(context.Context) error
		want broker.Code
	}{
		"the vault fails":             {func(context.Context) error { return unavailable }, broker.CodeVaultUnavailable},
		"the vault forgot its token":  {func(context.Context) error { return &broker.Error{Code: broker.CodeBadPageToken} }, broker.CodeVaultUnavailable},
		"the vault hangs":             {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, broker.CodeDeadlineExceeded},
		"the store panics":            {func(context.Context) error { panic("canary-in-a-panic") }, broker.CodeInternal},
		"the vault throttles":         {func(context.Context) error { return &broker.Error{Code: broker.CodeVaultThrottled} }, broker.CodeVaultThrottled},
		"the vault refuses the token": {func(context.Context) error { return &broker.Error{Code: broker.CodeVaultAuthentication} }, broker.CodeVaultAuthentication},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				w.fill(t, 74) // three pages, with w.name
				pages, release := 0, make(chan struct{})
				w.store.SetHook(func(ctx context.Context, _ string, _ broker.Name) error {
					if pages++; pages == 2 {
						<-release
						return tt.fail(ctx)
					}
					return nil
				})
				began := time.Now()
				var waiting sync.WaitGroup
				for range 3 {
					waiting.Go(func() {
						got, err := w.AllSecrets(t.Context(), w.name.Vault())
						if broker.CodeOf(err) != tt.want || len(got.Items) != 0 || strings.Contains(fmt.Sprint(err), "canary") {
							t.Errorf("%d secrets, %v; want none and %s", len(got.Items), err, tt.want)
						}
					})
				}
				synctest.Wait()
				close(release)
				waiting.Wait()
				if took := time.Since(began); took != 0 && took != 2*time.Minute {
					t.Errorf("it took %v, want 2m for a vault that hangs", took)
				}
				w.wantPages(t, 2)
				if got := w.all(t, false, 5); len(got) != 75 {
					t.Errorf("%d secrets, want 75", len(got))
				}
				w.all(t, true, 5)
			})
		})
	}
}

// endless is a store whose list does not end.
type endless struct {
	broker.SecretStore
	pages atomic.Int64
}

func (e *endless) ListSecrets(context.Context, broker.Name, broker.Page) (broker.SecretPage, error) {
	return broker.SecretPage{Next: fmt.Sprint(e.pages.Add(1))}, nil
}

func TestAWalkHasAnEnd(t *testing.T) {
	vault := newCacheWorld(t, 0).name.Vault()
	e := &endless{}
	_, err := broker.NewSecretCache(e, broker.SecretCacheConfig{TTL: time.Hour}).AllSecrets(t.Context(), vault)
	if n := e.pages.Load(); broker.CodeOf(err) != broker.CodeVaultUnavailable || n != 10_000 {
		t.Errorf("%d pages, %v; want VAULT_UNAVAILABLE after 10,000", n, err)
	}
}

// shuffled is a store whose pages are in no order, and show an item twice that
// changed between them.
type shuffled struct {
	broker.SecretStore
	pages [][]broker.Secret
}

func (s shuffled) ListSecrets(_ context.Context, _ broker.Name, p broker.Page) (broker.SecretPage, error) {
	at := 0
	if p.Token != "" {
		_, _ = fmt.Sscan(p.Token, &at)
	}
	page := broker.SecretPage{Secrets: s.pages[at]}
	if at++; at < len(s.pages) {
		page.Next = fmt.Sprint(at)
	}
	return page, nil
}

func TestAListIsSortedAndShowsEachNameOnce(t *testing.T) {
	w := newCacheWorld(t, 0)
	item := func(object, contentType string) broker.Secret {
		return broker.Secret{Name: w.secret(t, object), ContentType: contentType}
	}
	vault := w.name.Vault()
	s := shuffled{pages: [][]broker.Secret{{item("c", ""), item("a", "old")}, {}, {item("d", "old"), item("a", "new")}, {item("b", ""), item("d", "new")}}}
	got, err := broker.NewSecretCache(s, broker.SecretCacheConfig{}).AllSecrets(t.Context(), vault)
	var text []string
	for _, s := range got.Items {
		text = append(text, s.Name.ObjectName()+s.ContentType)
	}
	if want := []string{"anew", "b", "c", "dnew"}; err != nil || !slices.Equal(text, want) {
		t.Errorf("got %v, %v; want %v", text, err, want)
	}
}
