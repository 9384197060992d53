package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// measureVar names the file in which a keyward of these tests tells its measures
// when it gets a SIGUSR1.
const measureVar = "KEYWARD_TEST_MEASURE"

// measures are what a process holds when nobody calls.
type measures struct {
	Nth                     int
	Goroutines, Descriptors int
	Heap                    uint64 // bytes alive
}

// measured is keyward's main, in a process that tells its measures.
func measured() {
	if file := os.Getenv(measureVar); file != "" {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGUSR1)
		go tellMeasures(file, asked)
	}
	main()
}

func tellMeasures(file string, asked <-chan os.Signal) {
	for n := 1; ; n++ {
		<-asked
		runtime.GC()
		runtime.GC() // and what the first one left to pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		descriptors, err1 := os.ReadDir("/proc/self/fd")
		text, err2 := json.Marshal(measures{n, runtime.NumGoroutine(), len(descriptors), m.HeapAlloc})
		if err := errors.Join(err1, err2, os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file)); err != nil {
			panic(err)
		}
	}
}

// measure asks the process for its measures.
func (p *process) measure(last measures) (m measures) {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGUSR1)
	for began := time.Now(); m.Nth <= last.Nth; time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(p.file("measures")); err == nil {
			_ = json.Unmarshal(text, &m)
		}
		if time.Since(began) > patience {
			p.t.Fatal("the process does not tell its measures")
		}
	}
	return m
}

// storm is many callers, of whom some go away in every way.
type storm struct {
	p     *process
	creds credentials.TransportCredentials
	rest  http.RoundTripper
	names int

	left                            atomic.Int64
	answered, gone, resets, refused atomic.Int64
}

// caller is a connection that can be torn.
type caller struct {
	conn *grpc.ClientConn
	mu   sync.Mutex
	tcp  []*net.TCPConn
}

func (s *storm) connect() *caller {
	c := &caller{}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			c.mu.Lock()
			c.tcp = append(c.tcp, tcp)
			c.mu.Unlock()
		}
		return conn, err
	}
	var err error
	if c.conn, err = grpc.NewClient("passthrough:///"+s.p.context().GRPC, grpc.WithTransportCredentials(s.creds), grpc.WithContextDialer(dial)); err != nil {
		s.p.t.Fatal(err)
	}
	return c
}

// reset ends the connection as a machine does that goes down: in the middle of
// whatever is on its way, and without a word.
func (c *caller) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tcp := range c.tcp {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// run makes so many calls, of so many callers.
func (s *storm) run(calls, callers int) {
	s.left.Store(int64(calls))
	var all sync.WaitGroup
	for i := range callers {
		chance := rand.New(rand.NewPCG(uint64(calls), uint64(i)))
		all.Go(func() {
			for s.left.Load() > 0 {
				s.session(chance)
			}
		})
	}
	all.Wait()
}

// session is a connection, with some calls at the same time. Every other ends in a
// reset.
func (s *storm) session(chance *rand.Rand) {
	switch chance.IntN(20) {
	case 0: // a connection that says nothing
		if conn, err := net.Dial("tcp", s.p.context().GRPC); err == nil {
			(&caller{tcp: []*net.TCPConn{conn.(*net.TCPConn)}}).reset()
		}
	case 1:
		for range 5 {
			s.called(s.get(chance))
		}
	}
	c := s.connect()
	defer c.conn.Close()
	service := keywardv1.NewSecretServiceClient(c.conn)
	var all sync.WaitGroup
	for range 4 {
		own := rand.New(rand.NewPCG(chance.Uint64(), 0))
		all.Go(func() {
			for range 100 {
				s.called(s.call(service, own))
			}
		})
	}
	if chance.IntN(2) == 0 {
		time.Sleep(time.Duration(chance.IntN(100)) * time.Millisecond)
		c.reset()
		s.resets.Add(1)
	}
	all.Wait()
}

// call makes one call, or begins one.
func (s *storm) call(c keywardv1.SecretServiceClient, chance *rand.Rand) error {
	name := fmt.Sprintf("vaults/dev/secrets/s-%d", chance.IntN(s.names))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	switch kind := chance.IntN(1000); {
	case kind < 200: // goes away while it waits
		stop := time.AfterFunc(time.Duration(chance.IntN(2000))*time.Microsecond, cancel)
		defer stop.Stop()
	case kind < 300: // has no time
		ctx, cancel = context.WithTimeout(ctx, time.Duration(chance.IntN(2000))*time.Microsecond)
		defer cancel()
	}
	var err error
	switch kind := chance.IntN(1000); {
	case kind < 2:
		_, err = c.SetSecret(ctx, &keywardv1.SetSecretRequest{Name: name, Value: fmt.Sprint("value ", kind)})
	case kind < 20:
		_, err = c.ListSecrets(ctx, &keywardv1.ListSecretsRequest{Parent: "vaults/dev"})
	case kind < 22: // behind the cache
		_, err = c.ListSecretVersions(ctx, &keywardv1.ListSecretVersionsRequest{Parent: name, PageSize: 1})
	case kind < 30:
		if _, err = c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/absent"}); status.Code(err) == codes.NotFound {
			err = nil
		}
	default:
		_, err = c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name})
	}
	return err
}

// get makes a call over REST, which goes away or not.
func (s *storm) get(chance *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if chance.IntN(2) == 0 {
		stop := time.AfterFunc(time.Duration(chance.IntN(3000))*time.Microsecond, cancel)
		defer stop.Stop()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.p.context().HTTP+fmt.Sprintf("/v1/vaults/dev/secrets/s-%d", chance.IntN(s.names)), nil)
	if err != nil {
		return err
	}
	resp, err := s.rest.RoundTrip(r)
	if err != nil {
		return status.FromContextError(context.Canceled).Err()
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusServiceUnavailable: // a busy machine may be too slow for the audit log
		return status.Error(codes.Unavailable, "")
	default:
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func (s *storm) called(err error) {
	s.left.Add(-1)
	switch status.Code(err) {
	case codes.OK:
		s.answered.Add(1)
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		s.gone.Add(1)
	default:
		if s.refused.Add(1) < 10 {
			s.p.t.Errorf("a call failed: %v", err)
		}
	}
}

// Callers who go away, in whatever way, leave nothing behind.
func TestTortureCalls(t *testing.T) {
	takesLong(t)
	calls := brokertest.TortureSize(t, 10_000, 1_000_000)
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, dir, []string{measureVar + "=" + filepath.Join(dir, "measures")}, append(devArgs(dir), "--log-level", "error")...)
	s := &storm{p: p, creds: credentials.NewTLS(p.tls()), rest: &http.Transport{TLSClientConfig: p.tls()}, names: 100}
	conn := p.dial()
	for i := range s.names {
		if err := set(t.Context(), keywardv1.NewSecretServiceClient(conn), fmt.Sprint("s-", i), "value"); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	var m measures
	// Connections to the vault, too, end once nobody has used them for a while.
	quiet := func(till func() bool) measures {
		s.rest.(*http.Transport).CloseIdleConnections()
		for began := time.Now(); ; time.Sleep(time.Second) {
			if m = p.measure(m); till() || time.Since(began) > 3*patience {
				return m
			}
		}
	}
	fresh := quiet(func() bool { return true })
	isBack := func() bool { return m.Goroutines <= fresh.Goroutines && m.Descriptors <= fresh.Descriptors }
	// What is made once is made, and what is kept at the size that it once had has it:
	// more callers than come later.
	s.run(calls/10, 96)
	before := quiet(isBack)
	s.run(calls, 32)
	heapMay := before.Heap + before.Heap/50
	if !brokertest.Torture() {
		heapMay = before.Heap + before.Heap/4 // few calls leave the heap less even
	}
	after := quiet(func() bool { return isBack() && m.Heap <= heapMay })
	t.Logf("%d calls: %d answered, %d gone, %d connections reset; fresh %+v, warm %+v, after %+v: heap %+.2f %%",
		s.answered.Load()+s.gone.Load(), s.answered.Load(), s.gone.Load(), s.resets.Load(), fresh, before, after, 100*(float64(after.Heap)/float64(before.Heap)-1))
	if !isBack() {
		t.Error("goroutines or descriptors are left behind")
	}
	if after.Heap > heapMay {
		t.Error("the heap has grown")
	}
	if s.answered.Load() == 0 || s.gone.Load() == 0 || s.resets.Load() == 0 {
		t.Error("nothing was shown")
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, strings.TrimSpace(p.err.String()))
	}
}
