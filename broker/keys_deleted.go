package broker

import "context"

// GetDeletedKey returns a soft-deleted key. Here and below, name is the key's
// own.
func (b *Broker) GetDeletedKey(ctx context.Context, c Caller, name Name) (DeletedKey, error) {
	if err := wantBase(name); err != nil {
		return DeletedKey{}, err
	}
	return read(ctx, b, c, ActionGetDeletedKey, name, func(ctx context.Context, _ *Event) (DeletedKey, error) {
		store, err := b.keys(name)
		if err != nil {
			return DeletedKey{}, err
		}
		d, err := store.GetDeletedKey(ctx, name)
		return d, notDeleted(CodeKeyNotFound, err)
	})
}

// UndeleteKey brings a soft-deleted key back, with all its versions.
func (b *Broker) UndeleteKey(ctx context.Context, c Caller, name Name) (Key, error) {
	return changeKey(ctx, b, c, ActionUndeleteKey, name, "", func(ctx context.Context, store KeyStore) (Key, error) {
		k, err := store.RecoverKey(ctx, name)
		return k, notDeleted(CodeKeyNotFound, err)
	})
}

// PurgeKey removes a soft-deleted key for good.
func (b *Broker) PurgeKey(ctx context.Context, c Caller, name Name) error {
	_, err := changeKey(ctx, b, c, ActionPurgeKey, name, "", func(ctx context.Context, store KeyStore) (struct{}, error) {
		return struct{}{}, notDeleted(CodeKeyNotFound, store.PurgeKey(ctx, name))
	})
	return err
}

// BackupKey returns all versions of a key as one opaque blob. A certificate's is
// backed up with the certificate, as its secret is.
func (b *Broker) BackupKey(ctx context.Context, c Caller, name Name) (Value, error) {
	if err := wantBase(name); err != nil {
		return Value{}, err
	}
	return read(ctx, b, c, ActionBackupKey, name, func(ctx context.Context, _ *Event) (Value, error) {
		store, err := b.keys(name)
		if err != nil {
			return Value{}, err
		}
		switch k, _, err := keyWithin(ctx, store, name, 0); {
		case err != nil:
			return Value{}, err
		case k.Managed:
			return Value{}, &Error{Code: CodeCertificateManaged}
		}
		return boundBackup(store.BackupKey(ctx, name))
	})
}

// RestoreKey brings back what BackupKey returned. The blob hides the key's name:
// it is decided on the vault.
func (b *Broker) RestoreKey(ctx context.Context, c Caller, vault Name, blob Value) (Key, error) {
	if err := checkBlob(blob); err != nil {
		return Key{}, err
	}
	return change(ctx, b, c, ActionRestoreKey, vault, func(ctx context.Context, ev *Event) (Key, error) {
		store, err := b.keys(vault)
		if err != nil {
			return Key{}, err
		}
		k, err := store.RestoreKey(ctx, vault, blob)
		if err == nil { // only now is it known what was brought back
			ev.Items = []Item{{Resource: k.Name.Base(), Decision: ev.Decision, Outcome: OutcomeOK}}
		}
		return k, err
	})
}
