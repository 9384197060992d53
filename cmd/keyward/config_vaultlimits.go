package main

import (
	"math"

	"github.com/keyward/keyward/broker/keyvault"
)

// maxReplicas is more than anybody runs.
const maxReplicas = 1000

// vaultLimitsConfig is how much of Key Vault's limits the broker takes, which are
// of each vault for 10 seconds: 300 sets, 20 new keys, 4,000 other calls, or a
// mixture. Calls beyond it wait for their turn. A vault that is not in one of
// Azure's clouds is held to it only where limits is given; a local one and a
// Managed HSM have no such limits.
type vaultLimitsConfig struct {
	// Share of the limits, more than 0 and at most 1; default 0.8. The rest is for
	// others that use the vault.
	Share *float64 `yaml:"share"`
	// Replicas is how many instances of the broker use the vault; default 1. Each
	// takes its part of the share. (The decoder would make 1 of 1.5 in an int.)
	Replicas *float64 `yaml:"replicas"`
}

func (c *vaultLimitsConfig) budget() keyvault.Budget {
	if c == nil {
		return keyvault.Budget{}
	}
	b := keyvault.Budget{Share: keyvault.DefaultShare}
	if c.Share != nil {
		b.Share = *c.Share
	}
	if c.Replicas != nil {
		b.Replicas = int(*c.Replicas)
	}
	return b
}

func (k *configCheck) vaultLimits(at string, v vaultConfig) {
	c := v.Limits
	if c == nil {
		return
	}
	if v.Local != nil || v.Kind == kindManagedHSM {
		k.errorf(at, "leave it out: Key Vault's limits are not those of a local vault or a Managed HSM")
	}
	// Put so that no number at all (.nan) is refused too.
	if s := c.Share; s != nil && !(*s > 0 && *s <= 1) {
		k.errorf(at+".share", "want a part of Key Vault's limits, more than 0 and at most 1")
	}
	if r := c.Replicas; r != nil && !(*r >= 1 && *r <= maxReplicas && *r == math.Trunc(*r)) {
		k.errorf(at+".replicas", "want how many instances use the vault, a whole number from 1 to %d", maxReplicas)
	}
}
