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

// ListKeys returns a page of the vault's keys that the caller may list, as
// ListSecrets does.
func (b *Broker) ListKeys(ctx context.Context, c Caller, vault Name, p Page) (KeyPage, error) {
	got, err := list(ctx, b, c, ActionListKeys, vault.Collection(KindKeys), p,
		func(ctx context.Context) (Whole[*Key], error) {
			store, err := b.keys(vault)
			if err != nil {
				return Whole[*Key]{}, err
			}
			return pages[*Key](func(ctx context.Context, p Page) ([]*Key, string, error) {
				got, err := store.ListKeys(ctx, vault, p)
				return pointers(got.Keys), got.Next, err
			}).whole(ctx)
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
			return pages[*DeletedKey](func(ctx context.Context, p Page) ([]*DeletedKey, string, error) {
				got, err := store.ListDeletedKeys(ctx, vault, p)
				return pointers(got.Keys), got.Next, err
			}).whole(ctx)
		})
	return DeletedKeyPage{Keys: copies(got.items), Next: got.next}, err
}

// ListKeyVersions returns a page of a key's versions, newest first. p.Size is 1
// to 1000, or 0 for 100.
func (b *Broker) ListKeyVersions(ctx context.Context, c Caller, name Name, p Page) (KeyPage, error) {
	if _, err := pageSize(p.Size); err != nil {
		return KeyPage{}, err
	}
	if err := wantBase(name); err != nil {
		return KeyPage{}, err
	}
	return read(ctx, b, c, ActionListKeyVersions, name, func(ctx context.Context, ev *Event) (KeyPage, error) {
		store, err := b.keys(name)
		if err != nil {
			return KeyPage{}, err
		}
		all, err := store.ListKeyVersions(ctx, name)
		if err != nil {
			return KeyPage{}, err
		}
		page, next, err := versionsPage(all, func(k Key) Name { return k.Name }, p)
		for _, k := range page {
			ev.Items = append(ev.Items, Item{Resource: k.Name, Decision: ev.Decision, Outcome: OutcomeOK})
		}
		return KeyPage{Keys: page, Next: next}, err
	})
}
