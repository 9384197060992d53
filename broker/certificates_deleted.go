package broker

import "context"

// GetDeletedCertificate returns a soft-deleted certificate. Here and below, name is
// the certificate's own.
func (b *Broker) GetDeletedCertificate(ctx context.Context, c Caller, name Name) (DeletedCertificate, error) {
	return readCertificate(ctx, b, c, ActionGetDeletedCertificate, name,
		func(store CertificateStore, ctx context.Context, name Name) (DeletedCertificate, error) {
			d, err := store.GetDeletedCertificate(ctx, name)
			return d, notDeleted(CodeCertificateNotFound, err)
		})
}

// ListDeletedCertificates returns a page of the vault's soft-deleted certificates
// that the caller may list.
func (b *Broker) ListDeletedCertificates(ctx context.Context, c Caller, vault Name, p Page) (DeletedCertificatePage, error) {
	got, err := list(ctx, b, c, ActionListDeletedCertificates, vault.Collection(KindCertificates), p,
		func(ctx context.Context) (Whole[*DeletedCertificate], error) {
			store, err := b.certificates(vault)
			if err != nil {
				return Whole[*DeletedCertificate]{}, err
			}
			return pages[*DeletedCertificate](func(ctx context.Context, p Page) ([]*DeletedCertificate, string, error) {
				got, err := store.ListDeletedCertificates(ctx, vault, p)
				return pointers(got.Certificates), got.Next, err
			}).whole(ctx)
		})
	return DeletedCertificatePage{Certificates: copies(got.items), Next: got.next}, err
}

// UndeleteCertificate brings a soft-deleted certificate back, with all its versions.
func (b *Broker) UndeleteCertificate(ctx context.Context, c Caller, name Name) (Certificate, error) {
	return changeCertificate(ctx, b, c, ActionUndeleteCertificate, name, "", func(ctx context.Context, store CertificateStore) (Certificate, error) {
		got, err := store.RecoverCertificate(ctx, name)
		return got, notDeleted(CodeCertificateNotFound, err)
	})
}

// PurgeCertificate removes a soft-deleted certificate for good.
func (b *Broker) PurgeCertificate(ctx context.Context, c Caller, name Name) error {
	_, err := changeCertificate(ctx, b, c, ActionPurgeCertificate, name, "", func(ctx context.Context, store CertificateStore) (struct{}, error) {
		return struct{}{}, notDeleted(CodeCertificateNotFound, store.PurgeCertificate(ctx, name))
	})
	return err
}

// BackupCertificate returns all versions of a certificate, with their keys, as one
// opaque blob.
func (b *Broker) BackupCertificate(ctx context.Context, c Caller, name Name) (Value, error) {
	return readCertificate(ctx, b, c, ActionBackupCertificate, name,
		func(store CertificateStore, ctx context.Context, name Name) (Value, error) {
			return boundBackup(store.BackupCertificate(ctx, name))
		})
}

// RestoreCertificate brings back what BackupCertificate returned. The blob hides the
// certificate's name: it is decided on the vault.
func (b *Broker) RestoreCertificate(ctx context.Context, c Caller, vault Name, blob Value) (Certificate, error) {
	if err := checkBlob(blob); err != nil {
		return Certificate{}, err
	}
	return change(ctx, b, c, ActionRestoreCertificate, vault, func(ctx context.Context, ev *Event) (Certificate, error) {
		store, err := b.certificates(vault)
		if err != nil {
			return Certificate{}, err
		}
		got, err := store.RestoreCertificate(ctx, vault, blob)
		if err != nil {
			b.pairChanged(vault)
			return got, err
		}
		b.pairChanged(got.Name) // only now is it known what was brought back
		ev.Items = []Item{{Resource: got.Name.Base(), Decision: ev.Decision, Outcome: OutcomeOK}}
		return got, nil
	})
}
