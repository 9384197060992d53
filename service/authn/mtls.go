package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

// Limits of the SPIFFE standard, in bytes.
const (
	maxSPIFFEIDLen    = 2048
	maxTrustDomainLen = 255
)

// MTLSConfig says whose certificates name a principal.
type MTLSConfig struct {
	// TrustDomain is the one whose SPIFFE IDs are accepted, such as
	// "example.org". Case does not matter. Empty accepts none.
	TrustDomain string
}

// NewMTLS returns an Authenticator that takes the SPIFFE ID of a client
// certificate for the principal's id.
//
// The TLS handshake verifies the chain, the dates and the key usage; a
// certificate it did not verify is refused here. The dates are looked at again
// in each call, because a connection may outlive them. If an Authorization
// header was sent, the certificate names nobody.
func NewMTLS(c MTLSConfig) Authenticator {
	return mtls{domain: strings.ToLower(c.TrustDomain)}
}

type mtls struct{ domain string }

func (m mtls) Authenticate(_ context.Context, c Credentials) (broker.Principal, error) {
	if len(c.Authorization) > 0 || c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return broker.Principal{}, ErrNoCredentials
	}
	leaf, err := verifiedLeaf(c.TLS, time.Now())
	if err != nil {
		return broker.Principal{}, err
	}
	id, err := m.spiffeID(leaf)
	if err != nil {
		return broker.Principal{}, refuse("the client certificate must carry exactly one URI name, a SPIFFE ID of the trust domain accepted here", err)
	}
	return broker.Principal{ID: id}, nil
}

// verifiedLeaf returns the client's certificate if a chain that the handshake
// verified is still within its dates as a whole.
func verifiedLeaf(s *tls.ConnectionState, now time.Time) (*x509.Certificate, error) {
	if len(s.VerifiedChains) == 0 {
		return nil, refuse("the client certificate is not verified; use one of the CA accepted here", nil)
	}
	current := func(c *x509.Certificate) bool { return !now.Before(c.NotBefore) && !now.After(c.NotAfter) }
	i := slices.IndexFunc(s.VerifiedChains, func(chain []*x509.Certificate) bool {
		return !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return !current(c) })
	})
	if i < 0 {
		return nil, refuse("the client certificate or its CA has expired; connect again with a new one", nil)
	}
	leaf := s.VerifiedChains[i][0]
	// A signing certificate names an authority, not a workload.
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return nil, refuse("the client certificate is a CA's; use a workload's", nil)
	}
	return leaf, nil
}

// spiffeID returns the certificate's SPIFFE ID, its trust domain in lower case.
func (m mtls) spiffeID(leaf *x509.Certificate) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", errors.New("authn: not exactly one URI name")
	}
	domain, path, err := parseSPIFFE(leaf.URIs[0])
	if err != nil {
		return "", err
	}
	if m.domain == "" || domain != m.domain {
		return "", errors.New("authn: foreign trust domain")
	}
	return "spiffe://" + domain + path, nil
}

func parseSPIFFE(u *url.URL) (domain, path string, err error) {
	domain = strings.ToLower(u.Host)
	switch {
	case u.Scheme != "spiffe":
		return "", "", errors.New("authn: the URI name is no SPIFFE ID")
	case u.Opaque != "", u.User != nil, u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return "", "", errors.New("authn: a SPIFFE ID has a trust domain and a path only")
	case domain == "", len(domain) > maxTrustDomainLen, strings.ContainsFunc(domain, notDomainRune):
		return "", "", errors.New("authn: malformed trust domain")
	case len(u.String()) > maxSPIFFEIDLen:
		return "", "", errors.New("authn: SPIFFE ID too long")
	}
	// An escape in the URI shows as a "%" in EscapedPath, which is no path rune:
	// each ID has one spelling.
	path = u.EscapedPath()
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", "", errors.New("authn: the SPIFFE ID names a trust domain, not a workload")
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, notPathRune) {
			return "", "", errors.New("authn: malformed path in a SPIFFE ID")
		}
	}
	return domain, path, nil
}

func notDomainRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}

func notPathRune(r rune) bool { return notDomainRune(r) && (r < 'A' || r > 'Z') }
