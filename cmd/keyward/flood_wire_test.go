package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// target is what a flood is aimed at: a keyward process, with a token of one of
// its callers for the floods that have one.
type target struct {
	GRPC, HTTP, CA, Token string
	Attack                string
	// Connections is how many an attack has at a time.
	Connections int
}

// flooder makes connections for an attack, and counts what it did.
type flooder struct {
	target
	roots *tls.Config
	// did counts what the attack is about, and dialed connections.
	did, dialed, failed atomic.Int64
}

// dial returns a connection that lives no longer than ctx.
func (f *flooder) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	f.dialed.Add(1)
	context.AfterFunc(ctx, func() { c.Close() })
	return c, nil
}

// secure is dial with a TLS handshake, for an ALPN protocol.
func (f *flooder) secure(ctx context.Context, addr, protocol string) (*tls.Conn, error) {
	raw, err := f.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	conf := f.roots.Clone()
	conf.NextProtos = []string{protocol}
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// rawHTTP2 is an HTTP/2 client without manners: it sends what it is told, and heeds
// no limit. What it is sent is thrown away.
type rawHTTP2 struct {
	*http2.Framer

	conn    net.Conn
	mu      sync.Mutex // the framer's writes
	out     bytes.Buffer
	headers bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
	ended   chan struct{}
}

// http2 returns a connection that has said hello, with settings.
func (f *flooder) http2(ctx context.Context, addr string, settings ...http2.Setting) (*rawHTTP2, error) {
	c, err := f.secure(ctx, addr, "h2")
	if err != nil {
		return nil, err
	}
	h := &rawHTTP2{conn: c, stream: 1, ended: make(chan struct{})}
	h.encoder = hpack.NewEncoder(&h.headers)
	h.Framer = http2.NewFramer(&h.out, c)
	h.out.WriteString(http2.ClientPreface)
	if err := errors.Join(h.WriteSettings(settings...), h.flush()); err != nil {
		c.Close()
		return nil, err
	}
	go func() {
		defer close(h.ended)
		for {
			frame, err := h.ReadFrame()
			if err != nil {
				return
			}
			if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
				h.mu.Lock()
				_ = h.WriteSettingsAck()
				h.mu.Unlock()
			}
		}
	}()
	return h, nil
}

// flush sends what was written.
func (h *rawHTTP2) flush() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := h.conn.Write(h.out.Bytes())
	h.out.Reset()
	return err
}

// write does what is told of the framer, under its lock.
func (h *rawHTTP2) write(do func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return do()
}

// open writes the headers of a new stream, and returns its id.
func (h *rawHTTP2) open(end bool, fields ...string) uint32 {
	id := h.stream
	h.stream += 2
	_ = h.write(func() error {
		return h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.encode(fields...), EndStream: end, EndHeaders: true})
	})
	return id
}

func (h *rawHTTP2) encode(fields ...string) []byte {
	h.headers.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = h.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return h.headers.Bytes()
}

// wait waits for the end of the connection.
func (h *rawHTTP2) wait(ctx context.Context) {
	select {
	case <-h.ended:
	case <-ctx.Done():
	}
}

func (h *rawHTTP2) close() { h.conn.Close() }

// grpcCall are the headers of a gRPC call.
func (f *flooder) grpcCall(method string, more ...string) []string {
	return append([]string{
		":method", "POST", ":scheme", "https", ":path", method, ":authority", "localhost",
		"content-type", "application/grpc", "te", "trailers",
	}, more...)
}

// restCall are the headers of a REST call over HTTP/2.
func (f *flooder) restCall(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":path", path, ":authority", "localhost"}, more...)
}

func (f *flooder) bearer() []string { return []string{"authorization", "Bearer " + f.Token} }

// drain reads until the other side ends the connection.
func drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
