package keyvault

import (
	"cmp"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyward/keyward/broker"
)

// ClientSecretConfig is an application that proves itself with a secret.
type ClientSecretConfig struct {
	TenantID string
	ClientID string
	Secret   broker.Value
	// Authority is the https URL of the token service; empty means Entra's public
	// one. It is believed without asking Microsoft about it.
	Authority string
	// RootCAs verify the authority; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the connection to the authority. RootCAs has no effect
	// then.
	Transport http.RoundTripper
}

// ClientSecret returns a source of tokens for an application. HTTPS_PROXY is
// honoured.
func ClientSecret(c ClientSecretConfig) (TokenSource, error) {
	if c.TenantID == "" || c.ClientID == "" || c.Secret.Len() == 0 {
		return nil, errors.New("keyvault: a client secret credential needs a tenant id, a client id and the secret")
	}
	if err := checkAuthority(c.Authority); err != nil {
		return nil, err
	}
	s := &azureSource{
		kind: kindClientSecret, transport: orTransport(c.Transport, c.RootCAs, entraProxy),
		authority: cmp.Or(c.Authority, PublicAuthority),
	}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.Secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: atAuthority(o, c.Authority), DisableInstanceDiscovery: true})
	}
	return s.checked()
}
