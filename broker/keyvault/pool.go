package keyvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
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

// pool keeps connections to one vault. How many depends on the protocol that
// the vault speaks: a few that multiplex, or, where it has only HTTP/1.1, one
// for each call at a time. Which it is shows in the first reply.
//
// How long a reply may take is no matter of the pool's: a call that makes a key
// waits longer than one that reads. See call.timeout.
type pool struct {
	multiplexed, plain *http.Transport
	// http1 tells what the last reply came by.
	http1 atomic.Bool
}

func newPool(roots *x509.CertPool, opened func(delta int64)) *pool {
	return &pool{
		multiplexed: newTransport(roots, multiplexedConns, opened),
		plain:       newTransport(roots, plainConns, opened),
	}
}

// RoundTrip implements http.RoundTripper.
func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	t := p.multiplexed
	if p.http1.Load() {
		t = p.plain
	}
	resp, err := t.RoundTrip(r)
	if err == nil {
		if http1 := resp.ProtoMajor == 1; p.http1.Load() != http1 {
			p.http1.Store(http1)
		}
	}
	return resp, err
}

// CloseIdleConnections is called by http.Client's method of that name.
func (p *pool) CloseIdleConnections() {
	p.multiplexed.CloseIdleConnections()
	p.plain.CloseIdleConnections()
}

func newTransport(roots *x509.CertPool, conns int, opened func(delta int64)) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			opened(1)
			return &countedConn{Conn: c, closed: sync.OnceFunc(func() { opened(-1) })}, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxConnsPerHost:        conns,
		MaxIdleConnsPerHost:    conns,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// A vault's replies are small. A compressed one could be a bomb.
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// countedConn tells once that it was closed.
type countedConn struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
