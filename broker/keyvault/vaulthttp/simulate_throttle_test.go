package vaulthttp_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

func TestSimulateThrottle(t *testing.T) {
	tests := map[string]struct {
		simulation vaulthttp.Simulation
		want       string
	}{
		"says nothing":  {vaulthttp.Simulation{Throttle: true}, ""},
		"says how long": {vaulthttp.Simulation{Throttle: true, RetryAfter: 1500 * time.Millisecond}, "2"},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := simulated(t, tt.simulation)
				call := func(method, target string, count int) (refused int) {
					for range count {
						resp, got := v.do(t, method, target+"?api-version=7.4", `{"value":"v"}`)
						switch resp.StatusCode {
						case 200, 404:
						case 429:
							refused++
							if resp.Header.Get("Retry-After") != tt.want || text(got, "error", "code") != "Throttled" ||
								!strings.HasSuffix(text(got, "error", "message"), "VaultOperationLimitReached") {
								t.Fatalf("Retry-After %q, %v", resp.Header.Get("Retry-After"), got)
							}
						default:
							t.Fatalf("%d %v", resp.StatusCode, got)
						}
					}
					return refused
				}
				if n := call("PUT", "/secrets/db", 310); n != 10 {
					t.Errorf("%d of 310 sets are refused, want 10", n)
				}
				if n := call("GET", "/secrets/db", 3); n != 3 {
					t.Errorf("%d of 3 gets are refused once the sets took it all", n)
				}
				time.Sleep(10 * time.Second)
				if n := call("GET", "/secrets/none", 4010); n != 10 {
					t.Errorf("%d of 4010 gets are refused, want 10", n)
				}
				time.Sleep(10 * time.Second)
				// Half and half.
				if n := call("PUT", "/secrets/db", 150) + call("GET", "/secrets/db", 2000); n != 0 {
					t.Errorf("%d of half and half are refused", n)
				}
				if n := call("GET", "/secrets/db", 1); n != 1 {
					t.Error("one more is not refused")
				}
			})
		})
	}
}
