package broker

import (
	"fmt"
	"sync/atomic"
)

// vaultSet is what a Broker stands over until another takes its place. It counts
// the calls that began meanwhile: each may use what it holds.
type vaultSet struct {
	vaults map[Name]Vault
	// calls are those under way, and one more while no other has taken its place.
	// Once it is 0 it stays so, and idle is closed.
	calls atomic.Int64
	idle  chan struct{}
	// before is closed once the sets before it are idle.
	before <-chan struct{}
}

func newVaultSet(all map[string]Vault) (*vaultSet, error) {
	s := &vaultSet{vaults: make(map[Name]Vault, len(all)), idle: make(chan struct{})}
	s.calls.Store(1)
	for alias, v := range all {
		n, err := VaultName(alias)
		if err != nil {
			return nil, fmt.Errorf("broker: vault %q: %w", alias, err)
		}
		s.vaults[n] = v
	}
	return s, nil
}

// join counts a call, unless nobody uses the set any more.
func (s *vaultSet) join() bool {
	for n := s.calls.Load(); n > 0; n = s.calls.Load() {
		if s.calls.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// leave ends what join began.
func (s *vaultSet) leave() {
	if s.calls.Add(-1) == 0 {
		close(s.idle)
	}
}

// SetVaults puts other vaults, by alias, in the place of those before, for calls
// that begin from now on. What is in both is used on. released is closed once the
// calls have ended that began before: what is in none of the sets since then is
// used by no call any more, and may be closed.
func (b *Broker) SetVaults(all map[string]Vault) (released <-chan struct{}, err error) {
	next, err := newVaultSet(all)
	if err != nil {
		return nil, err
	}
	over := make(chan struct{})
	next.before = over
	b.setting.Lock()
	defer b.setting.Unlock()
	old := b.vaults.Swap(next)
	go func() {
		if old.before != nil {
			<-old.before
		}
		<-old.idle
		close(over)
	}()
	old.leave()
	return over, nil
}

// vault returns what there is of n's vault.
func (b *Broker) vault(n Name) (Vault, error) {
	v, ok := b.vaults.Load().vaults[n.Vault()]
	if !ok {
		return Vault{}, &Error{Code: CodeVaultNotFound}
	}
	return v, nil
}

// join returns the set that a call begins with. As long as the call has not left
// it, no vault is released that the call can have found, then or later.
func (b *Broker) join() *vaultSet {
	for {
		if s := b.vaults.Load(); s.join() {
			return s
		}
	}
}

// leaveChanged is the end of a call that began with a set, and has changed what ev
// says. Caches that have come since may have asked the vault before it changed,
// and the call told others.
func (b *Broker) leaveChanged(began *vaultSet, ev *Event) {
	defer began.leave()
	if b.vaults.Load() == began {
		return
	}
	b.forget(ev.Resource)
	for _, item := range ev.Items {
		b.forget(item.Resource)
	}
}
