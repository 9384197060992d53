package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// A certificate with less than this left is made anew at a start.
	leafMargin = 30 * 24 * time.Hour
)

// localCA is the certificate authority of a data folder: ca.pem, ca-key.pem.
type localCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// openCA reads the folder's CA, and makes it where there is none.
func openCA(dir string) (*localCA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case err == nil:
		key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s: want an ECDSA key", keyFile)
		}
		return &localCA{dir: dir, cert: pair.Leaf, key: key}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the local CA: %w", err)
	case exists(certFile) || exists(keyFile):
		return nil, fmt.Errorf("the local CA: one of ca.pem and ca-key.pem is missing in %s; bring it back, or remove both", dir)
	}
	ca := &localCA{dir: dir}
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Keyward local CA"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if err := ca.issue(tmpl, "ca", caLife); err != nil {
		return nil, err
	}
	return openCA(dir)
}

// ensureServer makes server.pem and server-key.pem for loopback and the given
// hosts, unless they are there and good.
func (ca *localCA) ensureServer(hosts ...string) error {
	tmpl := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Keyward on this machine"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "*.vault.localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip == nil && h != "" {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		} else if ip != nil && !ip.IsUnspecified() {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		}
	}
	return ca.ensure(tmpl, "server")
}

// ensureClient makes {name}.pem and {name}-key.pem, a client certificate with
// one SPIFFE ID, unless they are there and good.
func (ca *localCA) ensureClient(name, spiffeID string) error {
	id, err := url.Parse(spiffeID)
	if err != nil {
		return fmt.Errorf("a SPIFFE ID: %w", err)
	}
	return ca.ensure(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id},
	}, name)
}

func (ca *localCA) ensure(tmpl *x509.Certificate, name string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(ca.dir, name+".pem"), filepath.Join(ca.dir, name+"-key.pem"))
	if err == nil && ca.good(pair.Leaf, tmpl) {
		return nil
	}
	return ca.issue(tmpl, name, leafLife)
}

// good reports whether a certificate is ours, has time left, and names all that
// is wanted.
func (ca *localCA) good(have, want *x509.Certificate) bool {
	if have.CheckSignatureFrom(ca.cert) != nil || time.Until(have.NotAfter) < leafMargin {
		return false
	}
	hasIP := func(ip net.IP) bool { return slices.ContainsFunc(have.IPAddresses, ip.Equal) }
	for _, ip := range want.IPAddresses {
		if !hasIP(ip) {
			return false
		}
	}
	for _, d := range want.DNSNames {
		if !slices.Contains(have.DNSNames, d) {
			return false
		}
	}
	return fmt.Sprint(have.URIs) == fmt.Sprint(want.URIs)
}

// issue signs tmpl with a new key (a CA that has no certificate yet signs
// itself) and writes {name}.pem and {name}-key.pem.
func (ca *localCA) issue(tmpl *x509.Certificate, name string, life time.Duration) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	tmpl.SerialNumber = serial.Add(serial, big.NewInt(1))
	tmpl.NotBefore = time.Now().Add(-5 * time.Minute)
	tmpl.NotAfter = time.Now().Add(life)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("the certificate %s: %w", name, err)
	}
	if err := writeKey(filepath.Join(ca.dir, name+"-key.pem"), key); err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return writeFile(filepath.Join(ca.dir, name+".pem"), text)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
