package main

import (
	"cmp"
	"time"

	"github.com/keyward/keyward/broker"
)

// maxNegativeTTL bounds how long a secret that was made elsewhere is not seen.
const maxNegativeTTL = time.Minute

// cacheConfig is how old an answer may be, and what else the cache may do.
type cacheConfig struct {
	Kept keptConfig `yaml:",inline"`

	// PublicKeys: the broker verifies, encrypts and wraps by itself, with the
	// public half of a key as it was at most ttl ago. Its identity needs the vault's
	// permission to get keys. Default false: the vault does all.
	PublicKeys bool `yaml:"publicKeys"`

	given keptConfig // without the defaults
}

// keptConfig is what is kept of a vault. What a vault's own section leaves out is
// as in the section of all.
type keptConfig struct {
	// TTL is how old an answer may be, a list too. From four fifths of it on an
	// answer is renewed in the background. 0s keeps nothing, and each page of a list
	// is then a walk of the vault. Default 60s.
	TTL *duration `yaml:"ttl"`
	// StaleIfError is how much older than ttl a secret's value may be that is served,
	// marked stale, while the vault cannot be asked: it is down, throttles or
	// hangs, or there is no token for it. Keys and lists are not. 0s: none.
	// Default 1h.
	StaleIfError *duration `yaml:"staleIfError"`
	// NegativeTTL is for how long it is remembered that there is no secret of a
	// name, 1m at most. Who makes one elsewhere waits for that. 0s: not at all.
	// Default 1s.
	NegativeTTL *duration `yaml:"negativeTtl"`
	// MaxBytes bounds the secrets' values, and once more the public keys and the
	// lists of their versions each. Default 67108864, 64 MiB.
	MaxBytes *uint64 `yaml:"maxBytes"`
}

var keptDefaults = keptConfig{
	TTL: &duration{time.Minute}, StaleIfError: &duration{time.Hour}, NegativeTTL: &duration{time.Second}, MaxBytes: new(uint64(64 << 20)),
}

// or returns k, and of other what k leaves out.
func (k keptConfig) or(other keptConfig) keptConfig {
	return keptConfig{
		TTL:          cmp.Or(k.TTL, other.TTL),
		StaleIfError: cmp.Or(k.StaleIfError, other.StaleIfError),
		NegativeTTL:  cmp.Or(k.NegativeTTL, other.NegativeTTL),
		MaxBytes:     cmp.Or(k.MaxBytes, other.MaxBytes),
	}
}

// cache checks what is kept by the section at, and by all of it together.
func (k *configCheck) cache(at string, given, whole keptConfig) {
	if n := given.NegativeTTL; n != nil && n.Duration > maxNegativeTTL {
		k.errorf(at+".negativeTtl", "want 1m at most: a secret that is made elsewhere is not found for that long")
	}
	if n := given.MaxBytes; n != nil && *n < 1<<20 {
		k.errorf(at+".maxBytes", "want 1048576 (1 MiB) or more; to keep nothing, set ttl to 0s")
	}
	if whole.TTL.Duration > 0 {
		return // and all of it has an effect
	}
	if d := given.StaleIfError; d != nil && d.Duration > 0 {
		k.warnings = append(k.warnings, k.position(at+".staleIfError")+": staleIfError has no effect while ttl is 0s: nothing is kept")
	}
	if d := given.NegativeTTL; d != nil && d.Duration > 0 {
		k.warnings = append(k.warnings, k.position(at+".negativeTtl")+": negativeTtl has no effect while ttl is 0s: nothing is kept")
	}
}

// cached puts a cache over the keys of a vault, and one over its secrets if it has
// any.
func (v *vaults) cached(alias string, client *vaultClient, c cacheConfig) *openVault {
	kept := c.Kept
	keys := broker.NewKeyCache(client.Client, broker.KeyCacheConfig{
		TTL: kept.TTL.Duration, MaxBytes: *kept.MaxBytes, PublicKeys: c.PublicKeys, Vault: alias, MeterProvider: v.tel.metrics,
	})
	o := &openVault{vaultClient: client, kept: c, served: broker.Vault{Keys: keys}, caches: []interface{ Close() }{keys}}
	if client.config.Kind != kindManagedHSM {
		secrets := broker.NewSecretCache(client.Client, broker.SecretCacheConfig{
			TTL: kept.TTL.Duration, StaleIfError: kept.StaleIfError.Duration, NegativeTTL: kept.NegativeTTL.Duration,
			MaxBytes: *kept.MaxBytes, Vault: alias, MeterProvider: v.tel.metrics,
		})
		o.served.Secrets, o.served.Certificates = secrets, client.Client
		o.caches = append(o.caches, secrets)
	}
	return o
}
