package broker

import (
	"context"
	"encoding/base64"
)

// CreateCertificate begins to make a certificate, or a new version of it. etag, if
// any, must be that of the latest version; it is checked as in SetSecret.
func (b *Broker) CreateCertificate(ctx context.Context, c Caller, name Name, n NewCertificate, etag string) (CertificateOperation, error) {
	if err := checkTags(n.Tags); err != nil {
		return CertificateOperation{}, err
	}
	if n.Policy != nil {
		if err := n.Policy.validate(); err != nil {
			return CertificateOperation{}, err
		}
		if n.Policy.Subject == "" && n.Policy.Names.count() == 0 {
			return CertificateOperation{}, badPolicy("subject", `a policy names its subject, such as "CN=example.org", or has subject_alternative_names`)
		}
	}
	return changeCertificate(ctx, b, c, ActionCreateCertificate, name, etag, func(ctx context.Context, store CertificateStore) (CertificateOperation, error) {
		op, err := store.CreateCertificate(ctx, name, n)
		if n.Policy == nil && CodeOf(err) == CodeBadField {
			return op, &Error{Code: CodeBadField, Field: "policy", Err: err, Message: "there is no policy yet, or none to make a certificate by; send one, with its subject or subject_alternative_names"}
		}
		return op, err
	})
}

// CancelCertificateOperation asks for an operation to end.
func (b *Broker) CancelCertificateOperation(ctx context.Context, c Caller, name Name) (CertificateOperation, error) {
	return changeCertificate(ctx, b, c, ActionCancelCertificateOperation, name, "", func(ctx context.Context, store CertificateStore) (CertificateOperation, error) {
		return store.CancelCertificateOperation(ctx, name)
	})
}

// DeleteCertificateOperation removes an operation, done or not.
func (b *Broker) DeleteCertificateOperation(ctx context.Context, c Caller, name Name) (CertificateOperation, error) {
	return changeCertificate(ctx, b, c, ActionDeleteCertificateOperation, name, "", func(ctx context.Context, store CertificateStore) (CertificateOperation, error) {
		return store.DeleteCertificateOperation(ctx, name)
	})
}

// MergeCertificate completes an operation whose signing request was signed
// elsewhere.
func (b *Broker) MergeCertificate(ctx context.Context, c Caller, name Name, m CertificateMerge) (Certificate, error) {
	if err := m.validate(); err != nil {
		return Certificate{}, err
	}
	return changeCertificate(ctx, b, c, ActionMergeCertificate, name, "", func(ctx context.Context, store CertificateStore) (Certificate, error) {
		return store.MergeCertificate(ctx, name, m)
	})
}

// ImportCertificate makes a version of a certificate that was made elsewhere. etag
// is as in CreateCertificate.
func (b *Broker) ImportCertificate(ctx context.Context, c Caller, name Name, i CertificateImport, etag string) (Certificate, error) {
	if err := i.validate(); err != nil {
		return Certificate{}, err
	}
	return changeCertificate(ctx, b, c, ActionImportCertificate, name, etag, func(ctx context.Context, store CertificateStore) (Certificate, error) {
		made, err := store.ImportCertificate(ctx, name, i)
		return made, ofData(i.field(), err)
	})
}

// UpdateCertificate changes what is known of the named version, or of the latest.
// etag, if any, must be that version's.
func (b *Broker) UpdateCertificate(ctx context.Context, c Caller, name Name, u CertificateUpdate, etag string) (Certificate, error) {
	if u == (CertificateUpdate{}) {
		return Certificate{}, &Error{Code: CodeBadField, Field: "update_mask", Message: "nothing to change; name the fields in update_mask"}
	}
	if u.Tags != nil {
		if err := checkTags(*u.Tags); err != nil {
			return Certificate{}, err
		}
	}
	return change(ctx, b, c, ActionUpdateCertificate, name, func(ctx context.Context, _ *Event) (Certificate, error) {
		store, unlock, err := b.certificateWriter(ctx, name, etag)
		if err != nil {
			return Certificate{}, err
		}
		defer unlock()
		return store.UpdateCertificate(ctx, name, u)
	})
}

// UpdateCertificatePolicy changes what is set in p.
func (b *Broker) UpdateCertificatePolicy(ctx context.Context, c Caller, name Name, p CertificatePolicy) (CertificatePolicy, error) {
	if p.isZero() {
		return CertificatePolicy{}, &Error{Code: CodeBadField, Field: "policy", Message: "nothing to change; send what is to be another in policy"}
	}
	if err := p.validate(); err != nil {
		return CertificatePolicy{}, err
	}
	return changeCertificate(ctx, b, c, ActionUpdateCertificatePolicy, name, "", func(ctx context.Context, store CertificateStore) (CertificatePolicy, error) {
		return store.UpdateCertificatePolicy(ctx, name, p)
	})
}

// DeleteCertificate soft-deletes a certificate with all its versions, and their keys
// and secrets.
func (b *Broker) DeleteCertificate(ctx context.Context, c Caller, name Name, etag string) (DeletedCertificate, error) {
	return changeCertificate(ctx, b, c, ActionDeleteCertificate, name, etag, func(ctx context.Context, store CertificateStore) (DeletedCertificate, error) {
		return store.DeleteCertificate(ctx, name)
	})
}

// changeCertificate guards a change of a certificate as a whole.
func changeCertificate[T any](
	ctx context.Context, b *Broker, c Caller, a Action, name Name, etag string,
	act func(context.Context, CertificateStore) (T, error),
) (T, error) {
	return changeWhole(ctx, b, c, a, name, etag, b.certificateWriter, act)
}

// certificateWriter returns the store of name's vault, once no other writer of the
// name is at work in this Broker and etag, if any, is that of the certificate. When
// its turn is over, whatever came of it, nothing older is known of its pair.
func (b *Broker) certificateWriter(ctx context.Context, name Name, etag string) (CertificateStore, func(), error) {
	store, err := b.certificates(name)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := b.turn(ctx, name, etag, func() (string, error) {
		now, err := store.GetCertificate(ctx, name)
		return now.ETag(), err
	})
	if err != nil {
		return nil, nil, err
	}
	return store, func() {
		b.pairChanged(name)
		unlock()
	}, nil
}

func (m CertificateMerge) validate() error {
	size := 0
	for _, der := range m.Chain {
		size += len(der)
		if len(der) == 0 {
			return errBadChain
		}
	}
	if len(m.Chain) == 0 || len(m.Chain) > MaxChain {
		return errBadChain
	}
	if size > MaxCertificateMaterial {
		return &Error{Code: CodeValueTooLarge, Field: "x509_certificates", Message: "the certificates are longer than 64 KiB together"}
	}
	return checkTags(m.Tags)
}

var errBadChain = &Error{Code: CodeBadField, Field: "x509_certificates", Message: "merge 1 to 10 certificates in DER, the signed one first"}

func (i CertificateImport) validate() error {
	n := i.Material.Len()
	if i.ContentType == ContentTypePKCS12 {
		n = base64.StdEncoding.DecodedLen(n)
	}
	switch {
	case n == 0:
		return &Error{Code: CodeBadField, Field: "pfx", Message: "a certificate with its private key is required, in one of pfx and pem"}
	case n > MaxCertificateMaterial+2: // padding
		return &Error{Code: CodeValueTooLarge, Field: i.field(), Message: "a certificate with its chain and key is at most 64 KiB"}
	case i.Password.Len() > 0 && i.ContentType == ContentTypePEM:
		return &Error{Code: CodeBadField, Field: "password", Message: "only a PFX has a password; a key in PEM is plain PKCS #8"}
	}
	if err := checkPassword(i.Password); err != nil {
		return err
	}
	if i.Policy != nil {
		if err := i.Policy.validate(); err != nil {
			return err
		}
	}
	return checkTags(i.Tags)
}

// field is what a request calls the material.
func (i CertificateImport) field() string {
	if i.ContentType == ContentTypePEM {
		return "pem"
	}
	return "pfx"
}
