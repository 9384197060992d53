package audit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestHangs: a write, or a sync, that hangs holds nobody, and what comes late is
// no harm.
func TestHangs(t *testing.T) {
	for _, inSync := range []bool{false, true} {
		t.Run(fmt.Sprintf("sync %t", inSync), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, f, path := openFaulty(t, Config{Sync: SyncAlways})
				if err := l.Record(t.Context(), act("a")); err != nil {
					t.Fatal(err)
				}
				hold := make(chan struct{})
				f.set(func(f *faults) { f.hold, f.holdSync = hold, inSync })
				began := time.Now()
				var callers sync.WaitGroup
				for range 10 * maxBatch {
					callers.Go(func() {
						if err := l.Record(t.Context(), act("late")); !errors.Is(err, errSlow) {
							t.Errorf("got %v", err)
						}
					})
				}
				callers.Wait()
				if took := time.Since(began); took > 250*time.Millisecond {
					t.Errorf("callers waited %v", took)
				}
				if err := l.Err(); !errors.Is(err, errSlow) {
					t.Errorf("Err is %v", err)
				}
				f.set(func(f *faults) { f.hold = nil })
				close(hold)
				synctest.Wait()
				if err := l.Record(t.Context(), act("b")); err != nil || l.Err() != nil {
					t.Fatal(err, l.Err())
				}
				got := principals(t, path)
				if late := strings.Count(got, "late"); late > maxBatch {
					t.Errorf("%d are recorded of whom nobody waited", late)
				}
				if strings.ReplaceAll(got, "late ", "") != "a [resumeAudit] b" {
					t.Errorf("the file has %q", got)
				}
				_ = l.Close()
			})
		})
	}
}

// TestCloseHangs: a disk that hangs does not keep the process.
func TestCloseHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f, _ := openFaulty(t, Config{Sync: SyncAlways})
		hold := make(chan struct{})
		f.set(func(f *faults) { f.hold = hold })
		if err := l.Record(t.Context(), act("late")); !errors.Is(err, errSlow) {
			t.Fatal(err)
		}
		if err := l.Close(); err == nil {
			t.Error("closed, though it hangs")
		}
		close(hold)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestGroupCommit: whoever comes while a sync goes on shares the next.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f, path := openFaulty(t, Config{Sync: SyncAlways})
		hold := make(chan struct{})
		f.set(func(f *faults) { f.hold, f.holdSync = hold, true })
		var callers sync.WaitGroup
		record := func() {
			callers.Go(func() {
				if err := l.Record(t.Context(), act("a")); err != nil {
					t.Error(err)
				}
			})
		}
		record()
		<-f.held
		const others = 200
		for range others {
			record()
		}
		synctest.Wait()
		f.set(func(f *faults) { f.hold = nil })
		close(hold)
		callers.Wait()
		if got := f.syncs.Load(); got != 2 {
			t.Errorf("%d syncs of %d records, want 2", got, 1+others)
		}
		if got := strings.Count(principals(t, path), "a"); got != 1+others {
			t.Errorf("%d records, want %d", got, 1+others)
		}
		_ = l.Close()
	})
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f, _ := openFaulty(t, Config{Sync: SyncInterval})
		second := func(syncs int32) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			if got := f.syncs.Load(); got != syncs {
				t.Fatalf("%d syncs, want %d", got, syncs)
			}
		}
		second(0)
		for range 3 {
			if err := l.Record(t.Context(), act("a")); err != nil {
				t.Fatal(err)
			}
		}
		second(1)
		second(1)
		// A sync that goes on holds no record.
		hold := make(chan struct{})
		f.set(func(f *faults) { f.hold, f.holdSync = hold, true })
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
		second(2)
		if err := l.Record(t.Context(), act("a")); err != nil {
			t.Fatal(err)
		}
		// Until too much is at stake.
		time.Sleep(syncPatience + time.Second)
		if err := l.Record(t.Context(), act("a")); !errors.Is(err, errSyncHangs) || !errors.Is(l.Err(), errSyncHangs) {
			t.Errorf("got %v; Err is %v", err, l.Err())
		}
		f.set(func(f *faults) { f.hold = nil })
		close(hold)
		time.Sleep(2 * pulse)
		if err := l.Record(t.Context(), act("a")); err != nil || l.Err() != nil {
			t.Errorf("got %v; Err is %v", err, l.Err())
		}
		_ = l.Close()
	})
}
