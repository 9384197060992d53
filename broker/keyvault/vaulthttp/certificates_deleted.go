package vaulthttp

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) deleteCertificate(ctx context.Context, r request) (any, error) {
	c, err := h.Certificates.DeleteCertificate(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return h.deletedCertificate(ctx, r, c), nil
}

func (h *handler) getDeletedCertificate(ctx context.Context, r request) (any, error) {
	c, err := h.Certificates.GetDeletedCertificate(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeletedCertificate(err)
	}
	return h.deletedCertificate(ctx, r, c), nil
}

func (h *handler) listDeletedCertificates(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Certificates.ListDeletedCertificates(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	item := func(c broker.DeletedCertificate) keyvault.DeletedCertificateItem {
		w := keyvault.DeletedCertificateItem{
			Deletion: r.deletedAt(c), CertificateItem: keyvault.FromCertificateItem(r.id(c.Name), c.Certificate),
		}
		w.Subject = nil
		r.trimCertificate(&w.Attributes)
		return w
	}
	return list(r, "/deletedcertificates", page.Certificates, item, page.Next, size), nil
}

// recoverCertificate reads no body: clients send an empty one, or none.
func (h *handler) recoverCertificate(ctx context.Context, r request) (any, error) {
	c, err := h.Certificates.RecoverCertificate(ctx, r.route.name)
	return h.certificateOr(ctx, r, c, r.refuseDeletedCertificate(err))
}

func (h *handler) purgeCertificate(ctx context.Context, r request) (any, error) {
	err := h.Certificates.PurgeCertificate(ctx, r.route.name)
	if broker.CodeOf(err) == broker.CodeNotSupported {
		return nil, h.purgeProtected()
	}
	return nil, r.refuseDeletedCertificate(err)
}

// backupCertificate reads no body: clients send an empty one, or none.
func (h *handler) backupCertificate(ctx context.Context, r request) (any, error) {
	blob, err := h.Certificates.BackupCertificate(ctx, r.route.name)
	return backupOr(blob, err)
}

func (h *handler) restoreCertificate(ctx context.Context, r request) (any, error) {
	body, err := readBody(r.Request, maxBackupBodyLen)
	if err != nil {
		return nil, err
	}
	var w keyvault.Backup
	if json.Unmarshal(body, &w) != nil || w.Value == nil || w.Value.Len() == 0 {
		return nil, errMalformedBackup
	}
	c, err := h.Certificates.RestoreCertificate(ctx, h.Vault, w.Value.Value)
	if broker.CodeOf(err) == broker.CodeBadField {
		return nil, errMalformedBackup
	}
	return h.certificateOr(ctx, r, c, err)
}

// refuseDeletedCertificate returns a store's error about a soft-deleted
// certificate. Key Vault has words of its own for one that is not there.
func (r request) refuseDeletedCertificate(err error) error {
	if broker.CodeOf(err) == broker.CodeCertificateNotFound {
		return &refusal{
			status: http.StatusNotFound, code: keyvault.ErrorCertificateNotFound,
			message: "Deleted Certificate not found: " + r.route.name.ObjectName(),
		}
	}
	return err
}

// deletedCertificate returns c as the reply about one certificate has it: its id
// has a version.
func (h *handler) deletedCertificate(ctx context.Context, r request, c broker.DeletedCertificate) keyvault.DeletedCertificateBundle {
	w := keyvault.DeletedCertificateBundle{Deletion: r.deletedAt(c), CertificateBundle: h.certificate(ctx, r, c.Certificate)}
	if h.certVersions != nil {
		// A certificate that was purged or recovered meanwhile has its old id.
		if v, err := h.certVersions.DeletedVersion(ctx, c.Name); err == nil {
			w.ID += "/" + v
		}
	}
	return w
}

func (r request) deletedAt(c broker.DeletedCertificate) keyvault.Deletion {
	return keyvault.Deletion{
		RecoveryID:         r.origin() + "/deletedcertificates/" + c.Name.ObjectName(),
		DeletedDate:        keyvault.NewUnixTime(c.Deleted),
		ScheduledPurgeDate: keyvault.NewUnixTime(c.Purges),
	}
}
