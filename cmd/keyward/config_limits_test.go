package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// leastConfig is a configuration with the line that a test adds to it.
func leastConfig(line string) []byte {
	return []byte(`tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
audit: {path: a}
vaults: {pay: {url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}}}
` + line)
}

func TestConfiguredLimits(t *testing.T) {
	tests := map[string]struct {
		text string
		want service.Limits
		bad  string
	}{
		"none":            {text: ""},
		"none in it":      {text: "limits: {}"},
		"both":            {text: "limits: {principal: {rate: 100, burst: 200}, failedAuthentication: {rate: 1, burst: 10}}", want: service.Limits{Principal: service.Limit{Rate: 100, Burst: 200}, FailedAuthentication: service.Limit{Rate: 1, Burst: 10}}},
		"one":             {text: "limits: {principal: {rate: 0.25}}", want: service.Limits{Principal: service.Limit{Rate: 0.25}}},
		"no rate":         {text: "limits: {principal: {burst: 2}}", bad: "k.yaml:6:21: limits.principal.rate: want calls per second"},
		"a rate of 0":     {text: "limits: {principal: {rate: 0}}", bad: "k.yaml:6:28: limits.principal.rate: want calls per second"},
		"less than 0":     {text: "limits: {failedAuthentication: {rate: -1}}", bad: "k.yaml:6:39: limits.failedAuthentication.rate: want"},
		"no number":       {text: "limits: {principal: {rate: .nan}}", bad: "k.yaml:6:28: limits.principal.rate: want"},
		"no end":          {text: "limits: {principal: {rate: .inf}}", bad: "k.yaml:6:28: limits.principal.rate: want"},
		"a burst of 0":    {text: "limits: {principal: {rate: 1, burst: 0}}", bad: "k.yaml:6:38: limits.principal.burst: want calls at once, a whole number from 1 to 1000000"},
		"half a call":     {text: "limits: {principal: {rate: 1, burst: 1.5}}", bad: "k.yaml:6:38: limits.principal.burst: want"},
		"no burst at all": {text: "limits: {principal: {rate: 1, burst: .nan}}", bad: "k.yaml:6:38: limits.principal.burst: want"},
		"a word":          {text: "limits: {principal: {rate: many}}", bad: "k.yaml:6:28: "},
		"an unknown kind": {text: "limits: {everybody: {rate: 1}}", bad: `k.yaml:6:10: unknown key "everybody"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := parseConfig("k.yaml", leastConfig(tt.text))
			if tt.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("got %v\nwant %s", err, tt.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Limits.limits(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// keyward serve holds a caller to its configuration's limits, and keeps what the
// client says of why it calls.
func TestServeWithLimits(t *testing.T) {
	address := freePort(t)
	dir, file := serveDir(t, address)
	text := read(t, file) + "limits: {principal: {rate: 0.001, burst: 3}, failedAuthentication: {rate: 0.001, burst: 2}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: dir}
	if err := os.WriteFile(p.file("context.json"), []byte(
		`{"grpc":"`+address+`","ca":"ca.pem","certificate":"admin.pem","key":"admin-key.pem","vault":"edge"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stderr := &safeBuffer{}
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"serve", "--config", file}, os.Getenv, nil, &bytes.Buffer{}, stderr) }()
	defer func() {
		cancel()
		if rc := <-done; rc != exitOK {
			t.Errorf("exit code %d\n%s", rc, stderr)
		}
	}()

	// Calls without credentials, the first of which waits until somebody serves.
	conf := p.tls()
	conf.Certificates = nil
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, want := range []string{"NO_CREDENTIALS", "NO_CREDENTIALS", "CALLER_RATE_LIMITED", "CALLER_RATE_LIMITED"} {
		_, err := keywardv1.NewSecretServiceClient(conn).GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/edge/secrets/a"}, grpc.WaitForReady(true))
		if got := string(reasonOf(status.Convert(err))); got != want {
			t.Errorf("call %d without credentials: %v, want %s", i, err, want)
		}
	}

	const why = "Störung 4711: 100% down, %41"
	if _, stderr, rc := keyward(t, dir, "v", "set", "a", "--reason", why); rc != exitOK {
		t.Fatal(stderr)
	}
	if got, stderr, rc := keyward(t, dir, "", "get", "a"); rc != exitOK || got != "v" {
		t.Errorf("got %q, %s", got, stderr)
	}
	if _, stderr, rc := keyward(t, dir, "", "get", "a", "--reason", "two\nlines"); rc != exitError || !strings.Contains(stderr, "x-keyward-reason: the reason is not valid") {
		t.Errorf("a bad reason: %d, %s", rc, stderr)
	}
	_, told, rc := keyward(t, dir, "", "get", "a")
	if rc != exitError || !strings.Contains(told, "(CALLER_RATE_LIMITED)\n  try again in ") || !strings.Contains(told, "limits in its configuration") {
		t.Errorf("the fourth call: %d, %s", rc, told)
	}

	var got []string
	for _, r := range p.audit() {
		if r["action"] == "loadPolicies" {
			continue
		}
		said, err := json.Marshal(r["context"])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r["action"].(string)+" "+r["outcome"].(string)+" "+string(said))
	}
	want := []string{
		`authenticate NO_CREDENTIALS {"transport":"grpc"}`,
		`authenticate NO_CREDENTIALS {"transport":"grpc"}`,
		`authenticate CALLER_RATE_LIMITED {"transport":"grpc"}`,
		`setSecret  {"reason":"` + why + `","transport":"grpc"}`,
		`setSecret ok {"reason":"` + why + `","transport":"grpc"}`,
		`getSecret ok {"transport":"grpc"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
