package keyvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyward/keyward/broker"
)

const (
	tokenTryTimeout = 5 * time.Second
	// refusedCredential is how long a credential that was refused is left alone:
	// it is mended by people, and Entra locks out who insists.
	refusedCredential = time.Minute
)

// ClientSecretConfig is an application that proves itself with a secret.
type ClientSecretConfig struct {
	TenantID string
	ClientID string
	Secret   broker.Value
	// Authority is the https URL of a token service other than Entra's public
	// one; it is believed without asking Microsoft about it. Empty means
	// AZURE_AUTHORITY_HOST, or else the public one.
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
	if c.Authority != "" {
		if u, err := url.Parse(c.Authority); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, errors.New(`keyvault: the authority must be a URL like "https://login.microsoftonline.com"`)
		}
	}
	s := &azureSource{transport: orTransport(c.Transport, c.RootCAs, http.ProxyFromEnvironment)}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		o.Retry.MaxRetries = 2
		o.Retry.RetryDelay = 500 * time.Millisecond
		if c.Authority != "" {
			o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority}
		}
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.Secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: c.Authority != ""})
	}
	return s.checked()
}

// ManagedIdentityConfig is the identity that the platform gives to this
// process: IMDS on virtual machines and AKS, IDENTITY_ENDPOINT on App Service.
type ManagedIdentityConfig struct {
	// ClientID is that of a user-assigned identity; empty means the
	// system-assigned one.
	ClientID string
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
	s := &azureSource{transport: orTransport(c.Transport, c.RootCAs, nil)}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		mo := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o}
		if c.ClientID != "" {
			mo.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(mo)
	}
	return s.checked()
}

// azureSource asks a credential of azidentity.
type azureSource struct {
	transport     http.RoundTripper
	newCredential func(azcore.ClientOptions) (azcore.TokenCredential, error)
}

// checked returns s, or why no credential could be made of its configuration.
func (s *azureSource) checked() (TokenSource, error) {
	if _, err := s.newCredential(azcore.ClientOptions{}); err != nil {
		return nil, errors.New("keyvault: the credential is not usable: " + clip(err.Error(), maxMessageLen))
	}
	return s, nil
}

// Token implements TokenSource. Each call makes a fresh credential: one that
// was used before would answer from its own cache until shortly before the
// token's end.
func (s *azureSource) Token(ctx context.Context, scope, claims string) (Token, error) {
	wire := &tokenWire{client: &http.Client{
		Transport:     s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	cred, err := s.newCredential(azcore.ClientOptions{
		Transport: wire,
		Retry:     policy.RetryOptions{TryTimeout: tokenTryTimeout},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	})
	if err != nil {
		return Token{}, wire.failure(err)
	}
	t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, Claims: claims, EnableCAE: true})
	if err != nil {
		return Token{}, wire.failure(err)
	}
	return Token{Value: broker.NewValue(t.Token), Expires: t.ExpiresOn}, nil
}

// orTransport returns custom, or a transport for a request every few minutes:
// it keeps no connection.
func orTransport(custom http.RoundTripper, roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error)) http.RoundTripper {
	if custom != nil {
		return custom
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true,
		DisableCompression:     true,
	}
}
