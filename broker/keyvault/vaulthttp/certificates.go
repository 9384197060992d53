package vaulthttp

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// maxCertificateBodyLen has room for the longest certificate that can be imported,
// even if each of its characters is escaped.
const maxCertificateBodyLen = 6*broker.MaxCertificateMaterial + 64<<10

// certificateBody reads a request's body. The decoder's errors may quote it.
func certificateBody(r request, w any) error {
	body, err := readBody(r.Request, maxCertificateBodyLen)
	if err != nil {
		return err
	}
	defer clear(body)
	if !utf8.Valid(body) || json.Unmarshal(body, w) != nil {
		return badParameter("The request body is not the JSON that the operation takes.")
	}
	return nil
}

func (h *handler) importCertificate(ctx context.Context, r request) (any, error) {
	var w keyvault.ImportCertificateRequest
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	if w.Value == nil || w.Value.Len() == 0 {
		return nil, badParameter(`The parameter "value" is required.`)
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	i := w.CertificateImport()
	i.Policy, i.PreserveOrder = r.policyOf(i.Policy), r.preserveOrder(i.PreserveOrder)
	c, err := h.Certificates.ImportCertificate(ctx, r.route.name, i)
	return h.certificateOr(ctx, r, c, r.refuseNameInUse(err))
}

// refuseNameInUse returns a store's error about a new certificate, whose name only
// a key or a secret can have taken.
func (r request) refuseNameInUse(err error) error {
	if broker.CodeOf(err) != broker.CodeCertificateExists {
		return err
	}
	return &refusal{
		status: http.StatusConflict, code: keyvault.ErrorConflict, inner: keyvault.InnerNameInUse,
		message: "A key or a secret has the name " + r.route.name.ObjectName() + " that is not of a certificate.",
	}
}

func (h *handler) getCertificate(ctx context.Context, r request) (any, error) {
	c, err := h.Certificates.GetCertificate(ctx, r.route.name)
	return h.certificateOr(ctx, r, c, err)
}

// updateCertificate changes the policy first: it is what can be refused.
func (h *handler) updateCertificate(ctx context.Context, r request) (any, error) {
	var w keyvault.UpdateCertificateRequest
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	if w.Tags != nil {
		if err := checkProperties("", *w.Tags); err != nil {
			return nil, err
		}
	}
	if w.Policy != nil {
		if _, err := h.Certificates.UpdateCertificatePolicy(ctx, r.route.name.Base(), *r.policyOf(new(w.Policy.As()))); err != nil {
			return nil, err
		}
	}
	c, err := h.Certificates.UpdateCertificate(ctx, r.route.name, w.CertificateUpdate())
	return h.certificateOr(ctx, r, c, err)
}

func (h *handler) getCertificatePolicy(ctx context.Context, r request) (any, error) {
	p, err := h.Certificates.GetCertificatePolicy(ctx, r.route.name)
	return r.policyOr(p, err)
}

func (h *handler) updateCertificatePolicy(ctx context.Context, r request) (any, error) {
	var w keyvault.CertificatePolicy
	if err := certificateBody(r, &w); err != nil {
		return nil, err
	}
	p, err := h.Certificates.UpdateCertificatePolicy(ctx, r.route.name, *r.policyOf(new(w.As())))
	return r.policyOr(p, err)
}

// A PendingLister is a broker.CertificateStore that lists as well what is being
// made for the first time. Without it, includePending has no effect.
type PendingLister interface {
	// ListCertificatesAndPending is as ListCertificates.
	ListCertificatesAndPending(ctx context.Context, vault broker.Name, p broker.Page) (broker.CertificatePage, error)
}

// andPending marks the token of a page of a list with what is being made: Key
// Vault's links to the next page say it in no other way. No name begins like this.
const andPending = "&"

func (h *handler) listCertificates(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	token, marked := strings.CutPrefix(token, andPending)
	asked := marked || strings.EqualFold(r.query.Get("includePending"), "true")
	all, mark := h.Certificates.ListCertificates, ""
	if asked && h.pending != nil {
		all, mark = h.pending.ListCertificatesAndPending, andPending
	}
	page, err := all(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	if page.Next != "" {
		page.Next = mark + page.Next
	}
	return list(r, "/certificates", page.Certificates, r.certificateItem, page.Next, size), nil
}

func (h *handler) listCertificateVersions(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	all, err := h.Certificates.ListCertificateVersions(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	all, next := pageOfVersions(all, func(c broker.Certificate) string { return c.Name.Version() }, token, size)
	return list(r, "/certificates/"+r.route.name.ObjectName()+"/versions", all, r.certificateItem, next, size), nil
}

// certificateOr returns c as it is written to the client, if there is no error.
func (h *handler) certificateOr(ctx context.Context, r request, c broker.Certificate, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return h.certificate(ctx, r, c), nil
}

// An OperationTeller is a broker.CertificateStore that tells whether a
// certificate, soft-deleted or not, has an operation. Key Vault's replies about
// one certificate lead to it; without an OperationTeller, only those about one
// that is not deleted do.
type OperationTeller interface {
	// HasOperation fails as GetCertificate does. It may be called concurrently.
	HasOperation(ctx context.Context, name broker.Name) (bool, error)
}

// certificate returns c as the reply about one certificate has it.
func (h *handler) certificate(ctx context.Context, r request, c broker.Certificate) keyvault.CertificateBundle {
	var kid, sid string
	if !c.Key.IsZero() {
		kid = r.id(c.Key)
	}
	if !c.Secret.IsZero() {
		sid = r.id(c.Secret)
	}
	w := keyvault.FromCertificate(r.id(c.Name), kid, sid, c)
	if w.Policy != nil {
		w.Policy = new(r.policy(c.Name.Base(), *c.Policy))
	}
	var has bool
	if h.operations != nil {
		// What was purged meanwhile has none.
		has, _ = h.operations.HasOperation(ctx, c.Name.Base())
	} else {
		_, err := h.Certificates.GetCertificateOperation(ctx, c.Name.Base())
		has = err == nil
	}
	if has {
		w.Pending = &keyvault.Reference{ID: r.id(c.Name.Base()) + "/pending"}
	}
	if r.olderThan(orderVersion) {
		w.PreserveOrder = nil
	}
	r.trimCertificate(&w.Attributes)
	return w
}

// certificateItem returns c as a list has it: without a recovery level.
func (r request) certificateItem(c broker.Certificate) keyvault.CertificateItem {
	c.RecoveryLevel, c.RecoverableDays = "", 0
	return keyvault.FromCertificateItem(r.id(c.Name), c)
}

func (r request) policyOr(p broker.CertificatePolicy, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return r.policy(r.route.name.Base(), p), nil
}

// policy returns the policy of n as it is written to the client. Key Vault writes the lists of
// what a certificate is for even if they are empty.
func (r request) policy(n broker.Name, p broker.CertificatePolicy) keyvault.CertificatePolicy {
	w := keyvault.FromCertificatePolicy(r.id(n)+"/policy", *r.policyOf(&p))
	if w.X509 == nil {
		w.X509 = &keyvault.X509Properties{}
	}
	if w.X509.EKUs == nil {
		w.X509.EKUs = []string{}
	}
	if w.X509.KeyUsages == nil {
		w.X509.KeyUsages = []string{}
	}
	return w
}

// id returns the id of what has a name, or of a version of it.
func (r request) id(n broker.Name) string {
	id := r.origin() + "/" + string(n.Kind()) + "/" + n.ObjectName()
	if v := n.Version(); v != "" {
		id += "/" + v
	}
	return id
}

// made is the reply to what made something: where it is, beside what it is.
func (r request) made(status int, at string, body any) reply {
	header := http.Header{}
	header.Set("Location", at)
	return reply{status: status, header: header, body: body}
}
