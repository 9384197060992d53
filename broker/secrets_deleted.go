package broker

import "context"

// GetDeletedSecret returns a soft-deleted secret, without its value. Here and
// below, name is the secret's own.
func (b *Broker) GetDeletedSecret(ctx context.Context, c Caller, name Name) (DeletedSecret, error) {
	if err := wantBase(name); err != nil {
		return DeletedSecret{}, err
	}
	return read(ctx, b, c, ActionGetDeletedSecret, name, func(ctx context.Context, _ *Event) (DeletedSecret, error) {
		store, err := b.secrets(name)
		if err != nil {
			return DeletedSecret{}, err
		}
		return store.GetDeletedSecret(ctx, name)
	})
}

// ListDeletedSecrets returns a page of the vault's soft-deleted secrets that
// the caller may list, as ListSecrets does.
func (b *Broker) ListDeletedSecrets(ctx context.Context, c Caller, vault Name, p Page) (DeletedSecretPage, error) {
	return walk(ctx, b, c, ActionListDeletedSecrets, vault, p,
		func(ctx context.Context, store SecretStore, p Page) ([]DeletedSecret, string, error) {
			got, err := store.ListDeletedSecrets(ctx, vault, p)
			return got.Secrets, got.Next, err
		},
		func(d DeletedSecret) Name { return d.Name },
		func(d []DeletedSecret, next string) DeletedSecretPage {
			return DeletedSecretPage{Secrets: d, Next: next}
		})
}

// UndeleteSecret brings a soft-deleted secret back, with all its versions.
func (b *Broker) UndeleteSecret(ctx context.Context, c Caller, name Name) (Secret, error) {
	if err := wantBase(name); err != nil {
		return Secret{}, err
	}
	return change(ctx, b, c, ActionUndeleteSecret, name, func(ctx context.Context) (Secret, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return Secret{}, err
		}
		defer unlock()
		return store.RecoverSecret(ctx, name)
	})
}

// PurgeSecret removes a soft-deleted secret for good.
func (b *Broker) PurgeSecret(ctx context.Context, c Caller, name Name) error {
	if err := wantBase(name); err != nil {
		return err
	}
	_, err := change(ctx, b, c, ActionPurgeSecret, name, func(ctx context.Context) (struct{}, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return struct{}{}, err
		}
		defer unlock()
		return struct{}{}, store.PurgeSecret(ctx, name)
	})
	return err
}

// BackupSecret returns all versions of a secret as one opaque blob.
func (b *Broker) BackupSecret(ctx context.Context, c Caller, name Name) (Value, error) {
	if err := wantBase(name); err != nil {
		return Value{}, err
	}
	return read(ctx, b, c, ActionBackupSecret, name, func(ctx context.Context, _ *Event) (Value, error) {
		store, err := b.secrets(name)
		if err != nil {
			return Value{}, err
		}
		blob, err := store.BackupSecret(ctx, name)
		if CodeOf(err) == CodeValueTooLarge || blob.Len() > MaxBackupLen {
			return Value{}, &Error{
				Code: CodeValueTooLarge, Field: "name",
				Message: "the backup is larger than 1 MiB, and could not be restored through the broker; back it up at the vault",
			}
		}
		return blob, err
	})
}

// RestoreSecret brings back what BackupSecret returned. The blob hides the
// secret's name: it is decided on the vault.
func (b *Broker) RestoreSecret(ctx context.Context, c Caller, vault Name, blob Value) (Secret, error) {
	switch {
	case blob.Len() == 0:
		return Secret{}, &Error{Code: CodeBadField, Field: "blob", Message: "a blob is required"}
	case blob.Len() > MaxBackupLen:
		return Secret{}, &Error{Code: CodeValueTooLarge, Field: "blob", Message: "a blob is at most 1 MiB"}
	}
	return change(ctx, b, c, ActionRestoreSecret, vault, func(ctx context.Context) (Secret, error) {
		store, err := b.secrets(vault)
		if err != nil {
			return Secret{}, err
		}
		return store.RestoreSecret(ctx, vault, blob)
	})
}
