package localvault

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

// backdated is how long before its making a certificate begins: clocks differ.
const backdated = 10 * time.Minute

type keyUsage struct {
	name string
	bit  x509.KeyUsage
	ops  []broker.KeyOp
}

// keyUsages are the names of the bits of the extension, in order: RFC 5280 section
// 4.2.1.3. ops is what Key Vault lets a key with that usage do.
var keyUsages = []keyUsage{
	{"digitalSignature", x509.KeyUsageDigitalSignature, []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}},
	{"nonRepudiation", x509.KeyUsageContentCommitment, []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}},
	{"keyEncipherment", x509.KeyUsageKeyEncipherment, []broker.KeyOp{broker.KeyOpWrapKey, broker.KeyOpUnwrapKey}},
	{"dataEncipherment", x509.KeyUsageDataEncipherment, []broker.KeyOp{broker.KeyOpEncrypt, broker.KeyOpDecrypt}},
	{"keyAgreement", x509.KeyUsageKeyAgreement, nil},
	{"keyCertSign", x509.KeyUsageCertSign, []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}},
	{"cRLSign", x509.KeyUsageCRLSign, []broker.KeyOp{broker.KeyOpSign, broker.KeyOpVerify}},
	{"encipherOnly", x509.KeyUsageEncipherOnly, []broker.KeyOp{broker.KeyOpEncrypt}},
	{"decipherOnly", x509.KeyUsageDecipherOnly, []broker.KeyOp{broker.KeyOpDecrypt}},
}

// opsOfUsage returns what the key of a certificate may do: what its usages allow and
// its type can. A certificate without usages restricts nothing.
func opsOfUsage(t broker.KeyType, usage x509.KeyUsage) []broker.KeyOp {
	all := t.Ops()
	if usage == 0 {
		return all
	}
	ops := make([]broker.KeyOp, 0, len(all))
	for _, op := range all {
		for _, u := range keyUsages {
			if usage&u.bit != 0 && slices.Contains(u.ops, op) {
				ops = append(ops, op)
				break
			}
		}
	}
	return ops
}

var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtendedKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidUPN              = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 3}
)

// extensions returns what a policy says of a certificate, in Key Vault's order.
func (p *certificatePolicy) extensions() ([]pkix.Extension, error) {
	var all []pkix.Extension
	add := func(oid asn1.ObjectIdentifier, critical bool, value any) error {
		der, err := asn1.Marshal(value)
		all = append(all, pkix.Extension{Id: oid, Critical: critical, Value: der})
		return err
	}
	if len(p.KeyUsages) > 0 {
		var bits asn1.BitString
		bits.Bytes = make([]byte, 2)
		for i, u := range keyUsages {
			if slices.Contains(p.KeyUsages, u.name) {
				bits.Bytes[i/8] |= 0x80 >> (i % 8)
				bits.BitLength = i + 1
			}
		}
		bits.Bytes = bits.Bytes[:(bits.BitLength+7)/8]
		if err := add(oidKeyUsage, true, bits); err != nil {
			return nil, err
		}
	}
	if len(p.EKUs) > 0 {
		var oids []asn1.ObjectIdentifier
		for _, text := range p.EKUs {
			oid, err := parseOID(text)
			if err != nil {
				return nil, badField("policy.extended_key_usages", "want object identifiers, such as 1.3.6.1.5.5.7.3.1")
			}
			oids = append(oids, oid)
		}
		if err := add(oidExtendedKeyUsage, false, oids); err != nil {
			return nil, err
		}
	}
	names, err := generalNames(p.Names)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		// Without a subject the names are all there is.
		if err := add(oidAlternativeNames, p.Subject == "", names); err != nil {
			return nil, err
		}
	}
	ca := *p.CA
	return all, add(oidBasicConstraints, ca, struct {
		CA bool `asn1:"optional"`
	}{ca})
}

// Tags of general names: RFC 5280 section 4.2.1.6.
const (
	tagOther = 0
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

const maxNames = 100

// generalNames checks alternative names and returns them as they are encoded.
func generalNames(n broker.AlternativeNames) ([]asn1.RawValue, error) {
	var all []asn1.RawValue
	add := func(tag int, value []byte) {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: value})
	}
	bad := func(field, message string) error {
		return badField("policy.subject_alternative_names."+field, message)
	}
	for _, email := range n.Emails {
		if at := strings.IndexByte(email, '@'); at <= 0 || at == len(email)-1 || len(email) > maxValueLen || !isASCII(email) {
			return nil, bad("emails", "want addresses, such as a@example.org")
		}
		add(tagEmail, []byte(email))
	}
	for _, name := range n.DNSNames {
		if !isDNSName(name) {
			return nil, bad("dns_names", `want names such as "www.example.org" or "*.example.org", others than ASCII as "xn--"`)
		}
		add(tagDNS, []byte(name))
	}
	for _, upn := range n.UPNs {
		if upn == "" || len(upn) > maxValueLen || !isPrintableUTF8(upn) {
			return nil, bad("upns", "want user principal names, such as a@example.org")
		}
		other, err := asn1.Marshal(struct {
			Type  asn1.ObjectIdentifier
			Value string `asn1:"utf8,explicit,tag:0"`
		}{oidUPN, upn})
		if err != nil {
			return nil, err
		}
		var sequence asn1.RawValue
		if _, err := asn1.Unmarshal(other, &sequence); err != nil {
			return nil, err
		}
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagOther, IsCompound: true, Bytes: sequence.Bytes})
	}
	for _, text := range n.URIs {
		if u, err := url.Parse(text); err != nil || u.Scheme == "" || len(text) > maxSubjectLen || !isASCII(text) {
			return nil, bad("uris", "want URIs, such as spiffe://example.org/a")
		}
		add(tagURI, []byte(text))
	}
	for _, text := range n.IPAddresses {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return nil, bad("ip_addresses", "want IP addresses without a zone, such as 192.0.2.1 or 2001:db8::1")
		}
		add(tagIP, ip.Unmap().AsSlice())
	}
	if len(all) > maxNames {
		return nil, badField("policy.subject_alternative_names", "a certificate here has at most 100 alternative names")
	}
	return all, nil
}

// isDNSName takes what stands in certificates: labels of letters, digits, "-" and
// "_", the first of which may be "*".
func isDNSName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for i, label := range strings.Split(name, ".") {
		if i == 0 && label == "*" && len(name) > 2 {
			continue
		}
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for j := range len(label) {
			if c := label[j]; !isLetter(c) && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isPrintableUTF8(s string) bool {
	return strings.ToValidUTF8(s, "") == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}

// signer returns the key as the standard library signs with it. P-256K it cannot.
func (k privateKey) signer() (crypto.Signer, error) {
	switch {
	case k.rsa != nil:
		return k.rsa, nil
	case k.ec != nil:
		return k.ec, nil
	}
	return nil, errors.New("no certificate is made of this type of key")
}

// request returns a certificate signing request of key, PKCS #10.
func (p *certificatePolicy) request(key privateKey) ([]byte, error) {
	signer, err := key.signer()
	if err != nil {
		return nil, err
	}
	subject, extensions, err := p.names()
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: subject, ExtraExtensions: extensions}, signer)
}

// selfSigned returns a certificate of key, signed with it, that begins now.
func (p *certificatePolicy) selfSigned(key privateKey, now time.Time) ([]byte, error) {
	signer, err := key.signer()
	if err != nil {
		return nil, err
	}
	subject, extensions, err := p.names()
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(public, &info); err != nil {
		return nil, err
	}
	id := sha256.Sum256(info.Key.Bytes)
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] = serial[0]&0x7f | 0x40
	now = now.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		RawSubject:   subject,
		NotBefore:    now.Add(-backdated),
		NotAfter:     addMonths(now, int(p.ValidityMonths)),
		// RFC 7093: the first 160 bits.
		SubjectKeyId:    id[:20],
		AuthorityKeyId:  id[:20],
		ExtraExtensions: extensions,
	}
	return x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
}

func (p *certificatePolicy) names() (subject []byte, extensions []pkix.Extension, err error) {
	if subject, err = parseSubject(p.Subject); err != nil {
		return nil, nil, badSubject(err)
	}
	extensions, err = p.extensions()
	return subject, extensions, err
}

func badSubject(cause error) error {
	return badField("policy.subject", "the subject is no distinguished name: "+cause.Error()+"; see RFC 4514")
}

// addMonths keeps to the month: a month after the last of January is the last of
// February.
func addMonths(t time.Time, months int) time.Time {
	to := t.AddDate(0, months, 0)
	if to.Day() != t.Day() {
		to = to.AddDate(0, 0, -to.Day())
	}
	return to
}

// monthsBetween is the least number of months that reaches from one time to
// another.
func monthsBetween(from, to time.Time) int {
	months := (to.Year()-from.Year())*12 + int(to.Month()) - int(from.Month())
	if addMonths(from, months).Before(to) {
		months++
	}
	return months
}

// alternativeNames reads a certificate's names.
func alternativeNames(c *x509.Certificate) broker.AlternativeNames {
	n := broker.AlternativeNames{
		DNSNames: slices.Clone(c.DNSNames), Emails: slices.Clone(c.EmailAddresses), UPNs: principalNames(c),
	}
	for _, u := range c.URIs {
		n.URIs = append(n.URIs, u.String())
	}
	for _, ip := range c.IPAddresses {
		n.IPAddresses = append(n.IPAddresses, ip.String())
	}
	return n
}

// principalNames reads the one kind of name that the library leaves out.
func principalNames(c *x509.Certificate) (upns []string) {
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidAlternativeNames) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			return nil
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific || n.Tag != tagOther {
				continue
			}
			var other struct {
				Type  asn1.ObjectIdentifier
				Value asn1.RawValue // explicit
			}
			if _, err := asn1.UnmarshalWithParams(n.FullBytes, &other, "tag:0"); err != nil || !other.Type.Equal(oidUPN) {
				continue
			}
			var upn string
			if _, err := asn1.UnmarshalWithParams(other.Value.Bytes, &upn, "utf8"); err == nil {
				upns = append(upns, upn)
			}
		}
	}
	return upns
}

// extendedKeyUsages reads the extension's identifiers, in their order.
func extendedKeyUsages(der []byte) []string {
	var oids []asn1.ObjectIdentifier
	all := make([]string, 0)
	if _, err := asn1.Unmarshal(der, &oids); err != nil {
		return all
	}
	for _, oid := range oids {
		all = append(all, oid.String())
	}
	return all
}
