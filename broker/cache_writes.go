package broker

import (
	"context"
	"errors"
	"sync"
)

// vaultLists are what a cache keeps of a vault's lists, and the writes that are
// under way and will change them.
type vaultLists struct {
	live    *wholeList[*Secret]
	deleted *wholeList[*DeletedSecret]

	mu sync.Mutex
	// writes are those under way, by the secret's name; a restore's is not known
	// before its end, and it goes by the vault's.
	writes map[Name]*nameWrites
	// begun counts them all, and open those under way.
	begun uint64
	open  int
}

// nameWrites are the writes of one name, from the begin of the first to the end
// of the last.
type nameWrites struct {
	open int
	// crowded: there were two at a time, and nobody knows which was last.
	crowded bool
}

// listedWrite is one that is under way.
type listedWrite struct {
	lists *vaultLists
	name  Name
	begun uint64
	alone bool // when it began
}

// errNoAnswer stands for what a write that panicked did not return.
var errNoAnswer = errors.New("no answer")

// SetSecret implements SecretStore.
func (c *SecretCache) SetSecret(ctx context.Context, name Name, s NewSecret) (Secret, error) {
	return cacheWrite(c, name, func() (Secret, error) { return c.SecretStore.SetSecret(ctx, name, s) }, (*vaultLists).showLive)
}

// UpdateSecret implements SecretStore.
func (c *SecretCache) UpdateSecret(ctx context.Context, name Name, u SecretUpdate) (Secret, error) {
	return cacheWrite(c, name, func() (Secret, error) {
		s, err := c.SecretStore.UpdateSecret(ctx, name, u)
		if code := CodeOf(err); code == CodeVaultThrottled || code == CodeVaultAuthentication {
			// A store may try an update more than once, and this be the answer to
			// the last try only.
			c.lists(name).live.doubt()
		}
		return s, err
	}, func(l *vaultLists, s Secret) {
		if name.Version() == "" {
			l.showLive(s)
			return
		}
		// The list shows the latest version and does not say which it is; but none
		// is older than a version before it. Times are in seconds: of two versions
		// of the same second, nothing is known.
		if latest := l.live.item(name); latest == nil || !s.Created.Before(latest.Created) {
			l.live.doubt()
		}
	})
}

// RecoverSecret implements SecretStore.
func (c *SecretCache) RecoverSecret(ctx context.Context, name Name) (Secret, error) {
	return cacheWrite(c, name, func() (Secret, error) { return c.SecretStore.RecoverSecret(ctx, name) }, (*vaultLists).showLive)
}

// RestoreSecret implements SecretStore.
func (c *SecretCache) RestoreSecret(ctx context.Context, vault Name, blob Value) (Secret, error) {
	return cacheWrite(c, vault.Vault(), func() (Secret, error) {
		s, err := c.SecretStore.RestoreSecret(ctx, vault, blob)
		if err == nil {
			c.forget(s.Name)
		}
		return s, err
	}, (*vaultLists).showLive)
}

// DeleteSecret implements SecretStore.
func (c *SecretCache) DeleteSecret(ctx context.Context, name Name) (DeletedSecret, error) {
	return cacheWrite(c, name, func() (DeletedSecret, error) { return c.SecretStore.DeleteSecret(ctx, name) },
		func(l *vaultLists, d DeletedSecret) {
			d.Name = d.Name.Base()
			l.live.drop(d.Name)
			l.deleted.put(&d)
		})
}

// PurgeSecret implements SecretStore.
func (c *SecretCache) PurgeSecret(ctx context.Context, name Name) error {
	_, err := cacheWrite(c, name, func() (struct{}, error) { return struct{}{}, c.SecretStore.PurgeSecret(ctx, name) },
		func(l *vaultLists, _ struct{}) { l.deleted.drop(name) })
	return err
}

// showLive shows that s is among the live ones, as it is.
func (l *vaultLists) showLive(s Secret) {
	s.Name = s.Name.Base()
	l.deleted.drop(s.Name)
	l.live.put(&s)
}

// cacheWrite makes a write, ends what is known of the name's values, and shows
// in the lists what it did. A name without an object stands for one that is not
// known before.
func cacheWrite[R any](c *SecretCache, name Name, do func() (R, error), show func(*vaultLists, R)) (r R, err error) {
	w := c.lists(name).begin(name.Base())
	err = errNoAnswer
	defer func() {
		// Whatever the outcome: a write that failed may have happened.
		if name.object != "" {
			c.forget(name)
		}
		w.end(err, func() { show(w.lists, r) })
	}()
	return do()
}

func (l *vaultLists) begin(name Name) listedWrite {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := listedWrite{lists: l, name: name, alone: l.open == 0}
	n := l.writes[name]
	if n == nil {
		n = new(nameWrites)
		l.writes[name] = n
	}
	n.open++
	n.crowded = n.crowded || n.open > 1
	l.open++
	l.begun++
	w.begun = l.begun
	return w
}

// end shows what w did. The lock is held meanwhile, so that a later write of the
// name is shown later.
func (w listedWrite) end(err error, show func()) {
	l := w.lists
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.writes[w.name]
	crowded := n.crowded
	if w.name.object == "" {
		// Of no other that was under way is it known that it had another name.
		crowded = !w.alone || l.begun != w.begun
	}
	if n.open--; n.open == 0 {
		delete(l.writes, w.name)
	}
	l.open--
	switch {
	case refused(err):
	case err == nil && !crowded:
		show()
	default:
		l.live.doubt()
		l.deleted.doubt()
	}
}

// refused reports whether a write that ended with err did nothing.
func refused(err error) bool {
	switch CodeOf(err) {
	case CodeBadName, CodeBadField, CodeValueTooLarge, CodeNotSupported,
		CodeSecretNotFound, CodeSecretExists, CodeSecretDisabled, CodeSecretSoftDeleted, CodeSecretInTransition,
		CodeVaultThrottled, CodeVaultAuthentication:
		return true
	}
	return false
}
