package authn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
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
	// DNS takes a certificate's DNS name, where it has no SPIFFE ID.
	DNS DNSConfig
}

// DNSConfig says which DNS names of client certificates name a principal:
// "{Name}/{DNS name in lower case}".
type DNSConfig struct {
	// Name stands before the DNS name, as an issuer's before a subject: see
	// Issuer.Name. Empty accepts no DNS name.
	Name string
	// Domains are those that a name must be in, below one of them:
	// "svc.example.org" takes "billing.svc.example.org".
	Domains []string
}

// NewMTLS returns an Authenticator that takes the SPIFFE ID of a client
// certificate for the principal's id, or where configured its DNS name. A
// certificate with any URI name is judged as SPIFFE's alone.
//
// The TLS handshake verifies the chain, the dates and the key usage; a
// certificate it did not verify is refused here. The dates and the usage are
// looked at again in each call, because a connection may outlive the dates. If
// an Authorization header was sent, the certificate names nobody.
//
// It fails if a name or a domain is not one.
func NewMTLS(c MTLSConfig) (Authenticator, error) {
	m := mtls{domain: strings.ToLower(c.TrustDomain), dns: c.DNS.Name}
	if m.dns != "" && !issuerName.MatchString(m.dns) {
		return nil, errors.New("authn: a name of DNS principals is 1 to 63 of [a-z0-9-], starting with a letter or a digit")
	}
	if (m.dns == "") != (len(c.DNS.Domains) == 0) {
		return nil, errors.New("authn: DNS names take a name for their principals, and the domains they are in")
	}
	for _, d := range c.DNS.Domains {
		d = strings.ToLower(d)
		if !validDNS(d) {
			return nil, fmt.Errorf("authn: %q is no domain; want one such as svc.example.org", d)
		}
		m.domains = append(m.domains, "."+d)
	}
	return m, nil
}

type mtls struct {
	domain  string   // of SPIFFE IDs; "" for none
	dns     string   // before DNS names; "" for none
	domains []string // of DNS names, each with a dot before it
}

func (m mtls) Authenticate(_ context.Context, c Credentials) (broker.Principal, error) {
	if len(c.Authorization) > 0 || c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return broker.Principal{}, ErrNoCredentials
	}
	leaf, err := verifiedLeaf(c.TLS, time.Now())
	if err != nil {
		return broker.Principal{}, err
	}
	if m.dns != "" && len(leaf.URIs) == 0 {
		id, err := m.dnsID(leaf)
		if err != nil {
			return broker.Principal{}, refuse("the client certificate must carry exactly one DNS name, in a domain accepted here, or a SPIFFE ID", err)
		}
		return broker.Principal{ID: id, Attributes: map[string]string{"issuer": m.dns}}, nil
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
	if !forClients(leaf) {
		return nil, refuse("the client certificate is not for client authentication; use one that is", nil)
	}
	return leaf, nil
}

// forClients reports whether a certificate that says what it is for (RFC 5280
// section 4.2.1.3 and .12) says that it authenticates clients. The handshake has
// looked at the latter, unless whoever configured it left that out.
func forClients(leaf *x509.Certificate) bool {
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return false
	}
	if len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// dnsID returns the principal of the certificate's DNS name.
func (m mtls) dnsID(leaf *x509.Certificate) (string, error) {
	if len(leaf.DNSNames) != 1 {
		return "", errors.New("authn: not exactly one DNS name")
	}
	name := strings.ToLower(leaf.DNSNames[0])
	if !validDNS(name) {
		return "", errors.New("authn: a wildcard, or a malformed DNS name")
	}
	if !slices.ContainsFunc(m.domains, func(d string) bool { return strings.HasSuffix(name, d) }) {
		return "", errors.New("authn: foreign domain")
	}
	return m.dns + "/" + name, nil
}

// maxDNSLen and maxLabelLen are RFC 1035's, in bytes.
const (
	maxDNSLen   = 253
	maxLabelLen = 63
)

// validDNS reports whether s is a host's name in lower case, each label of
// letters, digits, hyphens and underscores.
func validDNS(s string) bool {
	if len(s) > maxDNSLen {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabelLen || strings.ContainsFunc(label, notDomainRune) {
			return false
		}
	}
	return true
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
	if hasFragment(leaf) {
		return "", errors.New("authn: a fragment in a SPIFFE ID")
	}
	if m.domain == "" || domain != m.domain {
		return "", errors.New("authn: foreign trust domain")
	}
	return "spiffe://" + domain + path, nil
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// hasFragment reports whether a URI name of the certificate is written with a
// fragment. net/url drops an empty one, and an ID would have two spellings.
func hasFragment(leaf *x509.Certificate) bool {
	const uri = 6 // RFC 5280, section 4.2.1.6
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(subjectAltName) || bytes.IndexByte(e.Value, '#') < 0 {
			continue
		}
		var names, name asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			return true
		}
		for rest := names.Bytes; len(rest) > 0; {
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return true
			}
			if name.Class == asn1.ClassContextSpecific && name.Tag == uri && bytes.IndexByte(name.Bytes, '#') >= 0 {
				return true
			}
		}
	}
	return false
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
	}
	// An escape in the URI shows as a "%" in EscapedPath, which is no path rune:
	// each ID has one spelling.
	path = u.EscapedPath()
	if len("spiffe://")+len(domain)+len(path) > maxSPIFFEIDLen {
		return "", "", errors.New("authn: SPIFFE ID too long")
	}
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
