package service_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// hostileCertificates are chains and keys that name nobody, as a client would
// present them.
func hostileCertificates(t *testing.T, ca authority) map[string]tls.Certificate {
	t.Helper()
	const good = "spiffe://" + trustDomain + "/billing"
	edit := func(f func(*x509.Certificate)) *x509.Certificate {
		c := clientLeaf(good)
		f(c)
		return c
	}
	// sub is a CA below another, as edited.
	sub := func(parent authority, f func(*x509.Certificate)) authority {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "sub"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		f(tmpl)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent.cert, &key.PublicKey, parent.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return authority{cert, key}
	}
	below := func(f func(*x509.Certificate)) tls.Certificate {
		s := sub(ca, f)
		c := s.issue(t, clientLeaf(good))
		c.Certificate = append(c.Certificate, s.cert.Raw)
		return c
	}
	selfSigned := func(tmpl *x509.Certificate, public, private any) tls.Certificate {
		tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(4), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, private)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	}
	ecKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPublic, edKey, err2 := ed25519.GenerateKey(rand.Reader)
	rsaKey, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	foreign := newAuthority(t)
	named := foreign // as ours by its name, which is all that a chain's building looks at
	named.cert = &x509.Certificate{Raw: foreign.cert.Raw, RawSubject: ca.cert.RawSubject, Subject: ca.cert.Subject, PublicKey: foreign.cert.PublicKey, SubjectKeyId: ca.cert.SubjectKeyId}
	mixed := foreign.issue(t, clientLeaf(good))
	mixed.Certificate = append(mixed.Certificate, ca.cert.Raw)
	stolen := ca.issue(t, clientLeaf(good)) // the certificate, without its key
	stolen.PrivateKey = ecKey
	flipped := ca.issue(t, clientLeaf(good))
	flipped.Certificate = [][]byte{append([]byte(nil), flipped.Certificate[0]...)}
	flipped.Certificate[0][len(flipped.Certificate[0])-1] ^= 1
	leafAsCA := authority{key: ecKey}
	{
		leaf := ca.issue(t, clientLeaf(good))
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		leafAsCA.cert, leafAsCA.key = cert, leaf.PrivateKey.(*ecdsa.PrivateKey)
	}
	byLeaf := leafAsCA.issue(t, clientLeaf(good))
	byLeaf.Certificate = append(byLeaf.Certificate, leafAsCA.cert.Raw)
	long := sub(ca, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	longer := sub(long, func(*x509.Certificate) {})
	tooLong := longer.issue(t, clientLeaf(good))
	tooLong.Certificate = append(tooLong.Certificate, longer.cert.Raw, long.cert.Raw)

	of := func(tmpl *x509.Certificate) tls.Certificate { return ca.issue(t, tmpl) }
	return map[string]tls.Certificate{
		// The handshake's to refuse.
		"of another CA":                 foreign.issue(t, clientLeaf(good)),
		"of another CA with our name":   named.issue(t, clientLeaf(good)),
		"of another CA, with ours sent": mixed,
		"self-signed":                   selfSigned(clientLeaf(good), &ecKey.PublicKey, ecKey),
		"self-signed, Ed25519":          selfSigned(clientLeaf(good), edPublic, edKey),
		"self-signed, RSA":              selfSigned(clientLeaf(good), &rsaKey.PublicKey, rsaKey),
		"self-signed as a CA":           selfSigned(edit(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), &ecKey.PublicKey, ecKey),
		"without its key":               stolen,
		"with a bit flipped":            flipped,
		"expired": of(edit(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})),
		"not yet valid":   of(edit(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })),
		"a server's":      of(edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })),
		"a code signer's": of(edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })),
		"a mail user's":   of(edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })),
		"with a critical extension": of(edit(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		})),
		"by a leaf":                byLeaf,
		"by an expired sub-CA":     below(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"by a sub-CA that is none": below(func(c *x509.Certificate) { c.IsCA = false }),
		"by a sub-CA for servers":  below(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"by a sub-CA of other names": below(func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"evil.org"}, true
		}),
		"by a sub-CA that excludes us": below(func(c *x509.Certificate) {
			c.ExcludedURIDomains, c.PermittedDNSDomainsCritical = []string{trustDomain}, true
		}),
		"by a chain that is too long": tooLong,

		// The handshake takes these: ours to refuse.
		"without a name":                    of(clientLeaf()),
		"with a common name":                of(edit(func(c *x509.Certificate) { c.URIs, c.Subject = nil, pkix.Name{CommonName: good} })),
		"with an organisation":              of(edit(func(c *x509.Certificate) { c.URIs, c.Subject = nil, pkix.Name{Organization: []string{good}} })),
		"with a DNS name":                   of(edit(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"billing." + trustDomain} })),
		"with an address":                   of(edit(func(c *x509.Certificate) { c.URIs, c.EmailAddresses = nil, []string{"billing@" + trustDomain} })),
		"with two SPIFFE IDs":               of(clientLeaf(good, "spiffe://"+trustDomain+"/admin")),
		"with one twice":                    of(clientLeaf(good, good)),
		"with another URI":                  of(clientLeaf(good, "https://"+trustDomain+"/billing")),
		"of a foreign trust domain":         of(clientLeaf("spiffe://evil.org/billing")),
		"of a domain that begins with ours": of(clientLeaf("spiffe://" + trustDomain + ".evil.org/billing")),
		"of a domain below ours":            of(clientLeaf("spiffe://x." + trustDomain + "/billing")),
		"with ours as the user":             of(clientLeaf("spiffe://" + trustDomain + "@evil.org/billing")),
		"with a port":                       of(clientLeaf("spiffe://" + trustDomain + ":443/billing")),
		"of the trust domain itself":        of(clientLeaf("spiffe://" + trustDomain)),
		"with a trailing slash":             of(clientLeaf(good + "/")),
		"with dot segments":                 of(clientLeaf("spiffe://" + trustDomain + "/x/../billing")),
		"with an empty segment":             of(clientLeaf("spiffe://" + trustDomain + "//billing")),
		"with an escape":                    of(clientLeaf("spiffe://" + trustDomain + "/bill%69ng")),
		"with an escaped slash":             of(clientLeaf("spiffe://" + trustDomain + "/x%2fbilling")),
		"with a query":                      of(clientLeaf(good + "?admin=1")),
		"with a fragment":                   of(clientLeaf(good + "#admin")),
		"of another scheme":                 of(clientLeaf("https://" + trustDomain + "/billing")),
		"a CA's": of(edit(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		})),
		"of a CA's usage":                     of(edit(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })),
		"of a list signer's usage":            of(edit(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })),
		"that may encipher, and sign nothing": of(edit(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })),
	}
}

// TestHostileCertificatesNameNobody: whatever is presented, over either
// transport and in a real handshake, no handler runs and no vault is asked.
func TestHostileCertificatesNameNobody(t *testing.T) {
	w := newWorld(t)
	w.put("vaults/dev/secrets/db", "x")
	corpus := hostileCertificates(t, w.ca)
	if len(corpus) < 30 {
		t.Fatalf("only %d certificates", len(corpus))
	}
	inHandshake, inCall := 0, 0
	for name, cert := range corpus {
		// Sent whatever the server asks for: crypto/tls would keep one back that the
		// server's list of CAs does not have.
		conf := &tls.Config{
			RootCAs: w.ca.pool(), MinVersion: tls.VersionTLS13,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		}
		conn, err := grpc.NewClient(w.grpcAddr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err = keywardv1.NewSecretServiceClient(conn).GetSecret(ctx, &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"})
		cancel()
		_ = conn.Close()
		overGRPC := grpcVerdict(err)
		if overGRPC.code != "Unauthenticated" && overGRPC.code != "Unavailable" {
			t.Errorf("%s: gRPC %v", name, err)
		}
		tr := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.httpAddr+"/v1/vaults/dev/secrets/db", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: REST %d", name, resp.StatusCode)
			}
			inCall++
		} else {
			inHandshake++
		}
		if (err != nil) != (overGRPC.code == "Unavailable") {
			t.Errorf("%s: the transports differ: %v, %v", name, overGRPC, err)
		}
		if overGRPC.code == "Unauthenticated" && overGRPC.reason != "BAD_CREDENTIALS" {
			t.Errorf("%s: %v", name, overGRPC)
		}
		tr.CloseIdleConnections()
	}
	t.Logf("%d certificates: %d refused in the handshake, %d at the call, 0 accepted", len(corpus), inHandshake, inCall)
	if inHandshake < 15 || inCall < 15 {
		t.Errorf("%d refused in the handshake, %d at the call: the corpus is lopsided", inHandshake, inCall)
	}
	if n := w.store.Calls(brokertest.GetSecret); n != 0 {
		t.Errorf("%d vault calls", n)
	}
	for _, e := range w.audit.Events() {
		if e.Action != broker.ActionAuthenticate || e.Caller.ID != "" {
			t.Errorf("recorded %s by %q", e.Action, e.Caller.ID)
		}
	}
	// The same way in, with a certificate that is good.
	if _, err := w.client(w.billing()).GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: "vaults/dev/secrets/db"}); err != nil {
		t.Error(err)
	}
}
