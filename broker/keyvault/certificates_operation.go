package keyvault

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	createCertificate = "CreateCertificate"
	cancelOperation   = "CancelCertificateOperation"
	deleteOperation   = "DeleteCertificateOperation"
	mergeCertificate  = "MergeCertificate"
)

// CreateCertificate implements broker.CertificateStore. It is never tried twice:
// after VAULT_UNAVAILABLE the operation may have begun, and
// GetCertificateOperation tells.
func (c *Client) CreateCertificate(ctx context.Context, name broker.Name, n broker.NewCertificate) (broker.CertificateOperation, error) {
	k, err := call{
		operation: createCertificate, method: http.MethodPost, path: certificatePath(name) + "/create",
		repeat: never, timeout: makingTimeout, done: http.StatusAccepted,
	}.with(FromNewCertificate(n))
	if err != nil {
		return broker.CertificateOperation{}, err
	}
	o, err := c.operation(ctx, name, k)
	if err == nil {
		c.moves.forget(name)
	}
	return o, err
}

// GetCertificateOperation implements broker.CertificateStore.
func (c *Client) GetCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	asked := time.Now()
	o, err := c.operation(ctx, name, call{
		operation: "GetCertificateOperation", method: http.MethodGet, path: operationPath(name), repeat: ifFailed,
	})
	return o, c.moves.judge(name, live, asked, err)
}

// CancelCertificateOperation implements broker.CertificateStore. Key Vault refuses
// it of one that is done, which is returned as it is.
func (c *Client) CancelCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	asked := time.Now()
	k, err := call{operation: cancelOperation, method: http.MethodPatch, path: operationPath(name), repeat: ifThrottled}.
		with(UpdateOperationRequest{CancellationRequested: true})
	if err != nil {
		return broker.CertificateOperation{}, err
	}
	o, err := c.operation(ctx, name, k)
	if r, refused := errors.AsType[*RefusedError](err); refused && r.Status == http.StatusForbidden && r.Code == ErrorForbidden && r.Inner == "" {
		if is, failed := c.GetCertificateOperation(ctx, name); failed == nil && is.Done() {
			return is, nil
		}
	}
	return o, c.moves.judge(name, live, asked, err)
}

// DeleteCertificateOperation implements broker.CertificateStore. After
// VAULT_UNAVAILABLE it may have happened.
func (c *Client) DeleteCertificateOperation(ctx context.Context, name broker.Name) (broker.CertificateOperation, error) {
	asked := time.Now()
	o, err := c.operation(ctx, name, call{
		operation: deleteOperation, method: http.MethodDelete, path: operationPath(name), repeat: ifThrottled,
	})
	return o, c.moves.judge(name, live, asked, err)
}

// MergeCertificate implements broker.CertificateStore. It is never tried twice:
// after VAULT_UNAVAILABLE it may have happened.
func (c *Client) MergeCertificate(ctx context.Context, name broker.Name, m broker.CertificateMerge) (broker.Certificate, error) {
	asked := time.Now()
	k, err := call{
		operation: mergeCertificate, method: http.MethodPost, path: operationPath(name) + "/merge",
		repeat: never, timeout: makingTimeout, done: http.StatusCreated,
	}.with(FromCertificateMerge(m))
	if err != nil {
		return broker.Certificate{}, err
	}
	made, err := c.madeCertificate(ctx, name, k, func(der []byte) bool {
		return slices.ContainsFunc(m.Chain, func(given []byte) bool { return bytes.Equal(given, der) })
	})
	return made, c.moves.judge(name, live, asked, err)
}

// operation performs a call that is answered with the operation of name.
func (c *Client) operation(ctx context.Context, name broker.Name, k call) (broker.CertificateOperation, error) {
	k.limit = maxReplyLen
	return invokeCertificates(ctx, c, k, func(w CertificateOperation) (broker.CertificateOperation, error) {
		return c.operationReply(name, w)
	})
}

func operationPath(n broker.Name) string { return certificatePath(n) + "/pending" }
