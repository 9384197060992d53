package keyvault

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	deletedCertificatesPath = "/deletedcertificates"
	purgeCertificate        = "PurgeCertificate"
	restoreCertificate      = "RestoreCertificate"
)

// DeleteCertificate implements broker.CertificateStore. After VAULT_UNAVAILABLE it
// may have happened.
func (c *Client) DeleteCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	asked := time.Now()
	d, err := c.deletedCertificate(ctx, name, call{
		operation: "DeleteCertificate", method: http.MethodDelete, path: certificatePath(name), repeat: ifThrottled,
	})
	if err == nil {
		c.moves.made(name, deleted)
	}
	return d, c.moves.judge(name, live, asked, err)
}

// GetDeletedCertificate implements broker.CertificateStore.
func (c *Client) GetDeletedCertificate(ctx context.Context, name broker.Name) (broker.DeletedCertificate, error) {
	asked := time.Now()
	d, err := c.deletedCertificate(ctx, name, call{
		operation: "GetDeletedCertificate", method: http.MethodGet, path: deletedCertificatePath(name), repeat: ifFailed,
	})
	return d, c.moves.judge(name, deleted, asked, err)
}

func (c *Client) deletedCertificate(ctx context.Context, name broker.Name, k call) (broker.DeletedCertificate, error) {
	k.limit = maxReplyLen
	return invokeCertificates(ctx, c, k, func(w DeletedCertificateBundle) (broker.DeletedCertificate, error) {
		return c.deletedCertificateOf(name, w)
	})
}

// ListDeletedCertificates implements broker.CertificateStore, as
// ListDeletedSecrets does.
func (c *Client) ListDeletedCertificates(ctx context.Context, vault broker.Name, p broker.Page) (broker.DeletedCertificatePage, error) {
	k := call{operation: "ListDeletedCertificates", method: http.MethodGet, path: deletedCertificatesPath, repeat: ifFailed}
	items, next, err := listCertificates(ctx, c, k, p, func(w DeletedCertificateItem) (broker.DeletedCertificate, error) {
		n, err := c.nameOf(vault, broker.KindCertificates, w.ID)
		return w.asCertificate(w.CertificateItem.As(n)), cmp.Or(err, wholeThumbprint(w.Thumbprint))
	})
	return broker.DeletedCertificatePage{Certificates: items, Next: next}, badTokenOf(p, err)
}

// RecoverCertificate implements broker.CertificateStore. After VAULT_UNAVAILABLE it
// may have happened.
func (c *Client) RecoverCertificate(ctx context.Context, name broker.Name) (broker.Certificate, error) {
	asked := time.Now()
	k := call{
		operation: "RecoverCertificate", method: http.MethodPost, path: deletedCertificatePath(name) + "/recover",
		repeat: ifThrottled, limit: maxReplyLen,
	}
	got, err := invokeCertificates(ctx, c, k, func(w CertificateBundle) (broker.Certificate, error) { return c.certificateOf(name.Base(), w) })
	if err == nil {
		c.moves.made(name, live)
	}
	return got, c.moves.judge(name, deleted, asked, err)
}

// PurgeCertificate implements broker.CertificateStore. After VAULT_UNAVAILABLE it
// may have happened.
func (c *Client) PurgeCertificate(ctx context.Context, name broker.Name) error {
	if c.managedHSM {
		return errNoCertificates()
	}
	asked := time.Now()
	err := c.perform(ctx, call{
		operation: purgeCertificate, method: http.MethodDelete, path: deletedCertificatePath(name),
		certificates: true, repeat: ifThrottled, done: http.StatusNoContent, limit: maxReplyLen,
	}, func([]byte) error { return nil })
	return c.moves.judge(name, deleted, asked, err)
}

// BackupCertificate implements broker.CertificateStore, as BackupSecret does.
func (c *Client) BackupCertificate(ctx context.Context, name broker.Name) (broker.Value, error) {
	if c.managedHSM {
		return broker.Value{}, errNoCertificates()
	}
	return c.backup(ctx, name, call{
		operation: "BackupCertificate", path: certificatePath(name), certificates: true, timeout: makingTimeout,
	})
}

// RestoreCertificate implements broker.CertificateStore. It is never tried twice:
// after VAULT_UNAVAILABLE it may have happened.
func (c *Client) RestoreCertificate(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Certificate, error) {
	k, err := call{
		operation: restoreCertificate, method: http.MethodPost, path: certificatesPath + "/restore",
		repeat: never, timeout: makingTimeout, limit: maxReplyLen,
	}.with(Backup{Value: &Blob{blob}})
	if err != nil {
		return broker.Certificate{}, err
	}
	got, err := invokeCertificates(ctx, c, k, func(w CertificateBundle) (broker.Certificate, error) {
		// The blob hides the name: it is known from here on.
		n, err := c.nameOf(vault, broker.KindCertificates, w.ID)
		if err != nil {
			return broker.Certificate{}, err
		}
		return c.certificateOf(n.Base(), w)
	})
	if err == nil {
		c.moves.forget(got.Name)
	}
	return got, err
}

func deletedCertificatePath(n broker.Name) string {
	return deletedCertificatesPath + "/" + n.ObjectName()
}
