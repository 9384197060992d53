package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Issuers that every vault has.
const (
	// IssuerSelf signs a certificate with its own key.
	IssuerSelf = "Self"
	// IssuerUnknown makes a certificate signing request for somebody else to sign.
	IssuerUnknown = "Unknown"
)

// Content types of the secret behind a certificate.
const (
	ContentTypePKCS12 = "application/x-pkcs12"
	ContentTypePEM    = "application/x-pem-file"
)

// Certificate is what may be known of a certificate: never its private key. A
// zero time is unset.
type Certificate struct {
	// Name carries the version that the other fields describe, but in a list of
	// certificates.
	Name Name
	// DER is the X.509 certificate. Lists have none.
	DER []byte
	// Thumbprint is the SHA-1 of DER: JWK's x5t.
	Thumbprint []byte
	// Subject is told in lists alone, and not by every vault.
	Subject string
	Tags    map[string]string
	Enabled bool
	// NotBefore and Expires are the certificate's own.
	NotBefore       time.Time
	Expires         time.Time
	Created         time.Time
	Updated         time.Time
	RecoveryLevel   string
	RecoverableDays int32
	// ContentType is that of its secret. Lists have none.
	ContentType string
	// Key and Secret are the managed pair, of this version. Lists have none.
	Key    Name
	Secret Name
	// Policy is how the next version will be made. Lists have none.
	Policy *CertificatePolicy
	// PreserveOrder: the chain is kept in the order in which it was given.
	PreserveOrder bool
}

// ETag returns a quoted hash of the version and all that an update can change.
func (c Certificate) ETag() string {
	h := sha256.New()
	text := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	text(c.Name.Version())
	for _, t := range slices.Sorted(maps.Keys(c.Tags)) {
		text(t, c.Tags[t])
	}
	fmt.Fprint(h, "|", c.Enabled, "|", c.Updated.Unix())
	return `"` + hex.EncodeToString(h.Sum(nil)[:12]) + `"`
}

// DeletedCertificate is a soft-deleted certificate. A zero Purges means that the
// vault does not say.
type DeletedCertificate struct {
	Certificate
	Deleted time.Time
	Purges  time.Time
}

// CertificatePolicy says how a version is made. What is zero or nil is left to
// the vault where one is created, and as it is where a policy is updated.
type CertificatePolicy struct {
	// Issuer is IssuerSelf, IssuerUnknown or one of the vault's.
	Issuer          string
	CertificateType string
	// Transparency asks an issuer to publish what it makes.
	Transparency *bool

	// Subject is a distinguished name (RFC 4514), such as "CN=example.org".
	Subject   string
	Names     AlternativeNames
	EKUs      []string // object identifiers
	KeyUsages []string // as RFC 5280 section 4.2.1.3 has them, "cRLSign" with its small c
	// ValidityMonths is 1 to 1200.
	ValidityMonths int32
	CA             *bool

	KeyType    KeyType
	KeySize    int32
	Curve      Curve
	Exportable *bool
	ReuseKey   *bool

	// ContentType is ContentTypePKCS12 or ContentTypePEM.
	ContentType string

	Actions []CertificateAction

	Enabled *bool
	Created time.Time
	Updated time.Time
}

// AlternativeNames are a certificate's subject alternative names: RFC 5280
// section 4.2.1.6.
type AlternativeNames struct {
	DNSNames    []string
	Emails      []string
	UPNs        []string
	URIs        []string
	IPAddresses []string
}

// What happens at a point of a certificate's life.
const (
	ActionTypeAutoRenew     = "AutoRenew"
	ActionTypeEmailContacts = "EmailContacts"
)

// CertificateAction is what happens at a point of a certificate's life: exactly
// one of the two numbers is set.
type CertificateAction struct {
	Type               string
	LifetimePercentage int32
	DaysBeforeExpiry   int32
}

// Statuses of a CertificateOperation, as Key Vault says them.
const (
	OperationInProgress = "inProgress"
	OperationCompleted  = "completed"
	OperationCancelled  = "cancelled"
	OperationFailed     = "failed"
)

// CertificateOperation is the making of a version.
type CertificateOperation struct {
	Name                  Name // the certificate's, without a version
	Issuer                string
	CertificateType       string
	CSR                   []byte // PKCS #10, DER
	CancellationRequested bool
	Status                string
	StatusDetails         string
	// ErrorCode and ErrorMessage are of one that failed.
	ErrorCode    string
	ErrorMessage string
	// Target is the certificate, once it is completed.
	Target        Name
	RequestID     string
	PreserveOrder bool
}

// Done reports whether the operation goes on no more.
func (o CertificateOperation) Done() bool { return o.Status != OperationInProgress }

// NewCertificate is what a caller creates.
type NewCertificate struct {
	// Policy nil takes the policy of the certificate that is there.
	Policy        *CertificatePolicy
	Tags          map[string]string
	Enabled       bool
	PreserveOrder *bool
}

// CertificateImport is a certificate that was made elsewhere.
type CertificateImport struct {
	// Material is a PFX in standard base64, or PEM with a key of PKCS #8: what
	// ContentType says, or, where that is "", what it looks like.
	Material      Value
	ContentType   string
	Password      Value
	Policy        *CertificatePolicy
	Tags          map[string]string
	Enabled       bool
	PreserveOrder *bool
}

// CertificateMerge is what a certificate signing request became.
type CertificateMerge struct {
	// Chain is DER, the signed certificate first.
	Chain   [][]byte
	Tags    map[string]string
	Enabled bool
}

// CertificateUpdate is what a caller changes of a version. What is nil stays as
// it is; Tags, where given, replaces them all.
type CertificateUpdate struct {
	Tags    *map[string]string
	Enabled *bool
}

// CertificatePage is part of a list, as SecretPage is.
type CertificatePage struct {
	Certificates []Certificate
	Next         string
}

// DeletedCertificatePage is part of a list.
type DeletedCertificatePage struct {
	Certificates []DeletedCertificate
	Next         string
}

// CertificateContact is whom a vault writes to about its certificates.
type CertificateContact struct {
	Email string
	Name  string
	Phone string
}

// CertificateIssuer is a certificate authority that a vault can ask, without its
// credentials.
type CertificateIssuer struct {
	Name           Name // of KindCertificateIssuers
	Provider       string
	OrganizationID string
	Enabled        bool
	Created        time.Time
	Updated        time.Time
}

// CertificateIssuerPage is part of a list.
type CertificateIssuerPage struct {
	Issuers []CertificateIssuer
	Next    string
}

// CertificateStore is one vault's certificates. Every error is an *Error with a
// Code, or the context's. A name with a version means that version, without the
// latest. All methods may be called concurrently.
//
// A certificate that is not there is CodeCertificateNotFound, an operation
// CodeOperationNotFound. The private key is had from the vault's SecretStore,
// under the name Certificate.Secret.
type CertificateStore interface {
	// CreateCertificate begins to make a version. A soft-deleted certificate of the
	// name is CodeCertificateSoftDeleted; one that is being made, CodeOperationInProgress.
	CreateCertificate(ctx context.Context, name Name, c NewCertificate) (CertificateOperation, error)

	// GetCertificateOperation, CancelCertificateOperation and
	// DeleteCertificateOperation are of the one operation of a certificate.
	GetCertificateOperation(ctx context.Context, name Name) (CertificateOperation, error)
	CancelCertificateOperation(ctx context.Context, name Name) (CertificateOperation, error)
	DeleteCertificateOperation(ctx context.Context, name Name) (CertificateOperation, error)

	// MergeCertificate completes the operation of a signing request. A certificate
	// that is not of its key is CodeBadField of "x509_certificates".
	MergeCertificate(ctx context.Context, name Name, m CertificateMerge) (Certificate, error)

	// ImportCertificate makes a version of what was made elsewhere. What cannot be
	// read is CodeBadField of "value", with the same words for a wrong password.
	ImportCertificate(ctx context.Context, name Name, c CertificateImport) (Certificate, error)

	// GetCertificate returns what may be known.
	GetCertificate(ctx context.Context, name Name) (Certificate, error)

	// UpdateCertificate changes what is known of the named version, or of the
	// latest.
	UpdateCertificate(ctx context.Context, name Name, u CertificateUpdate) (Certificate, error)

	GetCertificatePolicy(ctx context.Context, name Name) (CertificatePolicy, error)

	// UpdateCertificatePolicy changes what is set in p.
	UpdateCertificatePolicy(ctx context.Context, name Name, p CertificatePolicy) (CertificatePolicy, error)

	// ListCertificates returns a page of at most MaxStorePage certificates, as
	// ListSecrets does.
	ListCertificates(ctx context.Context, vault Name, p Page) (CertificatePage, error)

	// ListCertificateVersions returns all versions, newest first.
	ListCertificateVersions(ctx context.Context, name Name) ([]Certificate, error)

	// DeleteCertificate soft-deletes all versions, with their keys and secrets.
	DeleteCertificate(ctx context.Context, name Name) (DeletedCertificate, error)

	// GetDeletedCertificate and what follows are as those of secrets.
	GetDeletedCertificate(ctx context.Context, name Name) (DeletedCertificate, error)
	ListDeletedCertificates(ctx context.Context, vault Name, p Page) (DeletedCertificatePage, error)
	RecoverCertificate(ctx context.Context, name Name) (Certificate, error)
	PurgeCertificate(ctx context.Context, name Name) error
	BackupCertificate(ctx context.Context, name Name) (Value, error)
	RestoreCertificate(ctx context.Context, vault Name, blob Value) (Certificate, error)

	// GetCertificateContacts returns whom the vault writes to; none is no error.
	GetCertificateContacts(ctx context.Context, vault Name) ([]CertificateContact, error)
	SetCertificateContacts(ctx context.Context, vault Name, contacts []CertificateContact) ([]CertificateContact, error)
	DeleteCertificateContacts(ctx context.Context, vault Name) ([]CertificateContact, error)

	ListCertificateIssuers(ctx context.Context, vault Name, p Page) (CertificateIssuerPage, error)
	// GetCertificateIssuer returns an issuer; none is CodeIssuerNotFound.
	GetCertificateIssuer(ctx context.Context, name Name) (CertificateIssuer, error)
}
