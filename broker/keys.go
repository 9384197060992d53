package broker

import "context"

// GetKey returns the public half of the named version, or of the latest, and
// what is known of it.
func (b *Broker) GetKey(ctx context.Context, c Caller, name Name) (Key, error) {
	return read(ctx, b, c, ActionGetKey, name, func(ctx context.Context, _ *Event) (Key, error) {
		store, err := b.keys(name)
		if err != nil {
			return Key{}, err
		}
		return store.GetKey(ctx, name)
	})
}
