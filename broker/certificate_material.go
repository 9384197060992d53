package broker

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	// MaxCertificateMaterial bounds a certificate with its chain and key, in bytes
	// of DER or PEM.
	MaxCertificateMaterial = 64 << 10
	// MaxChain is the most certificates in a chain, the leaf among them.
	MaxChain = 10
)

// CertificateMaterial is a certificate, what is between it and its root, and its
// private key.
type CertificateMaterial struct {
	// Chain is DER, the certificate of Key first, then as it was given.
	Chain [][]byte
	// Key is PKCS #8, DER. It is empty where the vault keeps it to itself.
	Key Value
}

var (
	errMaterialSize = errors.New("it is longer than 64 KiB")
	// errPFX has the same words for what is no PFX and for a wrong password.
	errPFX = errors.New("it is no PFX, PKCS #12 in base64, with an RSA or EC key, or the password is not its own")
	// errSealedTwice is of what few programs write.
	errSealedTwice = errors.New("its private key is within what is sealed with its certificates; write it anew, as openssl pkcs12 does")
	errNoChain     = errors.New("there is no certificate in it")
	errMismatch    = errors.New("none of its certificates is of its private key")
)

// ParseCertificateMaterial reads a PFX in standard base64 or PEM blocks, in base64
// or not, as contentType says, or, where that is "", as it looks. password is of a PFX. The
// error quotes nothing of it, and is no *Error.
func ParseCertificateMaterial(contentType string, material, password Value) (CertificateMaterial, error) {
	text := material.Reveal()
	if contentType == "" {
		contentType = ContentTypePKCS12
		if strings.Contains(text, "-----BEGIN ") {
			contentType = ContentTypePEM
		}
	}
	switch contentType {
	case ContentTypePKCS12:
		return parsePFX(text, password)
	case ContentTypePEM:
		return parsePEM(text)
	}
	return CertificateMaterial{}, errors.New("its content type is none of " + ContentTypePKCS12 + " and " + ContentTypePEM)
}

func parsePFX(text string, password Value) (CertificateMaterial, error) {
	if len(text) > base64.StdEncoding.EncodedLen(MaxCertificateMaterial)+1024 { // and some line breaks
		return CertificateMaterial{}, errMaterialSize
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !cheapPFX(der) {
		return CertificateMaterial{}, errPFX
	}
	defer clear(der)
	if keySealedTwice(der, password.Reveal()) {
		return CertificateMaterial{}, errSealedTwice
	}
	key, leaf, others, err := pkcs12.DecodeChain(der, password.Reveal())
	if err == nil {
		return newMaterial(key, append([]*x509.Certificate{leaf}, others...))
	}
	// Without a key it is what Java calls a trust store.
	if chain, err := pkcs12.DecodeTrustStore(der, password.Reveal()); err == nil {
		return newMaterial(nil, chain)
	}
	return CertificateMaterial{}, errPFX // the library's words may quote what it found
}

func parsePEM(text string) (CertificateMaterial, error) {
	if len(text) > 2*MaxCertificateMaterial {
		return CertificateMaterial{}, errMaterialSize
	}
	// Azure's client for Python sends PEM in base64.
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil && !strings.Contains(text, "-----BEGIN ") {
		text = string(plain)
		clear(plain)
	}
	var key any
	var chain []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return CertificateMaterial{}, errors.New("a CERTIFICATE block holds no X.509 certificate")
			}
			chain = append(chain, c)
		case "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			clear(block.Bytes)
			if err != nil || key != nil {
				return CertificateMaterial{}, errors.New("want one PRIVATE KEY block, PKCS #8 of an RSA or EC key")
			}
			key = k
		case "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return CertificateMaterial{}, errors.New("the private key is not in plain PKCS #8; convert it: openssl pkcs8 -topk8 -nodes")
		}
	}
	return newMaterial(key, chain)
}

// newMaterial puts the certificate of key first. A nil key is none.
func newMaterial(key any, chain []*x509.Certificate) (CertificateMaterial, error) {
	var m CertificateMaterial
	if len(chain) == 0 {
		return m, errNoChain
	}
	if len(chain) > MaxChain {
		return m, errors.New("there are more than 10 certificates in it")
	}
	leaf := 0
	if key != nil {
		public, err := publicOf(key)
		if err != nil {
			return m, err
		}
		for leaf < len(chain) && !public.Equal(chain[leaf].PublicKey) {
			leaf++
		}
		if leaf == len(chain) {
			return m, errMismatch
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return m, errors.New("the private key cannot be written as PKCS #8")
		}
		m.Key = NewValue(string(der))
		clear(der)
	}
	m.Chain = append(m.Chain, chain[leaf].Raw)
	for i, c := range chain {
		if i != leaf {
			m.Chain = append(m.Chain, c.Raw)
		}
	}
	return m, nil
}

func publicOf(key any) (interface{ Equal(crypto.PublicKey) bool }, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if err := k.Validate(); err != nil {
			return nil, errors.New("the private key is not consistent")
		}
		return &k.PublicKey, nil
	case *ecdsa.PrivateKey:
		return &k.PublicKey, nil
	}
	return nil, errors.New("the private key is neither RSA nor EC")
}

// Ordered returns m with each certificate before the one that signed it, as TLS
// servers want it: RFC 8446 section 4.4.2. What is not of the leaf's chain, or of
// an issuer whose RSA key is longer than any that is used, comes last.
func (m CertificateMaterial) Ordered() CertificateMaterial {
	if len(m.Chain) < 3 {
		return m
	}
	rest := make([]*x509.Certificate, 0, len(m.Chain))
	for _, der := range m.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil { // as it was given, then
			return m
		}
		rest = append(rest, c)
	}
	out := CertificateMaterial{Key: m.Key, Chain: [][]byte{m.Chain[0]}}
	for last := rest[0]; ; {
		rest = without(rest, last)
		next := issuerOf(last, rest)
		if next == nil {
			break
		}
		out.Chain, last = append(out.Chain, next.Raw), next
	}
	for _, c := range rest {
		out.Chain = append(out.Chain, c.Raw)
	}
	return out
}

func without(all []*x509.Certificate, one *x509.Certificate) []*x509.Certificate {
	out := make([]*x509.Certificate, 0, len(all))
	for _, c := range all {
		if c != one {
			out = append(out, c)
		}
	}
	return out
}

func issuerOf(c *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, i := range among {
		if bytes.Equal(c.RawIssuer, i.RawSubject) && cheapKey(i.PublicKey) && i.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return i
		}
	}
	return nil
}

// ChainPEM returns the certificates as PEM blocks.
func (m CertificateMaterial) ChainPEM() string {
	var out strings.Builder
	for _, der := range m.Chain {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.String()
}

// KeyPEM returns the private key as a PEM block, or nothing.
func (m CertificateMaterial) KeyPEM() Value {
	if m.Key.Len() == 0 {
		return Value{}
	}
	return NewValue(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(m.Key.Reveal())})))
}

// PFX returns all of it as PKCS #12, DER: sealed with the password by AES-256 and
// PBKDF2, or, without one, not at all.
func (m CertificateMaterial) PFX(password Value) (Value, error) {
	encoder := pkcs12.Modern
	if password.Len() == 0 {
		encoder = pkcs12.Passwordless
	}
	return m.pfx(encoder, password)
}

func (m CertificateMaterial) pfx(encoder *pkcs12.Encoder, password Value) (Value, error) {
	key, err := x509.ParsePKCS8PrivateKey([]byte(m.Key.Reveal()))
	if err != nil {
		return Value{}, errors.New("there is no private key")
	}
	chain := make([]*x509.Certificate, len(m.Chain))
	for i, der := range m.Chain {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return Value{}, errNoChain
		}
	}
	if len(chain) == 0 {
		return Value{}, errNoChain
	}
	der, err := encoder.Encode(key, chain[0], chain[1:], password.Reveal())
	if err != nil {
		return Value{}, errors.New("it cannot be written as PKCS #12")
	}
	return NewValue(string(der)), nil
}

// Secret returns what the secret behind a certificate holds: PFX in base64,
// under the empty password, or PEM, key first. Without a key, it is the
// certificates alone.
func (m CertificateMaterial) Secret(contentType string) (Value, error) {
	switch {
	case contentType == ContentTypePEM:
		return NewValue(m.KeyPEM().Reveal() + m.ChainPEM()), nil
	case contentType != ContentTypePKCS12:
		return Value{}, errors.New("a certificate's secret is " + ContentTypePKCS12 + " or " + ContentTypePEM)
	case m.Key.Len() == 0:
		return m.trustStore()
	}
	// Key Vault's have an empty password. Readers that know of no PFX without one,
	// such as Windows', take the old ciphers.
	der, err := m.pfx(pkcs12.LegacyDES, Value{})
	if err != nil {
		return Value{}, err
	}
	return NewValue(base64.StdEncoding.EncodeToString([]byte(der.Reveal()))), nil
}

func (m CertificateMaterial) trustStore() (Value, error) {
	chain := make([]*x509.Certificate, len(m.Chain))
	for i, der := range m.Chain {
		var err error
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return Value{}, errNoChain
		}
	}
	der, err := pkcs12.LegacyDES.EncodeTrustStore(chain, "")
	if err != nil {
		return Value{}, errors.New("it cannot be written as PKCS #12")
	}
	return NewValue(base64.StdEncoding.EncodeToString(der)), nil
}
