package vaulthttp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyward/keyward/broker/keyvault"
)

// Simulation is what a real vault does at times, and clients must survive. The
// zero value is a vault at its best.
type Simulation struct {
	// Latency is added to every reply.
	Latency time.Duration
	// Settle is how long a delete, a recovery or a purge takes to be seen by
	// readers, and to free the name.
	Settle time.Duration
	// EmptyPages puts an empty page before every page of a list.
	EmptyPages bool
	// Throttle holds callers to Key Vault's limits, and RetryAfter, rounded up to
	// seconds, is told with a 429. Zero tells nothing, as Key Vault has been seen
	// to do.
	Throttle   bool
	RetryAfter time.Duration
	// Claims refuses the first token that is used, once and for all, and asks for
	// another one with a claims challenge.
	Claims bool
	// Deny are the ids of applications that have no role.
	Deny []string
}

// call is a request that has a good token and makes sense.
type call struct {
	request
	token string
}

// check is asked before a call is acted on. Its error is the answer.
type check func(c call) error

// checks are what a simulation asks, in this order.
func (h *handler) checks(s Simulation) []check {
	var all []check
	if s.Claims {
		all = append(all, h.claimsOnce())
	}
	if s.Throttle {
		all = append(all, throttle(s.RetryAfter))
	}
	if len(s.Deny) > 0 {
		all = append(all, h.deny(s.Deny))
	}
	return all
}

// wait is the latency of a reply. It ends with its caller.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// claimsOnce refuses the first token, as continuous access evaluation does after
// an event, until its client comes with another one.
func (h *handler) claimsOnce() check {
	var (
		mu      sync.Mutex
		revoked *[sha256.Size]byte
	)
	return func(c call) error {
		hash := sha256.Sum256([]byte(c.token))
		mu.Lock()
		defer mu.Unlock()
		if revoked == nil {
			revoked = &hash
		}
		if *revoked != hash {
			return nil
		}
		claims := fmt.Sprintf(`{"access_token":{"nbf":{"essential":true,"value":"%d"}}}`, time.Now().Unix())
		return &refusal{
			status: http.StatusUnauthorized, code: keyvault.ErrorUnauthorized,
			message:   "Continuous access evaluation resulted in a challenge for another token.",
			challenge: `, error="insufficient_claims", claims="` + base64.StdEncoding.EncodeToString([]byte(claims)) + `"`,
		}
	}
}

// deny refuses applications in the words of Azure's roles.
func (h *handler) deny(apps []string) check {
	return func(c call) error {
		who := callerOf(c.token)
		if !slices.ContainsFunc(apps, func(app string) bool { return strings.EqualFold(app, who.app()) }) {
			return nil
		}
		if h.ManagedHSM {
			return c.deniedByHSM()
		}
		vault := h.Vault.VaultAlias()
		resource := "/subscriptions/local/resourcegroups/local/providers/microsoft.keyvault/vaults/" + vault
		if !c.route.name.IsZero() {
			resource += "/" + string(c.route.name.Kind()) + "/" + c.route.name.ObjectName()
		}
		return &refusal{
			status: http.StatusForbidden, code: keyvault.ErrorForbidden, inner: keyvault.InnerForbiddenByRbac,
			message: "Caller is not authorized to perform action on resource.\r\n" +
				"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n" +
				"Caller: appid=" + who.app() + ";oid=" + who.object() + ";iss=" + who.Issuer + "\r\n" +
				"Action: 'Microsoft.KeyVault/vaults/" + c.route.permission + "'\r\n" +
				"Resource: '" + resource + "'\r\n" +
				"Assignment: (not found)\r\n" +
				"DenyAssignmentId: null\r\n" +
				"DecisionReason: 'DeniedWithNoValidRBAC' \r\n" +
				"Vault: " + vault + ";location=" + region + "\r\n",
		}
	}
}

// deniedByHSM refuses in the words of a Managed HSM, which has roles of its own.
func (c call) deniedByHSM() error {
	on := "/keys"
	if !c.route.name.IsZero() {
		on += "/" + c.route.name.ObjectName()
	}
	return &refusal{
		status: http.StatusForbidden, code: keyvault.InnerAccessDenied,
		message: "Not authorized to access Microsoft.KeyVault/managedHsm/" + cmp.Or(c.route.hsm, c.route.permission) +
			" on " + on + " (Activity ID: " + newRequestID() + ")",
	}
}

// caller is what a token says of its owner.
type caller struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	Object  string `json:"oid"`
	AppID   string `json:"appid"` // of version 1 tokens
	Party   string `json:"azp"`   // of version 2 tokens
}

func (c caller) app() string {
	if c.AppID != "" {
		return c.AppID
	}
	return c.Party
}

func (c caller) object() string {
	if c.Object != "" {
		return c.Object
	}
	return c.Subject
}

// callerOf reads a token that was found good already. One that is no JWT is
// nobody's.
func callerOf(token string) (c caller) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return caller{}
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &c) != nil {
		return caller{}
	}
	return c
}
