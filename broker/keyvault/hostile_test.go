package keyvault_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const (
	canary  = "canary-5e9b1f" // stands for a value
	version = "4fdaaf1456c7478babf4a28ddef5bdab"
)

func bundle(name string) string {
	return `{"value":"` + canary + `","id":"https://v.vault.azure.net/secrets/` + name + `/` + version +
		`","attributes":{"enabled":true,"created":1680047550,"updated":1680047550,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90}}`
}

// Every reply that is not the one asked for is VAULT_UNAVAILABLE, and neither
// the error nor the log repeats any of it.
func TestRepliesThatAreNone(t *testing.T) {
	reply := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := map[string]http.HandlerFunc{
		"HTML":                 reply(200, "<html>"+canary+"</html>"),
		"nothing":              reply(200, ""),
		"null":                 reply(200, "null"),
		"truncated JSON":       reply(200, bundle("db")[:60]),
		"two documents":        reply(200, bundle("db")+bundle("db")),
		"a number for a value": reply(200, strings.Replace(bundle("db"), `"`+canary+`"`, "123456", 1)),
		"no value":             reply(200, strings.Replace(bundle("db"), `"value":"`+canary+`",`, "", 1)),
		"no id":                reply(200, `{"value":"`+canary+`"}`),
		"another secret":       reply(200, bundle("other")),
		"an id without a version": reply(200, strings.Replace(
			bundle("db"), "/"+version, "", 1)),
		"an id of a key":   reply(200, strings.Replace(bundle("db"), "/secrets/", "/keys/", 1)),
		"bytes, not UTF-8": reply(200, strings.Replace(bundle("db"), canary, "\xff\xfe", 1)),
		"201":              reply(201, bundle("db")),
		"204":              reply(204, ""),
		"404 of a proxy":   reply(404, "<html>"+canary+"</html>"),
		"404 with another code": reply(404,
			`{"error":{"code":"ResourceNotFound","message":"x"}}`),
		"a body that stops short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, bundle("db"))
		},
	}
	for label, h := range tests {
		t.Run(label, func(t *testing.T) {
			url, roots := serveTLS(t, h, true)
			var log bytes.Buffer
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots, Logger: debugLog(&log)})
			got, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
			if broker.CodeOf(err) != broker.CodeVaultUnavailable {
				t.Fatalf("%v, %v; want VAULT_UNAVAILABLE", got.Name, err)
			}
			if got.Value.Len() != 0 {
				t.Error("a value was returned")
			}
			if e := broker.AsError(err); e.Message != "" || e.RetryAfter <= 0 {
				t.Errorf("message %q, retry after %v; want none for the client, and a time", e.Message, e.RetryAfter)
			}
			for _, said := range []string{err.Error(), log.String()} {
				if strings.Contains(said, canary) || strings.Contains(said, testToken) || strings.Contains(said, "https://") {
					t.Errorf("it says too much: %s", said)
				}
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			var reached atomic.Int64
			other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
			t.Cleanup(other.Close)
			url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL+r.URL.Path, status)
			}), true)
			roots.AddCert(other.Certificate())
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})

			_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, broker.CodeVaultUnavailable)
			_, err = c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue(canary)})
			wantCode(t, err, broker.CodeVaultUnavailable)
			_, err = c.DeleteSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, broker.CodeVaultUnavailable)
			if n := reached.Load(); n != 0 {
				t.Errorf("%d requests went to another host", n)
			}
		})
	}
}

// A reply of 512 MiB is cut at its bound, told of its length or not.
func TestHugeReplies(t *testing.T) {
	const huge = 512 << 20
	for label, announced := range map[string]bool{"announced": true, "chunked": false} {
		for proto, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
			t.Run(label+" "+proto, func(t *testing.T) {
				var sent atomic.Int64
				chunk := bytes.Repeat([]byte(" "), 64<<10)
				url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if announced {
						w.Header().Set("Content-Length", strconv.Itoa(huge))
					}
					for sent.Load() < huge {
						n, err := w.Write(chunk)
						sent.Add(int64(n))
						if err != nil {
							return
						}
					}
				}), http2)
				c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
				runtime.ReadMemStats(&after)
				wantCode(t, err, broker.CodeVaultUnavailable)
				// Both ends, with their handshake and buffers.
				if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
					t.Errorf("%d KiB were allocated", got>>10)
				}
			})
		}
	}
}

// No compressed reply is asked for: a small one could be a huge one.
func TestNoCompressionIsAskedFor(t *testing.T) {
	for proto, http2 := range map[string]bool{"HTTP/2": true, "HTTP/1.1": false} {
		t.Run(proto, func(t *testing.T) {
			var asked []string
			url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Header.Values("Accept-Encoding")...)
				_, _ = io.WriteString(w, bundle("db"))
			}), http2)
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
			for range 2 { // by either of its ways, once it knows the protocol
				if _, err := c.GetSecret(t.Context(), secretNamed(t, "db")); err != nil {
					t.Fatal(err)
				}
			}
			if len(asked) > 0 {
				t.Errorf("the vault was asked for %q", asked)
			}
		})
	}
	t.Run("tokens", func(t *testing.T) {
		e := newEntra(t)
		if _, err := e.source(t, clientSecret).Token(t.Context(), scope, ""); err != nil {
			t.Fatal(err)
		}
		if len(e.encodings) > 0 {
			t.Errorf("the token service was asked for %q", e.encodings)
		}
	})
}

func TestCallersDeadlineIsKept(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drip := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"value":"`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for label, h := range map[string]http.HandlerFunc{"no reply": hang, "half a reply": drip} {
		t.Run(label, func(t *testing.T) {
			url, roots := serveTLS(t, h, true)
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := c.GetSecret(ctx, secretNamed(t, "db"))
			wantCode(t, err, broker.CodeDeadlineExceeded)

			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err = c.GetSecret(ctx, secretNamed(t, "db"))
			wantCode(t, err, broker.CodeCanceled)
		})
	}
}

func TestUntrustedVaultGetsNoToken(t *testing.T) {
	var reached atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	c := newClient(t, keyvault.Config{URL: s.URL})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := c.SetSecret(ctx, secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue(canary)})
	wantCode(t, err, broker.CodeVaultUnavailable)
	if reached.Load() != 0 {
		t.Error("a vault with an unknown certificate got a request")
	}
}

// A listener that nobody serves: the connection is refused.
func TestNoVaultThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, keyvault.Config{URL: url})
	_, err = c.DeleteSecret(t.Context(), secretNamed(t, "db"))
	wantCode(t, err, broker.CodeVaultUnavailable)
	if strings.Contains(err.Error(), "https://") || strings.Contains(err.Error(), "/secrets/") {
		t.Errorf("the error holds the URL: %v", err)
	}
}

func wantCode(t *testing.T, err error, want broker.Code) {
	t.Helper()
	if got := broker.CodeOf(err); got != want {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
}

func debugLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
