package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// truth is what the store itself lists, in texts that tell items apart.
func (w *cacheWorld) truth(t *testing.T) (live, deleted []string) {
	t.Helper()
	p := broker.Page{}
	for {
		page, err := w.store.ListSecrets(t.Context(), w.name.Vault(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Secrets {
			live = append(live, described(s))
		}
		if p.Token = page.Next; p.Token == "" {
			break
		}
	}
	for {
		page, err := w.store.ListDeletedSecrets(t.Context(), w.name.Vault(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Secrets {
			deleted = append(deleted, described(d.Secret)+d.Deleted.String()+d.Purges.String())
		}
		if p.Token = page.Next; p.Token == "" {
			return live, deleted
		}
	}
}

func described(s broker.Secret) string {
	return fmt.Sprint(s.Name, s.ContentType, s.Tags, s.Enabled, s.Created, s.Updated, s.RecoveryLevel, s.RecoverableDays, s.ETag())
}

// shown is what the cache lists.
func (w *cacheWorld) shown(t *testing.T) (live, deleted []string) {
	t.Helper()
	l, err := w.AllSecrets(t.Context(), w.name.Vault())
	if err != nil {
		t.Error(err)
	}
	for _, s := range l.Items {
		live = append(live, described(*s))
	}
	d, err := w.AllDeletedSecrets(t.Context(), w.name.Vault())
	if err != nil {
		t.Error(err)
	}
	for _, s := range d.Items {
		deleted = append(deleted, described(s.Secret)+s.Deleted.String()+s.Purges.String())
	}
	return live, deleted
}

// wantTruth checks that the cache lists what is there.
func (w *cacheWorld) wantTruth(t *testing.T, after string) {
	t.Helper()
	live, deleted := w.shown(t)
	wantLive, wantDeleted := w.truth(t)
	if !slices.Equal(live, wantLive) {
		t.Errorf("after %s, listed\n%q\nwant\n%q", after, live, wantLive)
	}
	if !slices.Equal(deleted, wantDeleted) {
		t.Errorf("after %s, listed as deleted\n%q\nwant\n%q", after, deleted, wantDeleted)
	}
}

// listWrites are all that changes a list.
var listWrites = []struct {
	name, store string
	// prepare is done behind the cache's back, before any list.
	prepare func(context.Context, *cacheWorld) (any, error)
	do      func(context.Context, *cacheWorld, any) error
}{
	{"a new secret", brokertest.SetSecret, func(ctx context.Context, w *cacheWorld) (any, error) {
		_, err := w.store.DeleteSecret(ctx, w.name)
		return nil, errors.Join(err, w.store.PurgeSecret(ctx, w.name))
	}, func(ctx context.Context, w *cacheWorld, _ any) error {
		_, err := w.SetSecret(ctx, w.name, broker.NewSecret{Value: broker.NewValue("v"), Enabled: true})
		return err
	}},
	{"a new version", brokertest.SetSecret, nil, func(ctx context.Context, w *cacheWorld, _ any) error {
		_, err := w.SetSecret(ctx, w.name, broker.NewSecret{Value: broker.NewValue("v"), ContentType: "new"})
		return err
	}},
	{"an update", brokertest.UpdateSecret, nil, func(ctx context.Context, w *cacheWorld, _ any) error {
		_, err := w.UpdateSecret(ctx, w.name, broker.SecretUpdate{ContentType: new("updated"), Enabled: new(false)})
		return err
	}},
	{"a delete", brokertest.DeleteSecret, nil, func(ctx context.Context, w *cacheWorld, _ any) error {
		_, err := w.DeleteSecret(ctx, w.name)
		return err
	}},
	{"a recovery", brokertest.RecoverSecret, func(ctx context.Context, w *cacheWorld) (any, error) {
		return w.store.DeleteSecret(ctx, w.name)
	}, func(ctx context.Context, w *cacheWorld, _ any) error {
		_, err := w.RecoverSecret(ctx, w.name)
		return err
	}},
	{"a purge", brokertest.PurgeSecret, func(ctx context.Context, w *cacheWorld) (any, error) {
		return w.store.DeleteSecret(ctx, w.name)
	}, func(ctx context.Context, w *cacheWorld, _ any) error { return w.PurgeSecret(ctx, w.name) }},
	{"a restore", brokertest.RestoreSecret, func(ctx context.Context, w *cacheWorld) (any, error) {
		blob, err := w.store.BackupSecret(ctx, w.name)
		_, derr := w.store.DeleteSecret(ctx, w.name)
		return blob, errors.Join(err, derr, w.store.PurgeSecret(ctx, w.name))
	}, func(ctx context.Context, w *cacheWorld, blob any) error {
		_, err := w.RestoreSecret(ctx, w.name.Vault(), blob.(broker.Value))
		return err
	}},
}

// Wherever a walk is when a write comes, the lists that begin behind the write
// show it, and none is walked again for it.
func TestListsShowAWriteAtOnce(t *testing.T) {
	isList := func(method string) bool {
		return method == brokertest.ListSecrets || method == brokertest.ListDeletedSecrets
	}
	for _, write := range listWrites {
		for when, order := range map[string]func(t *testing.T, w *cacheWorld, do func()){
			"over a kept list": func(t *testing.T, w *cacheWorld, do func()) {
				w.shown(t)
				do()
			},
			"while a walk is under way": func(t *testing.T, w *cacheWorld, do func()) {
				release, walked := w.block(func(method string, calls int) bool { return isList(method) && calls == 2 }), make(chan bool)
				go func() { w.shown(t); close(walked) }()
				synctest.Wait() // the first page was taken, and is what it was
				do()
				later := make(chan bool)
				go func() { w.shown(t); close(later) }()
				synctest.Wait() // a list behind the write waits for the same walk
				close(release)
				<-walked
				<-later
			},
			"begun before a walk, done in it": func(t *testing.T, w *cacheWorld, do func()) {
				writing, written := w.block(func(method string, _ int) bool { return method == write.store }), make(chan bool)
				go func() { do(); close(written) }()
				synctest.Wait()
				walking, walked := w.block(func(method string, calls int) bool { return isList(method) && calls == 2 }), make(chan bool)
				go func() { w.shown(t); close(walked) }()
				synctest.Wait()
				close(writing)
				<-written
				close(walking)
				<-walked
			},
			"begun before a walk, done behind it": func(t *testing.T, w *cacheWorld, do func()) {
				writing, written := w.block(func(method string, _ int) bool { return method == write.store }), make(chan bool)
				go func() { do(); close(written) }()
				synctest.Wait()
				w.shown(t)
				close(writing)
				<-written
			},
		} {
			t.Run(write.name+" "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newCacheWorld(t, time.Hour)
					w.fill(t, 60) // three pages, w.name is in the first
					for i := range 30 {
						if _, err := w.store.DeleteSecret(t.Context(), w.secret(t, fmt.Sprintf("s-%05d", i))); err != nil {
							t.Fatal(err)
						}
					}
					var prepared any
					if write.prepare != nil {
						var err error
						if prepared, err = write.prepare(t.Context(), w); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Second)
					order(t, w, func() {
						if err := write.do(t.Context(), w, prepared); err != nil {
							t.Error(err)
						}
					})
					w.store.SetHook(nil)
					pages := w.store.Calls(brokertest.ListSecrets) + w.store.Calls(brokertest.ListDeletedSecrets)
					w.shown(t)
					if more := w.store.Calls(brokertest.ListSecrets) + w.store.Calls(brokertest.ListDeletedSecrets) - pages; more != 0 || pages != 4 {
						t.Errorf("%d pages were asked for and %d more behind the write, want 4 and none", pages, more)
					}
					w.wantTruth(t, write.name)
				})
			})
		}
	}
}

// block makes the store wait for the channel that it returns, once, in a call
// that is the calls'th of its method.
func (w *cacheWorld) block(which func(method string, calls int) bool) chan struct{} {
	release := make(chan struct{})
	var once sync.Once
	w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
		if which(method, w.store.Calls(method)) {
			once.Do(func() { <-release })
		}
		return nil
	})
	return release
}

// TestListsAreTrueAfterAnyWrites makes hundreds of writes through one cache, some
// of which fail, and looks at both lists after each.
func TestListsAreTrueAfterAnyWrites(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, 1000*time.Hour)
				w.fill(t, 30)
				draw := rand.New(rand.NewPCG(seed, 0))
				var versions []broker.Name
				var blobs []broker.Value
				doubts := 2 // each list's first walk
				pages := func() int {
					return w.store.Calls(brokertest.ListSecrets) + w.store.Calls(brokertest.ListDeletedSecrets)
				}
				walked := 0
				for range 150 {
					name := w.secret(t, fmt.Sprintf("s-%05d", draw.IntN(12)))
					if draw.IntN(3) == 0 {
						time.Sleep(time.Second)
					}
					if draw.IntN(10) == 0 {
						w.store.SetHook(func(_ context.Context, method string, n broker.Name) error {
							return &broker.Error{Code: broker.CodeVaultUnavailable}
						})
					}
					var err error
					var what string
					switch draw.IntN(8) {
					case 0, 1:
						what = "a set"
						var s broker.Secret
						s, err = w.SetSecret(t.Context(), name, broker.NewSecret{Value: broker.NewValue("v"), Enabled: draw.IntN(2) == 0, ContentType: fmt.Sprint(draw.IntN(100))})
						if err == nil {
							versions = append(versions, s.Name)
						}
					case 2:
						what = "an update"
						_, err = w.UpdateSecret(t.Context(), name, broker.SecretUpdate{ContentType: new(fmt.Sprint(draw.IntN(100)))})
					case 3:
						what = "an update of a version"
						if len(versions) > 0 {
							_, err = w.UpdateSecret(t.Context(), versions[draw.IntN(len(versions))], broker.SecretUpdate{ContentType: new(fmt.Sprint(draw.IntN(100)))})
							if err == nil {
								doubts++ // it may be the latest, of which nothing is known
							}
						}
					case 4:
						what = "a delete"
						_, err = w.DeleteSecret(t.Context(), name)
					case 5:
						what = "a recovery"
						_, err = w.RecoverSecret(t.Context(), name)
					case 6:
						what = "a purge"
						blob, berr := w.store.BackupSecret(t.Context(), name)
						if berr == nil {
							blobs = append(blobs, blob)
						}
						err = w.PurgeSecret(t.Context(), name)
					case 7:
						what = "a restore"
						if len(blobs) > 0 {
							_, err = w.RestoreSecret(t.Context(), w.name.Vault(), blobs[draw.IntN(len(blobs))])
						}
					}
					w.store.SetHook(nil)
					if broker.CodeOf(err) == broker.CodeVaultUnavailable {
						doubts += 2
					}
					before := pages()
					w.shown(t)
					walked += pages() - before
					w.wantTruth(t, fmt.Sprint(what, " ", err))
					if t.Failed() {
						return
					}
				}
				if walked > 2*doubts { // of two pages each
					t.Errorf("%d pages were walked, want at most those of %d walks", walked, doubts)
				}
			})
		})
	}
}

// A write of which nobody knows what it did ends what is known: who lists behind
// it waits for a walk that began behind it. One walk goes at a time, and one
// more is enough for all who came meanwhile.
func TestListsDoubtAWriteThatMayHaveHappened(t *testing.T) {
	for label, err := range map[string]error{
		"the vault failed":   &broker.Error{Code: broker.CodeVaultUnavailable},
		"the caller left":    context.Canceled,
		"it took too long":   context.DeadlineExceeded,
		"an unusable answer": errors.New("unusable"),
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				w.fill(t, 30)
				lossy := &lossy{SecretStore: w.store, err: err}
				w.SecretCache = broker.NewSecretCache(lossy, broker.SecretCacheConfig{TTL: time.Hour})
				if got := len(w.all(t, false, 2)); got != 31 {
					t.Fatalf("%d secrets, want 31", got)
				}
				n := w.secret(t, "lost")
				lose := func(want broker.Code) {
					t.Helper()
					if _, err := w.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("v")}); broker.CodeOf(err) != want {
						t.Fatalf("got %v, want %s", err, want)
					}
				}
				lose(broker.CodeOf(err))
				if got := len(w.all(t, false, 4)); got != 32 {
					t.Errorf("%d secrets, want the lost one too", got)
				}

				// And while a walk is under way, which has passed the name.
				lose(broker.CodeOf(err))
				n = w.secret(t, "also-lost")
				release := w.block(func(method string, calls int) bool { return method == brokertest.ListSecrets && calls == 6 })
				var before, behind sync.WaitGroup
				before.Go(func() {
					if got, err := w.AllSecrets(t.Context(), w.name.Vault()); err != nil || len(got.Items) != 32 {
						t.Errorf("%d secrets, %v; want what was there when it began", len(got.Items), err)
					}
				})
				synctest.Wait()
				lose(broker.CodeOf(err))
				for range 5 {
					behind.Go(func() {
						got, err := w.AllSecrets(t.Context(), w.name.Vault())
						if err != nil || len(got.Items) != 33 {
							t.Errorf("%d secrets, %v; want both lost ones", len(got.Items), err)
						}
					})
				}
				synctest.Wait()
				w.wantPages(t, 6) // one walk goes at a time
				close(release)
				before.Wait()
				behind.Wait()
				w.all(t, true, 8)

				// A delete is doubted in both lists.
				w.shown(t)
				if _, err := w.DeleteSecret(t.Context(), n); err == nil {
					t.Fatal("a delete that was lost succeeded")
				}
				w.wantTruth(t, "a lost delete")
			})
		})
	}
}

// A walk under way is no use either, whether or not anybody waits for the next.
func TestAWalkInDoubtIsNotKept(t *testing.T) {
	for label, write := range map[string]func(*testing.T, *cacheWorld){
		"a write that may have happened": func(t *testing.T, w *cacheWorld) {
			w.SecretStore = &lossy{SecretStore: w.store, err: context.Canceled}
			if _, err := w.SetSecret(t.Context(), w.name, broker.NewSecret{Value: broker.NewValue("v"), ContentType: "new"}); err == nil {
				t.Fatal("a set that was lost succeeded")
			}
		},
		"an update of a version that may be the latest": func(t *testing.T, w *cacheWorld) {
			v, err := w.store.GetSecret(t.Context(), w.name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.UpdateSecret(t.Context(), v.Name, broker.SecretUpdate{ContentType: new("new")}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				w.fill(t, 30)
				release, walked := w.block(func(method string, calls int) bool { return method == brokertest.ListSecrets && calls == 2 }), make(chan bool)
				go func() { w.AllSecrets(t.Context(), w.name.Vault()); close(walked) }()
				synctest.Wait() // the first page was taken, with w.name
				write(t, w)
				close(release)
				<-walked
				if got := w.all(t, false, 4); got[0].ContentType != "new" {
					t.Errorf("listed as %q, want new", got[0].ContentType)
				}
			})
		})
	}
}

// lossy is a store that makes its writes and does not say so.
type lossy struct {
	broker.SecretStore
	err error
}

func (l *lossy) SetSecret(ctx context.Context, n broker.Name, s broker.NewSecret) (broker.Secret, error) {
	if _, err := l.SecretStore.SetSecret(ctx, n, s); err != nil {
		return broker.Secret{}, err
	}
	return broker.Secret{}, l.err
}

func (l *lossy) DeleteSecret(ctx context.Context, n broker.Name) (broker.DeletedSecret, error) {
	if _, err := l.SecretStore.DeleteSecret(ctx, n); err != nil {
		return broker.DeletedSecret{}, err
	}
	return broker.DeletedSecret{}, l.err
}

// A write that was refused changed nothing, and a busy vault is not walked for
// it. That holds for an update only where the store cannot have tried it twice.
func TestListsOutliveARefusedWrite(t *testing.T) {
	codes := []broker.Code{
		broker.CodeSecretNotFound, broker.CodeSecretSoftDeleted, broker.CodeSecretExists, broker.CodeSecretInTransition,
		broker.CodeBadField, broker.CodeValueTooLarge, broker.CodeNotSupported, broker.CodeVaultThrottled, broker.CodeVaultAuthentication,
	}
	for _, write := range listWrites {
		for _, code := range codes {
			t.Run(fmt.Sprint(write.name, " ", code), func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				w.shown(t)
				w.store.SetHook(func(context.Context, string, broker.Name) error { return &broker.Error{Code: code} })
				if err := write.do(t.Context(), w, broker.NewValue("blob")); broker.CodeOf(err) != code {
					t.Fatalf("got %v, want %s", err, code)
				}
				w.store.SetHook(nil)
				walks := 1
				if write.store == brokertest.UpdateSecret && (code == broker.CodeVaultThrottled || code == broker.CodeVaultAuthentication) {
					walks = 2
				}
				w.all(t, walks == 1, walks)
			})
		}
	}
}

// A write that panics may have happened, too.
func TestListsDoubtAWriteThatPanicked(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.all(t, false, 1)
	w.store.SetHook(func(context.Context, string, broker.Name) error { panic("a bug") })
	func() {
		defer func() { _ = recover() }()
		w.SetSecret(t.Context(), w.name, broker.NewSecret{Value: broker.NewValue("v")})
	}()
	w.store.SetHook(nil)
	w.all(t, false, 2)
}

// Of two writes of one name at a time nobody knows which was last; of two names
// each is what it is. The name that a restore brings back is not known before.
func TestListsDoubtWritesThatOverlap(t *testing.T) {
	set := func(object string) func(context.Context, *testing.T, *cacheWorld, broker.Value) error {
		return func(ctx context.Context, t *testing.T, w *cacheWorld, _ broker.Value) error {
			_, err := w.SetSecret(ctx, w.secret(t, object), broker.NewSecret{Value: broker.NewValue("v"), ContentType: "second"})
			return err
		}
	}
	restore := func(ctx context.Context, _ *testing.T, w *cacheWorld, blob broker.Value) error {
		_, err := w.RestoreSecret(ctx, w.name.Vault(), blob)
		return err
	}
	for label, tt := range map[string]struct {
		blocked       string
		first, second func(context.Context, *testing.T, *cacheWorld, broker.Value) error
		doubted       bool
	}{
		"one name":             {brokertest.SetSecret, set("x"), set("x"), true},
		"two names":            {brokertest.SetSecret, set("x"), set("y"), false},
		"a write in a restore": {brokertest.RestoreSecret, restore, set("y"), true},
		"a restore in a write": {brokertest.SetSecret, set("y"), restore, true},
	} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newCacheWorld(t, time.Hour)
				blob, err := w.store.BackupSecret(t.Context(), w.name)
				if _, derr := w.store.DeleteSecret(t.Context(), w.name); err != nil || derr != nil {
					t.Fatal(err, derr)
				}
				if err := w.store.PurgeSecret(t.Context(), w.name); err != nil {
					t.Fatal(err)
				}
				w.shown(t)
				release, done := w.block(func(method string, _ int) bool { return method == tt.blocked }), make(chan error)
				go func() { done <- tt.first(t.Context(), t, w, blob) }()
				synctest.Wait()
				w.store.SetHook(nil)
				if err := tt.second(t.Context(), t, w, blob); err != nil {
					t.Fatal(err)
				}
				close(release)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				walks := 1
				if tt.doubted {
					walks = 2
				}
				w.all(t, !tt.doubted, walks)
				w.wantTruth(t, label)
				// What follows is alone again.
				if err := set("x")(t.Context(), t, w, blob); err != nil {
					t.Fatal(err)
				}
				w.all(t, true, w.store.Calls(brokertest.ListSecrets))
			})
		})
	}
}

// The list shows the latest version, whichever is updated.
func TestListsShowTheLatestVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Hour)
		first, err := w.store.GetSecret(t.Context(), w.name)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.set(t, "second")
		second, err := w.store.GetSecret(t.Context(), w.name)
		if err != nil {
			t.Fatal(err)
		}
		w.all(t, false, 1)
		update := func(n broker.Name, to string) {
			t.Helper()
			if _, err := w.UpdateSecret(t.Context(), n, broker.SecretUpdate{ContentType: &to}); err != nil {
				t.Fatal(err)
			}
		}
		update(first.Name, "of the first")
		if got := w.all(t, true, 1); got[0].ContentType != "" {
			t.Errorf("listed as %q, which the first version is", got[0].ContentType)
		}
		update(w.name, "of the latest")
		if got := w.all(t, true, 1); got[0].ContentType != "of the latest" {
			t.Errorf("listed as %q", got[0].ContentType)
		}
		// Pinned, it is not known to be the latest.
		update(second.Name, "of the second")
		if got := w.all(t, false, 2); got[0].ContentType != "of the second" {
			t.Errorf("listed as %q", got[0].ContentType)
		}
	})
}

// What a write left is not believed for longer than the list that it is put
// over: what others do is seen when that is too old.
func TestAWriteIsForgottenByTheNextWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newCacheWorld(t, time.Minute)
		w.all(t, false, 1)
		time.Sleep(30 * time.Second)
		w.set(t, "through the cache")
		n := w.secret(t, "new")
		if _, err := w.SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue("v")}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.DeleteSecret(t.Context(), n); err != nil { // elsewhere
			t.Fatal(err)
		}
		if got := w.all(t, true, 1); len(got) != 2 {
			t.Errorf("%d secrets, want 2: nobody has asked yet", len(got))
		}
		time.Sleep(30 * time.Second)
		if got := w.all(t, false, 2); len(got) != 1 {
			t.Errorf("%d secrets, want 1", len(got))
		}
	})
}

// A list that was handed out stays as it was.
func TestListsAreNotChangedUnderTheirReaders(t *testing.T) {
	w := newCacheWorld(t, time.Hour)
	w.fill(t, 30)
	got := w.all(t, false, 2)
	before := slices.Clone(got)
	for _, s := range before {
		if _, err := w.DeleteSecret(t.Context(), s.Name); err != nil {
			t.Fatal(err)
		}
	}
	w.put(t, "s-00003x")
	if !slices.Equal(got, before) {
		t.Error("a list changed while it was read")
	}
}
