package service

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
)

const (
	// maxStrangers is how many connections there are at a time, of both transports
	// together, on which nobody has shown credentials yet.
	maxStrangers = 600
	// strangerGrace is how long each of them has, however many wait behind it: as
	// long as a handshake may take. With the number, it bounds how many handshakes
	// a flood can ask for, each of which costs about a millisecond.
	strangerGrace = 5 * time.Second
	// maxStrangerBytes is how much all of them together may have sent: grpc-go
	// reads a message whole before anybody can ask whose it is.
	maxStrangerBytes = 8 << 20
	// strangerBytes are what a connection may send as fast as it likes: a handshake,
	// and the headers of a call. Of what is beyond that, strangerRate bytes a second are
	// read of all together. To decrypt and to parse is work, and a call that is
	// larger than its headers can wait for it.
	strangerBytes = 8 << 10
	strangerRate  = 2 << 20
	// strangerSlack is how far they may be ahead of that: one alone, with a call of
	// the usual size, waits for nothing.
	strangerSlack = 100 * time.Millisecond
)

// strangers bound what connections can hold of whose callers nothing is known: a
// connection is a stranger's until a call on it, or a client certificate, has
// named a principal. What callers hold who are known is bounded by their limits.
//
// Who comes when there are too many waits, in the kernel's backlog, until one is
// no stranger any more, has gone, or has had its time: then the oldest is closed.
// So those who are served already notice nothing, a crowd that starts at once is
// let in as fast as it can be served, and only a flood is cut.
type strangers struct {
	max      int
	grace    time.Duration
	maxBytes int64
	closed   metric.Int64Counter
	// turns are those of handshakes to compute; see takeTurn.
	turns chan struct{}
	// room tells those who wait that there may be some: one for each listener.
	room chan struct{}

	mu     sync.Mutex
	oldest list.List // of *conn, the oldest first
	bytes  int64     // what they have sent
	next   time.Time // when more is read of those who have sent strangerBytes
}

func newStrangers(mp metric.MeterProvider) (*strangers, error) {
	closed, err := mp.Meter(scope).Int64Counter("keyward.connections.closed",
		metric.WithDescription("Connections without credentials that were closed, because there were too many of them or they had sent too much."))
	if err != nil {
		return nil, fmt.Errorf("service: %w", err)
	}
	return &strangers{
		max: maxStrangers, grace: strangerGrace, maxBytes: maxStrangerBytes,
		closed: closed, room: make(chan struct{}, 2),
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}, nil
}

// listen returns l, whose connections begin as strangers.
func (s *strangers) listen(l net.Listener) net.Listener {
	return &strangerListener{Listener: l, strangers: s, done: make(chan struct{})}
}

type strangerListener struct {
	net.Listener
	strangers *strangers
	close     sync.Once
	done      chan struct{}
}

// Accept implements net.Listener.
func (l *strangerListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, strangers: l.strangers, peer: peerAddr(raw.RemoteAddr().String())}
	if !l.strangers.admit(c, l.done) {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close implements net.Listener.
func (l *strangerListener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// admit waits until there is room for c, and reports whether there was before
// done.
func (s *strangers) admit(c *conn, done <-chan struct{}) bool {
	for {
		s.mu.Lock()
		var gone *conn
		var wait time.Duration
		if s.oldest.Len() >= s.max {
			first, _ := s.oldest.Front().Value.(*conn)
			if wait = s.grace - time.Since(first.since); wait <= 0 {
				gone = first
				s.remove(gone)
			}
		}
		if wait <= 0 {
			c.since = time.Now()
			c.place = s.oldest.PushBack(c)
			c.stranger.Store(true)
		}
		s.mu.Unlock()
		if gone != nil {
			s.cut(gone)
		}
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.room:
		case <-timer.C:
		case <-done:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// sent tells that c has sent n bytes, and returns how long c is to wait before it is
// read on. If that makes too much of all, whoever sent the most is closed.
func (s *strangers) sent(c *conn, n int) (wait time.Duration) {
	s.mu.Lock()
	if c.place == nil {
		s.mu.Unlock()
		return 0
	}
	c.bytes += int64(n)
	s.bytes += int64(n)
	if c.bytes > strangerBytes {
		now := time.Now()
		if s.next.Before(now) {
			s.next = now
		}
		s.next = s.next.Add(time.Duration(n) * time.Second / strangerRate)
		wait = max(0, s.next.Sub(now)-strangerSlack)
	}
	var most *conn
	if s.bytes > s.maxBytes {
		for e := s.oldest.Front(); e != nil; e = e.Next() {
			if c, _ := e.Value.(*conn); most == nil || c.bytes > most.bytes {
				most = c
			}
		}
		s.remove(most)
	}
	s.mu.Unlock()
	if most != nil {
		s.cut(most)
	}
	return wait
}

// leave tells that c is no stranger any more, or has gone.
func (s *strangers) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place != nil {
		s.remove(c)
	}
}

// remove removes c, which is there. The caller holds s.mu.
func (s *strangers) remove(c *conn) {
	s.oldest.Remove(c.place)
	s.bytes -= c.bytes
	c.place = nil
	c.stranger.Store(false)
	select {
	case s.room <- struct{}{}:
	default:
	}
}

func (s *strangers) cut(c *conn) {
	s.closed.Add(context.Background(), 1)
	_ = c.Conn.Close()
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	strangers *strangers
	peer      netip.Addr
	stranger  atomic.Bool
	turn      atomic.Bool // it computes its handshake
	since     time.Time   // it was let in
	// tls is the state behind the handshake, of a gRPC connection: each of its calls
	// would have a copy made of it.
	tls *tls.ConnectionState

	// Of the strangers' lock; place is nil once it is none.
	place *list.Element
	bytes int64
}

// known tells that the caller on c has shown who he is. c may be nil.
func (c *conn) known() {
	if c != nil && c.stranger.Load() {
		c.strangers.leave(c)
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.stranger.Load() {
		time.Sleep(c.strangers.sent(c, n))
	}
	return n, err
}

// takeTurn waits until c may compute its handshake. A ClientHello has come, and what
// follows is a millisecond's work, about; with a thousand of those at once, the
// calls of others would wait behind them all. So they take turns, on half the
// processors. A turn ends with the first bytes of the answer, for which nobody waits
// on the client.
func (c *conn) takeTurn() {
	c.strangers.turns <- struct{}{}
	c.turn.Store(true)
}

func (c *conn) endTurn() {
	if c.turn.Load() && c.turn.Swap(false) {
		<-c.strangers.turns
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.endTurn()
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.endTurn()
	c.strangers.leave(c)
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

// connAddr is the address of a client, by which a gRPC call finds its connection.
type connAddr struct {
	net.Addr
	conn *conn
}

// connOf returns the connection with that address; nil if it is none of ours.
func connOf(a net.Addr) *conn {
	ours, _ := a.(connAddr)
	return ours.conn
}

type connKey struct{}

// withConn lets a REST call find its connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

func connIn(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
