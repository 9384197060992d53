package keyvault

import (
	"errors"
	"time"
)

// Key Vault's published limits, per vault and region in each window: so many new
// secrets, imported keys or imported certificates, or so many keys that are made,
// or so many other calls, or a mixture of them in which each call has its share.
//
// Keys of more than 2048 bits, or in hardware, have less of their own. Which key
// that is for, a call does not always know: what is too much there, Key Vault
// refuses, and the gate heeds it.
const (
	budgetWindow = 10 * time.Second
	// The shares of a window, as whole numbers.
	windowShares = 12_000
	shareOfSet   = windowShares / 300
	shareOfKey   = windowShares / 20
	shareOfOther = windowShares / 4000

	// DefaultShare of the limits leaves the rest to others that use the vault.
	DefaultShare = 0.8
	// storedShare of a budget can be spent at once, by who has not spent for a
	// while. The others flow: both together fit any window.
	storedShare = 0.25
)

// shares are what calls cost that cost more than others do.
var shares = map[string]float64{
	"SetSecret":       shareOfSet,
	restoreSecret:     shareOfSet,
	importKey:         shareOfSet,
	restoreKey:        shareOfSet,
	importCertificate: shareOfSet,
	createKey:         shareOfKey,
	"RotateKey":       shareOfKey,
}

func shareOf(operation string) float64 {
	if s, ok := shares[operation]; ok {
		return s
	}
	return shareOfOther
}

// Budget is how much of Key Vault's published limits a client takes. The zero
// value is DefaultShare of a vault in one of Azure's clouds, and no limit for what
// is elsewhere. A Managed HSM has no such limits, and no budget.
type Budget struct {
	// Share of the limits, more than 0 and at most 1; 0 is DefaultShare.
	Share float64
	// Replicas share the budget equally; 0 is one.
	Replicas int
}

// bucket returns the bucket of a vault that is Azure's or not, or nil.
func (b Budget) bucket(azure, managedHSM bool) (*bucket, error) {
	// Put so that no number at all is refused too.
	if b.Share != 0 && !(b.Share > 0 && b.Share <= 1) || b.Replicas < 0 {
		return nil, errors.New("keyvault: a budget is a share of more than 0 and at most 1, of one replica or more")
	}
	if managedHSM || b == (Budget{}) && !azure {
		return nil, nil //nolint:nilnil // no bucket is no limit
	}
	if b.Share == 0 {
		b.Share = DefaultShare
	}
	window := b.Share * windowShares / float64(max(b.Replicas, 1))
	stored := storedShare * window
	return &bucket{stored: stored, left: stored, rate: (window - stored) / budgetWindow.Seconds()}, nil
}

// bucket is a token bucket of shares. A nil one never ends.
type bucket struct {
	stored float64 // at most
	rate   float64 // per second
	left   float64 // less than 0 is owed
	at     time.Time
}

// wait returns how long until cost can be spent after others have spent ahead,
// and leave the part of what can be stored that is for the more urgent.
func (b *bucket) wait(now time.Time, ahead, cost, part float64) time.Duration {
	if b == nil {
		return 0
	}
	b.fill(now)
	// More than there can ever be is owed afterwards.
	left := part * b.stored
	lacks := ahead + min(cost, b.stored-left) + left - b.left
	if lacks <= 0 {
		return 0
	}
	// A nanosecond more than too little, so that the wait is enough.
	return time.Duration(lacks/b.rate*float64(time.Second)) + 1
}

func (b *bucket) spend(now time.Time, cost float64) {
	if b != nil {
		b.fill(now)
		b.left -= cost
	}
}

// empty leaves nothing stored: somebody else has spent it.
func (b *bucket) empty(now time.Time) {
	if b != nil {
		b.fill(now)
		b.left = min(b.left, 0)
	}
}

func (b *bucket) fill(now time.Time) {
	if b.at.IsZero() {
		b.at = now
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.left, b.at = min(b.stored, b.left+passed.Seconds()*b.rate), now
	}
}
