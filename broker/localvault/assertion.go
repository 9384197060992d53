package localvault

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // names a certificate, as older clients do, and proves nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// federatedAudience is what Entra wants a federated token to be for.
	federatedAudience = "api://AzureADTokenExchange"
	// assertionLeeway is how far a client's clock may be off.
	assertionLeeway = 5 * time.Minute
)

// Federated is an identity of another issuer that stands for the application, as
// a service account of a Kubernetes cluster does with workload identity.
type Federated struct {
	Issuer  string
	Subject string
	// Audience is what its tokens are for; "" means api://AzureADTokenExchange.
	Audience string
	// Keys are the issuer's. They are not fetched: nothing here calls out.
	Keys jose.JSONWebKeySet
}

// The algorithms of assertions: a certificate's, and those of any issuer. A key
// fits one kind of them only.
var (
	certificateAlgorithms = []jose.SignatureAlgorithm{jose.PS256, jose.RS256}
	federatedAlgorithms   = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256}
)

// certificate is one that may sign for the application, with the hashes that
// name it in an assertion.
type certificate struct {
	*x509.Certificate
	sha1   [sha1.Size]byte
	sha256 [sha256.Size]byte
}

func parseCertificates(all []*x509.Certificate) ([]certificate, error) {
	certs := make([]certificate, 0, len(all))
	for _, c := range all {
		if _, ok := c.PublicKey.(*rsa.PublicKey); !ok {
			return nil, errors.New("a client certificate needs an RSA key: clients sign with PS256 or RS256")
		}
		certs = append(certs, certificate{
			Certificate: c,
			sha1:        sha1.Sum(c.Raw), //nolint:gosec // as above
			sha256:      sha256.Sum256(c.Raw),
		})
	}
	return certs, nil
}

func checkFederated(all []Federated) ([]Federated, error) {
	out := make([]Federated, 0, len(all))
	for _, f := range all {
		if f.Audience == "" {
			f.Audience = federatedAudience
		}
		if f.Issuer == "" || f.Subject == "" || len(f.Keys.Keys) == 0 {
			return nil, errors.New("a federated identity needs an issuer, a subject and the issuer's keys")
		}
		for _, k := range f.Keys.Keys {
			if !k.Valid() || !k.IsPublic() {
				return nil, fmt.Errorf("the keys of the issuer %s must be valid public keys", f.Issuer)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// checkAssertion judges what stands for a client secret: a statement that the
// application signed with a certificate's key, or a federated token. Which of
// the two it is, its issuer says; that is looked at before the signature, and
// nothing else is.
func (s *STS) checkAssertion(text string, now time.Time) *stsError {
	if len(text) > maxToken {
		return &errAssertionForm
	}
	token, err := jwt.ParseSigned(text, federatedAlgorithms)
	if err != nil || len(token.Headers) != 1 {
		return &errAssertionForm
	}
	var unverified jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		return &errAssertionForm
	}
	if unverified.Issuer == s.config.ClientID {
		return s.checkSigned(text, now)
	}
	return s.checkFederated(token, unverified, now)
}

// checkSigned judges an assertion that the application made itself.
func (s *STS) checkSigned(text string, now time.Time) *stsError {
	token, err := jwt.ParseSigned(text, certificateAlgorithms)
	if err != nil {
		return &errAssertionForm
	}
	cert := s.named(token.Headers[0])
	if cert == nil || now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return &errAssertionKey
	}
	var c jwt.Claims
	if err := token.Claims(cert.PublicKey, &c); err != nil {
		return &errAssertionKey
	}
	base := s.config.Authority + "/" + s.config.TenantID
	switch {
	case c.Subject != s.config.ClientID:
		return &errAssertionApp
	case !c.Audience.Contains(base+"/oauth2/v2.0/token") && !c.Audience.Contains(s.issuer):
		return &errAssertionAud
	}
	return inTime(c, now)
}

// checkFederated judges a token that another issuer made.
func (s *STS) checkFederated(token *jwt.JSONWebToken, unverified jwt.Claims, now time.Time) *stsError {
	refusal := &errFederatedIss
	for _, f := range s.config.Federated {
		if f.Issuer != unverified.Issuer {
			continue
		}
		var c jwt.Claims
		if err := token.Claims(&f.Keys, &c); err != nil {
			refusal = &errFederatedToken
			continue
		}
		switch {
		case c.Subject != f.Subject:
			refusal = &errFederatedSub
		case !c.Audience.Contains(f.Audience):
			refusal = &errFederatedAud
		default:
			return inTime(c, now)
		}
	}
	return refusal
}

// named returns the certificate that an assertion's header names, or nil.
func (s *STS) named(h jose.Header) *certificate {
	long, short := thumbprint(h, "x5t#S256"), thumbprint(h, "x5t")
	for i, c := range s.certs {
		switch {
		case long != nil:
			if bytes.Equal(long, c.sha256[:]) {
				return &s.certs[i]
			}
		case short != nil && bytes.Equal(short, c.sha1[:]):
			return &s.certs[i]
		}
	}
	return nil
}

// thumbprint reads a hash in any of the spellings of base64 that clients have.
func thumbprint(h jose.Header, name jose.HeaderKey) []byte {
	text, ok := h.ExtraHeaders[name].(string)
	if !ok {
		return nil
	}
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	hash, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return hash
}

// inTime wants an assertion to end, and to be valid now.
func inTime(c jwt.Claims, now time.Time) *stsError {
	if c.Expiry == nil || c.ValidateWithLeeway(jwt.Expected{Time: now}, assertionLeeway) != nil {
		return &errAssertionTime
	}
	return nil
}
