package localvault

import (
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

// Key Vault's bounds of a rotation policy.
const (
	minExpiry      = 28 * day
	minRotateAfter = 7 * day // after the key was made, and before it expires
	defaultNotice  = "P30D"
)

// rotationPolicy is a broker.RotationPolicy as it is stored. Times are Unix
// seconds.
type rotationPolicy struct {
	Expiry  string           `json:"expiry,omitempty"`
	Actions []rotationAction `json:"actions,omitempty"`
	Created int64            `json:"created"`
	Updated int64            `json:"updated"`
}

type rotationAction struct {
	Type         string `json:"type"`
	AfterCreate  string `json:"afterCreate,omitempty"`
	BeforeExpiry string `json:"beforeExpiry,omitempty"`
}

// newRotationPolicy checks a policy and returns it as Key Vault would answer it:
// types of actions in their own spelling, and a notice 30 days before a key
// expires where none is named. A Managed HSM has no notices of its own.
func newRotationPolicy(p broker.RotationPolicy, hsm bool) (*rotationPolicy, error) {
	r := &rotationPolicy{Expiry: p.ExpiryTime}
	expiry, ok := parseSpan(p.ExpiryTime)
	if p.ExpiryTime != "" && (!ok || expiry.length() < minExpiry) {
		return nil, badField("expiry_duration", "want an ISO 8601 duration of 28 days or more, such as P90D, P18M or P2Y")
	}
	seen := make(map[string]bool)
	for _, a := range p.Actions {
		one := rotationAction{AfterCreate: a.AfterCreate, BeforeExpiry: a.BeforeExpiry}
		for _, t := range []string{broker.RotationRotate, broker.RotationNotify} {
			if strings.EqualFold(a.Type, t) {
				one.Type = t
			}
		}
		if one.Type == "" || seen[one.Type] {
			return nil, badField("lifetime_actions", "name Rotate and Notify, each at most once")
		}
		seen[one.Type] = true
		if err := one.check(expiry, p.ExpiryTime != ""); err != nil {
			return nil, err
		}
		r.Actions = append(r.Actions, one)
	}
	if !hsm && !seen[broker.RotationNotify] {
		r.Actions = append(r.Actions, rotationAction{Type: broker.RotationNotify, BeforeExpiry: defaultNotice})
	}
	return r, nil
}

// check holds an action against Key Vault's bounds. expires says whether the
// policy has an expiry.
func (a rotationAction) check(expiry span, expires bool) error {
	text := a.AfterCreate + a.BeforeExpiry
	at, ok := parseSpan(text)
	rotates := a.Type == broker.RotationRotate
	switch {
	case (a.AfterCreate == "") == (a.BeforeExpiry == ""), !ok:
		return badField("lifetime_actions", "an action has one time, after_create or before_expiry: an ISO 8601 duration, such as P30D")
	case a.AfterCreate != "" && !rotates:
		return badField("lifetime_actions", "Notify has a time before the key's expiry")
	case rotates && a.BeforeExpiry != "" && !expires:
		return badField("lifetime_actions", "Rotate before the key's expiry needs a policy with an expiry_duration")
	case rotates && at.length() < minRotateAfter,
		rotates && expires && at.length() > expiry.length()-minRotateAfter:
		return badField("lifetime_actions", "Rotate 7 days or more after the key is made, and 7 days or more before it expires")
	}
	return nil
}

// policy returns the policy to the caller.
func (r *rotationPolicy) policy(hsm bool) broker.RotationPolicy {
	if r == nil {
		// What a key has that was given no policy.
		if hsm {
			return broker.RotationPolicy{}
		}
		return broker.RotationPolicy{Actions: []broker.LifetimeAction{{Type: broker.RotationNotify, BeforeExpiry: defaultNotice}}}
	}
	p := broker.RotationPolicy{
		ExpiryTime: r.Expiry,
		Created:    time.Unix(r.Created, 0).UTC(),
		Updated:    time.Unix(r.Updated, 0).UTC(),
	}
	for _, a := range r.Actions {
		p.Actions = append(p.Actions, broker.LifetimeAction{Type: a.Type, AfterCreate: a.AfterCreate, BeforeExpiry: a.BeforeExpiry})
	}
	return p
}

// expires returns when a version that is made now expires, or nil for never.
func (r *rotationPolicy) expires(created time.Time) *int64 {
	if r == nil {
		return nil
	}
	d, ok := parseSpan(r.Expiry)
	if !ok {
		return nil
	}
	return new(d.after(created).Unix())
}

// due returns when a key whose latest version is m gets a new one, and whether it
// ever does. A disabled key is left alone: somebody wants it out of use.
func (r *rotationPolicy) due(m metadata) (time.Time, bool) {
	if r == nil || !m.Enabled {
		return time.Time{}, false
	}
	for _, a := range r.Actions {
		d, ok := parseSpan(a.AfterCreate + a.BeforeExpiry)
		switch {
		case a.Type != broker.RotationRotate || !ok:
		case a.AfterCreate != "":
			return d.after(time.Unix(m.Created, 0).UTC()), true
		case m.Expires != nil:
			return d.before(time.Unix(*m.Expires, 0).UTC()), true
		}
	}
	return time.Time{}, false
}
