package localvault

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// version is the id of a secret's version. Read as bytes or as text, ids of one
// secret are in the order they were made: 48 bits of Unix milliseconds, a
// 16-bit counter, 64 random bits.
type version [16]byte

// nextVersion returns an id that follows prev, even if the clock went back or
// stands still. The zero prev is before all.
func nextVersion(prev version, now time.Time) version {
	const counterBits = 16
	tick := uint64(max(now.UnixMilli(), 0)) << counterBits
	tick = max(tick, binary.BigEndian.Uint64(prev[:8])+1)
	var v version
	binary.BigEndian.PutUint64(v[:8], tick)
	_, _ = rand.Read(v[8:]) // never fails
	return v
}

// created returns when the version was made, in whole seconds. It never goes
// back from one version of a secret to the next.
func (v version) created() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(v[:8])>>16)/1000, 0).UTC()
}

func (v version) String() string { return hex.EncodeToString(v[:]) }

// parseVersion reads 32 hexadecimal digits.
func parseVersion(s string) (version, bool) {
	var v version
	n, err := hex.Decode(v[:], []byte(s[:min(len(s), 2*len(v))]))
	return v, err == nil && n == len(v) && len(s) == 2*len(v)
}
