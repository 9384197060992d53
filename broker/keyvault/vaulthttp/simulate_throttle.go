package vaulthttp

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	"github.com/keyward/keyward/broker/keyvault"
)

// Key Vault's limits, per vault and region in each window: so many new secrets,
// imported keys or imported certificates, or so many keys that are made, or so many
// other calls, or a mixture of them in which each call has its share.
//
// What keys of more than 2048 bits or in hardware have less of is not looked at:
// the call does not say which key it is. Nor are a Managed HSM's own limits, which
// grow with what was bought.
const (
	throttleWindow = 10 * time.Second
	windowSets     = 300
	windowKeys     = 20
	windowOthers   = 4000
	// The shares, as whole numbers.
	windowShares = 12_000
)

// limits are how many calls of an operation there can be in a window.
var limits = map[string]int{
	opSet.permission:               windowSets,
	opImportKey.permission:         windowSets,
	opImportCertificate.permission: windowSets,
	opCreateKey.permission:         windowKeys,
	opRotateKey.permission:         windowKeys,
}

// throttle refuses what is too much. What it refuses does not count.
func throttle(retryAfter time.Duration) check {
	var (
		mu    sync.Mutex
		began time.Time
		spent int
	)
	return func(c call) error {
		share := windowShares / cmp.Or(limits[c.route.permission], windowOthers)
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
