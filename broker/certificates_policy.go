package broker

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a policy.
const (
	maxValidityMonths = 1200
	maxSubjectLen     = 2048 // bytes
	maxAltNames       = 100
	maxOIDLen         = 256
	maxPasswordLen    = 256 // characters
)

var (
	issuerPattern = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	oidPattern    = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]{0,38}))+$`)
)

var keyUsageNames = []string{
	"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
	"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

func badPolicy(field, message string) *Error {
	return &Error{Code: CodeBadField, Field: "policy." + field, Message: message}
}

// validate refuses what no vault would take. What goes with what, beyond that, and
// what is left open, is the vault's to say.
func (p CertificatePolicy) validate() error {
	switch {
	case p.Issuer != "" && !issuerPattern.MatchString(p.Issuer):
		return badPolicy("issuer_name", "issuer_name is Self, Unknown, or the name of one of the vault's certificateIssuers")
	case len(p.CertificateType) > MaxTagLen:
		return badPolicy("certificate_type", "certificate_type is at most 256 characters, such as OV-SSL")
	case p.Subject != "" && (len(p.Subject) > maxSubjectLen || !strings.Contains(p.Subject, "=") || !isText(p.Subject)):
		return badPolicy("subject", `subject is a distinguished name of at most 2048 bytes, such as "CN=example.org, O=Example"`)
	case p.ValidityMonths < 0 || p.ValidityMonths > maxValidityMonths:
		return badPolicy("validity_months", "validity_months is 1 to 1200; 0 leaves it as it is, or to the vault")
	case !slices.Contains([]string{"", ContentTypePKCS12, ContentTypePEM}, p.ContentType):
		return badPolicy("content_type", "content_type is application/x-pkcs12 or application/x-pem-file")
	case slices.ContainsFunc(p.EKUs, func(oid string) bool { return len(oid) > maxOIDLen || !oidPattern.MatchString(oid) }):
		return badPolicy("extended_key_usages", "extended_key_usages are object identifiers, such as 1.3.6.1.5.5.7.3.1 for a server")
	case slices.ContainsFunc(p.KeyUsages, func(u string) bool { return !slices.Contains(keyUsageNames, u) }):
		return badPolicy("key_usages", "key_usages are of "+strings.Join(keyUsageNames, ", "))
	}
	if err := p.Names.validate(); err != nil {
		return err
	}
	if err := p.validateKey(); err != nil {
		return err
	}
	return p.validateActions()
}

func (p CertificatePolicy) validateKey() error {
	software := p.KeyType.Software()
	switch {
	case p.KeyType != "" && software != KeyTypeRSA && software != KeyTypeEC:
		return badPolicy("kty", "kty is RSA or EC, or one of them with -HSM behind it")
	case !slices.Contains([]int32{0, 2048, 3072, 4096}, p.KeySize):
		return badPolicy("key_size", "key_size of an RSA key is 2048, 3072 or 4096")
	case !slices.Contains([]Curve{"", CurveP256, CurveP384, CurveP521, CurveP256K}, p.Curve):
		return badPolicy("crv", "crv is P-256, P-384, P-521 or P-256K")
	case p.KeySize != 0 && (software == KeyTypeEC || p.Curve != ""):
		return badPolicy("key_size", "an EC key has a crv and no key_size")
	case p.Curve != "" && software == KeyTypeRSA:
		return badPolicy("crv", "only an EC key has a crv")
	case p.KeyType != software && p.Exportable != nil && *p.Exportable:
		return badPolicy("exportable", "a key with -HSM behind its type does not leave the vault: exportable is false")
	}
	return nil
}

func (p CertificatePolicy) validateActions() error {
	for _, a := range p.Actions {
		switch {
		case a.Type != ActionTypeAutoRenew && a.Type != ActionTypeEmailContacts,
			(a.LifetimePercentage == 0) == (a.DaysBeforeExpiry == 0):
			return badPolicy("lifetime_actions", "an action has a type, AutoRenew or EmailContacts, and exactly one of lifetime_percentage and days_before_expiry")
		case a.LifetimePercentage < 0 || a.LifetimePercentage > 99:
			return badPolicy("lifetime_actions", "lifetime_percentage is 1 to 99")
		case a.DaysBeforeExpiry < 0:
			return badPolicy("lifetime_actions", "days_before_expiry is 1 or more")
		}
	}
	return nil
}

// isZero reports whether p says nothing.
func (p CertificatePolicy) isZero() bool {
	return p.Issuer == "" && p.CertificateType == "" && p.Transparency == nil && p.Subject == "" && p.Names.count() == 0 &&
		p.EKUs == nil && p.KeyUsages == nil && p.ValidityMonths == 0 && p.CA == nil && p.KeyType == "" && p.KeySize == 0 && p.Curve == "" &&
		p.Exportable == nil && p.ReuseKey == nil && p.ContentType == "" && p.Actions == nil && p.Enabled == nil
}

func (n AlternativeNames) count() int {
	return len(n.DNSNames) + len(n.Emails) + len(n.UPNs) + len(n.URIs) + len(n.IPAddresses)
}

func (n AlternativeNames) validate() error {
	if n.count() > maxAltNames {
		return badPolicy("subject_alternative_names", "a certificate has at most 100 alternative names")
	}
	for _, kind := range []struct {
		field   string
		names   []string
		is      func(string) bool
		message string
	}{
		{"dns_names", n.DNSNames, isDNSName, `dns_names are such as "www.example.org" or "*.example.org"; others than ASCII are written as "xn--"`},
		{"emails", n.Emails, isEmail, "emails are such as a@example.org"},
		{"upns", n.UPNs, func(s string) bool { return s != "" && len(s) <= maxSubjectLen && isText(s) }, "upns are user principal names, such as a@example.org"},
		{"uris", n.URIs, isURI, "uris are absolute, such as spiffe://example.org/a"},
		{"ip_addresses", n.IPAddresses, isIP, "ip_addresses have no zone and no prefix, such as 192.0.2.1 or 2001:db8::1"},
	} {
		for _, name := range kind.names {
			if !kind.is(name) {
				return badPolicy("subject_alternative_names."+kind.field, kind.message)
			}
		}
	}
	return nil
}

// isDNSName takes what stands in certificates: labels of letters, digits, "-" and
// "_", the first of which may be "*".
func isDNSName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	rest, wild := strings.CutPrefix(s, "*.")
	if wild && rest == "" {
		return false
	}
	for label := range strings.SplitSeq(rest, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isLower(c|0x20) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && len(s) <= maxSubjectLen && isASCII(s) && isDNSName(s[at+1:])
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && len(s) <= maxSubjectLen && isASCII(s)
}

func isIP(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == ""
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// checkPassword bounds the password of a PFX.
func checkPassword(password Value) error {
	text := password.Reveal()
	if utf8.RuneCountInString(text) > maxPasswordLen || !isText(text) {
		return &Error{Code: CodeBadField, Field: "password", Message: "a password is at most 256 characters, as UTF-8"}
	}
	return nil
}
