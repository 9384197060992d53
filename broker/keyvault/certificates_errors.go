package keyvault

import (
	"net/http"

	"github.com/keyward/keyward/broker"
)

// Error codes of Key Vault about certificates.
const (
	ErrorCertificateNotFound = "CertificateNotFound"
	ErrorOperationNotFound   = "PendingCertificateNotFound"
	ErrorIssuerNotFound      = "CertificateIssuerNotFound"

	InnerCertificateDisabled = "CertificateDisabled"
	// A key or a secret that has the certificate's name, and is of no certificate.
	// Key Vault is not known to have a code for it.
	InnerNameInUse = "ObjectAlreadyExists"
	// What only a certificate can change.
	InnerSecretManaged = "SecretManagedByKeyVault"
	InnerKeyManaged    = "KeyManagedByKeyVault"
)

// What the client is told where the code's standard words would say too little.
const (
	notABackupOfCertificate  = "this is no backup of a certificate that this vault can restore"
	certificatePurgeRefused  = "the vault protects deleted certificates from being purged; it removes this one when its time is over"
	certificateNameInUse     = "a certificate has this name, or was purged a moment ago; delete and purge it, or try again in a minute"
	pairNameInUse            = "a key or a secret that is of no certificate has this name, or had it and is soft-deleted; choose another, or purge that"
	certificateImportRefused = "the vault does not import this certificate; give a PFX with its own password, or PEM with a private key of PKCS #8, both of RSA or EC"
	certificateMergeRefused  = "the vault does not merge these certificates; the first must be of the key of the certificate signing request"
	certificatePolicyRefused = "the vault does not take this policy; see the issuers, key types, sizes and curves that it has, the subject and the lifetime actions"
	operationTouched         = "the operation is being changed by somebody else; see how far it is"
)

// certificateMeanings stand before meanings for calls about certificates. What is
// wrong with an import is refused with the same words, a wrong password or not.
var certificateMeanings = []meaning{
	{operation: restoreCertificate, status: http.StatusBadRequest, code: ErrorMalformedBackup, means: broker.CodeBadField, field: "blob", words: notABackupOfCertificate},
	{operation: restoreCertificate, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "blob", words: notABackupOfCertificate},
	{operation: importCertificate, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "value", words: certificateImportRefused},
	{operation: mergeCertificate, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "x509_certificates", words: certificateMergeRefused},
	{operation: createCertificate, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "policy", words: certificatePolicyRefused},
	{operation: updateCertificatePolicy, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "policy", words: certificatePolicyRefused},
	{operation: setContacts, status: http.StatusBadRequest, code: ErrorBadParameter, means: broker.CodeBadField, field: "contacts", words: fieldRefused},
	{status: http.StatusForbidden, inner: InnerCertificateDisabled, means: broker.CodeCertificateDisabled},
	{operation: purgeCertificate, status: http.StatusForbidden, code: ErrorForbidden, bare: true, means: broker.CodeNotSupported, words: certificatePurgeRefused},
	{status: http.StatusNotFound, code: ErrorCertificateNotFound, means: broker.CodeCertificateNotFound},
	{status: http.StatusNotFound, code: ErrorOperationNotFound, means: broker.CodeOperationNotFound},
	{status: http.StatusNotFound, code: ErrorIssuerNotFound, means: broker.CodeIssuerNotFound},
	{status: http.StatusConflict, inner: InnerDeleted, means: broker.CodeCertificateSoftDeleted},
	{status: http.StatusConflict, inner: InnerBeingDeleted, means: broker.CodeCertificateInTransition, retry: settling},
	{status: http.StatusConflict, inner: InnerBeingRecovered, means: broker.CodeCertificateInTransition, retry: settling},
	{status: http.StatusConflict, inner: InnerNameInUse, means: broker.CodeCertificateExists, words: pairNameInUse},
	{operation: createCertificate, status: http.StatusConflict, bare: true, means: broker.CodeOperationInProgress},
	{operation: importCertificate, status: http.StatusConflict, bare: true, means: broker.CodeOperationInProgress},
	{operation: restoreCertificate, status: http.StatusConflict, code: ErrorConflict, bare: true, means: broker.CodeCertificateExists, words: certificateNameInUse},
	{operation: cancelOperation, status: http.StatusConflict, bare: true, means: broker.CodeCertificateInTransition, retry: soon, words: operationTouched},
	{operation: deleteOperation, status: http.StatusConflict, bare: true, means: broker.CodeCertificateInTransition, retry: soon, words: operationTouched},
}
