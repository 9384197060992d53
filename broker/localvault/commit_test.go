package localvault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// together starts writes while another has the turn, so that all of them wait, and
// returns their errors and how many commits they took.
func together(t *testing.T, v *Vault, writes ...func() error) (errs []error, commits int) {
	t.Helper()
	before := lastCommit(t, v)
	v.commits.turn <- struct{}{}
	errs = make([]error, len(writes))
	var all sync.WaitGroup
	for i, w := range writes {
		all.Go(func() { errs[i] = w() })
		synctest.Wait() // in this order
	}
	<-v.commits.turn
	all.Wait()
	return errs, lastCommit(t, v) - before
}

func lastCommit(t *testing.T, v *Vault) (id int) {
	t.Helper()
	err := v.db.View(func(tx *bbolt.Tx) error {
		id = tx.ID()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func setting(t *testing.T, v *Vault, object, value string) func() error {
	t.Helper()
	n := name(t, object)
	return func() error {
		_, err := v.Secrets().SetSecret(t.Context(), n, broker.NewSecret{Value: broker.NewValue(value), Enabled: true})
		return err
	}
}

func inBubble(t *testing.T, run func(*testing.T, *Vault)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := openEmpty(t)
		run(t, v)
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

func openEmpty(t *testing.T) *Vault {
	t.Helper()
	dir := t.TempDir()
	v, err := Open(Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func valueOf(t *testing.T, v *Vault, object string) string {
	t.Helper()
	s, err := v.Secrets().GetSecret(t.Context(), name(t, object))
	if err != nil {
		return string(broker.CodeOf(err))
	}
	return s.Value.Reveal()
}

// A commit is two syncs, so sixteen writers who share one have eight writes for
// each.
func TestWritersShareACommit(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Vault) {
		const writers = 16
		var writes []func() error
		for i := range writers {
			writes = append(writes, setting(t, v, fmt.Sprint("secret-", i), fmt.Sprint(i)))
		}
		errs, commits := together(t, v, writes...)
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if commits != 1 {
			t.Errorf("%d writers took %d commits, want 1", writers, commits)
		}
		for i := range writers {
			if got := valueOf(t, v, fmt.Sprint("secret-", i)); got != fmt.Sprint(i) {
				t.Errorf("secret %d is %q", i, got)
			}
		}
	})
}

// However many wait, all are answered, and a group has its bound.
func TestMoreWritersThanAGroupTakes(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Vault) {
		var writes []func() error
		for i := range 2*maxGroup + 1 {
			writes = append(writes, setting(t, v, fmt.Sprint("secret-", i%8), fmt.Sprint(i)))
		}
		errs, commits := together(t, v, writes...)
		if err := errors.Join(errs...); err != nil || commits != 3 {
			t.Errorf("%d commits, want 3 (%v)", commits, err)
		}
		// In the order in which they came.
		if got, want := valueOf(t, v, "secret-0"), fmt.Sprint(2*maxGroup); got != want {
			t.Errorf("the last value is %q, want %q", got, want)
		}
	})
}

// What a write changed before it failed is not kept, and the others are not held to
// account for it.
func TestAWriteThatFailsAmongOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Vault) {
		half := errors.New("half-way")
		gone, cancel := context.WithCancel(t.Context())
		errs, commits := together(t, v,
			setting(t, v, "before", "1"),
			func() error {
				return v.update(t.Context(), func(tx *bbolt.Tx) error {
					return errors.Join(v.newHead(secretShelf, "half").put(tx), half)
				})
			},
			func() error {
				return v.update(t.Context(), func(*bbolt.Tx) error { panic("a damaged page") })
			},
			func() error {
				_, err := v.Secrets().DeleteSecret(t.Context(), name(t, "absent"))
				return err
			},
			func() error {
				return v.update(endsAfter(gone, cancel), func(*bbolt.Tx) error { return errors.New("it ran for nobody") })
			},
			setting(t, v, "behind", "2"),
		)
		if errs[0] != nil || errs[5] != nil || !errors.Is(errs[1], half) || !errors.Is(errs[2], errPage) ||
			broker.CodeOf(errs[3]) != broker.CodeSecretNotFound || broker.CodeOf(errs[4]) != broker.CodeCanceled {
			t.Errorf("got %v", errs)
		}
		if commits != 1 {
			t.Errorf("%d commits, want 1", commits)
		}
		if a, b := valueOf(t, v, "before"), valueOf(t, v, "behind"); a != "1" || b != "2" {
			t.Errorf("got %q and %q", a, b)
		}
		if err := v.db.View(func(tx *bbolt.Tx) error {
			if tx.Bucket(secretShelf.heads).Get([]byte("half")) != nil {
				t.Error("a part of what failed is in the file")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// endsAfter is a context that is there until its write waits.
func endsAfter(ctx context.Context, cancel func()) context.Context {
	return lateContext{ctx, cancel, new(int)}
}

type lateContext struct {
	context.Context

	cancel func()
	looks  *int
}

func (c lateContext) Err() error {
	if *c.looks++; *c.looks > 1 {
		c.cancel()
	}
	return c.Context.Err()
}

// A write that fails for what another of its group did is decided by what is on the
// disk.
func TestAWriteThatBuildsOnAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Vault) {
		if err := setting(t, v, "a", "1")(); err != nil {
			t.Fatal(err)
		}
		deleting := func() error {
			_, err := v.Secrets().DeleteSecret(t.Context(), name(t, "a"))
			return err
		}
		errs, commits := together(t, v, deleting, deleting, setting(t, v, "a", "2"), setting(t, v, "b", "3"))
		if errs[0] != nil || broker.CodeOf(errs[1]) != broker.CodeSecretNotFound ||
			broker.CodeOf(errs[2]) != broker.CodeSecretSoftDeleted || errs[3] != nil || commits != 1 {
			t.Errorf("%d commits: %v", commits, errs)
		}
	})
}

// Who writes after a commit that many shared waits for them, no longer than half of
// what it took, and only once.
func TestTheNextCommitWaitsForThoseBehindTheLast(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Vault) {
		crowd := func() {
			v.commits.committed([]*change{{done: make(chan struct{})}, {done: make(chan struct{})}}, time.Second)
		}
		took := func(writes ...func() error) time.Duration {
			began := time.Now()
			var all sync.WaitGroup
			for _, w := range writes {
				all.Go(func() {
					if err := w(); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			return time.Since(began)
		}
		crowd()
		if d := took(setting(t, v, "a", "1")); d != time.Second/2 {
			t.Errorf("a write waited %v for the others, want half a second", d)
		}
		if d := took(setting(t, v, "a", "2")); d != 0 {
			t.Errorf("the next one waited %v for nobody", d)
		}
		crowd()
		before := lastCommit(t, v)
		if d := took(setting(t, v, "a", "3"), setting(t, v, "b", "3")); d != 0 {
			t.Errorf("two who came waited %v", d)
		}
		if n := lastCommit(t, v) - before; n != 1 {
			t.Errorf("two who came took %d commits", n)
		}
		crowd()
		time.Sleep(time.Second)
		if d := took(setting(t, v, "a", "4")); d != 0 {
			t.Errorf("a write waited %v for what was long ago", d)
		}
	})
}
