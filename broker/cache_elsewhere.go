package broker

// A Forgetter is a store that keeps answers, and can be told that an object was
// changed by another way than through it.
type Forgetter interface {
	// Forget ends what is kept of the named object, whichever version, and of the
	// lists of its vault. A name without an object stands for one that is not known.
	Forget(name Name)
}

var (
	_ Forgetter = (*SecretCache)(nil)
	_ Forgetter = (*KeyCache)(nil)
)

// Forget implements Forgetter.
func (c *SecretCache) Forget(name Name) { c.lists.overtaken(name) }

// Forget implements Forgetter.
func (c *KeyCache) Forget(name Name) { c.lists.overtaken(name) }

// overtaken ends what is kept of the named object, and of the lists.
func (c *listCache[L, D]) overtaken(name Name) {
	if name.object != "" {
		c.forget(name)
	}
	l := c.of(name)
	l.live.doubt()
	l.deleted.doubt()
}

// pairChanged tells the caches of a vault, and who watches, that a certificate
// changed, and with it the key and the secret of its name.
func (b *Broker) pairChanged(certificate Name) {
	b.forget(certificate.As(KindKeys))
	b.forget(certificate.As(KindSecrets))
	b.changes.publish(certificate.As(KindSecrets))
}

// forget ends what the caches of n's vault keep of n, whatever it names.
func (b *Broker) forget(n Name) {
	v, _ := b.vault(n) // a vault that is not there keeps nothing
	for _, store := range []any{v.Keys, v.Secrets} {
		if f, ok := store.(Forgetter); ok {
			f.Forget(n)
		}
	}
}
