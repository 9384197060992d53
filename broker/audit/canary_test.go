package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// canary is the value that must not be disclosed without a record.
const canary = "canary-6f1e"

// reader reads the canary through a broker whose auditor is a log, again and
// again, and keeps who got it.
type reader struct {
	*testing.T

	log    *Log
	path   string
	broker *broker.Broker
	name   broker.Name

	mu        sync.Mutex
	calls     int
	disclosed map[string]bool
	refused   int
}

func newReader(t *testing.T, l *Log, path string) *reader {
	t.Helper()
	vault, err := broker.VaultName("pay")
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{T: t, log: l, path: path, disclosed: map[string]bool{}}
	store := brokertest.NewSecretStore(vault)
	if r.name, err = vault.Object(broker.KindSecrets, "db-password"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.SetSecret(t.Context(), r.name, broker.NewSecret{Value: broker.NewValue(canary), Enabled: true}); err != nil {
		t.Fatal(err)
	}
	r.broker, err = broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": {Secrets: store}}, Authorizer: brokertest.AllowAll{}, Auditor: l})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read reads once. The value comes alone, or AUDIT_UNAVAILABLE does.
func (r *reader) read() (ok bool) {
	r.Helper()
	r.mu.Lock()
	r.calls++
	id := fmt.Sprintf("r-%d", r.calls)
	r.mu.Unlock()
	v, err := r.broker.GetSecret(r.Context(), broker.Caller{Principal: broker.Principal{ID: "dev/a"}, RequestID: id}, r.name, broker.GetSecretOptions{})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch got := v.Value.Reveal(); {
	case err == nil && got == canary:
		r.disclosed[id] = true
	case broker.CodeOf(err) == broker.CodeAuditUnavailable && got == "":
		r.refused++
	default:
		r.Errorf("read %s: %q, %v", id, got, err)
	}
	return err == nil
}

// want reads, and asks whether the value is disclosed.
func (r *reader) want(ok bool) {
	r.Helper()
	if got := r.read(); got != ok {
		r.Fatalf("disclosed: %t, want %t; Err is %v", got, ok, r.log.Err())
	}
}

// resumes reads until the value is disclosed again.
func (r *reader) resumes() {
	r.Helper()
	for range 100 {
		if r.read() {
			return
		}
	}
	r.Fatalf("the log does not resume: %v", r.log.Err())
}

// check closes the log, and looks for the record of each disclosure, and for the
// canary in what is recorded.
func (r *reader) check(files ...string) {
	r.Helper()
	if err := r.log.Close(); err != nil {
		r.Error(err)
	}
	recorded := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || bytes.Contains(text, []byte(canary)) {
			r.Errorf("%s holds the canary, or: %v", f, err)
		}
	}
	for rec, err := range Read(files...) {
		if err != nil {
			r.Fatal(err)
		}
		if rec.Decision == Allow && rec.Outcome == broker.OutcomeOK && rec.Action == broker.ActionGetSecret {
			recorded[rec.Request] = true
		}
	}
	for id := range r.disclosed {
		if !recorded[id] {
			r.Errorf("%s was disclosed, and is not recorded", id)
		}
	}
	if len(r.disclosed) == 0 || r.refused == 0 {
		r.Errorf("%d were disclosed and %d refused: nothing was shown", len(r.disclosed), r.refused)
	}
	r.Logf("%d calls: %d disclosed and recorded, %d refused", r.calls, len(r.disclosed), r.refused)
}

// TestCanaryFaults: a disk that cuts writes, refuses syncs or hangs.
func TestCanaryFaults(t *testing.T) {
	for _, mode := range []Sync{SyncAlways, SyncInterval} {
		for name, c := range map[string]struct {
			broken func(*faults)
			// later: the fault shows only once what was written is synced.
			later bool
		}{
			"full":           {func(f *faults) { f.part = 20 }, false},
			"full and stuck": {func(f *faults) { f.part, f.truncating = 20, errDisk }, false},
			"no sync":        {func(f *faults) { f.syncing = errDisk }, mode == SyncInterval},
			"hung":           {func(f *faults) { f.hold = make(chan struct{}) }, false},
		} {
			t.Run(mode.String()+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l, f, path := openFaulty(t, Config{Sync: mode})
					r := newReader(t, l, path)
					r.want(true)
					f.set(c.broken)
					if c.later {
						r.want(true)
						time.Sleep(2 * syncInterval)
						synctest.Wait()
					}
					for range 3 {
						began := time.Now()
						r.want(false)
						if took := time.Since(began); took > 250*time.Millisecond {
							t.Errorf("refused after %v", took)
						}
						time.Sleep(2 * pulse)
					}
					f.set(func(f *faults) {
						if f.hold != nil {
							close(f.hold)
						}
						f.part, f.truncating, f.syncing, f.hold = -1, nil, nil, nil
					})
					time.Sleep(2 * pulse)
					synctest.Wait()
					if err := l.Err(); err != nil {
						t.Errorf("Err is %v of a disk that was mended", err)
					}
					r.want(true)
					r.check(allFiles(t, path)...)
				})
			})
		}
	}
}

// TestCanaryFolder: the folder is removed, with its file, and comes back.
func TestCanaryFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	l, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, l, path)
	r.want(true)
	old := dir + ".old"
	if err := os.Rename(dir, old); err != nil {
		t.Fatal(err)
	}
	r.want(false)
	r.want(false)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.resumes()
	r.want(true)
	r.check(filepath.Join(old, "audit.jsonl"), path)
}

// skipAloud says on the terminal what was not shown.
func skipAloud(t *testing.T, why string, err error) {
	t.Helper()
	t.Skipf("NOT SHOWN HERE, %s: %v", why, err)
}

// TestHostileFolder opens a log where it must not be.
func TestHostileFolder(t *testing.T) {
	for name, c := range map[string]func(dir string) error{
		"a folder of that name": func(dir string) error { return os.Mkdir(filepath.Join(dir, "audit.jsonl"), 0o700) },
		"a file for the folder": func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "logs")
			if err := errors.Join(os.Mkdir(dir, 0o700), c(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Config{Path: filepath.Join(dir, "audit.jsonl")}); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v", err)
			}
		})
	}
}
