package broker

import (
	"cmp"
	"context"
	"fmt"
)

// DownloadOptions say how a certificate and its private key are written.
type DownloadOptions struct {
	// PFX: as PKCS #12, under Password if there is one. Else as PEM.
	PFX      bool
	Password Value
}

// Download is a certificate with its private key: Chain and Key, in PEM, or PFX.
type Download struct {
	Certificate Certificate
	// Chain has the certificate first, and then what is between it and its root.
	Chain string
	Key   Value
	// PFX is DER.
	PFX Value
}

// DownloadCertificate returns the named version of a certificate, or the latest, with
// its private key. A key that stays in its vault is CodeKeyNotExportable.
//
// The vault has the key in a secret of the certificate's name. To read that is this
// action's alone: it takes no ActionGetSecret.
func (b *Broker) DownloadCertificate(ctx context.Context, c Caller, name Name, o DownloadOptions) (Download, error) {
	if o.Password.Len() > 0 && !o.PFX {
		return Download{}, &Error{Code: CodeBadField, Field: "password", Message: "only a PFX is sealed with a password; choose CERTIFICATE_FORMAT_PFX"}
	}
	if err := checkPassword(o.Password); err != nil {
		return Download{}, err
	}
	return read(ctx, b, c, ActionDownloadCertificate, name, func(ctx context.Context, ev *Event) (Download, error) {
		store, err := b.certificates(name)
		if err != nil {
			return Download{}, err
		}
		got, err := store.GetCertificate(ctx, name)
		if err != nil {
			return Download{}, err
		}
		material, err := b.material(ctx, got, ev)
		if err != nil {
			return Download{}, err
		}
		return o.write(got, material)
	})
}

// material reads what the secret of a version holds.
func (b *Broker) material(ctx context.Context, c Certificate, ev *Event) (CertificateMaterial, error) {
	switch {
	case len(c.DER) == 0:
		return CertificateMaterial{}, &Error{Code: CodeOperationInProgress, Message: "the certificate has no version yet; see how far its operation is"}
	case !c.Enabled:
		return CertificateMaterial{}, &Error{Code: CodeCertificateDisabled}
	case c.Secret.IsZero():
		return CertificateMaterial{}, &Error{Code: CodeKeyNotExportable}
	}
	store, err := b.secrets(c.Name)
	if err != nil {
		return CertificateMaterial{}, err
	}
	// By its version: what a cache has of the latest may be the one before.
	v, err := store.GetSecret(ctx, c.Secret)
	switch {
	case err != nil:
		return CertificateMaterial{}, ofCertificate(err)
	case !v.Managed:
		// Somebody's own secret, which takes another right.
		return CertificateMaterial{}, &Error{Code: CodeCertificateNotFound}
	}
	ev.Cached, ev.Stale = v.Cached, v.Stale
	m, err := ParseCertificateMaterial(cmp.Or(v.ContentType, c.ContentType), v.Value, Value{})
	switch {
	case err != nil:
		return CertificateMaterial{}, &Error{
			Code: CodeNotSupported, Err: fmt.Errorf("the secret of a certificate: %w", err),
			Message: "the broker cannot convert this certificate's key; it does those of RSA, P-256, P-384 and P-521",
		}
	case m.Key.Len() == 0:
		return CertificateMaterial{}, &Error{Code: CodeKeyNotExportable}
	}
	if !c.PreserveOrder {
		m = m.Ordered()
	}
	return m, nil
}

func (o DownloadOptions) write(c Certificate, m CertificateMaterial) (Download, error) {
	c.Policy = nil // that takes getCertificatePolicy
	if !o.PFX {
		return Download{Certificate: c, Chain: m.ChainPEM(), Key: m.KeyPEM()}, nil
	}
	pfx, err := m.PFX(o.Password)
	if err != nil {
		return Download{}, &Error{Code: CodeInternal, Err: err}
	}
	return Download{Certificate: c, PFX: pfx}, nil
}

// ofCertificate says of a certificate what a store said of its secret.
func ofCertificate(err error) error {
	code, ok := map[Code]Code{
		CodeSecretNotFound:     CodeCertificateNotFound,
		CodeSecretDisabled:     CodeCertificateDisabled,
		CodeSecretSoftDeleted:  CodeCertificateSoftDeleted,
		CodeSecretInTransition: CodeCertificateInTransition,
	}[CodeOf(err)]
	if !ok {
		return err
	}
	return &Error{Code: code, RetryAfter: AsError(err).RetryAfter, Err: err}
}
