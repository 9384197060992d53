package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// replica is one keyward serve of several, in this process.
type replica struct {
	address, file string

	cancel context.CancelFunc
	done   chan int
	log    *safeBuffer
	calls  atomic.Int64 // that it answered
}

// newReplica writes the configuration of a replica over the vault of p, whose
// certificates and policy it shares.
func newReplica(t *testing.T, p *process, name string) *replica {
	t.Helper()
	env := vaultEnv(t, p)
	r := &replica{address: freePort(t), file: p.file(name + ".yaml")}
	text := fmt.Sprintf(`
grpc: {address: %q}
http: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
tls: {certificate: server.pem, key: server-key.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: dev.keyward}}
policy: {path: policy}
audit: {path: %s.jsonl}
drain: {notice: 100ms, timeout: 10s}
cache: {ttl: 2s}
vaults:
  dev:
    url: %s
    caFile: ca.pem
    credential: {clientSecret: {tenantId: %s, clientId: %s, secretFile: vault.secret, authority: %q}}
`, r.address, name, env["VAULT_URL"], env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_AUTHORITY_HOST"])
	for file, text := range map[string]string{r.file: text, p.file("vault.secret"): env["AZURE_CLIENT_SECRET"]} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *replica) start(ctx context.Context) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.done, r.log = make(chan int, 1), &safeBuffer{}
	go func() { r.done <- run(ctx, []string{"serve", "--config", r.file}, os.Getenv, nil, io.Discard, r.log) }()
}

// stop does what SIGTERM does, and waits for the end.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if rc := <-r.done; rc != exitOK {
		t.Errorf("a replica ended with %d:\n%s", rc, r.log)
	}
}

// serves waits until a client of its own has a connection.
func (r *replica) serves(t *testing.T, creds credentials.TransportCredentials) {
	t.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(creds), quickly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn.Connect()
	for s := conn.GetState(); s != connectivity.Ready; s = conn.GetState() {
		if !conn.WaitForStateChange(ctx, s) {
			t.Fatalf("the replica does not come up:\n%s", r.log)
		}
		conn.Connect()
	}
}

// quickly connects again soon: a restart takes less than the default's first wait.
var quickly = grpc.WithConnectParams(grpc.ConnectParams{
	Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
})

// roundRobin is a connection to all replicas, as a client behind a headless
// service has it.
func roundRobin(t *testing.T, creds credentials.TransportCredentials, replicas ...*replica) *grpc.ClientConn {
	t.Helper()
	addresses := manual.NewBuilderWithScheme("replicas")
	state := resolver.State{}
	for _, r := range replicas {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: r.address, ServerName: "127.0.0.1"})
	}
	addresses.InitialState(state)
	conn, err := grpc.NewClient("replicas:///keyward", grpc.WithResolvers(addresses), grpc.WithTransportCredentials(creds), quickly,
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// follower watches a secret for as long as ctx lasts, by one watch after another,
// each from what the last one told.
type follower struct {
	mu    sync.Mutex
	told  []string // versions
	ended map[string]int
}

func (f *follower) follow(ctx context.Context, client keywardv1.SecretServiceClient, name string) error {
	for {
		target := &keywardv1.WatchTarget{Name: name, KnownVersion: f.last()}
		stream, err := client.WatchSecrets(ctx, &keywardv1.WatchSecretsRequest{Targets: []*keywardv1.WatchTarget{target}})
		for err == nil {
			var e *keywardv1.SecretEvent
			if e, err = stream.Recv(); err == nil {
				f.mu.Lock()
				f.told = append(f.told, e.GetVersion())
				f.mu.Unlock()
			}
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is told to end
		}
		if status.Code(err) != codes.Unavailable {
			return err
		}
		f.mu.Lock()
		f.ended[string(reasonOf(status.Convert(err)))]++
		f.mu.Unlock()
	}
}

func (f *follower) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.told) == 0 {
		return ""
	}
	return f.told[len(f.told)-1]
}

// Replicas are restarted one after the other under load, and no call fails: of
// one that goes, the connections end behind the last call, and what it did not
// take the client sends elsewhere. Watches are told to come again, and miss no
// version that is set meanwhile.
func TestRollingRestarts(t *testing.T) {
	restarts := 100
	if testing.Short() {
		restarts = 10
	}
	p := startDev(t, filepath.Join(t.TempDir(), "data"))
	const names = 20
	for i := range names {
		if err := set(t.Context(), p.secrets(), fmt.Sprintf("s-%d", i), fmt.Sprintf("v-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	creds := credentials.NewTLS(p.tls())
	replicas := []*replica{newReplica(t, p, "one"), newReplica(t, p, "two")}
	for _, r := range replicas {
		r.start(t.Context())
		r.serves(t, creds)
	}
	client := keywardv1.NewSecretServiceClient(roundRobin(t, creds, replicas...))

	var calls, failed atomic.Int64
	var load sync.WaitGroup
	ctx, done := context.WithCancel(t.Context())
	for worker := range 8 {
		load.Go(func() {
			for i := worker; ctx.Err() == nil; i++ {
				// Not ctx: its end would fail the call under way.
				var by peer.Peer
				got, err := client.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: fmt.Sprintf("vaults/dev/secrets/s-%d", i%names)}, grpc.Peer(&by))
				calls.Add(1)
				for _, r := range replicas {
					if by.Addr != nil && by.Addr.String() == r.address {
						r.calls.Add(1)
					}
				}
				if err != nil || got.GetValue() != fmt.Sprintf("v-%d", i%names) {
					if failed.Add(1) <= 5 {
						t.Errorf("call %d: %q, %v", calls.Load(), got.GetValue(), err)
					}
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	const moving = "vaults/dev/secrets/moving"
	var versions []string
	move := func() {
		s, err := client.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: moving, Value: fmt.Sprint(len(versions))})
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, s.GetVersion())
	}
	move()
	followers := make([]*follower, 4)
	for i := range followers {
		followers[i] = &follower{ended: map[string]int{}}
		load.Go(func() {
			if err := followers[i].follow(ctx, client, moving); err != nil {
				t.Errorf("a watch: %v", err)
			}
		})
	}
	all := func() bool {
		return !slices.ContainsFunc(followers, func(f *follower) bool { return f.last() != versions[len(versions)-1] })
	}
	eventually(t, "the first version is told", all)
	for i := range restarts {
		r := replicas[i%2]
		if i%3 == 0 { // as it goes
			move()
		}
		r.stop(t)
		if i%3 == 1 { // while it is away
			move()
		}
		before := r.calls.Load()
		r.start(t.Context())
		r.serves(t, creds)
		if i%3 == 2 { // when it is back
			move()
		}
		// The client, too, has to see that it is back before the other goes.
		eventually(t, "calls reach it again", func() bool { return r.calls.Load() > before+8 })
		eventually(t, "all are told of the new version", all)
	}
	done()
	load.Wait()
	for _, r := range replicas {
		r.stop(t)
	}
	ended := map[string]int{}
	for _, f := range followers {
		if !slices.Equal(f.told, versions) {
			t.Errorf("told %d versions of %d: %v, want %v", len(f.told), len(versions), f.told, versions)
		}
		for reason, n := range f.ended {
			ended[reason] += n
		}
	}
	if ended["STREAM_EXPIRED"] == 0 {
		t.Errorf("watches ended by %v, none at a drain", ended)
	}
	t.Logf("%d restarts, %d calls, %d failed; %d versions, watches that ended by %v", restarts, calls.Load(), failed.Load(), len(versions), ended)
}
