package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	floodGet  = "/keyward.v1.SecretService/GetSecret"
	floodSet  = "/keyward.v1.SecretService/SetSecret"
	floodREST = "/v1/vaults/dev/secrets/flood"
)

// attack is one way to flood.
type attack struct {
	name string
	// connections is how many it has at a time, at full size.
	connections int
	// again is how long a connection that ended is waited with for the next.
	again time.Duration
	// run is the life of the i-th connection. It counts in did.
	run func(ctx context.Context, f *flooder, i int) error
}

// either is one of the two servers, in turn.
func (f *flooder) either(i int) string {
	if i%2 == 0 {
		return f.GRPC
	}
	return f.HTTP
}

var attacks = []attack{
	{"connect and say nothing", 1000, 0, func(ctx context.Context, f *flooder, i int) error {
		c, err := f.dial(ctx, f.either(i))
		if err != nil {
			return err
		}
		f.did.Add(1)
		drain(c)
		return nil
	}},
	{"begin a handshake and stall", 1000, 0, func(ctx context.Context, f *flooder, i int) error {
		c, err := f.dial(ctx, f.either(i))
		if err != nil {
			return err
		}
		// The head of a ClientHello of 512 bytes, and a part of it.
		if _, err := c.Write(append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, make([]byte, 100)...)); err != nil {
			return err
		}
		f.did.Add(1)
		drain(c)
		return nil
	}},
	{"shake hands and say nothing", 2000, 0, func(ctx context.Context, f *flooder, i int) error {
		c, err := f.secure(ctx, f.either(i), []string{"h2", "http/1.1"}[i%2])
		if err != nil {
			return err
		}
		f.did.Add(1)
		drain(c)
		return nil
	}},
	{"say hello in HTTP/2 and no more", 2000, 0, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		f.did.Add(1)
		h.wait(ctx)
		return nil
	}},
	{"connect and reset", 4, 5 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		c, err := f.dial(ctx, f.either(i/2))
		if err != nil {
			return err
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		if i%2 == 0 {
			_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1})
		}
		f.did.Add(1)
		return c.Close()
	}},
	{"slowloris: headers a byte at a time", 500, 0, func(ctx context.Context, f *flooder, _ int) error {
		c, err := f.secure(ctx, f.HTTP, "http/1.1")
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET "+floodREST+" HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
			return err
		}
		f.did.Add(1)
		go drain(c)
		for pause(ctx, 500*time.Millisecond) {
			if _, err := io.WriteString(c, "x"); err != nil {
				return nil
			}
		}
		return nil
	}},
	{"bodies a byte at a time, with a token", 500, 0, func(ctx context.Context, f *flooder, _ int) error {
		c, err := f.secure(ctx, f.HTTP, "http/1.1")
		if err != nil {
			return err
		}
		defer c.Close()
		head := "PUT " + floodREST + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 200000\r\nAuthorization: Bearer " + f.Token + "\r\n\r\n"
		if _, err := io.WriteString(c, head+`{"value":"`); err != nil {
			return err
		}
		f.did.Add(1)
		go drain(c)
		for pause(ctx, 500*time.Millisecond) {
			if _, err := io.WriteString(c, "x"); err != nil {
				return nil
			}
		}
		return nil
	}},
	{"headers of 1 MiB", 4, 20 * time.Millisecond, func(ctx context.Context, f *flooder, _ int) error {
		c, err := f.secure(ctx, f.HTTP, "http/1.1")
		if err != nil {
			return err
		}
		defer c.Close()
		go drain(c)
		_, _ = io.WriteString(c, "GET "+floodREST+" HTTP/1.1\r\nHost: localhost\r\n")
		line := "X-Bomb: " + strings.Repeat("x", 1000) + "\r\n"
		for range 1000 {
			if _, err := io.WriteString(c, line); err != nil {
				break
			}
		}
		f.did.Add(1)
		return nil
	}},
	{"CONTINUATION without end", 4, 20 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		block := bytes.Clone(h.encode(append(f.grpcCall(floodGet), "x-bomb", strings.Repeat("~", 8000))...))
		_ = h.write(func() error {
			return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
		})
		for range 1000 {
			block := bytes.Clone(h.encode("x-bomb", strings.Repeat("~", 8000)))
			_ = h.write(func() error { return h.WriteContinuation(1, false, block) })
			f.did.Add(1)
			if h.flush() != nil {
				break
			}
		}
		return nil
	}},
	{"header compression bombs", 4, 20 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		// One entry of 4,000 bytes in the table, and then two thousand times the
		// byte that refers to it: 8 MB.
		h.open(true, append(f.grpcCall(floodGet), "x-bomb", strings.Repeat("x", 3900))...)
		for range 50 {
			block := append(bytes.Clone(h.encode(f.grpcCall(floodGet)...)), bytes.Repeat([]byte{0x80 | 62}, 2000)...)
			id := h.stream
			h.stream += 2
			_ = h.write(func() error {
				return h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true})
			})
			f.did.Add(1)
			if h.flush() != nil {
				break
			}
		}
		return nil
	}},
	{"JSON bombs, with a token", 4, 10 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		return f.post(ctx, jsonBombs[i%len(jsonBombs)], "")
	}},
	{"bodies of gzip, with a token", 4, 10 * time.Millisecond, func(ctx context.Context, f *flooder, _ int) error {
		return f.post(ctx, string(zipped()), "Content-Encoding: gzip\r\n")
	}},
	{"messages of gzip", 4, 10 * time.Millisecond, func(ctx context.Context, f *flooder, _ int) error {
		h, err := f.http2(ctx, f.GRPC)
		if err != nil {
			return err
		}
		defer h.close()
		for range 50 {
			id := h.open(false, f.grpcCall(floodGet, append(f.bearer(), "grpc-encoding", "gzip")...)...)
			_ = h.write(func() error { return h.WriteData(id, true, message(1, zipped())) })
			f.did.Add(1)
			if h.flush() != nil || !pause(ctx, time.Millisecond) {
				break
			}
		}
		return nil
	}},
	{"10,000 streams at once, with a token", 2, 50 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		for n := range 10_000 {
			h.open(false, f.call(i)...)
			f.did.Add(1)
			if n%100 == 99 && (h.flush() != nil || !pause(ctx, time.Millisecond)) {
				break
			}
		}
		return nil
	}},
	{"rapid reset, with a token", 2, 50 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		for n := range 10_000 {
			id := h.open(i%2 == 1, f.call(i)...)
			_ = h.write(func() error { return h.WriteRSTStream(id, http2.ErrCodeCancel) })
			f.did.Add(1)
			if n%20 == 19 && (h.flush() != nil || !pause(ctx, 10*time.Millisecond)) {
				break
			}
		}
		return nil
	}},
	{"PING", 2, 50 * time.Millisecond, frames(func(h *rawHTTP2) error { return h.WritePing(false, [8]byte{}) })},
	{"SETTINGS", 2, 50 * time.Millisecond, frames(func(h *rawHTTP2) error {
		return h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
	})},
	{"PRIORITY and WINDOW_UPDATE", 2, 50 * time.Millisecond, frames(func(h *rawHTTP2) error {
		_ = h.WritePriority(3, http2.PriorityParam{StreamDep: 5})
		return h.WriteWindowUpdate(0, 1)
	})},
	{"unknown methods", 4, 10 * time.Millisecond, func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		for n := range 200 {
			name := fmt.Sprintf("/made.Up%d/Method%d", i, f.did.Add(1))
			if i%2 == 0 {
				id := h.open(false, f.grpcCall(name)...)
				_ = h.write(func() error { return h.WriteData(id, true, message(0, nil)) })
			} else {
				h.open(true, f.restCall([]string{"GET", "BREW", "OPTIONS"}[n%3], name)...)
			}
			if n%10 == 9 && (h.flush() != nil || !pause(ctx, 5*time.Millisecond)) {
				break
			}
		}
		return nil
	}},
	{"messages of 2 MiB, but for the last byte", 10, 0, func(ctx context.Context, f *flooder, _ int) error {
		h, err := f.http2(ctx, f.GRPC)
		if err != nil {
			return err
		}
		defer h.close()
		const size = 2<<20 - 100
		part := make([]byte, 16<<10)
		var streams []uint32
		for range 100 {
			id := h.open(false, f.grpcCall(floodSet)...)
			var head [5]byte
			binary.BigEndian.PutUint32(head[1:], size)
			_ = h.write(func() error { return h.WriteData(id, false, head[:]) })
			streams = append(streams, id)
		}
		if err := h.flush(); err != nil {
			return err
		}
		for sent := 0; sent+len(part) < size; sent += len(part) {
			for _, id := range streams {
				_ = h.write(func() error { return h.WriteData(id, false, part) })
				if h.flush() != nil {
					return nil
				}
				f.did.Add(1)
			}
			if !pause(ctx, time.Millisecond) {
				return nil
			}
		}
		h.wait(ctx)
		return nil
	}},
	{"replies that are not read", 20, 0, func(ctx context.Context, f *flooder, _ int) error {
		h, err := f.http2(ctx, f.HTTP, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		if err != nil {
			return err
		}
		defer h.close()
		for range 90 {
			h.open(true, f.restCall("GET", "/openapi.json")...)
			f.did.Add(1)
		}
		if err := h.flush(); err != nil {
			return err
		}
		h.wait(ctx)
		return nil
	}},
}

// call is a call with the token: to gRPC for an even i, else to REST.
func (f *flooder) call(i int) []string {
	if i%2 == 0 {
		return f.grpcCall(floodGet, f.bearer()...)
	}
	return f.restCall("GET", floodREST, f.bearer()...)
}

// frames is a flood of one frame.
func frames(one func(*rawHTTP2) error) func(context.Context, *flooder, int) error {
	return func(ctx context.Context, f *flooder, i int) error {
		h, err := f.http2(ctx, f.either(i))
		if err != nil {
			return err
		}
		defer h.close()
		for {
			for range 50 {
				_ = h.write(func() error { return one(h) })
				f.did.Add(1)
			}
			if h.flush() != nil || !pause(ctx, 10*time.Millisecond) {
				return nil
			}
		}
	}
}

// post sends a body over HTTP/1.1, and reads the answer.
func (f *flooder) post(ctx context.Context, body, headers string) error {
	c, err := f.secure(ctx, f.HTTP, "http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	for range 20 {
		_, err := fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s",
			floodREST, headers, len(body), f.Token, body)
		f.did.Add(1)
		if err != nil {
			break
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = io.Copy(io.Discard, c)
		if !pause(ctx, 10*time.Millisecond) {
			break
		}
	}
	return nil
}

var jsonBombs = []string{
	strings.Repeat("[", 200_000),
	strings.Repeat(`{"tags":`, 25_000),
	`{"value":"` + strings.Repeat(`\u0000`, 40_000) + `"}`,
	`{"value":"` + strings.Repeat("x", 4<<20) + `"}`,
	`{` + strings.Repeat(`"value":"x",`, 20_000) + `"value":"x"}`,
	`{"tags":{` + strings.Repeat(`"k":"v",`, 30_000) + `"k":"v"}}`,
	`{"expireTime":` + strings.Repeat("9", 250_000) + `}`,
}

// zipped is 64 MiB of zeros, in 64 KiB: 64 gzip members of 1 MiB each, since a flood
// that packs all of it first is over before it began. It is made where it is used:
// every keyward of these tests is this program.
var zipped = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 1<<20))
	_ = w.Close()
	return bytes.Repeat(b.Bytes(), 64)
})

// message is a gRPC message, compressed or not.
func message(compressed byte, body []byte) []byte {
	head := make([]byte, 5, 5+len(body))
	head[0] = compressed
	binary.BigEndian.PutUint32(head[1:], uint32(len(body)))
	return append(head, body...)
}
