package service_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"testing"
)

// http2Settings are those that the server at addr begins a connection with.
func http2Settings(t *testing.T, addr string, c *tls.Config) map[uint16]uint32 {
	t.Helper()
	c.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", addr, c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The client's preface, with settings of its own: none.
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	const frameSettings = 4
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil || head[3] != frameSettings {
		t.Fatalf("the first frame is no SETTINGS: %x, %v", head, err)
	}
	body := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	settings := make(map[uint16]uint32)
	for ; len(body) >= 6; body = body[6:] {
		settings[binary.BigEndian.Uint16(body)] = binary.BigEndian.Uint32(body[2:])
	}
	return settings
}

// TestConnectionsAreBounded: both servers say so at the start of a connection.
func TestConnectionsAreBounded(t *testing.T) {
	const maxConcurrentStreams, maxHeaderListSize = 3, 6
	w := newWorld(t)
	for transport, addr := range map[string]string{"gRPC": w.grpcAddr, "REST": w.httpAddr} {
		got := http2Settings(t, addr, w.tls(w.billing()))
		if n := got[maxConcurrentStreams]; n != 100 {
			t.Errorf("%s: %d streams at once, want 100", transport, n)
		}
		// net/http adds a little for what each header costs.
		if n := got[maxHeaderListSize]; n < 32<<10 || n > 33<<10 {
			t.Errorf("%s: headers of %d bytes, want about 32 KiB", transport, n)
		}
	}
}
