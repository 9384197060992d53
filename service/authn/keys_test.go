package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func testKey(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: &k.PublicKey, KeyID: kid}
}

// remoteKeys is a keySet over an issuer that is a function.
func remoteKeys(fetch func(context.Context) ([]jose.JSONWebKey, error)) *keySet {
	return &keySet{fetch: fetch, log: slog.New(slog.DiscardHandler)}
}

func TestUnknownKidsFetchOnceInThirtySeconds(t *testing.T) {
	key := testKey(t, "a")
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		s := remoteKeys(func(context.Context) ([]jose.JSONWebKey, error) {
			fetches.Add(1)
			return []jose.JSONWebKey{key}, nil
		})
		start := time.Now()
		for i := range 10_000 {
			if found, err := s.find(t.Context(), fmt.Sprint("made-up-", i), jose.ES256); err != nil || len(found) != 0 {
				t.Fatalf("find: %v, %v", found, err)
			}
			time.Sleep(9 * time.Millisecond) // 90 s in all
		}
		if got, most := fetches.Load(), int32(time.Since(start)/fetchEvery)+1; got > most || got < 2 {
			t.Errorf("%d fetches in %v, want 2 to %d", got, time.Since(start), most)
		}
		if found, err := s.find(t.Context(), "a", jose.ES256); err != nil || len(found) != 1 {
			t.Errorf("the known key: %v, %v", found, err)
		}
	})
}

func TestConcurrentFirstUseFetchesOnce(t *testing.T) {
	key := testKey(t, "a")
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		s := remoteKeys(func(ctx context.Context) ([]jose.JSONWebKey, error) {
			fetches.Add(1)
			time.Sleep(time.Second)
			return []jose.JSONWebKey{key}, ctx.Err()
		})
		// The first caller, who causes the fetch, goes away. The fetch does not.
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.find(impatient, "a", jose.ES256); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient caller: %v", err)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if found, err := s.find(t.Context(), "a", jose.ES256); err != nil || len(found) != 1 {
					t.Errorf("find: %v, %v", found, err)
				}
			})
		}
		wg.Wait()
		if n := fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestKeysRotateAndOutliveAnOutage(t *testing.T) {
	old, next := testKey(t, "old"), testKey(t, "next")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		keys, failure := []jose.JSONWebKey{old}, error(nil)
		s := remoteKeys(func(context.Context) ([]jose.JSONWebKey, error) {
			mu.Lock()
			defer mu.Unlock()
			return keys, failure
		})
		set := func(k []jose.JSONWebKey, err error) {
			mu.Lock()
			defer mu.Unlock()
			keys, failure = k, err
		}
		find := func(kid string) int {
			found, err := s.find(t.Context(), kid, jose.ES256)
			if err != nil {
				t.Errorf("find %q: %v", kid, err)
			}
			synctest.Wait() // for a refresh in the background
			return len(found)
		}
		if find("old") != 1 {
			t.Fatal("the first key is not found")
		}
		set(nil, errors.New("down"))
		time.Sleep(2 * refreshAfter)
		find("old") // its age starts a fetch, which fails
		if find("old") != 1 {
			t.Error("an outage lost the old keys")
		}
		set([]jose.JSONWebKey{next}, nil)
		time.Sleep(fetchEvery)
		if find("next") != 1 {
			t.Error("a new key is not found")
		}
		if find("old") != 0 {
			t.Error("a withdrawn key is still found")
		}

		// A key is withdrawn though no token names another.
		set([]jose.JSONWebKey{old}, nil)
		time.Sleep(refreshAfter)
		find("next") // its age starts a fetch
		if find("next") != 0 {
			t.Error("a key withdrawn in silence is still found")
		}
	})
}

func TestNoKeysEver(t *testing.T) {
	s := remoteKeys(func(context.Context) ([]jose.JSONWebKey, error) { return nil, errors.New("down") })
	for range 3 {
		if _, err := s.find(t.Context(), "a", jose.ES256); !errors.Is(err, errNoKeys) {
			t.Errorf("got %v, want errNoKeys", err)
		}
	}
}
