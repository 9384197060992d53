package keyvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout      = 2 * time.Second
	handshakeTimeout = 3 * time.Second
	idleTimeout      = 90 * time.Second
	maxHeaderBytes   = 32 << 10

	// Four multiplexed connections carry what 64 plain ones would, and a call
	// waits for none of them: measured with 64 callers of a 10 ms server, the
	// 99th percentile was a quarter of that of many connections.
	multiplexedConns = 4
	plainConns       = 64

	// Without pings, a connection that a middlebox has dropped silently keeps
	// swallowing calls until the kernel gives up on it.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// patience is how long a pool takes a silent connection for a live one.
type patience struct {
	// ping is after how much silence an HTTP/2 connection is pinged, and pong how
	// long that may stay unanswered.
	ping, pong time.Duration
	// hung is how long a request over HTTP/1.1, which has no pings, must have
	// waited for its reply to be a sign that connections are dead.
	hung time.Duration
}

var patient = patience{ping: pingAfter, pong: pingTimeout, hung: tryTimeout / 2}

// pool keeps connections to one vault. How many depends on the protocol that
// the vault speaks: a few that multiplex, or, where it has only HTTP/1.1, one
// for each call at a time. Which it is shows in the first reply.
//
// How long a reply may take is no matter of the pool's: a call that makes a key
// waits longer than one that reads. See call.timeout.
type pool struct {
	multiplexed, plain *http.Transport
	telemetry          *poolTelemetry
	hung               time.Duration
	// http1 tells what the last reply came by.
	http1 atomic.Bool

	mu     sync.Mutex
	closed bool
	open   map[*pooledConn]struct{}
}

func newPool(roots *x509.CertPool, p patience, tel *poolTelemetry) *pool {
	made := &pool{telemetry: tel, hung: p.hung, open: map[*pooledConn]struct{}{}}
	made.multiplexed = newTransport(roots, multiplexedConns, p, made.dial)
	made.plain = newTransport(roots, plainConns, p, made.dial)
	return made
}

// RoundTrip implements http.RoundTripper.
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	t, http1 := p.multiplexed, p.http1.Load()
	if http1 {
		t = p.plain
	}
	began := time.Now()
	resp, err := t.RoundTrip(p.telemetry.watch(r))
	switch {
	case err == nil:
		if got := resp.ProtoMajor == 1; got != http1 {
			p.http1.Store(got)
		}
	case http1 && errors.Is(err, context.DeadlineExceeded) && time.Since(began) >= p.hung:
		// What swallowed this request may have swallowed the idle connections too:
		// without this, each of them would cost another call its time.
		p.plain.CloseIdleConnections()
	}
	return resp, err
}

// CloseIdleConnections is called by http.Client's method of that name.
func (p *pool) CloseIdleConnections() {
	p.multiplexed.CloseIdleConnections()
	p.plain.CloseIdleConnections()
}

// close closes all connections, and no other is opened.
func (p *pool) close() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.open))
	p.closed = true
	p.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

func (p *pool) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	p.telemetry.dialed(err)
	if err != nil {
		return nil, err
	}
	pooled := &pooledConn{Conn: c}
	pooled.closed = sync.OnceFunc(func() {
		p.telemetry.closed()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, pooled)
	})
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.open[pooled] = struct{}{}
	}
	p.mu.Unlock()
	if closed {
		_ = pooled.Close()
		return nil, net.ErrClosed
	}
	return pooled, nil
}

func newTransport(
	roots *x509.CertPool, conns int, p patience, dial func(ctx context.Context, network, addr string) (net.Conn, error),
) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    conns,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// A vault's replies are small. A compressed one could be a bomb.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: p.ping, PingTimeout: p.pong},
	}
}

// pooledConn tells once that it was closed.
type pooledConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *pooledConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
