package keyvault

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/keyward/keyward/broker"
)

const (
	tokenTryTimeout = 5 * time.Second
	// refusedCredential is how long a credential that was refused is left alone:
	// it is mended by people, and Entra locks out who insists.
	refusedCredential = time.Minute
)

// credentialKind is a way to get tokens. What to do about a failure depends on
// it.
type credentialKind int

const (
	kindClientSecret credentialKind = iota
	kindClientCertificate
	kindWorkloadIdentity
	kindManagedIdentity
	kindUserAssignedIdentity
	kindAzureCLI
	kindDefault
)

// azureSource asks a credential of azidentity.
type azureSource struct {
	kind      credentialKind
	transport http.RoundTripper
	// authority is the one token service that may be asked; empty where the
	// platform or a developer's tool knows its own.
	authority     string
	newCredential func(azcore.ClientOptions) (azcore.TokenCredential, error)
	// keep: one credential serves the whole process, instead of a fresh one each
	// call.
	keep bool

	mu   sync.Mutex
	kept azcore.TokenCredential
	wire *tokenWire
}

// checked returns s, or why no credential could be made of its configuration.
func (s *azureSource) checked() (TokenSource, error) {
	if s.kind != kindManagedIdentity && s.kind != kindUserAssignedIdentity && s.kind != kindAzureCLI &&
		os.Getenv("AZURE_REGIONAL_AUTHORITY_NAME") != "" {
		return nil, errors.New("keyvault: the environment variable AZURE_REGIONAL_AUTHORITY_NAME is set: " +
			"it would send the credential to another host than the authority configured; unset it")
	}
	if _, err := s.newCredential(azcore.ClientOptions{}); err != nil {
		return nil, errors.New("keyvault: the credential is not usable: " + clip(err.Error(), maxMessageLen))
	}
	return s, nil
}

// Token implements TokenSource. Unless s keeps its credential, each call makes
// a fresh one: one that was used before would answer from its own cache until
// shortly before the token's end.
func (s *azureSource) Token(ctx context.Context, scope, claims string) (Token, error) {
	var cred azcore.TokenCredential
	var wire *tokenWire
	var err error
	if s.keep {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.kept == nil {
			s.kept, s.wire, err = s.open()
		}
		cred, wire = s.kept, s.wire
		wire.forget()
	} else {
		cred, wire, err = s.open()
	}
	if err != nil {
		return Token{}, wire.failure(err)
	}
	t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}, Claims: claims, EnableCAE: true})
	if err != nil {
		return Token{}, wire.failure(err)
	}
	return Token{Value: broker.NewValue(t.Token), Expires: t.ExpiresOn}, nil
}

func (s *azureSource) open() (azcore.TokenCredential, *tokenWire, error) {
	wire := &tokenWire{kind: s.kind, authority: s.authority, client: &http.Client{
		Transport:     s.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	cred, err := s.newCredential(azcore.ClientOptions{
		Transport: wire,
		Retry:     policy.RetryOptions{TryTimeout: tokenTryTimeout},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	})
	if err != nil {
		return nil, wire, err
	}
	return cred, wire, nil
}

// atAuthority makes o fit for a credential that asks Entra ID, or what stands in
// for it. Whichever authority it is, it is configured: nobody is asked about it
// first (azidentity would ask login.microsoftonline.com).
func atAuthority(o azcore.ClientOptions, authority string) azcore.ClientOptions {
	o.Retry.MaxRetries = 2
	o.Retry.RetryDelay = 500 * time.Millisecond
	o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: cmp.Or(authority, PublicAuthority)}
	return o
}

func checkAuthority(authority string) error {
	if authority == "" {
		return nil
	}
	if u, err := url.Parse(authority); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New(`keyvault: the authority must be a URL like "` + PublicAuthority + `"`)
	}
	return nil
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
