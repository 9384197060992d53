package service_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyward/keyward/service"
)

func TestAdmin(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "keyward_calls_total 1\n") })
	pass := service.Check{Name: "policy", Ready: func(context.Context) error { return nil }}
	fail := service.Check{Name: "audit", Ready: func(context.Context) error { return errors.New("disk full") }}
	stale := service.Check{Name: "policies", Advisory: true, Ready: func(context.Context) error { return errors.New("a.cedar:3:1 was refused") }}
	noted := service.Check{Name: "policies", Advisory: true, Ready: pass.Ready, Note: func() string { return "set 5e7" }}
	advised := service.AdminConfig{Checks: []service.Check{pass, stale}, Metrics: metrics}
	ready := service.AdminConfig{Checks: []service.Check{pass}, Metrics: metrics}
	unready := service.AdminConfig{Checks: []service.Check{pass, fail}}
	cases := map[string]struct {
		config service.AdminConfig
		target string
		code   int
		body   []string
	}{
		"live":            {unready, "GET /livez", 200, []string{"ok"}},
		"ready":           {ready, "GET /readyz", 200, []string{"ok"}},
		"no checks":       {service.AdminConfig{}, "GET /readyz", 200, []string{"ok"}},
		"ready, verbose":  {ready, "GET /readyz?verbose", 200, []string{"[+] policy: ok"}},
		"not ready":       {unready, "GET /readyz", 503, []string{"not ready"}},
		"why not":         {unready, "GET /readyz?verbose", 503, []string{"[+] policy: ok", "[-] audit: disk full"}},
		"advised":         {advised, "GET /readyz", 200, []string{"ok"}},
		"what is advised": {advised, "GET /readyz?verbose", 200, []string{"[+] policy: ok\n[!] policies: a.cedar:3:1 was refused\nok\n"}},
		"both":            {service.AdminConfig{Checks: []service.Check{stale, fail}}, "GET /readyz?verbose", 503, []string{"[!] policies: a.cedar:3:1 was refused", "[-] audit: disk full"}},
		"a note":          {service.AdminConfig{Checks: []service.Check{noted}}, "GET /readyz?verbose", 200, []string{"[+] policies: ok (set 5e7)\n"}},
		"no note unasked": {service.AdminConfig{Checks: []service.Check{noted}}, "GET /readyz", 200, []string{"ok\n"}},
		"metrics":         {ready, "GET /metrics", 200, []string{"keyward_calls_total"}},
		"no metrics":      {unready, "GET /metrics", 404, []string{"no such page"}},
		"another page":    {ready, "GET /debug/pprof/", 404, []string{"/livez, /readyz and /metrics"}},
		"dots":            {ready, "GET /x/../livez", 404, []string{"no such page"}},
		"another method":  {ready, "POST /readyz", 405, []string{"GET"}},
		"a head of ready": {ready, "HEAD /readyz", 200, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			method, target, _ := strings.Cut(c.target, " ")
			rec := httptest.NewRecorder()
			service.Admin(c.config).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody))
			if rec.Code != c.code {
				t.Errorf("%d %s, want %d", rec.Code, rec.Body, c.code)
			}
			for _, want := range c.body {
				if !strings.Contains(rec.Body.String(), want) {
					t.Errorf("%q lacks %q", rec.Body, want)
				}
			}
			if !strings.Contains(c.target, "verbose") && strings.Contains(rec.Body.String(), "set 5e7") {
				t.Errorf("a note without being asked: %s", rec.Body)
			}
			if c.code == 503 && !strings.Contains(c.target, "verbose") && strings.Contains(rec.Body.String(), "disk") {
				t.Errorf("told without being asked: %s", rec.Body)
			}
		})
	}
}
