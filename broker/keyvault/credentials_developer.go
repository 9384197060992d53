package keyvault

import (
	"crypto/x509"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// AzureCLIConfig is whoever is logged in to the Azure CLI of this user.
type AzureCLIConfig struct {
	// TenantID is empty for the CLI's own tenant.
	TenantID string
}

// AzureCLI returns a source of tokens that runs "az". It is for a laptop: az
// must be on the PATH, and somebody logged in. Proxies and clouds are az's own
// settings.
func AzureCLI(c AzureCLIConfig) (TokenSource, error) {
	s := &azureSource{kind: kindAzureCLI}
	s.newCredential = func(azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: c.TenantID})
	}
	return s.checked()
}

// DefaultConfig is whatever the surroundings offer.
type DefaultConfig struct {
	// Authority is the https URL of the token service; empty means Entra's public
	// one. It is believed without asking Microsoft about it.
	Authority string
	// RootCAs verify the authority; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the connections. RootCAs has no effect then.
	Transport http.RoundTripper
}

// Default returns a source of tokens that tries, in this order, the AZURE_*
// variables of an application, workload identity, managed identity, and what
// the tools az, azd and PowerShell are logged in as. AZURE_TOKEN_CREDENTIALS
// narrows that. HTTPS_PROXY is honoured for Entra ID only.
//
// It stays with the first that gave a token, so that an outage never changes
// who the broker is, and so tokens come from azidentity's own cache: early
// renewals of a TokenCache do less than with a credential that is named.
func Default(c DefaultConfig) (TokenSource, error) {
	if err := checkAuthority(c.Authority); err != nil {
		return nil, err
	}
	s := &azureSource{kind: kindDefault, keep: true, transport: orTransport(c.Transport, c.RootCAs, entraProxy)}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		retry := o.Retry
		o = atAuthority(o, c.Authority)
		o.Retry = retry // each credential of the chain has its own
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: o, DisableInstanceDiscovery: true,
		})
	}
	return s.checked()
}
