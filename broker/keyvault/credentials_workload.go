package keyvault

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// WorkloadIdentityConfig is an application that proves itself with a token of
// another issuer, which Entra ID was told to believe: a Kubernetes service
// account's, for example.
type WorkloadIdentityConfig struct {
	TenantID string
	ClientID string
	// TokenFile holds the other issuer's token. It is read anew for each token
	// that is asked for, because its owner renews it.
	TokenFile string
	// Authority is the https URL of the token service; empty means Entra's public
	// one. It is believed without asking Microsoft about it.
	Authority string
	// RootCAs verify the authority; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the connection to the authority. RootCAs has no effect
	// then.
	Transport http.RoundTripper
}

// WorkloadIdentity returns a source of tokens for an application. HTTPS_PROXY
// is honoured.
func WorkloadIdentity(c WorkloadIdentityConfig) (TokenSource, error) {
	if c.TenantID == "" || c.ClientID == "" || c.TokenFile == "" {
		return nil, errors.New("keyvault: a workload identity needs a tenant id, a client id and the token's file")
	}
	if err := checkAuthority(c.Authority); err != nil {
		return nil, err
	}
	s := &azureSource{
		kind: kindWorkloadIdentity, transport: orTransport(c.Transport, c.RootCAs, entraProxy),
		authority: cmp.Or(c.Authority, PublicAuthority),
	}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("the federated token: %w; on AKS, check the pod's service account and its label azure.workload.identity/use", err)
		}
		assertion := strings.TrimSpace(string(text))
		if assertion == "" {
			return nil, fmt.Errorf("the federated token: %s is empty", c.TokenFile)
		}
		return azidentity.NewClientAssertionCredential(c.TenantID, c.ClientID,
			func(context.Context) (string, error) { return assertion, nil },
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: atAuthority(o, c.Authority), DisableInstanceDiscovery: true})
	}
	return s.checked()
}
