package authn_test

import (
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/keyward/keyward/service/authn"
)

func dnsLeaf(names ...string) *x509.Certificate {
	c := spiffeLeaf()
	c.DNSNames = names
	return c
}

func TestDNSNames(t *testing.T) {
	ca := newCA(t)
	edit := func(c *x509.Certificate, f func(*x509.Certificate)) *x509.Certificate { f(c); return c }
	cases := map[string]struct {
		leaf *x509.Certificate
		id   string // empty: refused
	}{
		"good":                   {dnsLeaf("billing.svc.example.org"), "mesh/billing.svc.example.org"},
		"in upper case":          {dnsLeaf("Billing.SVC.example.org"), "mesh/billing.svc.example.org"},
		"deeper":                 {dnsLeaf("a.b.svc.example.org"), "mesh/a.b.svc.example.org"},
		"the second domain":      {dnsLeaf("x.batch"), "mesh/x.batch"},
		"a SPIFFE ID beside":     {edit(spiffeLeaf("spiffe://example.org/billing"), func(c *x509.Certificate) { c.DNSNames = []string{"admin.svc.example.org"} }), "spiffe://example.org/billing"},
		"a foreign SPIFFE ID":    {edit(spiffeLeaf("spiffe://evil.org/billing"), func(c *x509.Certificate) { c.DNSNames = []string{"admin.svc.example.org"} }), ""},
		"an https URI beside":    {edit(spiffeLeaf("https://example.org/"), func(c *x509.Certificate) { c.DNSNames = []string{"admin.svc.example.org"} }), ""},
		"two names":              {dnsLeaf("billing.svc.example.org", "admin.svc.example.org"), ""},
		"the same twice":         {dnsLeaf("billing.svc.example.org", "billing.svc.example.org"), ""},
		"no name":                {dnsLeaf(), ""},
		"a common name":          {edit(dnsLeaf(), func(c *x509.Certificate) { c.Subject.CommonName = "billing.svc.example.org" }), ""},
		"the domain itself":      {dnsLeaf("svc.example.org"), ""},
		"a foreign domain":       {dnsLeaf("billing.svc.evil.org"), ""},
		"the domain as a suffix": {dnsLeaf("evilsvc.example.org"), ""},
		"the domain as a prefix": {dnsLeaf("svc.example.org.evil.org"), ""},
		"a wildcard":             {dnsLeaf("*.svc.example.org"), ""},
		"an empty label":         {dnsLeaf("billing..svc.example.org"), ""},
		"a trailing dot":         {dnsLeaf("billing.svc.example.org."), ""},
		"a leading dot":          {dnsLeaf(".svc.example.org"), ""},
		"a slash":                {dnsLeaf("a/b.svc.example.org"), ""},
		"NUL":                    {dnsLeaf("admin.svc.example.org\x00.evil.org"), ""},
		"a space":                {dnsLeaf("a b.svc.example.org"), ""},
		"a long label":           {dnsLeaf(strings.Repeat("a", 64) + ".svc.example.org"), ""},
		"a long name":            {dnsLeaf(strings.Repeat("a.", 120) + "svc.example.org"), ""},
		"a server's":             {edit(dnsLeaf("billing.svc.example.org"), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), ""},
		"a code signer's":        {edit(dnsLeaf("billing.svc.example.org"), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), ""},
		"of a usage nobody knows": {edit(dnsLeaf("billing.svc.example.org"), func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		}), ""},
		"for encipherment only":      {edit(dnsLeaf("billing.svc.example.org"), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), ""},
		"that does not say for what": {edit(dnsLeaf("billing.svc.example.org"), func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = 0, nil }), "mesh/billing.svc.example.org"},
	}
	m := newMTLS(t, authn.MTLSConfig{TrustDomain: "example.org", DNS: authn.DNSConfig{Name: "mesh", Domains: []string{"SVC.example.org", "batch"}}})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if strings.ContainsAny(strings.Join(c.leaf.DNSNames, ""), " /\x00") || strings.HasSuffix(strings.Join(c.leaf.DNSNames, ""), ".") {
				// crypto/x509 would make no such certificate: as parsed by a library
				// that is less strict.
				state := ca.state(t, dnsLeaf("x.svc.example.org"))
				state.VerifiedChains[0][0].DNSNames = c.leaf.DNSNames
				if p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: state}); err == nil {
					t.Errorf("accepted as %q", p.ID)
				}
				return
			}
			p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: ca.state(t, c.leaf)})
			if p.ID != c.id || (err == nil) != (c.id != "") {
				t.Errorf("got %q, %v; want %q", p.ID, err, c.id)
			}
			if issuer := p.Attributes["issuer"]; (issuer == "mesh") != strings.HasPrefix(c.id, "mesh/") {
				t.Errorf("issuer %q", issuer)
			}
		})
	}
}

func TestDNSConfiguration(t *testing.T) {
	for what, c := range map[string]authn.DNSConfig{
		"a name alone":      {Name: "mesh"},
		"domains alone":     {Domains: []string{"example.org"}},
		"a name with a /":   {Name: "a/b", Domains: []string{"example.org"}},
		"no domain":         {Name: "mesh", Domains: []string{""}},
		"a wildcard":        {Name: "mesh", Domains: []string{"*.example.org"}},
		"a leading dot":     {Name: "mesh", Domains: []string{".example.org"}},
		"what is no domain": {Name: "mesh", Domains: []string{"https://example.org"}},
	} {
		if _, err := authn.NewMTLS(authn.MTLSConfig{DNS: c}); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	// Without a trust domain no SPIFFE ID is accepted.
	m := newMTLS(t, authn.MTLSConfig{DNS: authn.DNSConfig{Name: "mesh", Domains: []string{"example.org"}}})
	if p, err := m.Authenticate(t.Context(), authn.Credentials{TLS: newCA(t).state(t, spiffeLeaf("spiffe://example.org/billing"))}); err == nil {
		t.Errorf("accepted as %q", p.ID)
	}
}
