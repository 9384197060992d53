package service

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

// crowd is a listener whose clients are made by the test, all in one bubble.
type crowd struct {
	t        *testing.T
	s        *strangers
	l        net.Listener
	incoming chan net.Conn
	clients  []net.Conn

	mu       sync.Mutex
	accepted []*conn
	err      error // that ended Accept
}

func newCrowd(t *testing.T, limit int, bytes int64) *crowd {
	t.Helper()
	s, err := newStrangers(metricnoop.NewMeterProvider())
	if err != nil {
		t.Fatal(err)
	}
	s.max, s.maxBytes = limit, bytes
	c := &crowd{t: t, s: s, incoming: make(chan net.Conn, 100)}
	c.l = s.listen(pipes{c.incoming})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			got, err := c.l.Accept()
			c.mu.Lock()
			if c.err = err; err == nil {
				ours, _ := got.(*conn)
				c.accepted = append(c.accepted, ours)
			}
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.l.Close()
		close(c.incoming)
		<-done
		for _, conn := range c.clients {
			_ = conn.Close()
		}
	})
	return c
}

// in are the connections that were let in, in their order.
func (c *crowd) in() []*conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

// ended is what ended Accept, or nil.
func (c *crowd) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// pipes is a listener over the connections that it is given.
type pipes struct{ incoming chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.incoming
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// come connects so many clients, and waits until those are let in that can be.
func (c *crowd) come(n int) {
	for range n {
		client, server := net.Pipe()
		c.clients = append(c.clients, client)
		c.incoming <- server
	}
	synctest.Wait()
}

// want checks how many are let in, and which of them were closed.
func (c *crowd) want(accepted int, closed ...int) {
	c.t.Helper()
	synctest.Wait()
	if len(c.in()) != accepted {
		c.t.Fatalf("%d are let in, want %d", len(c.in()), accepted)
	}
	for i, conn := range c.in() {
		_ = conn.SetReadDeadline(time.Now())
		_, err := conn.Conn.Read(make([]byte, 1))
		_ = conn.SetReadDeadline(time.Time{})
		isClosed, wantClosed := errors.Is(err, io.ErrClosedPipe), slices.Contains(closed, i)
		if isClosed != wantClosed {
			c.t.Errorf("connection %d: closed %v, want %v", i, isClosed, wantClosed)
		}
	}
}

// Who comes when there are too many strangers waits, until one is known, leaves, or
// has had its time.
func TestStrangersWaitForRoom(t *testing.T) {
	for name, makeRoom := range map[string]func(*crowd){
		"one is known": func(c *crowd) { c.in()[1].known() },
		"one leaves":   func(c *crowd) { _ = c.in()[1].Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 3, 1<<20)
				c.come(5)
				c.want(3)
				makeRoom(c)
				synctest.Wait()
				if len(c.in()) != 4 {
					t.Errorf("%d are let in, want 4", len(c.in()))
				}
			})
		})
	}
	t.Run("the oldest has had its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, 3, 1<<20)
			c.come(2)
			time.Sleep(strangerGrace / 2)
			c.come(3)
			c.want(3)
			time.Sleep(strangerGrace/2 - time.Millisecond)
			c.want(3)
			time.Sleep(time.Millisecond)
			c.want(5, 0, 1)
			// Those who are known are closed by no crowd.
			c.in()[2].known()
			c.come(10)
			time.Sleep(10 * strangerGrace)
			c.want(15, 0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11)
		})
	})
	t.Run("the listener is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, 3, 1<<20)
			c.come(5)
			_ = c.l.Close()
			c.want(3)
			if !errors.Is(c.ended(), net.ErrClosed) {
				t.Errorf("Accept returned %v", c.ended())
			}
		})
	})
}

// Of strangers who sent too much together, whoever sent the most is closed. What
// those sent who are known by now does not count.
func TestStrangersSendLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10, 1000)
		c.come(3)
		send := func(i, n int) {
			go func() { _, _ = c.clients[i].Write(make([]byte, n)) }()
			_, _ = c.in()[i].Read(make([]byte, n))
		}
		send(0, 500)
		send(1, 400)
		send(2, 100)
		c.want(3)
		send(1, 50) // 1,050 together
		c.want(3, 0)
		c.in()[1].known()
		send(1, 5000)
		send(2, 900)
		c.want(3, 0)
		send(2, 1)
		c.want(3, 0, 2)
		if n := c.s.bytes; n != 0 {
			t.Errorf("%d bytes of none", n)
		}
	})
}

// What strangers send beyond a handshake and headers is read slowly, of all together.
func TestStrangersSendSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := newStrangers(metricnoop.NewMeterProvider())
		if err != nil {
			t.Fatal(err)
		}
		var some []*conn
		for range 4 {
			c := &conn{strangers: s}
			s.admit(c, nil)
			if wait := s.sent(c, strangerBytes); wait != 0 {
				t.Errorf("a handshake and headers wait for %v", wait)
			}
			some = append(some, c)
		}
		var wait time.Duration
		for range 256 { // 1 MiB of each
			for _, c := range some {
				wait = s.sent(c, 4<<10)
			}
		}
		if want := 4<<20*time.Second/strangerRate - strangerSlack; wait.Round(time.Millisecond) != want {
			t.Errorf("4 MiB of strangers wait for %v, want %v", wait, want)
		}
		time.Sleep(wait + strangerSlack)
		if wait := s.sent(some[0], strangerRate/20); wait != 0 {
			t.Errorf("after a pause, a call waits for %v", wait)
		}
		s.leave(some[1])
		if wait := s.sent(some[1], 1<<20); wait != 0 {
			t.Errorf("one who is known waits for %v", wait)
		}
	})
}

// Handshakes take turns, which end with the server's answer: a client that does not
// read it holds up nobody.
func TestHandshakesTakeTurns(t *testing.T) {
	certificate := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10, 1<<20)
		conf := strict(&tls.Config{Certificates: []tls.Certificate{certificate}})
		for range cap(c.s.turns) { // others have them
			c.s.turns <- struct{}{}
		}
		var answered atomic.Int32
		over := make(chan struct{})
		c.come(3)
		for i, on := range c.in() {
			go func() { _ = tls.Server(on, conf).HandshakeContext(t.Context()) }()
			go func() {
				_ = tls.Client(unreadConn{c.clients[i], &answered, over}, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context())
			}()
		}
		synctest.Wait()
		if n := answered.Load(); n != 0 {
			t.Errorf("%d handshakes are answered without a turn", n)
		}
		<-c.s.turns
		synctest.Wait()
		if n := answered.Load(); n != 3 {
			t.Errorf("%d handshakes are answered, want 3 in turn", n)
		}
		if got, want := len(c.s.turns), cap(c.s.turns)-1; got != want {
			t.Errorf("%d turns are taken, want %d", got, want)
		}
		close(over)
		for _, client := range c.clients {
			_ = client.Close()
		}
	})
}

// selfSigned is a certificate of nobody.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// unreadConn is a connection whose client looks whether an answer has come, and leaves
// the rest of it where it is.
type unreadConn struct {
	net.Conn
	answered *atomic.Int32
	over     <-chan struct{}
}

func (u unreadConn) Read([]byte) (int, error) {
	n, err := u.Conn.Read(make([]byte, 1))
	if n == 1 {
		u.answered.Add(1)
		<-u.over
	}
	return 0, err
}
