package keyvault

import (
	"maps"
	"sync"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	// settlesWithin is how long a move is remembered: more than twice the
	// longest that was recorded.
	settlesWithin = 2 * time.Minute
	// settledSoon is when to look again.
	settledSoon = 2 * time.Second
	maxMoves    = 1024
)

// side is where a secret, a key or a certificate is: among the live ones or the soft-deleted ones.
type side int

const (
	live side = iota
	deleted
)

// moves remembers which secrets and keys a client has lately brought from one side to
// the other. Key Vault answers a delete or a recovery before its readers see
// it: for a while, what was moved is found on neither side.
//
// It knows only of what its own client did. It is bounded in time and number,
// and a secret that it forgets too early reads as not found, as it does to the
// vault. All methods may be called concurrently.
type moves struct {
	mu     sync.Mutex
	byName map[broker.Name]move
}

type move struct {
	to side
	at time.Time // with its monotonic reading
}

func newMoves() *moves { return &moves{byName: make(map[broker.Name]move)} }

// made notes that the vault has answered a move of name.
func (m *moves) made(name broker.Name, to side) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.byName) >= maxMoves {
		m.evict()
	}
	m.byName[name.Base()] = move{to: to, at: time.Now()}
}

// evict makes room: for what is too old, or else for the oldest. The caller
// holds m.mu.
func (m *moves) evict() {
	maps.DeleteFunc(m.byName, func(_ broker.Name, v move) bool { return time.Since(v.at) > settlesWithin })
	if len(m.byName) < maxMoves {
		return
	}
	var oldest broker.Name
	for n, v := range m.byName {
		if oldest.IsZero() || v.at.Before(m.byName[oldest].at) {
			oldest = n
		}
	}
	delete(m.byName, oldest)
}

// forget ends the memory of name: it is known to be where the vault says.
func (m *moves) forget(name broker.Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byName, name.Base())
}

// judge returns what err means, the answer of one side about name. Not to be
// found where it was moved to is a transition, until it has been found there
// once; asked tells an answer from one that is older than the move.
func (m *moves) judge(name broker.Name, at side, asked time.Time, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.byName[name.Base()]
	switch {
	case !ok || v.to != at || asked.Before(v.at):
		return err
	case time.Since(v.at) > settlesWithin:
		delete(m.byName, name.Base())
		return err
	}
	switch broker.CodeOf(err) {
	case "", broker.CodeSecretDisabled, broker.CodeKeyDisabled, broker.CodeKeyOperationForbidden, broker.CodeCertificateDisabled:
		delete(m.byName, name.Base())
	case broker.CodeCertificateNotFound:
		return &broker.Error{Code: broker.CodeCertificateInTransition, RetryAfter: settledSoon, Err: err}
	case broker.CodeKeyNotFound:
		return &broker.Error{Code: broker.CodeKeyInTransition, RetryAfter: settledSoon, Err: err}
	case broker.CodeSecretNotFound:
		return &broker.Error{Code: broker.CodeSecretInTransition, RetryAfter: settledSoon, Err: err}
	}
	return err
}
