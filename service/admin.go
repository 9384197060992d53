package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// checkTimeout bounds all checks of one /readyz.
const checkTimeout = 2 * time.Second

// Check is one condition of readiness. Its functions may be called
// concurrently, and what they return is shown to whoever can reach the admin
// port.
type Check struct {
	Name string
	// Ready returns nil if the condition holds.
	Ready func(ctx context.Context) error
	// Advisory: what fails is worth a look, but no reason to send nobody here. It
	// is for whoever finds out to log it.
	Advisory bool
	// Note says more of a condition that holds, such as which policies are in
	// force. It may be nil.
	Note func() string
}

// AdminConfig is what the admin port shows.
type AdminConfig struct {
	// Checks must all pass for /readyz, but for the advisory ones. None means
	// always ready.
	Checks []Check
	// Metrics serves /metrics. nil means that there is no such page.
	Metrics http.Handler
	// Logger may be nil. It is told of a check that fails.
	Logger *slog.Logger
}

// Admin returns the handler of the admin port: plain HTTP, without credentials,
// for the host's own eyes.
//
//	/livez             200 while the process answers
//	/readyz            200 if all checks pass, else 503; ?verbose lists them,
//	                   [+] those that pass, [-] those that do not, [!] those
//	                   that do not and only advise
//	/metrics           Prometheus
func Admin(c AdminConfig) http.Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return admin(c)
}

type admin AdminConfig

// ServeHTTP implements http.Handler.
func (a admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	var page http.HandlerFunc
	switch r.URL.Path {
	case "/livez":
		page = func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }
	case "/readyz":
		page = a.ready
	case "/metrics":
		if a.Metrics != nil {
			page = a.Metrics.ServeHTTP
		}
	}
	switch {
	case page == nil:
		text(w, http.StatusNotFound, "no such page; this port has /livez, /readyz and /metrics\n")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "this page is read with GET\n")
	default:
		page(w, r)
	}
}

func (a admin) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	code, summary := http.StatusOK, "ok\n"
	var lines strings.Builder
	for _, c := range a.Checks {
		err := c.Ready(ctx)
		switch {
		case err == nil:
			note := ""
			if c.Note != nil {
				note = " (" + c.Note() + ")"
			}
			fmt.Fprintf(&lines, "[+] %s: ok%s\n", c.Name, note)
		case c.Advisory:
			fmt.Fprintf(&lines, "[!] %s: %v\n", c.Name, err)
		default:
			code, summary = http.StatusServiceUnavailable, "not ready; /readyz?verbose says why\n"
			fmt.Fprintf(&lines, "[-] %s: %v\n", c.Name, err)
			a.Logger.WarnContext(ctx, "not ready", "check", c.Name, "error", err)
		}
	}
	if r.URL.Query().Has("verbose") {
		summary = lines.String() + summary
	}
	text(w, code, summary)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body) // the client may have gone
}
