package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// done is a set or a get of a history: a name's value is what the last set gave it.
type done struct {
	set      bool
	name     string
	value    string // of a get: what it answered; empty if there was no such secret
	version  string
	id       string // of the request
	answered bool
	from, to time.Duration
}

// history is what clients of a keyward that is killed again and again did.
type history struct {
	began time.Time

	mu sync.Mutex
	// acked are the sets that were acknowledged, unknown those that were not answered.
	acked, unknown, gets []done
	// first is the first error that the kill does not explain.
	first error
}

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(list *[]done, d done) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, d)
	return len(*list)
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.first = errors.Join(h.first, err)
}

// work sets and gets until the process is dead.
func (h *history) work(ctx context.Context, c keywardv1.SecretServiceClient, id string, names []string, chance *rand.Rand, acked func(int)) {
	for n := 0; ; n++ {
		d := done{set: chance.IntN(2) == 0, name: names[chance.IntN(len(names))], from: h.now()}
		d.id = fmt.Sprintf("%s-%d", id, n)
		request := metadata.AppendToOutgoingContext(ctx, "x-request-id", d.id)
		var err error
		if d.set {
			d.value = d.id + " " + strings.Repeat("x", chance.IntN(400))
			var s *keywardv1.Secret
			s, err = c.SetSecret(request, &keywardv1.SetSecretRequest{Name: d.name, Value: d.value})
			d.version = s.GetVersion()
		} else {
			var s *keywardv1.GetSecretResponse
			s, err = c.GetSecret(request, &keywardv1.GetSecretRequest{Name: d.name})
			d.value = s.GetValue()
			if status.Code(err) == codes.NotFound {
				err = nil
			}
		}
		d.to = h.now()
		switch {
		case err == nil && d.set:
			d.answered = true
			acked(h.add(&h.acked, d))
		case err == nil:
			d.answered = true
			h.add(&h.gets, d)
		case d.set:
			h.add(&h.unknown, d)
		}
		switch {
		case err == nil, isRefused(err):
		case status.Code(err) == codes.Unavailable, status.Code(err) == codes.Canceled:
			return // it is dead
		default:
			h.fail(err)
			return
		}
	}
}

// isRefused: a keyward that is alive says that it could not record the call in time,
// as on a machine that is too busy.
func isRefused(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == string(broker.CodeAuditUnavailable) {
			return true
		}
	}
	return false
}

// settle finds out what became of the sets that were not answered before the kill,
// and looks for those that were acknowledged from the given one on.
func (h *history) settle(t *testing.T, c keywardv1.SecretServiceClient, from int, killed time.Duration) {
	t.Helper()
	get := func(name string) string {
		s, err := c.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return s.GetValue()
	}
	for _, d := range h.acked[from:] {
		if got := get(d.name + "/versions/" + d.version); got != d.value {
			t.Errorf("%s was acknowledged as %s, and is lost or torn: %d bytes, not %d", d.id, d.version, len(got), len(d.value))
		}
	}
	known := map[string]bool{}
	for _, d := range h.acked {
		known[d.version] = true
	}
	found := map[string]string{} // versions that nobody was told of, by value
	asked := map[string]bool{}
	for _, d := range h.unknown {
		if asked[d.name] {
			continue
		}
		asked[d.name] = true
		for token := ""; ; {
			page, err := c.ListSecretVersions(t.Context(), &keywardv1.ListSecretVersionsRequest{Parent: d.name, PageToken: token, PageSize: 1000})
			if status.Code(err) == codes.NotFound {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.GetSecrets() {
				if v := s.GetVersion(); !known[v] {
					found[get(d.name+"/versions/"+v)] = v
				}
			}
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
	}
	for _, d := range h.unknown {
		if v, ok := found[d.value]; ok {
			d.version, d.to = v, killed
			h.acked = append(h.acked, d) // it is there, and is to stay
			delete(found, d.value)
		}
	}
	h.unknown = nil
	for value := range found {
		t.Errorf("there is a version that nobody set: %q", value)
	}
}

// A keyward that is killed in the middle of writes has, when it is started again, all
// that it acknowledged; all that clients saw over all restarts is as if each call
// had been done at one moment, one after the other; and each write has its record.
func TestTortureKills(t *testing.T) {
	takesLong(t)
	kills := brokertest.TortureSize(t, 3, 200)
	const workers, each = 16, 500 // sets acknowledged from kill to kill
	dir := filepath.Join(t.TempDir(), "data")
	chance := rand.New(rand.NewPCG(5, 6))
	h := &history{began: time.Now()}
	acknowledged, settled := 0, 0
	var killed time.Duration
	var names []string
	for round := range kills + 1 {
		p := start(t, dir, nil, append(devArgs(dir), "--log-level", "error")...)
		conns := []*grpc.ClientConn{p.dial(), p.dial()}
		first := keywardv1.NewSecretServiceClient(conns[0])
		h.settle(t, first, settled, killed)
		settled = len(h.acked)
		if round == kills {
			if err := p.stop(syscall.SIGTERM); err != nil {
				t.Errorf("%v\n%s", err, p.err)
			}
			break
		}
		if round%20 == 0 {
			names = nil
			for i := range workers {
				names = append(names, fmt.Sprintf("vaults/dev/secrets/s-%d-%d", round, i))
			}
		}
		enough := settled + each/2 + chance.IntN(each)
		if round == kills-1 {
			enough = max(enough, settled+kills*each-acknowledged) // 500 each, in the end
		}
		kill := make(chan struct{})
		var once sync.Once
		var all sync.WaitGroup
		for w := range workers {
			own := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			all.Go(func() {
				h.work(t.Context(), keywardv1.NewSecretServiceClient(conns[w%2]), fmt.Sprintf("round-%d-%d", round, w), names, own, func(n int) {
					if n >= enough {
						once.Do(func() { close(kill) })
					}
				})
			})
		}
		over := make(chan struct{})
		go func() { all.Wait(); close(over) }()
		select {
		case <-kill:
		case <-over:
			t.Fatalf("the writers ended before the kill: %v\n%s", h.first, p.err)
		}
		_ = p.stop(syscall.SIGKILL)
		killed = h.now()
		<-over
		for _, conn := range conns {
			conn.Close()
		}
		acknowledged += len(h.acked) - settled
	}
	if h.first != nil {
		t.Errorf("an error that the kill does not explain: %v", h.first)
	}
	t.Logf("%d kills, %d sets acknowledged, %d gets answered", kills, acknowledged, len(h.gets))
	h.checkOrder(t)
	h.checkRecords(t, dir)
	if code, out, errOut := runHere(t, "vault", "fsck", "--data", dir); code != exitOK {
		t.Errorf("fsck: exit code %d\n%s%s", code, out, errOut)
	}
}

// register is a secret: what a get answers is what the last set gave it.
var register = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, o := range all {
			d, _ := o.Input.(done)
			byName[d.name] = append(byName[d.name], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byName {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		d, _ := input.(done)
		if d.set {
			return true, d.value
		}
		return d.value == state, state
	},
}

func (h *history) checkOrder(t *testing.T) {
	t.Helper()
	var all []porcupine.Operation
	for i, d := range append(h.acked, h.gets...) {
		all = append(all, porcupine.Operation{ClientId: i % 1000, Input: d, Call: int64(d.from), Return: int64(d.to)})
	}
	if got := porcupine.CheckOperationsTimeout(register, all, 10*time.Minute); got != porcupine.Ok {
		t.Errorf("the history of %d operations is not linearizable per name: %v", len(all), got)
	}
	t.Logf("%d operations are linearizable per name", len(all))
}

// checkRecords looks for the audit record of each set and of each value that was
// disclosed.
func (h *history) checkRecords(t *testing.T, dir string) {
	t.Helper()
	file := filepath.Join(dir, "audit.jsonl")
	recorded := map[string]bool{}
	if err := eachRecord(&app{err: t.Output()}, []string{file}, func(r *audit.Record) error {
		if r.Decision == audit.Allow && r.Outcome == broker.OutcomeOK {
			recorded[string(r.Action)+" "+r.Request] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(h.acked, h.gets...) {
		action := broker.ActionGetSecret
		if d.set {
			action = broker.ActionSetSecret
		}
		if d.answered && d.value != "" && !recorded[string(action)+" "+d.id] {
			t.Errorf("%s of %s was answered, and is not recorded", action, d.id)
		}
	}
	if code, out, errOut := runHere(t, "audit", "verify", "--key", filepath.Join(dir, devAuditPub), file); code != exitOK {
		t.Errorf("audit verify: exit code %d\n%s%s", code, out, errOut)
	}
}
