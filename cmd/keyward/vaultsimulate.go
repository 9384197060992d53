package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

// simulation is what --simulate asks of a local vault.
type simulation struct {
	vaulthttp.Simulation

	tokenLife time.Duration // 0 leaves it
}

const simulateHelp = `With --simulate it behaves as real vaults do at times, to see what a client makes of it. Give any of these, with commas:

  settle=3s         what is deleted, recovered or purged is found nowhere for that long, and to make it anew meets 409
  empty-pages       before each page of a list comes an empty one with a link to it
  throttle          429 beyond Key Vault's limits: in 10 seconds 300 sets or imports, or 20 new keys, or 4000 other calls, or a mixture
  retry-after=5s    a 429 says how long to wait; without it, it says nothing, as has been seen of Key Vault
  latency=50ms      each answer of the vault takes that much longer
  claims            the first token used is refused once with a claims challenge, until another one comes
  token-life=10m    tokens end that early; many clients take one with less than five minutes left for expired
  deny=APPID        that application has no role: 403 ForbiddenByRbac, or AccessDenied of a Managed HSM. AZURE_CLIENT_ID is the one there is.`

// The longest latency that the server's own time limits leave room for, and the
// shortest life that a token reply can tell.
const (
	maxLatency   = 10 * time.Second
	minTokenLife = 2 * time.Second
)

// parseSimulation reads the words of --simulate.
func parseSimulation(words []string) (simulation, error) {
	var s simulation
	// What has a value, and what has none.
	durations := map[string]struct {
		into        *time.Duration
		least, most time.Duration
	}{
		"settle":      {&s.Settle, time.Millisecond, time.Hour},
		"retry-after": {&s.RetryAfter, time.Second, time.Hour},
		"latency":     {&s.Latency, time.Millisecond, maxLatency},
		"token-life":  {&s.tokenLife, minTokenLife, 24 * time.Hour},
	}
	flags := map[string]*bool{"empty-pages": &s.EmptyPages, "throttle": &s.Throttle, "claims": &s.Claims}
	for _, word := range words {
		name, value, valued := strings.Cut(strings.TrimSpace(word), "=")
		switch d, isDuration := durations[name]; {
		case isDuration:
			v, err := time.ParseDuration(value)
			if err != nil || v < d.least || v > d.most {
				return simulation{}, fmt.Errorf("--simulate %s=%s: want %v to %v, such as %s=5s", name, value, d.least, d.most, name)
			}
			*d.into = v
		case name == "deny":
			if value == "" {
				return simulation{}, errors.New("--simulate deny: want an application's id, deny=" + localClientID)
			}
			s.Deny = append(s.Deny, value)
		case flags[name] == nil:
			return simulation{}, fmt.Errorf("--simulate %s: no such behaviour; keyward vault --help has the list", word)
		case valued:
			return simulation{}, fmt.Errorf("--simulate %s: it takes no value", name)
		default:
			*flags[name] = true
		}
	}
	if s.RetryAfter > 0 && !s.Throttle {
		return simulation{}, errors.New("--simulate retry-after: it is told with a 429, so it goes with throttle")
	}
	return s, nil
}
