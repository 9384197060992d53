package broker

import (
	"errors"
	"sync"
	"time"
)

// listCache keeps the whole lists of vaults: of the live objects of a kind, L,
// and of its deleted ones, D. Writes go through listWrite and listUpdate.
type listCache[L, D listed] struct {
	ttl     time.Duration
	live    func(vault Name) pages[L]
	deleted func(vault Name) pages[D]
	// forget ends what is known of an object beside lists.
	forget func(Name)

	mu sync.Mutex
	// vaults are the lists, by the vault's name: a store goes by whichever it is
	// asked for.
	vaults map[Name]*vaultLists[L, D]
}

func newListCache[L, D listed](
	ttl time.Duration, forget func(Name), live func(vault Name) pages[L], deleted func(vault Name) pages[D],
) *listCache[L, D] {
	return &listCache[L, D]{ttl: ttl, live: live, deleted: deleted, forget: forget, vaults: make(map[Name]*vaultLists[L, D])}
}

// of returns the lists of n's vault.
func (c *listCache[L, D]) of(n Name) *vaultLists[L, D] {
	vault := n.Vault()
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.vaults[vault]
	if l == nil {
		l = &vaultLists[L, D]{
			live:    &wholeList[L]{pages: c.live(vault), ttl: c.ttl},
			deleted: &wholeList[D]{pages: c.deleted(vault), ttl: c.ttl},
			writes:  make(map[Name]*nameWrites),
		}
		c.vaults[vault] = l
	}
	return l
}

// vaultLists are what a cache keeps of a vault's lists, and the writes that are
// under way and will change them.
type vaultLists[L, D listed] struct {
	live    *wholeList[L]
	deleted *wholeList[D]

	mu sync.Mutex
	// writes are those under way, by the object's name; a restore's is not known
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
	name  Name
	begun uint64
	alone bool // when it began
}

// errNoAnswer stands for what a write that panicked did not return.
var errNoAnswer = errors.New("no answer")

// showLive shows that an object is among the live ones, as it is.
func (l *vaultLists[L, D]) showLive(item L) {
	l.deleted.drop(item.listedAs())
	l.live.put(item)
}

// showDeleted shows that an object is among the deleted ones.
func (l *vaultLists[L, D]) showDeleted(item D) {
	l.live.drop(item.listedAs())
	l.deleted.put(item)
}

// listWrite makes a write, ends what is known of the name beside lists, and shows
// in the lists what it did. A name without an object stands for one that is not
// known before.
func listWrite[L, D listed, R any](
	c *listCache[L, D], name Name, do func() (R, error), show func(*vaultLists[L, D], R),
) (r R, err error) {
	l := c.of(name)
	w := l.begin(name.Base())
	err = errNoAnswer
	defer func() {
		// Whatever the outcome: a write that failed may have happened.
		if name.object != "" {
			c.forget(name)
		}
		l.end(w, err, func() { show(l, r) })
	}()
	return do()
}

// listUpdate is listWrite of an update of the named version, or of the latest.
func listUpdate[L, D listed, R any](c *listCache[L, D], name Name, do func() (R, error), item func(R) L) (R, error) {
	return listWrite(c, name, func() (R, error) {
		r, err := do()
		if code := CodeOf(err); code == CodeVaultThrottled || code == CodeVaultAuthentication {
			// A store may try an update more than once, and this be the answer to
			// the last try only.
			c.of(name).live.doubt()
		}
		return r, err
	}, func(l *vaultLists[L, D], r R) {
		updated := item(r)
		if name.Version() == "" {
			l.showLive(updated)
			return
		}
		// The list shows the latest version and does not say which it is; but none
		// is older than a version before it. Times are in seconds: of two versions
		// of the same second, nothing is known.
		var none L
		if latest := l.live.item(name); latest == none || !updated.madeAt().Before(latest.madeAt()) {
			l.live.doubt()
		}
	})
}

func (l *vaultLists[L, D]) begin(name Name) listedWrite {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := listedWrite{name: name, alone: l.open == 0}
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
func (l *vaultLists[L, D]) end(w listedWrite, err error, show func()) {
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
		CodeKeyNotFound, CodeKeyExists, CodeKeyDisabled, CodeKeySoftDeleted, CodeKeyInTransition, CodeKeyOperationForbidden,
		CodeCertificateManaged,
		CodeVaultThrottled, CodeVaultAuthentication:
		return true
	}
	return false
}
