package keyvault

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/keyward/keyward/broker"
)

// CertificateBundle is a certificate as Key Vault writes it. A version that is
// being made has neither Thumbprint nor DER, and no pair.
type CertificateBundle struct {
	ID         string             `json:"id"`
	KeyID      string             `json:"kid,omitempty"`
	SecretID   string             `json:"sid,omitempty"`
	Thumbprint Base64URL          `json:"x5t,omitempty"`
	DER        Base64             `json:"cer,omitempty"`
	Attributes Attributes         `json:"attributes,omitzero"`
	Tags       map[string]string  `json:"tags,omitempty"`
	Policy     *CertificatePolicy `json:"policy,omitempty"`
	// ContentType is the secret's. Key Vault says it in the policy.
	ContentType   string     `json:"contentType,omitempty"`
	PreserveOrder *bool      `json:"preserveCertOrder,omitempty"`
	Pending       *Reference `json:"pending,omitempty"`
}

// Reference leads to something else.
type Reference struct {
	ID string `json:"id"`
}

// CertificateItem is a certificate in a list. Key Vault writes a subject, if an
// empty one, of those that are not deleted.
type CertificateItem struct {
	ID         string            `json:"id"`
	Thumbprint Base64URL         `json:"x5t,omitempty"`
	Attributes Attributes        `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
	Subject    *string           `json:"subject,omitempty"`
}

// DeletedCertificateBundle is a soft-deleted certificate.
type DeletedCertificateBundle struct {
	Deletion
	CertificateBundle
}

// DeletedCertificateItem is a soft-deleted certificate in a list.
type DeletedCertificateItem struct {
	Deletion
	CertificateItem
}

// CertificateOperation is the making of a certificate.
type CertificateOperation struct {
	ID                    string            `json:"id"`
	Issuer                *IssuerParameters `json:"issuer,omitempty"`
	CSR                   Base64            `json:"csr,omitempty"`
	CancellationRequested bool              `json:"cancellation_requested"`
	Status                string            `json:"status"`
	StatusDetails         string            `json:"status_details,omitempty"`
	Error                 *ErrorBody        `json:"error,omitempty"`
	Target                string            `json:"target,omitempty"`
	RequestID             string            `json:"request_id,omitempty"`
	PreserveOrder         *bool             `json:"preserveCertOrder,omitempty"`
}

// CreateCertificateRequest is the body of a create.
type CreateCertificateRequest struct {
	Policy        *CertificatePolicy `json:"policy,omitempty"`
	Attributes    Attributes         `json:"attributes,omitzero"`
	Tags          map[string]string  `json:"tags,omitempty"`
	PreserveOrder *bool              `json:"preserveCertOrder,omitempty"`
}

// ImportCertificateRequest is the body of an import. Value is a PFX in base64, or
// PEM.
type ImportCertificateRequest struct {
	Value         *Cleartext         `json:"value,omitempty"`
	Password      *Cleartext         `json:"pwd,omitempty"`
	Policy        *CertificatePolicy `json:"policy,omitempty"`
	Attributes    Attributes         `json:"attributes,omitzero"`
	Tags          map[string]string  `json:"tags,omitempty"`
	PreserveOrder *bool              `json:"preserveCertOrder,omitempty"`
}

// MergeCertificateRequest is the body of a merge.
type MergeCertificateRequest struct {
	Chain      []Base64          `json:"x5c"`
	Attributes Attributes        `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// UpdateCertificateRequest is the body of an update. What is nil stays as it is;
// of the attributes only whether it is enabled can be changed, and Key Vault
// ignores the others.
type UpdateCertificateRequest struct {
	Policy     *CertificatePolicy `json:"policy,omitempty"`
	Attributes Attributes         `json:"attributes,omitzero"`
	Tags       *map[string]string `json:"tags,omitempty"`
}

// UpdateOperationRequest is the body of a cancellation.
type UpdateOperationRequest struct {
	CancellationRequested bool `json:"cancellation_requested"`
}

// Contacts are whom a vault writes to.
type Contacts struct {
	ID       string    `json:"id,omitempty"`
	Contacts []Contact `json:"contacts"`
}

// Contact is one of them.
type Contact struct {
	Email string `json:"email,omitempty"`
	Name  string `json:"name,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// Issuer is a certificate authority that a vault can ask. What it has of
// credentials is not read.
type Issuer struct {
	ID           string        `json:"id"`
	Provider     string        `json:"provider,omitempty"`
	Organization *Organization `json:"org_details,omitempty"`
	Attributes   Attributes    `json:"attributes,omitzero"`
}

// Organization is whom an issuer knows the vault's owner as.
type Organization struct {
	ID string `json:"id,omitempty"`
}

// Base64 is bytes that JSON carries in base64 with padding.
type Base64 []byte

// MarshalJSON implements json.Marshaler.
func (b Base64) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler. Its errors do not quote the input.
func (b *Base64) UnmarshalJSON(text []byte) error {
	var encoded *string
	if json.Unmarshal(text, &encoded) != nil {
		return errNoBase64
	}
	*b = nil
	if encoded == nil {
		return nil
	}
	decoded, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		return errNoBase64
	}
	*b = decoded
	return nil
}

var errNoBase64 = errors.New("not a JSON string of base64")

// FromCertificateItem returns c as a list of Key Vault's has it.
func FromCertificateItem(id string, c broker.Certificate) CertificateItem {
	return CertificateItem{
		ID: id, Thumbprint: c.Thumbprint, Tags: c.Tags, Subject: &c.Subject,
		Attributes: Attributes{
			Enabled:         &c.Enabled,
			NotBefore:       NewUnixTime(c.NotBefore),
			Expires:         NewUnixTime(c.Expires),
			Created:         NewUnixTime(c.Created),
			Updated:         NewUnixTime(c.Updated),
			RecoveryLevel:   c.RecoveryLevel,
			RecoverableDays: c.RecoverableDays,
		},
	}
}

// As returns c as the broker knows it, under the given name.
func (c CertificateItem) As(name broker.Name) broker.Certificate {
	a := c.Attributes
	b := broker.Certificate{
		Name:            name,
		Thumbprint:      c.Thumbprint,
		Tags:            c.Tags,
		Enabled:         a.Enabled == nil || *a.Enabled,
		NotBefore:       a.NotBefore.Time(),
		Expires:         a.Expires.Time(),
		Created:         a.Created.Time(),
		Updated:         a.Updated.Time(),
		RecoveryLevel:   a.RecoveryLevel,
		RecoverableDays: a.RecoverableDays,
	}
	if c.Subject != nil {
		b.Subject = *c.Subject
	}
	return b
}

// FromCertificate returns c as Key Vault writes it under the given ids.
func FromCertificate(id, kid, sid string, c broker.Certificate) CertificateBundle {
	item := FromCertificateItem(id, c)
	w := CertificateBundle{
		ID: id, KeyID: kid, SecretID: sid, Thumbprint: c.Thumbprint, DER: c.DER, Attributes: item.Attributes, Tags: c.Tags,
		PreserveOrder: &c.PreserveOrder,
	}
	if c.Policy != nil {
		w.Policy = new(FromCertificatePolicy(strings.TrimSuffix(id, "/"+c.Name.Version())+"/policy", *c.Policy))
	}
	return w
}

// As returns c as the broker knows it, under the given names: of the certificate,
// its key and its secret.
func (c CertificateBundle) As(name, key, secret broker.Name) broker.Certificate {
	b := CertificateItem{Thumbprint: c.Thumbprint, Attributes: c.Attributes, Tags: c.Tags}.As(name)
	b.DER, b.Key, b.Secret, b.ContentType = c.DER, key, secret, c.ContentType
	b.PreserveOrder = c.PreserveOrder != nil && *c.PreserveOrder
	if c.Policy != nil {
		b.Policy = new(c.Policy.As())
		if b.ContentType == "" {
			b.ContentType = b.Policy.ContentType
		}
	}
	return b
}

// asCertificate returns c as a soft-deleted certificate.
func (d Deletion) asCertificate(c broker.Certificate) broker.DeletedCertificate {
	c.Name = c.Name.Base()
	return broker.DeletedCertificate{Certificate: c, Deleted: d.DeletedDate.Time(), Purges: d.ScheduledPurgeDate.Time()}
}

// FromCertificateOperation returns o as Key Vault writes it under the given id.
// target is the id of what it made.
func FromCertificateOperation(id, target string, o broker.CertificateOperation) CertificateOperation {
	w := CertificateOperation{
		ID: id, Issuer: &IssuerParameters{Name: o.Issuer, Type: o.CertificateType}, CSR: o.CSR,
		CancellationRequested: o.CancellationRequested, Status: o.Status, StatusDetails: o.StatusDetails,
		Target: target, RequestID: o.RequestID, PreserveOrder: &o.PreserveOrder,
	}
	if o.ErrorCode != "" || o.ErrorMessage != "" {
		w.Error = &ErrorBody{Code: o.ErrorCode, Message: o.ErrorMessage}
	}
	return w
}

// As returns o as the broker knows it, under the given names: of the certificate,
// and of what was made.
func (o CertificateOperation) As(name, target broker.Name) broker.CertificateOperation {
	b := broker.CertificateOperation{
		Name: name.Base(), CSR: o.CSR, CancellationRequested: o.CancellationRequested,
		Status: o.Status, StatusDetails: clip(o.StatusDetails, maxMessageLen), Target: target,
		RequestID: clip(o.RequestID, maxCodeLen), PreserveOrder: o.PreserveOrder != nil && *o.PreserveOrder,
	}
	if o.Issuer != nil {
		b.Issuer, b.CertificateType = o.Issuer.Name, o.Issuer.Type
	}
	if o.Error != nil {
		b.ErrorCode, b.ErrorMessage = clip(o.Error.Code, maxCodeLen), clip(o.Error.Message, maxMessageLen)
	}
	return b
}

// FromNewCertificate returns n as the body of a create.
func FromNewCertificate(n broker.NewCertificate) CreateCertificateRequest {
	return CreateCertificateRequest{
		Policy: fromPolicy(n.Policy), Attributes: Attributes{Enabled: &n.Enabled}, Tags: n.Tags, PreserveOrder: n.PreserveOrder,
	}
}

// NewCertificate returns r as the broker knows it. A certificate that does not say
// whether it is enabled is.
func (r CreateCertificateRequest) NewCertificate() broker.NewCertificate {
	return broker.NewCertificate{
		Policy: r.Policy.orNil(), Tags: r.Tags, Enabled: enabled(r.Attributes), PreserveOrder: r.PreserveOrder,
	}
}

// FromCertificateImport returns i as the body of an import. Key Vault has one
// content type for what is imported and for what the secret becomes, and takes
// what does not say it for a PFX: i is converted if the two differ.
func FromCertificateImport(i broker.CertificateImport) (ImportCertificateRequest, error) {
	is := i.ContentType
	if is == "" && strings.Contains(i.Material.Reveal(), "-----BEGIN ") {
		is = broker.ContentTypePEM
	}
	if p := i.Policy; p != nil && p.ContentType != "" && p.ContentType != cmp.Or(is, broker.ContentTypePKCS12) {
		m, err := broker.ParseCertificateMaterial(is, i.Material, i.Password)
		if err != nil {
			return ImportCertificateRequest{}, err
		}
		if i.Material, err = m.Secret(p.ContentType); err != nil {
			return ImportCertificateRequest{}, err
		}
		i.Password, is = broker.Value{}, p.ContentType
	}
	r := ImportCertificateRequest{
		Value: &Cleartext{i.Material}, Policy: fromPolicy(i.Policy), Attributes: Attributes{Enabled: &i.Enabled}, Tags: i.Tags,
		PreserveOrder: i.PreserveOrder,
	}
	if i.Password.Len() > 0 {
		r.Password = &Cleartext{i.Password}
	}
	if is != "" {
		if r.Policy == nil {
			r.Policy = &CertificatePolicy{}
		}
		r.Policy.Secret = &SecretProperties{ContentType: is}
	}
	return r, nil
}

// CertificateImport returns r as the broker knows it. An absent value is empty.
func (r ImportCertificateRequest) CertificateImport() broker.CertificateImport {
	i := broker.CertificateImport{
		Policy: r.Policy.orNil(), Tags: r.Tags, Enabled: enabled(r.Attributes), PreserveOrder: r.PreserveOrder,
	}
	if r.Value != nil {
		i.Material = r.Value.Value
	}
	if r.Password != nil {
		i.Password = r.Password.Value
	}
	if i.Policy != nil {
		i.ContentType = i.Policy.ContentType
	}
	return i
}

// FromCertificateMerge returns m as the body of a merge.
func FromCertificateMerge(m broker.CertificateMerge) MergeCertificateRequest {
	r := MergeCertificateRequest{Chain: make([]Base64, 0, len(m.Chain)), Attributes: Attributes{Enabled: &m.Enabled}, Tags: m.Tags}
	for _, der := range m.Chain {
		r.Chain = append(r.Chain, der)
	}
	return r
}

// CertificateMerge returns r as the broker knows it.
func (r MergeCertificateRequest) CertificateMerge() broker.CertificateMerge {
	m := broker.CertificateMerge{Enabled: enabled(r.Attributes), Tags: r.Tags}
	for _, der := range r.Chain {
		m.Chain = append(m.Chain, der)
	}
	return m
}

// FromCertificateUpdate returns u as the body of an update.
func FromCertificateUpdate(u broker.CertificateUpdate) UpdateCertificateRequest {
	// What certificates and secrets share is said alike.
	s := FromSecretUpdate(broker.SecretUpdate{Tags: u.Tags, Enabled: u.Enabled})
	return UpdateCertificateRequest{Attributes: s.Attributes, Tags: s.Tags}
}

// CertificateUpdate returns r as the broker knows it, without its policy.
func (r UpdateCertificateRequest) CertificateUpdate() broker.CertificateUpdate {
	return broker.CertificateUpdate{Tags: r.Tags, Enabled: r.Attributes.Enabled}
}

func enabled(a Attributes) bool { return a.Enabled == nil || *a.Enabled }
