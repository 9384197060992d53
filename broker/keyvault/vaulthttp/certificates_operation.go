package vaulthttp

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// pollAfter is when Key Vault asks its clients to look again, in seconds.
const pollAfter = "10"

func (h *handler) createCertificate(ctx context.Context, r request) (any, error) {
	var w keyvault.CreateCertificateRequest
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	n := w.NewCertificate()
	n.Policy, n.PreserveOrder = r.policyOf(n.Policy), r.preserveOrder(n.PreserveOrder)
	o, err := h.Certificates.CreateCertificate(ctx, r.route.name, n)
	if err != nil {
		return nil, r.refuseNameInUse(err)
	}
	at := r.id(o.Name) + "/pending?api-version=" + url.QueryEscape(r.apiVersion) + "&request_id=" + url.QueryEscape(o.RequestID)
	created := r.made(http.StatusAccepted, at, r.operation(o))
	created.header.Set("Retry-After", pollAfter)
	return created, nil
}

func (h *handler) getOperation(ctx context.Context, r request) (any, error) {
	o, err := h.Certificates.GetCertificateOperation(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	if !o.Done() {
		header.Set("Retry-After", pollAfter)
	}
	return reply{status: http.StatusOK, header: header, body: r.operation(o)}, nil
}

// cancelOperation refuses what is done already, as Key Vault does: a store
// returns it as it is.
func (h *handler) cancelOperation(ctx context.Context, r request) (any, error) {
	var w keyvault.UpdateOperationRequest
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	o, err := h.Certificates.GetCertificateOperation(ctx, r.route.name)
	switch {
	case err != nil:
		return nil, err
	case o.Done():
		return nil, &refusal{
			status: http.StatusForbidden, code: keyvault.ErrorForbidden,
			message: "Pending status must be in progress to allow update.",
		}
	case w.CancellationRequested:
		if o, err = h.Certificates.CancelCertificateOperation(ctx, r.route.name); err != nil {
			return nil, err
		}
	}
	return r.operation(o), nil
}

func (h *handler) deleteOperation(ctx context.Context, r request) (any, error) {
	o, err := h.Certificates.DeleteCertificateOperation(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return r.operation(o), nil
}

func (h *handler) mergeCertificate(ctx context.Context, r request) (any, error) {
	var w keyvault.MergeCertificateRequest
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	if len(w.Chain) == 0 {
		return nil, badParameter(`The parameter "x5c" is required.`)
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	c, err := h.Certificates.MergeCertificate(ctx, r.route.name, w.CertificateMerge())
	if err != nil {
		return nil, err
	}
	at := r.id(c.Name.Base()) + "?api-version=" + url.QueryEscape(r.apiVersion)
	return r.made(http.StatusCreated, at, h.certificate(ctx, r, c)), nil
}

// operation returns o as it is written to the client.
func (r request) operation(o broker.CertificateOperation) keyvault.CertificateOperation {
	target := ""
	if !o.Target.IsZero() {
		target = r.id(o.Target)
	}
	w := keyvault.FromCertificateOperation(r.id(o.Name)+"/pending", target, o)
	if r.olderThan(orderVersion) {
		w.PreserveOrder = nil
	}
	return w
}
