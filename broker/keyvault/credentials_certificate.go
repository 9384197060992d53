package keyvault

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyward/keyward/broker"
)

// ClientCertificateConfig is an application that proves itself with a
// certificate's private key.
type ClientCertificateConfig struct {
	TenantID string
	ClientID string
	// CertificateFile holds the certificate and its RSA key: PEM, or a PFX. It is
	// read anew for each token, so that a renewed one is taken up.
	CertificateFile string
	// Password opens a PFX. A PEM file has none.
	Password broker.Value
	// Authority is the https URL of the token service; empty means Entra's public
	// one. It is believed without asking Microsoft about it.
	Authority string
	// RootCAs verify the authority; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the connection to the authority. RootCAs has no effect
	// then.
	Transport http.RoundTripper
}

// ClientCertificate returns a source of tokens for an application. HTTPS_PROXY
// is honoured.
//
// The application signs a statement of ten minutes with PS256 and names the
// certificate by its SHA-256 thumbprint. A PFX must be of the older kind, which
// Key Vault and "openssl pkcs12 -export -legacy" make: 3DES or RC2 with SHA-1.
func ClientCertificate(c ClientCertificateConfig) (TokenSource, error) {
	if c.TenantID == "" || c.ClientID == "" || c.CertificateFile == "" {
		return nil, errors.New("keyvault: a client certificate credential needs a tenant id, a client id and the certificate's file")
	}
	if err := checkAuthority(c.Authority); err != nil {
		return nil, err
	}
	s := &azureSource{
		kind: kindClientCertificate, transport: orTransport(c.Transport, c.RootCAs, entraProxy),
		authority: cmp.Or(c.Authority, PublicAuthority),
	}
	s.newCredential = func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		certs, key, err := readCertificate(c.CertificateFile, c.Password)
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: atAuthority(o, c.Authority), DisableInstanceDiscovery: true})
	}
	return s.checked()
}

// readCertificate returns the certificates of a file, and the key of one of
// them. Errors hold nothing of the file.
func readCertificate(file string, password broker.Value) ([]*x509.Certificate, *rsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("the certificate: %w", err)
	}
	defer clear(text)
	isPEM := bytes.Contains(text, []byte("-----BEGIN "))
	switch {
	case isPEM && password.Len() > 0:
		return nil, nil, fmt.Errorf("%s is PEM, and a password opens only a PFX; leave the password out", file)
	case bytes.Contains(text, []byte("ENCRYPTED")):
		return nil, nil, fmt.Errorf("the key in %s is encrypted; take the encryption off (openssl pkey) and keep the file to this user", file)
	}
	certs, key, err := azidentity.ParseCertificates(text, []byte(password.Reveal()))
	switch {
	case err != nil && isPEM:
		return nil, nil, fmt.Errorf("%s does not hold a certificate and its RSA private key in PEM: %s", file, clip(err.Error(), maxMessageLen))
	case err != nil:
		return nil, nil, fmt.Errorf("%s cannot be opened as a PFX: %s; check its password, or make PEM of it (openssl pkcs12 -nodes)",
			file, clip(err.Error(), maxMessageLen))
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("the key in %s is not RSA, the one kind that Entra ID takes", file)
	}
	if !slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return private.PublicKey.Equal(c.PublicKey) }) {
		return nil, nil, fmt.Errorf("the key in %s is not that of the certificate", file)
	}
	return certs, private, nil
}
