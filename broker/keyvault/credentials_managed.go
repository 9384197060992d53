package keyvault

import (
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// ManagedIdentityConfig is the identity that the platform gives to this
// process: IMDS on virtual machines and AKS, IDENTITY_ENDPOINT on App Service.
type ManagedIdentityConfig struct {
	// ClientID, ObjectID or ResourceID name a user-assigned identity, one of
	// them; none means the system-assigned one. App Service and IMDS take each.
	ClientID   string
	ObjectID   string
	ResourceID string
	// RootCAs verify the endpoint where it has TLS; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the connection to the endpoint. RootCAs has no effect
	// then.
	Transport http.RoundTripper
}

// ManagedIdentity returns a source of tokens for a managed identity. The
// endpoint is never asked through a proxy. Service Fabric is not supported.
//
// Here the early renewals of a TokenCache can do less than elsewhere: azidentity
// keeps the tokens of managed identities for the whole process, and so does the
// platform. How long an outage of the endpoint may last is the platform's
// promise; its tokens live for many hours.
func ManagedIdentity(c ManagedIdentityConfig) (TokenSource, error) {
	var ids []azidentity.ManagedIDKind
	if c.ClientID != "" {
		ids = append(ids, azidentity.ClientID(c.ClientID))
	}
	if c.ObjectID != "" {
		ids = append(ids, azidentity.ObjectID(c.ObjectID))
	}
	if c.ResourceID != "" {
		ids = append(ids, azidentity.ResourceID(c.ResourceID))
	}
	if len(ids) > 1 {
		return nil, errors.New("keyvault: a managed identity is named by its client id, object id or resource id, one of them")
	}
	s := &azureSource{kind: kindManagedIdentity, transport: orTransport(c.Transport, c.RootCAs, nil)}
	if len(ids) == 1 {
		s.kind = kindUserAssignedIdentity
	}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		mo := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o}
		if len(ids) == 1 {
			mo.ID = ids[0]
		}
		return azidentity.NewManagedIdentityCredential(mo)
	}
	return s.checked()
}
