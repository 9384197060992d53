package broker

import (
	"context"
	"time"
)

func (c *Certificate) listedAs() Name    { return c.Name }
func (c *Certificate) madeAt() time.Time { return c.Created }

// GetCertificate returns the named version, or the latest, and how the next will be
// made. The private key is DownloadCertificate's alone.
func (b *Broker) GetCertificate(ctx context.Context, c Caller, name Name) (Certificate, error) {
	return read(ctx, b, c, ActionGetCertificate, name, func(ctx context.Context, _ *Event) (Certificate, error) {
		store, err := b.certificates(name)
		if err != nil {
			return Certificate{}, err
		}
		return store.GetCertificate(ctx, name)
	})
}

// ListCertificates returns a page of the vault's certificates that the caller may
// list, as ListSecrets does.
func (b *Broker) ListCertificates(ctx context.Context, c Caller, vault Name, p Page) (CertificatePage, error) {
	got, err := list(ctx, b, c, ActionListCertificates, vault.Collection(KindCertificates), p,
		func(ctx context.Context) (Whole[*Certificate], error) {
			store, err := b.certificates(vault)
			if err != nil {
				return Whole[*Certificate]{}, err
			}
			return pages[*Certificate](func(ctx context.Context, p Page) ([]*Certificate, string, error) {
				got, err := store.ListCertificates(ctx, vault, p)
				return pointers(got.Certificates), got.Next, err
			}).whole(ctx)
		})
	return CertificatePage{Certificates: copies(got.items), Next: got.next}, err
}

// ListCertificateVersions returns a page of a certificate's versions, newest first.
// p.Size is 1 to 1000, or 0 for 100.
func (b *Broker) ListCertificateVersions(ctx context.Context, c Caller, name Name, p Page) (CertificatePage, error) {
	got, err := versions(ctx, b, c, ActionListCertificateVersions, name, p, func(c Certificate) Name { return c.Name },
		func(ctx context.Context) (Whole[Certificate], error) {
			store, err := b.certificates(name)
			if err != nil {
				return Whole[Certificate]{}, err
			}
			all, err := store.ListCertificateVersions(ctx, name)
			return Whole[Certificate]{Items: all}, err
		})
	return CertificatePage{Certificates: got.items, Next: got.next}, err
}

// GetCertificatePolicy returns how the next version will be made.
func (b *Broker) GetCertificatePolicy(ctx context.Context, c Caller, name Name) (CertificatePolicy, error) {
	return readCertificate(ctx, b, c, ActionGetCertificatePolicy, name, CertificateStore.GetCertificatePolicy)
}

// GetCertificateOperation returns how far the making of a version is.
func (b *Broker) GetCertificateOperation(ctx context.Context, c Caller, name Name) (CertificateOperation, error) {
	o, err := readCertificate(ctx, b, c, ActionGetCertificateOperation, name, CertificateStore.GetCertificateOperation)
	if err == nil && o.Status == OperationCompleted {
		// Nobody tells when it was: what is kept of the pair may be older.
		b.pairChanged(name)
	}
	return o, err
}

// readCertificate guards a question about a certificate as a whole.
func readCertificate[T any](
	ctx context.Context, b *Broker, c Caller, a Action, name Name,
	ask func(CertificateStore, context.Context, Name) (T, error),
) (T, error) {
	if err := wantBase(name); err != nil {
		var none T
		return none, err
	}
	return read(ctx, b, c, a, name, func(ctx context.Context, _ *Event) (T, error) {
		store, err := b.certificates(name)
		if err != nil {
			var none T
			return none, err
		}
		return ask(store, ctx, name)
	})
}

// certificates returns the store of n's vault.
func (b *Broker) certificates(n Name) (CertificateStore, error) {
	v, err := b.vault(n)
	if err != nil {
		return nil, err
	}
	if v.Certificates == nil {
		return nil, &Error{Code: CodeNotSupported}
	}
	return v.Certificates, nil
}
