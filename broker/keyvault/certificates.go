package keyvault

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

const certificatesPath = "/certificates"

const (
	importCertificate       = "ImportCertificate"
	updateCertificatePolicy = "UpdateCertificatePolicy"
)

// ImportCertificate implements broker.CertificateStore. It is never tried twice:
// after VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) ImportCertificate(ctx context.Context, name broker.Name, i broker.CertificateImport) (broker.Certificate, error) {
	w, err := FromCertificateImport(i)
	if err != nil {
		return broker.Certificate{}, &broker.Error{Code: broker.CodeBadField, Field: "value", Message: certificateImportRefused, Err: err}
	}
	k, err := call{
		operation: importCertificate, method: http.MethodPost, path: certificatePath(name) + "/import",
		repeat: never, timeout: makingTimeout,
	}.with(w)
	if err != nil {
		return broker.Certificate{}, err
	}
	// It holds the private key.
	defer clear(k.body)
	made, err := c.madeCertificate(ctx, name, k, func(der []byte) bool { return len(der) > 0 })
	if err == nil {
		c.moves.forget(name)
	}
	return made, err
}

// GetCertificate implements broker.CertificateStore. A certificate whose first
// version is being made has a policy, and no DER.
func (c *Client) GetCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	asked := time.Now()
	got, err := c.certificate(ctx, name, call{
		operation: "GetCertificate", method: http.MethodGet, path: certificateVersionPath(name), repeat: ifFailed,
	})
	return got, c.moves.judge(name, live, asked, err)
}

// UpdateCertificate implements broker.CertificateStore.
func (c *Client) UpdateCertificate(ctx context.Context, name broker.Name, u broker.CertificateUpdate) (broker.Certificate, error) {
	asked := time.Now()
	k, err := call{
		operation: "UpdateCertificate", method: http.MethodPatch, path: certificateVersionPath(name), repeat: ifFailed,
	}.with(FromCertificateUpdate(u))
	if err != nil {
		return broker.Certificate{}, err
	}
	updated, err := c.certificate(ctx, name, k)
	return updated, c.moves.judge(name, live, asked, err)
}

// certificate performs a call that is answered with a version of a certificate.
func (c *Client) certificate(ctx context.Context, name broker.Name, k call) (broker.Certificate, error) {
	k.limit = maxReplyLen
	return invokeCertificates(ctx, c, k, func(w CertificateBundle) (broker.Certificate, error) { return c.certificateOf(name, w) })
}

// madeCertificate performs a call that makes a version of what the caller has. fit
// says whether that is what was made.
func (c *Client) madeCertificate(ctx context.Context, name broker.Name, k call, fit func(der []byte) bool) (broker.Certificate, error) {
	k.limit = maxReplyLen
	return invokeCertificates(ctx, c, k, func(w CertificateBundle) (broker.Certificate, error) {
		if !fit(w.DER) {
			return broker.Certificate{}, errors.New("another certificate than was given, or none")
		}
		return c.certificateOf(name.Base(), w)
	})
}

// GetCertificatePolicy implements broker.CertificateStore.
func (c *Client) GetCertificatePolicy(ctx context.Context, name broker.Name) (broker.CertificatePolicy, error) {
	return c.certificatePolicy(ctx, name, call{operation: "GetCertificatePolicy", method: http.MethodGet})
}

// UpdateCertificatePolicy implements broker.CertificateStore. The same policy twice
// is the policy.
func (c *Client) UpdateCertificatePolicy(ctx context.Context, name broker.Name, p broker.CertificatePolicy) (broker.CertificatePolicy, error) {
	k, err := call{operation: updateCertificatePolicy, method: http.MethodPatch}.with(fromPolicy(&p))
	if err != nil {
		return broker.CertificatePolicy{}, err
	}
	return c.certificatePolicy(ctx, name, k)
}

func (c *Client) certificatePolicy(ctx context.Context, name broker.Name, k call) (broker.CertificatePolicy, error) {
	asked := time.Now()
	k.path, k.repeat, k.limit = certificatePath(name)+"/policy", ifFailed, maxReplyLen
	p, err := invokeCertificates(ctx, c, k, func(w CertificatePolicy) (broker.CertificatePolicy, error) {
		return w.As(), c.wholePolicyOf(name, w)
	})
	return p, c.moves.judge(name, live, asked, err)
}

// ListCertificates implements broker.CertificateStore, as ListSecrets does. What
// is being made for the first time is not in it.
func (c *Client) ListCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error) {
	k := call{operation: "ListCertificates", method: http.MethodGet, path: certificatesPath, repeat: ifFailed}
	items, next, err := listCertificates(ctx, c, k, p, func(w CertificateItem) (broker.Certificate, error) {
		n, err := c.nameOf(vault, broker.KindCertificates, w.ID)
		return w.As(n.Base()), cmp.Or(err, wholeThumbprint(w.Thumbprint))
	})
	return broker.CertificatePage{Certificates: items, Next: next}, badTokenOf(p, err)
}

// ListCertificateVersions implements broker.CertificateStore, as
// ListSecretVersions does.
func (c *Client) ListCertificateVersions(ctx context.Context, name broker.Name) ([]broker.Certificate, error) {
	asked := time.Now()
	all, err := c.listCertificateVersions(ctx, name.Base())
	return all, c.moves.judge(name, live, asked, err)
}

func (c *Client) listCertificateVersions(ctx context.Context, name broker.Name) ([]broker.Certificate, error) {
	if c.managedHSM {
		return nil, errNoCertificates()
	}
	k := call{
		operation: "ListCertificateVersions", method: http.MethodGet, path: certificatePath(name) + "/versions",
		certificates: true, repeat: ifFailed,
	}
	all, err := listAll(ctx, c, k, func(w CertificateItem) (broker.Certificate, error) {
		n, err := c.versionOfKind(name, w.ID)
		return w.As(n), cmp.Or(err, wholeThumbprint(w.Thumbprint))
	})
	if err != nil {
		return nil, err
	}
	// One that is being made has no thumbprint.
	all = slices.DeleteFunc(all, func(one broker.Certificate) bool { return one.Thumbprint == nil })
	if len(all) == 0 {
		// A certificate has a version.
		return nil, &broker.Error{Code: broker.CodeCertificateNotFound}
	}
	slices.SortFunc(all, func(a, b broker.Certificate) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name.Version(), a.Name.Version()))
	})
	return all, nil
}

// errNoCertificates is what a Managed HSM is not asked for.
func errNoCertificates() error {
	return &broker.Error{Code: broker.CodeNotSupported, Message: "a Managed HSM has keys only, and no certificates"}
}

// invokeCertificates is invoke for a call about certificates.
func invokeCertificates[W, T any](ctx context.Context, c *Client, k call, convert func(W) (T, error)) (T, error) {
	if c.managedHSM {
		var none T
		return none, errNoCertificates()
	}
	k.certificates = true
	return invoke(ctx, c, k, convert)
}

// listCertificates is list for a call about certificates.
func listCertificates[W, T any](ctx context.Context, c *Client, k call, p broker.Page, convert func(W) (T, error)) ([]T, string, error) {
	if c.managedHSM {
		return nil, "", errNoCertificates()
	}
	k.certificates = true
	return list(ctx, c, k, p, convert)
}

func certificatePath(n broker.Name) string { return certificatesPath + "/" + n.ObjectName() }

func certificateVersionPath(n broker.Name) string {
	if n.Version() == "" {
		return certificatePath(n)
	}
	return certificatePath(n) + "/" + n.Version()
}
