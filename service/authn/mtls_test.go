package authn_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func spiffeLeaf(uris ...string) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	return c
}

// state signs tmpl and returns what a handshake that verified it would leave.
func (ca authority) state(t *testing.T, tmpl *x509.Certificate) *tls.ConnectionState {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{leaf},
		VerifiedChains:   [][]*x509.Certificate{{leaf, ca.cert}},
	}
}

func newMTLS(t *testing.T, c authn.MTLSConfig) authn.Authenticator {
	t.Helper()
	m, err := authn.NewMTLS(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMTLS(t *testing.T) {
	ca := newCA(t)
	long := "/" + strings.Repeat("a", 2048)
	edit := func(f func(*x509.Certificate)) *x509.Certificate {
		c := spiffeLeaf("spiffe://example.org/billing")
		f(c)
		return c
	}
	cases := map[string]struct {
		leaf *x509.Certificate
		id   string // empty: refused
	}{
		"good":                  {spiffeLeaf("spiffe://example.org/billing"), "spiffe://example.org/billing"},
		"a longer path":         {spiffeLeaf("spiffe://example.org/ns/Pay/sa/x_1.y-2"), "spiffe://example.org/ns/Pay/sa/x_1.y-2"},
		"domain in upper case":  {spiffeLeaf("SPIFFE://Example.ORG/billing"), "spiffe://example.org/billing"},
		"path keeps its case":   {spiffeLeaf("spiffe://example.org/Billing"), "spiffe://example.org/Billing"},
		"other names beside it": {edit(func(c *x509.Certificate) { c.DNSNames = []string{"admin"}; c.Subject.CommonName = "admin" }), "spiffe://example.org/billing"},
		"CN and OU only": {edit(func(c *x509.Certificate) {
			c.URIs = nil
			c.Subject = pkix.Name{CommonName: "spiffe://example.org/billing"}
		}), ""},
		"DNS name only":      {edit(func(c *x509.Certificate) { c.URIs = nil; c.DNSNames = []string{"example.org"} }), ""},
		"two SPIFFE IDs":     {spiffeLeaf("spiffe://example.org/a", "spiffe://example.org/b"), ""},
		"the same twice":     {spiffeLeaf("spiffe://example.org/a", "spiffe://example.org/a"), ""},
		"another URI beside": {spiffeLeaf("spiffe://example.org/a", "https://example.org/a"), ""},
		"an https URI":       {spiffeLeaf("https://example.org/a"), ""},
		"foreign domain":     {spiffeLeaf("spiffe://evil.org/billing"), ""},
		"subdomain":          {spiffeLeaf("spiffe://x.example.org/billing"), ""},
		"domain as a prefix": {spiffeLeaf("spiffe://example.org.evil.org/billing"), ""},
		"domain as user":     {spiffeLeaf("spiffe://example.org@evil.org/billing"), ""},
		"user":               {spiffeLeaf("spiffe://root@example.org/billing"), ""},
		"port":               {spiffeLeaf("spiffe://example.org:443/billing"), ""},
		"empty port":         {spiffeLeaf("spiffe://example.org:/billing"), ""},
		"no path":            {spiffeLeaf("spiffe://example.org"), ""},
		"empty path":         {spiffeLeaf("spiffe://example.org/"), ""},
		"trailing slash":     {spiffeLeaf("spiffe://example.org/billing/"), ""},
		"empty segment":      {spiffeLeaf("spiffe://example.org//billing"), ""},
		"dot segment":        {spiffeLeaf("spiffe://example.org/./billing"), ""},
		"dot dot":            {spiffeLeaf("spiffe://example.org/x/../billing"), ""},
		"escaped":            {spiffeLeaf("spiffe://example.org/bill%69ng"), ""},
		"escaped slash":      {spiffeLeaf("spiffe://example.org/a%2Fb"), ""},
		"query":              {spiffeLeaf("spiffe://example.org/billing?x=1"), ""},
		"empty query":        {spiffeLeaf("spiffe://example.org/billing?"), ""},
		"fragment":           {spiffeLeaf("spiffe://example.org/billing#x"), ""},
		"opaque":             {spiffeLeaf("spiffe:example.org/billing"), ""},
		"no domain":          {spiffeLeaf("spiffe:///billing"), ""},
		"a space":            {spiffeLeaf("spiffe://example.org/bill%20ing"), ""},
		"too long":           {spiffeLeaf("spiffe://example.org" + long), ""},
		"expired": {edit(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(-time.Hour), time.Now().Add(-time.Second)
		}), ""},
		"not yet":                   {edit(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), ""},
		"a CA's":                    {edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), ""},
		"key usage of a CA":         {edit(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), ""},
		"key usage of a CRL signer": {edit(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), ""},
	}
	m := newMTLS(t, authn.MTLSConfig{TrustDomain: "example.org"})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: ca.state(t, c.leaf)})
			if c.id != "" {
				if err != nil || p.ID != c.id {
					t.Errorf("got %q, %v; want %q", p.ID, err, c.id)
				}
				return
			}
			if broker.CodeOf(err) != broker.CodeBadCredentials {
				t.Errorf("got %q, %v; want BAD_CREDENTIALS", p.ID, err)
			}
		})
	}

	t.Run("not verified", func(t *testing.T) {
		s := ca.state(t, spiffeLeaf("spiffe://example.org/billing"))
		s.VerifiedChains = nil
		if p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: s}); broker.CodeOf(err) != broker.CodeBadCredentials {
			t.Errorf("got %q, %v", p.ID, err)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		if _, err := m.Authenticate(t.Context(), authn.Credentials{TLS: &tls.ConnectionState{}}); broker.CodeOf(err) != broker.CodeNoCredentials {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no trust domain configured", func(t *testing.T) {
		p, err := newMTLS(t, authn.MTLSConfig{}).Authenticate(t.Context(), authn.Credentials{TLS: ca.state(t, spiffeLeaf("spiffe://example.org/billing"))})
		if broker.CodeOf(err) != broker.CodeBadCredentials {
			t.Errorf("got %q, %v", p.ID, err)
		}
	})
}

func TestMTLSExpiresOnALiveConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		m := newMTLS(t, authn.MTLSConfig{TrustDomain: "example.org"})
		c := authn.Credentials{TLS: ca.state(t, spiffeLeaf("spiffe://example.org/billing"))}
		if _, err := m.Authenticate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Second)
		if p, err := m.Authenticate(t.Context(), c); broker.CodeOf(err) != broker.CodeBadCredentials {
			t.Errorf("after its end: %q, %v", p.ID, err)
		}
	})
}
