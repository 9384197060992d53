package broker

import (
	"context"
	"fmt"
)

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
		d, err := store.GetDeletedSecret(ctx, name)
		return d, notDeleted(CodeSecretNotFound, err)
	})
}

// ListDeletedSecrets returns a page of the vault's soft-deleted secrets that
// the caller may list, as ListSecrets does.
func (b *Broker) ListDeletedSecrets(ctx context.Context, c Caller, vault Name, p Page) (DeletedSecretPage, error) {
	got, err := list(ctx, b, c, ActionListDeletedSecrets, vault.Collection(KindSecrets), p,
		func(ctx context.Context) (Whole[*DeletedSecret], error) {
			store, err := b.secrets(vault)
			if err != nil {
				return Whole[*DeletedSecret]{}, err
			}
			if l, ok := store.(WholeLister); ok {
				return l.AllDeletedSecrets(ctx, vault)
			}
			return deletedSecretPages(store, vault).whole(ctx)
		})
	return DeletedSecretPage{Secrets: copies(got.items), Next: got.next}, err
}

// UndeleteSecret brings a soft-deleted secret back, with all its versions.
func (b *Broker) UndeleteSecret(ctx context.Context, c Caller, name Name) (Secret, error) {
	if err := wantBase(name); err != nil {
		return Secret{}, err
	}
	return change(ctx, b, c, ActionUndeleteSecret, name, func(ctx context.Context, _ *Event) (Secret, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return Secret{}, err
		}
		defer unlock()
		s, err := store.RecoverSecret(ctx, name)
		return s, notDeleted(CodeSecretNotFound, err)
	})
}

// PurgeSecret removes a soft-deleted secret for good.
func (b *Broker) PurgeSecret(ctx context.Context, c Caller, name Name) error {
	if err := wantBase(name); err != nil {
		return err
	}
	_, err := change(ctx, b, c, ActionPurgeSecret, name, func(ctx context.Context, _ *Event) (struct{}, error) {
		store, unlock, err := b.writer(ctx, name)
		if err != nil {
			return struct{}{}, err
		}
		defer unlock()
		return struct{}{}, notDeleted(CodeSecretNotFound, store.PurgeSecret(ctx, name))
	})
	return err
}

// notDeleted says of what was not found that it is not a deleted one. Of a secret
// that is CodeSecretNotFound, and alike of the others.
func notDeleted(notFound Code, err error) error {
	if CodeOf(err) != notFound {
		return err
	}
	noun := map[Code]string{CodeSecretNotFound: "secret", CodeKeyNotFound: "key", CodeCertificateNotFound: "certificate"}[notFound]
	e := *AsError(err)
	e.Message = fmt.Sprintf("no deleted %s has this name; list the vault's deleted %ss", noun, noun)
	return &e
}

// BackupSecret returns all versions of a secret as one opaque blob. A certificate's
// is backed up with the certificate: CodeCertificateManaged.
func (b *Broker) BackupSecret(ctx context.Context, c Caller, name Name) (Value, error) {
	if err := wantBase(name); err != nil {
		return Value{}, err
	}
	return read(ctx, b, c, ActionBackupSecret, name, func(ctx context.Context, _ *Event) (Value, error) {
		store, err := b.secrets(name)
		if err != nil {
			return Value{}, err
		}
		// Restored under a name that is no certificate's any more, the private key
		// would be a secret as any other. Key Vault makes no such backup.
		switch s, err := current(ctx, store, name); {
		case err != nil:
			return Value{}, err
		case s.Managed:
			return Value{}, &Error{Code: CodeCertificateManaged}
		}
		return boundBackup(store.BackupSecret(ctx, name))
	})
}

// boundBackup refuses a backup that could not be restored.
func boundBackup(blob Value, err error) (Value, error) {
	if CodeOf(err) == CodeValueTooLarge || blob.Len() > MaxBackupLen {
		return Value{}, &Error{
			Code: CodeValueTooLarge, Field: "name",
			Message: "the backup is larger than 1 MiB, and could not be restored through the broker; back it up at the vault",
		}
	}
	return blob, err
}

func checkBlob(blob Value) error {
	switch {
	case blob.Len() == 0:
		return &Error{Code: CodeBadField, Field: "blob", Message: "a blob is required"}
	case blob.Len() > MaxBackupLen:
		return &Error{Code: CodeValueTooLarge, Field: "blob", Message: "a blob is at most 1 MiB"}
	}
	return nil
}

// RestoreSecret brings back what BackupSecret returned. The blob hides the
// secret's name: it is decided on the vault.
func (b *Broker) RestoreSecret(ctx context.Context, c Caller, vault Name, blob Value) (Secret, error) {
	if err := checkBlob(blob); err != nil {
		return Secret{}, err
	}
	return change(ctx, b, c, ActionRestoreSecret, vault, func(ctx context.Context, ev *Event) (Secret, error) {
		store, err := b.secrets(vault)
		if err != nil {
			return Secret{}, err
		}
		s, err := store.RestoreSecret(ctx, vault, blob)
		if err == nil { // only now is it known what was brought back
			ev.Items = []Item{{Resource: s.Name.Base(), Decision: ev.Decision, Outcome: OutcomeOK}}
		}
		return s, err
	})
}
