package broker

import "context"

// ListKeys returns a page of the vault's keys that the caller may list, as
// ListSecrets does.
func (b *Broker) ListKeys(ctx context.Context, c Caller, vault Name, p Page) (KeyPage, error) {
	got, err := list(ctx, b, c, ActionListKeys, vault, KindKeys, p, func(ctx context.Context) (Whole[*Key], error) {
		store, err := b.keys(vault)
		if err != nil {
			return Whole[*Key]{}, err
		}
		var next pages[*Key] = func(ctx context.Context, p Page) ([]*Key, string, error) {
			got, err := store.ListKeys(ctx, vault, p)
			return pointers(got.Keys), got.Next, err
		}
		return next.whole(ctx)
	})
	return KeyPage{Keys: copies(got.items), Next: got.next}, err
}

// ListDeletedKeys returns a page of the vault's soft-deleted keys that the
// caller may list, as ListSecrets does.
func (b *Broker) ListDeletedKeys(ctx context.Context, c Caller, vault Name, p Page) (DeletedKeyPage, error) {
	got, err := list(ctx, b, c, ActionListDeletedKeys, vault, KindKeys, p, func(ctx context.Context) (Whole[*DeletedKey], error) {
		store, err := b.keys(vault)
		if err != nil {
			return Whole[*DeletedKey]{}, err
		}
		var next pages[*DeletedKey] = func(ctx context.Context, p Page) ([]*DeletedKey, string, error) {
			got, err := store.ListDeletedKeys(ctx, vault, p)
			return pointers(got.Keys), got.Next, err
		}
		return next.whole(ctx)
	})
	return DeletedKeyPage{Keys: copies(got.items), Next: got.next}, err
}

// ListKeyVersions returns a page of a key's versions, newest first. p.Size is 1
// to 1000, or 0 for 100.
func (b *Broker) ListKeyVersions(ctx context.Context, c Caller, name Name, p Page) (KeyPage, error) {
	size, err := pageSize(p.Size)
	if err != nil {
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
		some, next, err := versionsBehind(all, func(k Key) Name { return k.Name }, p.Token, size)
		if err != nil {
			return KeyPage{}, err
		}
		for _, k := range some {
			ev.Items = append(ev.Items, Item{Resource: k.Name, Decision: ev.Decision, Outcome: OutcomeOK})
		}
		return KeyPage{Keys: some, Next: next}, nil
	})
}
