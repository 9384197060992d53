package broker

import (
	"context"
	"time"
)

// GetKey returns the public half of the named version, or of the latest, and
// what is known of it.
func (b *Broker) GetKey(ctx context.Context, c Caller, name Name) (Key, error) {
	return read(ctx, b, c, ActionGetKey, name, func(ctx context.Context, ev *Event) (Key, error) {
		store, err := b.keys(name)
		if err != nil {
			return Key{}, err
		}
		k, cached, err := keyWithin(ctx, store, name, untilTTL)
		ev.Cached = cached
		return k, err
	})
}

// keyWithin reads a key that is at most maxAge old, and tells whether that cost no
// call of the vault.
func keyWithin(ctx context.Context, store KeyStore, name Name, maxAge time.Duration) (Key, bool, error) {
	if fresh, ok := store.(FreshKeyReader); ok {
		return fresh.GetKeyWithin(ctx, name, maxAge)
	}
	k, err := store.GetKey(ctx, name)
	return k, false, err
}

// ListKeys returns a page of the vault's keys that the caller may list, as
// ListSecrets does.
func (b *Broker) ListKeys(ctx context.Context, c Caller, vault Name, p Page) (KeyPage, error) {
	got, err := list(ctx, b, c, ActionListKeys, vault.Collection(KindKeys), p,
		func(ctx context.Context) (Whole[*Key], error) {
			store, err := b.keys(vault)
			if err != nil {
				return Whole[*Key]{}, err
			}
			if l, ok := store.(WholeKeyLister); ok {
				return l.AllKeys(ctx, vault)
			}
			return keyPages(store, vault).whole(ctx)
		})
	return KeyPage{Keys: copies(got.items), Next: got.next}, err
}

// ListDeletedKeys returns a page of the vault's soft-deleted keys that the caller
// may list.
func (b *Broker) ListDeletedKeys(ctx context.Context, c Caller, vault Name, p Page) (DeletedKeyPage, error) {
	got, err := list(ctx, b, c, ActionListDeletedKeys, vault.Collection(KindKeys), p,
		func(ctx context.Context) (Whole[*DeletedKey], error) {
			store, err := b.keys(vault)
			if err != nil {
				return Whole[*DeletedKey]{}, err
			}
			if l, ok := store.(WholeKeyLister); ok {
				return l.AllDeletedKeys(ctx, vault)
			}
			return deletedKeyPages(store, vault).whole(ctx)
		})
	return DeletedKeyPage{Keys: copies(got.items), Next: got.next}, err
}

// ListKeyVersions returns a page of a key's versions, newest first. p.Size is 1
// to 1000, or 0 for 100.
func (b *Broker) ListKeyVersions(ctx context.Context, c Caller, name Name, p Page) (KeyPage, error) {
	got, err := versions(ctx, b, c, ActionListKeyVersions, name, p, func(k Key) Name { return k.Name },
		func(ctx context.Context) (Whole[Key], error) {
			store, err := b.keys(name)
			if err != nil {
				return Whole[Key]{}, err
			}
			return keyVersions(ctx, store, name)
		})
	return KeyPage{Keys: got.items, Next: got.next}, err
}

func keyVersions(ctx context.Context, store KeyStore, name Name) (Whole[Key], error) {
	if l, ok := store.(WholeKeyLister); ok {
		return l.AllKeyVersions(ctx, name)
	}
	all, err := store.ListKeyVersions(ctx, name)
	return Whole[Key]{Items: all}, err
}
