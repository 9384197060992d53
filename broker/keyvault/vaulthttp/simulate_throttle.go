package vaulthttp

import (
	"net/http"
	"sync"
	"time"

	"github.com/keyward/keyward/broker/keyvault"
)

// Key Vault's limits, per vault and region in each window: so many new secrets
// and imported certificates, or so many other calls, or a mixture of both in which each call has its share.
const (
	throttleWindow = 10 * time.Second
	windowSets     = 300
	windowOthers   = 4000
	// The shares, as whole numbers.
	windowShares = 12_000
	shareOfSet   = windowShares / windowSets
	shareOfOther = windowShares / windowOthers
)

// throttle refuses what is too much. What it refuses does not count.
func throttle(retryAfter time.Duration) check {
	var (
		mu    sync.Mutex
		began time.Time
		spent int
	)
	return func(c call) error {
		share := shareOfOther
		if p := c.route.permission; p == opSet.permission || p == importsCertificate {
			share = shareOfSet
		}
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(began) >= throttleWindow {
			began, spent = now, 0
		}
		if spent+share <= windowShares {
			spent += share
			return nil
		}
		return &refusal{
			status: http.StatusTooManyRequests, code: keyvault.ErrorThrottled,
			message:    "Request was not processed because too many requests were received. Reason: VaultOperationLimitReached",
			retryAfter: retryAfter,
		}
	}
}
