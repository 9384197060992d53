package localvault_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

// acks are the writes that were acknowledged.
type acks struct {
	mu      sync.Mutex
	values  map[broker.Name]string // by version
	deleted map[broker.Name]bool
}

func newAcks() *acks {
	return &acks{values: make(map[broker.Name]string), deleted: make(map[broker.Name]bool)}
}

func (a *acks) set(name broker.Name, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[name] = value
}

// delete takes note of a version that was set, and deleted with its name.
func (a *acks) delete(name broker.Name, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[name], a.deleted[name.Base()] = value, true
}

// check opens the vault in dir, which must have all that was acknowledged, whole,
// and must take more. It returns how much was looked for.
func (a *acks) check(t *testing.T, what, dir string) int {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	v, err := localvault.Open(config(dir))
	if err != nil {
		t.Errorf("%s: %d writes were acknowledged, and the vault does not open: %v", what, len(a.values), err)
		return 0
	}
	for name, value := range a.values {
		got, err := v.Secrets().GetSecret(t.Context(), name)
		switch {
		case a.deleted[name.Base()]:
			if broker.CodeOf(err) != broker.CodeSecretNotFound {
				t.Errorf("%s: %v was deleted, and is there (%v)", what, name, err)
			}
		case err != nil:
			t.Errorf("%s: %v was acknowledged, and is lost: %v", what, name, err)
		case got.Value.Reveal() != value:
			t.Errorf("%s: %v is torn", what, name)
		}
	}
	if _, err := v.Secrets().SetSecret(t.Context(), secretName(t, "one-more"), newSecret("x")); err != nil {
		t.Errorf("%s: the vault takes nothing more: %v", what, err)
	}
	must(t, v.Close())
	if r, err := localvault.Check(t.Context(), config(dir).Path, config(dir).KeyFile); err != nil || len(r.Findings) > 0 {
		t.Errorf("%s: %v, %+v", what, err, r.Findings)
	}
	return len(a.values)
}

func newSecret(value string) broker.NewSecret {
	return broker.NewSecret{Value: broker.NewValue(value), Enabled: true}
}

// valueFor is a value that says where it belongs, of a length that varies: some
// are of several pages.
func valueFor(writer, i int) string {
	text := fmt.Sprintf("value %d of writer %d. ", i, writer)
	return strings.Repeat(text, 1+(i*i+writer)%7*(i%3)*40)
}

// work opens the vault in dir and writes to it. It goes on behind what fails, and
// calls failed for what began when the disk had failed already.
func work(t *testing.T, dir string, a *acks, writers, each int, broken func() bool) error {
	t.Helper()
	v, err := localvault.Open(config(dir))
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				late := broken()
				value := valueFor(w, i)
				s, err := v.Secrets().SetSecret(t.Context(), secretName(t, fmt.Sprintf("of-%d-%d", w, i%5)), newSecret(value))
				if err == nil {
					a.set(s.Name, value)
				}
				if i%4 == 3 {
					gone := secretName(t, fmt.Sprintf("gone-%d-%d", w, i))
					one, err1 := v.Secrets().SetSecret(t.Context(), gone, newSecret("x"))
					if err1 == nil {
						_, err1 = v.Secrets().DeleteSecret(t.Context(), gone)
					}
					if err1 == nil {
						a.delete(one.Name, "x")
					}
				}
				if late && err == nil {
					t.Errorf("the disk had failed, and a write behind that was acknowledged")
				}
			}
		})
	}
	all.Wait()
	return v.Close()
}

// Whichever write or sync of the disk fails, and however: nothing is acknowledged
// that a power cut behind it would take, and nothing at all behind a sync that
// failed. The vault opens again, and has all that it acknowledged.
func TestTortureFaultsOfTheDisk(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	stride := brokertest.TortureSize(t, 7, 1)
	base := scratch(t)
	var now atomic.Pointer[disk]
	interceptCalls(t, base, func(c call) verdict { return now.Load().judge(c) })
	faults, acknowledged := 0, 0
	for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC} {
		for n := 1; ; n += stride {
			dir := fmt.Sprintf("%s/%v-%d", base, int(errno), n)
			must(t, os.Mkdir(dir, 0o700))
			d := newDisk(t)
			d.dir = dir
			var hit string
			var stops atomic.Bool
			d.fail = func(i int, c call) unix.Errno {
				if i != n {
					return 0
				}
				hit = fmt.Sprintf("%v at call %d, %v", errno, n, c)
				// A full disk that refuses a write is no reason to stop.
				stops.Store(c.isSync() || errno != unix.ENOSPC)
				return errno
			}
			now.Store(d)
			a := newAcks()
			err := work(t, dir, a, 3, 5, stops.Load)
			d.mu.Lock()
			done := hit == ""
			d.mu.Unlock()
			if done {
				if n == 1 || err != nil {
					t.Fatalf("no call of %d failed: %v", d.calls, err)
				}
				break
			}
			faults++
			cut := d.cut(t, nil)
			acknowledged += a.check(t, "a power cut behind "+hit, cut)
			d.mend()
			a.check(t, "opened again behind "+hit, dir)
			must(t, errors.Join(os.RemoveAll(cut), os.RemoveAll(dir)))
		}
	}
	t.Logf("%d faults, each of another write or sync; %d writes were acknowledged, and all were there", faults, acknowledged)
}

// Whenever the power is cut, and whatever the disk has by then of what was not
// synced, in whatever order and however torn: what was acknowledged is there.
func TestTortureSimulatedPowerCuts(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	cuts := brokertest.TortureSize(t, 150, 10_000)
	base := scratch(t)
	var now atomic.Pointer[disk]
	interceptCalls(t, base, func(c call) verdict { return now.Load().judge(c) })
	chance := rand.New(rand.NewPCG(1, 2))
	made, acknowledged := 0, 0
	for round := 0; made < cuts; round++ {
		d := newDisk(t)
		d.dir = fmt.Sprintf("%s/%d", base, round)
		must(t, os.Mkdir(d.dir, 0o700))
		now.Store(d)
		a := newAcks()
		every := 1 + chance.IntN(9)
		d.during(
			func() {
				if err := work(t, d.dir, a, 4, 8, func() bool { return false }); err != nil {
					t.Error(err)
				}
			},
			func(n int) bool { return n%every == 0 },
			func() {
				for range min(2, cuts-made) {
					made++
					dir := d.cut(t, chance)
					acknowledged += a.check(t, fmt.Sprintf("cut %d", made), dir)
					must(t, os.RemoveAll(dir))
				}
			})
	}
	t.Logf("%d power cuts, with %d acknowledged writes looked for in all", made, acknowledged)
}

// A vault that is opened again behind a sync that failed goes on from what the disk
// has: whenever the power is cut then, all that was acknowledged is there, before and
// behind.
func TestTortureOpenedAgainBehindFaults(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	stride := brokertest.TortureSize(t, 9, 1)
	base := scratch(t)
	var now atomic.Pointer[disk]
	interceptCalls(t, base, func(c call) verdict { return now.Load().judge(c) })
	chance := rand.New(rand.NewPCG(7, 8))
	faults, cuts, acknowledged := 0, 0, 0
	for nth, hit := 1, true; hit; nth += stride {
		d := newDisk(t)
		d.dir = fmt.Sprintf("%s/%d", base, nth)
		must(t, os.Mkdir(d.dir, 0o700))
		syncs := 0
		hit = false
		d.fail = func(_ int, c call) unix.Errno {
			if c.isSync() {
				syncs++
			}
			if hit || syncs < nth {
				return 0
			}
			hit = true
			return unix.EIO
		}
		now.Store(d)
		a := newAcks()
		_ = work(t, d.dir, a, 2, 6, func() bool { return false })
		faults++
		d.during(
			func() {
				if err := work(t, d.dir, a, 2, 3, func() bool { return false }); err != nil {
					t.Errorf("behind the failure of sync %d: %v", nth, err)
				}
			},
			func(int) bool { return true },
			func() {
				cuts++
				dir := d.cut(t, chance)
				acknowledged += a.check(t, fmt.Sprintf("sync %d failed, cut %d", nth, cuts), dir)
				must(t, os.RemoveAll(dir))
			})
		must(t, os.RemoveAll(d.dir))
	}
	t.Logf("%d syncs failed, %d power cuts behind them, %d acknowledged writes looked for", faults, cuts, acknowledged)
}

// Sixteen writers have four writes or more for each sync, of a disk on which a sync
// takes as long as it does.
func TestSixteenWritersShareSyncs(t *testing.T) {
	if !ownProcess(t) {
		return
	}
	const writers, each = 16, 20
	base := scratch(t)
	var syncs atomic.Int64
	interceptCalls(t, base, func(c call) verdict {
		if !c.isSync() {
			return verdict{}
		}
		syncs.Add(1)
		time.Sleep(10 * time.Millisecond)
		return verdict{pretend: true}
	})
	dir := base + "/vault"
	must(t, os.Mkdir(dir, 0o700))
	v := open(t, config(dir))
	before := syncs.Load()
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				if _, err := v.Secrets().SetSecret(t.Context(), secretName(t, fmt.Sprintf("of-%d-%d", w, i)), newSecret(strings.Repeat("x", 256))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	made := syncs.Load() - before
	t.Logf("%d sets, %d syncs: %.1f sets for each", writers*each, made, writers*each/float64(made))
	if writers*each < 4*made {
		t.Error("fewer than 4")
	}
}
