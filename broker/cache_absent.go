package broker

import (
	"time"

	"github.com/maypok86/otter/v2"
)

// maxAbsent is how many names are known not to be there.
const maxAbsent = 10_000

// absences remember for a moment that the store has no object of a name, so that
// it is not asked by each who looks for it. A write through the cache ends that,
// as it begins a generation. The zero value remembers nothing.
type absences struct {
	ttl  time.Duration
	kept *otter.Cache[Name, absence]
}

type absence struct {
	err   Error
	asked time.Time
	gen   uint64
}

func newAbsences(ttl time.Duration) absences {
	if ttl <= 0 {
		return absences{}
	}
	return absences{ttl: ttl, kept: otter.Must(&otter.Options[Name, absence]{MaximumSize: maxAbsent, Logger: &otter.NoopLogger{}})}
}

// note remembers err, if it says that there is none.
func (a absences) note(name Name, gen uint64, asked time.Time, err error) {
	if a.kept == nil {
		return
	}
	if e := AsError(err); e.Code == CodeSecretNotFound || e.Code == CodeKeyNotFound {
		a.kept.Set(name, absence{err: *e, asked: asked, gen: gen})
	}
}

// of returns what was said less than within ago, or nil.
func (a absences) of(name Name, gen uint64, within time.Duration) error {
	if a.kept == nil {
		return nil
	}
	k, ok := a.kept.GetIfPresent(name)
	if !ok || k.gen != gen || time.Since(k.asked) >= min(within, a.ttl) {
		return nil
	}
	return &k.err
}
