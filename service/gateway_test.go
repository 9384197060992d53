package service_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func TestSmuggledHeadersChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	admin := "spiffe://example.org/admin"
	headers := []string{
		"Grpc-Metadata-Authorization", "Grpc-Metadata-Principal", "Grpc-Metadata-X-Principal", "Grpc-Metadata-Spiffe-Id",
		"Grpc-Metadata-X-Forwarded-For", "Grpc-Metadata-X-Forwarded-Client-Cert", "Grpc-Metadata-Bin-Bin", "Grpcgateway-Authorization",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-User", "X-Forwarded-Client-Cert", "X-Forwarded-Proto", "Forwarded",
		"X-Real-Ip", "X-Client-Ip", "X-Remote-User", "X-Auth-User", "X-User", "X-Principal", "X-Spiffe-Id", "X-Ssl-Client-Cert",
		"X-Ssl-Client-S-Dn", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url",
		"Grpc-Timeout", "Grpc-Encoding", "Proxy-Authorization", "Cookie", "From", "Via",
		// Spellings that some layer may take for one of the others.
		"Authorization_", "Authorization2", "X-Authorization", "Grpc-Metadata-Grpc-Metadata-Authorization", "grpc_metadata_authorization",
		"X_Principal", "Principal", "Spiffe-Id", "X_Forwarded_For", "X-Forwarded-Client-Cert-Chain", "X-Envoy-External-Address",
		"X-Envoy-Peer-Metadata", "X-Amzn-Oidc-Identity", "X-Goog-Authenticated-User-Id", "X-Ms-Client-Principal", "X-Ms-Client-Principal-Id",
		"X-Arr-Clientcert", "Ssl-Client-Cert", "X-Client-Dn", "X-Client-Verify", "True-Client-Ip", "Cf-Connecting-Ip",
		"X-Cluster-Client-Ip", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "Remote-User", "Impersonate-User", "Impersonate-Group",
	}
	var all []string
	for _, h := range headers {
		for _, v := range []string{admin, "DELETE", "1n", "10.0.0.1"} {
			all = append(all, h, v)
			r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "", h, v)
			if r.status != http.StatusOK {
				t.Errorf("%s: %s: %d %s", h, v, r.status, r.body)
			}
			if r = w.rest(identity{}, "GET /v1/vaults/dev/secrets/db", "", h, v); r.verdict(t).reason != "NO_CREDENTIALS" {
				t.Errorf("%s: %s without credentials: %d %s", h, v, r.status, r.body)
			}
		}
	}
	if n := len(all) / 2; n < 200 {
		t.Errorf("only %d headers", n)
	}
	form := append(all, "Content-Type", "application/x-www-form-urlencoded", "TE", "trailers")
	if r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "", form...); r.status != http.StatusOK {
		t.Errorf("all at once: %d %s", r.status, r.body)
	}
	if r := w.rest(w.billing(), "POST /v1/vaults/dev/secrets/db", "", form...); r.status != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d %s", r.status, r.body)
	}
	for _, e := range w.audit.Events() {
		if e.Action == broker.ActionAuthenticate {
			continue
		}
		if e.Caller.ID != "spiffe://example.org/billing" || e.Action != broker.ActionGetSecret || e.Caller.Peer.String() != "127.0.0.1" {
			t.Errorf("recorded %s by %q from %v", e.Action, e.Caller.ID, e.Caller.Peer)
		}
	}
	if n := w.store.Calls(brokertest.DeleteSecret); n != 0 {
		t.Errorf("%d deletes", n)
	}
}

func TestRequestIDsAreTakenOnlyIfPlain(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	cases := map[string]bool{"a": true, "A-b_c.9": true, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false, "a b": false, "a\"b": false, "ü": false, "a/b": false}
	for id, taken := range cases {
		w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "", "X-Request-Id", id)
		events := w.audit.Events()
		got := events[len(events)-1].Caller.RequestID
		if (got == id) != taken || got == "" {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestWrongMethodsNameTheRightOnes(t *testing.T) {
	w := newWorld(t)
	version := strings.Repeat("0", 32)
	for target, want := range map[string]string{
		"POST /v1/vaults/dev/secrets/db":                       "DELETE, GET, PATCH, PUT",
		"HEAD /v1/vaults/dev/secrets/db":                       "DELETE, GET, PATCH, PUT",
		"PUT /v1/vaults/dev/secrets":                           "GET",
		"DELETE /v1/vaults/dev/secrets/db/versions":            "GET",
		"PUT /v1/vaults/dev/secrets/db/versions/" + version:    "GET, PATCH",
		"DELETE /v1/vaults/dev/secrets/db/versions/" + version: "GET, PATCH",
		"GET /v1/vaults/dev/secrets:restore":                   "POST",
		"POST /v1/vaults/dev/deletedSecrets/db":                "DELETE, GET",
		"PATCH /v1/vaults/dev/deletedSecrets/db:undelete":      "DELETE, GET, POST",
	} {
		r := w.rest(w.billing(), target, "")
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != want {
			t.Errorf("%s: %d, Allow %q, want %q", target, r.status, r.header.Get("Allow"), want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		err    *broker.Error
		header string
	}{
		{&broker.Error{Code: broker.CodeVaultThrottled, RetryAfter: 2500 * time.Millisecond}, "3"},
		{&broker.Error{Code: broker.CodeVaultUnavailable}, "1"},
		{&broker.Error{Code: broker.CodeSecretDisabled}, ""},
	} {
		w.store.SetHook(func(context.Context, string, broker.Name) error { return c.err })
		r := w.rest(w.billing(), "GET /v1/vaults/dev/secrets/db", "")
		if got := r.verdict(t).reason; got != string(c.err.Code) || r.header.Get("Retry-After") != c.header {
			t.Errorf("%s: %s, Retry-After %q, want %q", c.err.Code, got, r.header.Get("Retry-After"), c.header)
		}
	}
}

func TestRESTSpeaksBothHTTPVersions(t *testing.T) {
	w := newWorld(t)
	for _, h2 := range []bool{true, false} {
		var p http.Protocols
		p.SetHTTP2(h2)
		p.SetHTTP1(!h2)
		tr := &http.Transport{TLSClientConfig: w.tls(w.billing()), Protocols: &p}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + w.httpAddr + "/v1/vaults/dev/secrets")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		tr.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != h2 {
			t.Errorf("HTTP/2 %v: %d over %s", h2, resp.StatusCode, resp.Proto)
		}
	}
}
