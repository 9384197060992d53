package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/keyward/keyward/broker"
)

const (
	onlyA = `permit (principal, action, resource == Secret::"vaults/pay/secrets/a");`
	onlyB = `permit (principal, action, resource == Secret::"vaults/pay/secrets/b");`
)

// folder is a policy folder that a test writes, and what was recorded of it.
type folder struct {
	*testing.T
	*Folder

	path     string
	recorded []string
	failing  error
}

func openFolder(t *testing.T, text string, options ...func(*FolderConfig)) *folder {
	t.Helper()
	f := &folder{T: t, path: filepath.Join(t.TempDir(), "pay.cedar")}
	f.write(text)
	c := FolderConfig{Dir: filepath.Dir(f.path), Record: func(_ context.Context, set *Engine, wrong error) error {
		if f.failing != nil {
			return f.failing
		}
		if wrong != nil {
			f.recorded = append(f.recorded, "refused")
		} else {
			f.recorded = append(f.recorded, set.Hash())
		}
		return nil
	}}
	for _, o := range options {
		o(&c)
	}
	var err error
	if f.Folder, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *folder) write(text string) {
	f.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
}

// settle looks as often as a change takes.
func (f *folder) settle() { f.look(f.Context()); f.look(f.Context()) }

// allowed says which of a and b is permitted, by one set.
func (f *folder) allowed() string {
	f.Helper()
	both := make([]broker.Name, 2)
	for i, s := range []string{"a", "b"} {
		var err error
		if both[i], err = broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/"+s); err != nil {
			f.Error(err)
		}
	}
	got, err := f.AuthorizeAll(f.Context(), broker.Request{
		Principal: broker.Principal{ID: "k8s/x"}, Action: broker.ActionGetSecret, Time: time.Now(),
	}, both)
	if err != nil {
		f.Error(err)
	}
	if got[0].PolicySet != got[1].PolicySet {
		f.Error("two sets in one answer")
	}
	switch [2]bool{got[0].Allowed, got[1].Allowed} {
	case [2]bool{true, false}:
		return "a"
	case [2]bool{false, true}:
		return "b"
	}
	f.Errorf("partly decided: %+v", got)
	return ""
}

func TestAChangeTakesEffectWhole(t *testing.T) {
	steps := []struct {
		what, text string
		want       string // what is allowed then
		refused    string // what Err says
	}{
		{"a change", onlyB, "b", ""},
		{"a syntax error", "\n  permit (principal, action resource);", "b", "pay.cedar:2:29"},
		{"what does not fit the schema", "permit (principal, action, resource) when { resource.owner == \"x\" };", "b", "pay.cedar:1:"},
		{"nothing", "", "b", "has no policy"},
		{"half of what follows", onlyA[:len(onlyA)/2], "b", "pay.cedar:1:"},
		{"all of it", onlyA, "a", ""},
		{"broken again", "permit", "a", "pay.cedar:1:"},
		{"as it was", onlyA, "a", ""},
	}
	f := openFolder(t, onlyA)
	for _, s := range steps {
		f.write(s.text)
		f.settle()
		if got := f.allowed(); got != s.want {
			t.Errorf("%s: %s is allowed, want %s", s.what, got, s.want)
		}
		if err := f.Err(); (err == nil) != (s.refused == "") || err != nil && !strings.Contains(err.Error(), s.refused) {
			t.Errorf("%s: refused with %v, want %q", s.what, err, s.refused)
		}
	}
	if got := len(f.recorded); got != 8 { // the first, two changes, five refusals
		t.Errorf("%d sets were recorded: %v", got, f.recorded)
	}
}

// TestAFileHalfWrittenIsNoPolicy: the first half of this is a set that loads,
// and permits what the whole forbids.
func TestAFileHalfWrittenIsNoPolicy(t *testing.T) {
	f := openFolder(t, onlyA)
	open := onlyB + "\n"
	f.write(open)
	f.look(t.Context())
	f.write(open + "forbid (principal, action, resource);")
	f.look(t.Context())
	if got := f.allowed(); got != "a" {
		t.Errorf("%s is allowed while the file is written", got)
	}
	f.write(onlyB)
	f.settle()
	if got := f.allowed(); got != "b" {
		t.Errorf("%s is allowed once it is left alone", got)
	}
}

// TestWhatLooksTheSameIsRead: another file of the same length, with the times of
// the one before, as archives are unpacked that are made to be reproducible.
func TestWhatLooksTheSameIsRead(t *testing.T) {
	f := openFolder(t, onlyA)
	long := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, step := range []struct{ text, want string }{{onlyA, "a"}, {onlyB, "b"}, {onlyA, "a"}} {
		f.write(step.text)
		if err := os.Chtimes(f.path, long, long); err != nil {
			t.Fatal(err)
		}
		f.settle()
		if got := f.allowed(); got != step.want {
			t.Errorf("%s is allowed, want %s", got, step.want)
		}
	}
}

func TestALinkSwapIsSeen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"one": onlyA, "two": onlyB} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "pay.cedar"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As a ConfigMap is mounted: the file is a link through a link to a folder.
	swap := func(to string) {
		link := filepath.Join(dir, "..data")
		tmp := link + ".tmp"
		if err := errors.Join(os.Symlink(to, tmp), os.Rename(tmp, link)); err != nil {
			t.Fatal(err)
		}
	}
	swap("one")
	mount := filepath.Join(dir, "mount")
	if err := errors.Join(os.Mkdir(mount, 0o700), os.Symlink("../..data/pay.cedar", filepath.Join(mount, "pay.cedar"))); err != nil {
		t.Fatal(err)
	}
	f := openFolder(t, "permit (principal, action, resource);", func(c *FolderConfig) { c.Dir = mount })
	swap("two")
	f.settle()
	if got := f.allowed(); got != "b" {
		t.Errorf("%s is allowed", got)
	}
	if err := os.RemoveAll(mount); err != nil {
		t.Fatal(err)
	}
	f.settle()
	if f.allowed() != "b" || f.Err() == nil {
		t.Errorf("without the folder: %v", f.Err())
	}
}

func TestWhatIsNotRecordedDoesNotTakeEffect(t *testing.T) {
	f := openFolder(t, onlyA)
	f.failing = errors.New("disk full")
	f.write(onlyB + " ")
	f.settle()
	if got := f.allowed(); got != "a" || f.Err() == nil {
		t.Errorf("%s is allowed, refused with %v", got, f.Err())
	}
	f.failing = nil
	f.settle()
	if got := f.allowed(); got != "b" || f.Err() != nil {
		t.Errorf("once it can be recorded: %s is allowed, refused with %v", got, f.Err())
	}
}

// TestRunFindsAChangeWithinASecond, and shows in the metrics what became of it.
func TestRunFindsAChangeWithinASecond(t *testing.T) {
	reader := metric.NewManualReader()
	f := openFolder(t, onlyA, func(c *FolderConfig) {
		c.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { f.Folder.Run(ctx); close(done) }()
		for i, text := range []string{onlyB, "permit", onlyB + "//"} {
			f.write(text)
			time.Sleep(time.Second)
			synctest.Wait()
			if refused := f.Err() != nil; f.allowed() != "b" || refused != (i == 1) {
				t.Errorf("%d: %s is allowed, refused with %v", i, f.allowed(), f.Err())
			}
			if got := readMetrics(t, reader); got["keyward.policy.refused"] != int64(i%2) || got["keyward.policy.policies"] != 1 {
				t.Errorf("%d: metrics %v", i, got)
			}
		}
		cancel()
		<-done
	})
	if got := readMetrics(t, reader); got["keyward.policy.reloads ok"] != 2 || got["keyward.policy.reloads refused"] != 1 {
		t.Errorf("metrics %v", got)
	}
}

func readMetrics(t *testing.T, reader *metric.ManualReader) map[string]int64 {
	t.Helper()
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	values := map[string]int64{}
	for _, s := range got.ScopeMetrics {
		for _, m := range s.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Gauge[int64]:
				values[m.Name] = data.DataPoints[0].Value
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					result, _ := p.Attributes.Value("result")
					values[m.Name+" "+result.AsString()] = p.Value
				}
			}
		}
	}
	return values
}

// TestAThousandReloadsUnderLoad: every answer is one set's or the other's, and
// none is a broken one's.
func TestAThousandReloadsUnderLoad(t *testing.T) {
	f := openFolder(t, onlyA)
	hashes := map[string]string{}
	var mu sync.Mutex
	f.record = func(_ context.Context, set *Engine, wrong error) error {
		if wrong == nil {
			mu.Lock()
			defer mu.Unlock()
			text, err := os.ReadFile(f.path)
			hashes[set.Hash()] = map[bool]string{true: "a", false: "b"}[strings.Contains(string(text), "secrets/a")]
			return err
		}
		return nil
	}
	hashes[f.Engine().Hash()] = "a"

	var decided atomic.Int64
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			n, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/a")
			if err != nil {
				t.Error(err)
				return
			}
			r := broker.Request{Principal: broker.Principal{ID: "k8s/x"}, Action: broker.ActionGetSecret, Resource: n, Time: time.Now()}
			for {
				select {
				case <-stop:
					return
				default:
				}
				f.allowed() // fails if two sets answered, or part of one
				d, err := f.Authorize(t.Context(), r)
				mu.Lock()
				of := hashes[d.PolicySet]
				mu.Unlock()
				if err != nil || of == "" || d.Allowed != (of == "a") {
					t.Errorf("set %s (%s) answered %v, %v", d.PolicySet, of, d.Allowed, err)
					return
				}
				decided.Add(1)
			}
		})
	}
	before := f.Engine().Hash()
	changed := 0
	for i := range 1_000 {
		text := []string{onlyB, onlyA, "permit (", onlyA + "forbid (principal"}[i%4]
		f.write(fmt.Sprintf("%s // %d", text, i))
		f.settle()
		if now := f.Engine().Hash(); now != before {
			before, changed = now, changed+1
		}
		if broken := i%4 > 1; broken != (f.Err() != nil) {
			t.Fatalf("change %d: %v", i, f.Err())
		}
	}
	close(stop)
	group.Wait()
	if changed != 500 || decided.Load() < 1_000 {
		t.Errorf("%d sets came into force and %d decisions were made", changed, decided.Load())
	}
	t.Logf("%d decisions during 1000 reloads, of which 500 were refused", decided.Load())
}
