package broker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func read(t *testing.T, b *broker.Broker, n broker.Name) string {
	t.Helper()
	v, err := b.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
	if err != nil {
		return string(broker.CodeOf(err))
	}
	return v.Value.Reveal()
}

func TestSetVaults(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	more, err := broker.VaultName("more")
	if err != nil {
		t.Fatal(err)
	}
	other, err := more.Object(broker.KindSecrets, "a")
	if err != nil {
		t.Fatal(err)
	}
	store := brokertest.NewSecretStore(more)
	if _, err := store.SetSecret(t.Context(), other, broker.NewSecret{Value: broker.NewValue("other"), Enabled: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetVaults(map[string]broker.Vault{"more": {Secrets: store}, "No Name": {}}); err == nil {
		t.Error("no error for what is no vault's name")
	}
	if got := read(t, w.Broker, n); got != "v" {
		t.Errorf("after a set that was refused: %s", got)
	}
	if got := read(t, w.Broker, other); got != string(broker.CodeVaultNotFound) {
		t.Errorf("before it was added: %s", got)
	}
	released, err := w.SetVaults(map[string]broker.Vault{"more": {Secrets: store}})
	if err != nil {
		t.Fatal(err)
	}
	<-released // as no call is under way
	if got := read(t, w.Broker, n); got != string(broker.CodeVaultNotFound) {
		t.Errorf("after it was taken away: %s", got)
	}
	if got := read(t, w.Broker, other); got != "other" {
		t.Errorf("after it was added: %s", got)
	}
}

// A vault is released once the calls have ended that can have found it, however
// often there were others since; and those that began later hold it up no longer.
func TestVaultsAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, brokertest.AllowAll{})
		n := w.put(t, "a", "v")
		hold := make(chan struct{})
		holdNext := func() func() {
			gate := make(chan struct{})
			var once sync.Once
			w.store.SetHook(func(context.Context, string, broker.Name) error {
				first := false
				once.Do(func() { first = true })
				if first {
					<-gate
				}
				return nil
			})
			go func() {
				if got := read(t, w.Broker, n); got != "v" {
					t.Errorf("a call under way: %s", got)
				}
				hold <- struct{}{}
			}()
			synctest.Wait()
			return func() { close(gate); <-hold; synctest.Wait() }
		}
		set := func() <-chan struct{} {
			t.Helper()
			released, err := w.SetVaults(map[string]broker.Vault{"pay": {Secrets: w.store}})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return released
		}
		want := func(when string, released <-chan struct{}, want bool) {
			t.Helper()
			select {
			case <-released:
				if !want {
					t.Errorf("%s: released", when)
				}
			default:
				if want {
					t.Errorf("%s: not released", when)
				}
			}
		}
		endFirst := holdNext()
		one := set()
		endSecond := holdNext()
		two := set()
		endThird := holdNext()
		want("while a call is under way", one, false)
		want("while two are", two, false)
		endSecond()
		want("after the second", two, false)
		endFirst()
		want("after the first and second", one, true)
		want("after the first and second", two, true)
		three := set()
		want("with a third under way", three, false)
		endThird()
		want("after all", three, true)
	})
}

// usable is a vault's store that complains of calls after its end.
type usable struct {
	*brokertest.SecretStore
	closed atomic.Bool
	late   *atomic.Int64
}

func (s *usable) GetSecret(ctx context.Context, n broker.Name) (broker.SecretValue, error) {
	v, err := s.SecretStore.GetSecret(ctx, n)
	if s.closed.Load() {
		s.late.Add(1)
	}
	return v, err
}

// No call finds a vault that has been closed.
func TestVaultsAreSetUnderLoad(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	var late, calls atomic.Int64
	stop := make(chan struct{})
	var load, closers sync.WaitGroup
	next := &usable{SecretStore: w.store, late: &late}
	if _, err := w.SetVaults(map[string]broker.Vault{"pay": {Secrets: next}}); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := read(t, w.Broker, n); got != "v" {
					t.Errorf("a call: %s", got)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range int64(200) {
		for calls.Load() < i { // so that there are calls in between
			time.Sleep(time.Microsecond)
		}
		old := next
		next = &usable{SecretStore: w.store, late: &late}
		released, err := w.SetVaults(map[string]broker.Vault{"pay": {Secrets: next}})
		if err != nil {
			t.Fatal(err)
		}
		closers.Go(func() { <-released; old.closed.Store(true) })
	}
	closers.Wait()
	close(stop)
	load.Wait()
	if late.Load() > 0 {
		t.Errorf("%d of %d calls were in a vault that was closed", late.Load(), calls.Load())
	}
}

// A write that is under way while its vault's cache is replaced is seen by every
// read that begins after it returned, although the new cache has asked before.
func TestWriteAcrossAChangeOfVaults(t *testing.T) {
	for name, write := range map[string]func(ctx context.Context, w *world, n broker.Name, blob broker.Value) error{
		"set": func(ctx context.Context, w *world, n broker.Name, _ broker.Value) error {
			_, err := w.SetSecret(ctx, alice, n, broker.NewSecret{Value: broker.NewValue("new"), Enabled: true}, broker.SetSecretOptions{})
			return err
		},
		"restore": func(ctx context.Context, w *world, n broker.Name, blob broker.Value) error {
			_, err := w.RestoreSecret(ctx, alice, n.Vault(), blob)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, brokertest.AllowAll{})
				n := w.put(t, "a", "new")
				blob, err := w.store.BackupSecret(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				before := string(broker.CodeSecretNotFound)
				if name == "set" {
					before = "old"
					w.put(t, "a", before)
				} else if _, err := w.store.DeleteSecret(t.Context(), n); err != nil {
					t.Fatal(err)
				} else if err := w.store.PurgeSecret(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				replace := func() {
					t.Helper()
					cache := broker.NewSecretCache(w.store, broker.SecretCacheConfig{TTL: time.Hour, NegativeTTL: time.Hour})
					if _, err := w.SetVaults(map[string]broker.Vault{"pay": {Secrets: cache}}); err != nil {
						t.Fatal(err)
					}
				}
				replace()
				gate, done := make(chan struct{}), make(chan error)
				w.store.SetHook(func(_ context.Context, method string, _ broker.Name) error {
					if method != brokertest.GetSecret {
						<-gate
					}
					return nil
				})
				go func() { done <- write(t.Context(), w, n, blob) }()
				synctest.Wait()
				replace()
				for range 2 {
					if got := read(t, w.Broker, n); got != before {
						t.Errorf("before it is written: %s", got)
					}
				}
				close(gate)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if got := read(t, w.Broker, n); got != "new" {
					t.Errorf("after it was written: %s", got)
				}
			})
		})
	}
}
