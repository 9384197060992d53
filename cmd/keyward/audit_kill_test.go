package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// A keyward that is killed in the middle of a loop of reads has a record of each
// value that reached somebody, and its log goes on and verifies.
func TestKilledWhileItReads(t *testing.T) {
	const (
		name    = "vaults/dev/secrets/db-password"
		rounds  = 3
		readers = 8
		enough  = 200
	)
	dir := filepath.Join(t.TempDir(), "data")
	disclosed := map[string]bool{}
	for round := range rounds {
		p := startDev(t, dir)
		c := p.secrets()
		if err := set(t.Context(), c, "db-password", "value"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		reads := 0
		kill := make(chan struct{})
		var all sync.WaitGroup
		for reader := range readers {
			all.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprintf("round-%d-reader-%d-read-%d", round, reader, n)
					ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", id)
					got, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name})
					if err != nil {
						return // it is dead
					}
					mu.Lock()
					if got.GetValue() == "value" {
						disclosed[id] = true
					}
					if reads++; reads == enough {
						close(kill)
					}
					mu.Unlock()
				}
			})
		}
		<-kill
		_ = p.stop(syscall.SIGKILL)
		all.Wait()
	}
	p := startDev(t, dir) // goes on with what is there
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, p.err)
	}

	recorded := map[string]bool{}
	if err := eachRecord(&app{err: t.Output()}, []string{p.file("audit.jsonl")}, func(r *audit.Record) error {
		if r.Action == broker.ActionGetSecret && r.Decision == audit.Allow && r.Outcome == broker.OutcomeOK {
			recorded[r.Request] = true
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id := range disclosed {
		if !recorded[id] {
			t.Errorf("%s was disclosed, and is not recorded", id)
		}
	}
	if len(disclosed) < rounds*enough {
		t.Errorf("%d values were disclosed: nothing was shown", len(disclosed))
	}
	t.Logf("%d values were disclosed, and %d reads recorded", len(disclosed), len(recorded))
	if code, out, errOut := runHere(t, "audit", "verify", "--key", p.file("audit.pub"), p.file("audit.jsonl")); code != exitOK {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
}
