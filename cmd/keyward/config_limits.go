package main

import (
	"math"

	"github.com/keyward/keyward/service"
)

// limitsConfig is what the broker takes of one caller. A limit that is absent is
// none.
type limitsConfig struct {
	// Principal holds for the calls of each principal.
	Principal *limitConfig `yaml:"principal"`
	// FailedAuthentication holds for the calls from each peer address (of IPv6,
	// from each /64) that bring no valid credentials; calls that do are not held
	// up by it. Beyond it, only the first of a run is in the audit log.
	FailedAuthentication *limitConfig `yaml:"failedAuthentication"`
}

// limitConfig is a token bucket.
type limitConfig struct {
	Rate *float64 `yaml:"rate"` // calls per second, more than 0
	// Burst is a whole number: calls at once, 1 or more; default rate, rounded
	// up. (The decoder would make 1 of 1.5 in an int.)
	Burst *float64 `yaml:"burst"`
}

// limits returns c for the service.
func (c limitsConfig) limits() service.Limits {
	return service.Limits{Principal: c.Principal.limit(), FailedAuthentication: c.FailedAuthentication.limit()}
}

func (c *limitConfig) limit() service.Limit {
	if c == nil {
		return service.Limit{}
	}
	l := service.Limit{Rate: *c.Rate}
	if c.Burst != nil {
		l.Burst = int(*c.Burst)
	}
	return l
}

func (k *configCheck) limits(c limitsConfig) {
	k.limit("$.limits.principal", c.Principal)
	k.limit("$.limits.failedAuthentication", c.FailedAuthentication)
}

func (k *configCheck) limit(at string, c *limitConfig) {
	if c == nil {
		return
	}
	// Put so that no number at all (.nan) is refused too.
	if c.Rate == nil || !(*c.Rate > 0 && *c.Rate <= service.MaxRate) {
		k.errorf(at+".rate", "want calls per second, more than 0 and at most %d", service.MaxRate)
	}
	if b := c.Burst; b != nil && !(*b >= 1 && *b <= service.MaxRate && *b == math.Trunc(*b)) {
		k.errorf(at+".burst", "want calls at once, a whole number from 1 to %d", service.MaxRate)
	}
}
