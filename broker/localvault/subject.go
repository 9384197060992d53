package localvault

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxSubjectLen = 2048
	maxValueLen   = 512 // of one attribute
)

// subjectKeywords are the names of attributes in a distinguished name: RFC 4514
// section 3, and those that Windows, and so Key Vault, has beside them. Where there
// are several of an attribute, the first is written.
var subjectKeywords = []struct {
	keyword string
	oid     asn1.ObjectIdentifier
}{
	{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}},
	{"SN", asn1.ObjectIdentifier{2, 5, 4, 4}},
	{"SERIALNUMBER", asn1.ObjectIdentifier{2, 5, 4, 5}},
	{"C", oidCountry},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}},
	{"S", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"STREET", asn1.ObjectIdentifier{2, 5, 4, 9}},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}},
	{"T", asn1.ObjectIdentifier{2, 5, 4, 12}},
	{"TITLE", asn1.ObjectIdentifier{2, 5, 4, 12}},
	{"PostalCode", asn1.ObjectIdentifier{2, 5, 4, 17}},
	{"G", asn1.ObjectIdentifier{2, 5, 4, 42}},
	{"GN", asn1.ObjectIdentifier{2, 5, 4, 42}},
	{"I", asn1.ObjectIdentifier{2, 5, 4, 43}},
	{"E", oidEmail},
	{"EMAIL", oidEmail},
	{"EMAILADDRESS", oidEmail},
	{"DC", oidDomainComponent},
	{"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}},
}

var (
	oidCountry         = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidEmail           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidDomainComponent = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
)

// parseSubject reads a distinguished name, RFC 4514, and returns it in DER. Beside
// the RFC's spelling it takes Windows': spaces around separators, and values in
// quotes.
func parseSubject(text string) ([]byte, error) {
	if len(text) > maxSubjectLen || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, errors.New("it is longer than 2048 bytes, or not text in UTF-8")
	}
	p := subjectParser{rest: strings.TrimLeft(text, " ")}
	var rdns pkix.RDNSequence
	for more := p.rest != ""; more; {
		var set pkix.RelativeDistinguishedNameSET
		for {
			one, end, err := p.attribute()
			if err != nil {
				return nil, err
			}
			set = append(set, one)
			if end != '+' {
				more = end != 0
				break
			}
		}
		// In text the name begins with its most particular part, in DER it ends
		// with it.
		rdns = append(pkix.RDNSequence{set}, rdns...)
	}
	return asn1.Marshal(rdns)
}

type subjectParser struct{ rest string }

// attribute reads one attribute and the separator behind it: ',', ';', '+', or 0 at
// the end.
func (p *subjectParser) attribute() (one pkix.AttributeTypeAndValue, end byte, err error) {
	keyword, rest, ok := strings.Cut(p.rest, "=")
	keyword = strings.TrimSpace(keyword)
	if !ok || keyword == "" {
		return one, 0, errors.New(`want attributes as in "CN=example.org, O=Example"`)
	}
	if one.Type, err = attributeType(keyword); err != nil {
		return one, 0, err
	}
	p.rest = strings.TrimLeft(rest, " ")
	var value string
	if strings.HasPrefix(p.rest, `"`) {
		value, end, err = p.quoted()
	} else {
		value, end, err = p.plain()
	}
	if err != nil {
		return one, 0, fmt.Errorf("%w in the value of %s", err, keyword)
	}
	one.Value, err = attributeValue(one.Type, value)
	if err != nil {
		return one, 0, fmt.Errorf("%s %w", keyword, err)
	}
	return one, end, nil
}

func attributeType(keyword string) (asn1.ObjectIdentifier, error) {
	for _, k := range subjectKeywords {
		if strings.EqualFold(k.keyword, keyword) {
			return k.oid, nil
		}
	}
	oid, err := parseOID(strings.TrimPrefix(strings.ToUpper(keyword), "OID."))
	if err != nil {
		return nil, errors.New("an attribute is none of CN, O, OU, L, S, C, STREET, DC, E, SERIALNUMBER and such, nor an object identifier")
	}
	return oid, nil
}

// parseOID reads an object identifier, such as "1.3.6.1.5.5.7.3.1".
func parseOID(text string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	parts := strings.Split(text, ".")
	for _, part := range parts {
		n, err := strconv.ParseInt(part, 10, 31)
		if err != nil || part != strconv.FormatInt(n, 10) || n < 0 {
			return nil, errors.New("no object identifier")
		}
		oid = append(oid, int(n))
	}
	// The library knows what may stand first.
	if _, err := asn1.Marshal(oid); err != nil || len(parts) > 32 {
		return nil, errors.New("no object identifier")
	}
	return oid, nil
}

// attributeValue returns a value as it is encoded.
func attributeValue(oid asn1.ObjectIdentifier, value string) (any, error) {
	switch {
	case value == "":
		return nil, errors.New("has no value")
	case len(value) > maxValueLen:
		return nil, errors.New("is longer than 512 bytes")
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return nil, errors.New("is not text in UTF-8")
	case oid.Equal(oidCountry):
		if len(value) != 2 || !isLetter(value[0]) || !isLetter(value[1]) {
			return nil, errors.New("is the two letters of a country, ISO 3166")
		}
		return value, nil
	case oid.Equal(oidEmail), oid.Equal(oidDomainComponent):
		if !isASCII(value) {
			return nil, errors.New("is in ASCII")
		}
		return asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte(value)}, nil
	}
	return value, nil // PrintableString where it can be, or UTF8String
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || s[i] < ' ' {
			return false
		}
	}
	return true
}

// quoted reads a value in quotes, in which a quote is doubled or escaped.
func (p *subjectParser) quoted() (value string, end byte, err error) {
	var out strings.Builder
	for s := p.rest[1:]; s != ""; {
		switch {
		case strings.HasPrefix(s, `""`), strings.HasPrefix(s, `\"`), strings.HasPrefix(s, `\\`):
			out.WriteByte(s[1])
			s = s[2:]
		case s[0] == '"':
			rest := strings.TrimLeft(s[1:], " ")
			if rest == "" {
				p.rest = ""
				return out.String(), 0, nil
			}
			if !strings.ContainsRune(",;+", rune(rest[0])) {
				return "", 0, errors.New("something follows the quotes")
			}
			p.rest = rest[1:]
			return out.String(), rest[0], nil
		default:
			out.WriteByte(s[0])
			s = s[1:]
		}
	}
	return "", 0, errors.New("a quote is not closed")
}

// plain reads a value with RFC 4514's escapes.
func (p *subjectParser) plain() (value string, end byte, err error) {
	if strings.HasPrefix(p.rest, "#") {
		return "", 0, errors.New("write text, not hexadecimal BER,")
	}
	var out []byte
	kept := 0 // what an escape wrote is not trimmed
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case ',', ';', '+':
			p.rest = p.rest[i+1:]
			return string(trimSpaces(out, kept)), c, nil
		case '"', '<', '>':
			return "", 0, errors.New("escape \", < and > with a \\")
		case '\\':
			b, n, err := unescape(p.rest[i+1:])
			if err != nil {
				return "", 0, err
			}
			out, i = append(out, b), i+n
			kept = len(out)
		default:
			out = append(out, c)
		}
	}
	p.rest = ""
	return string(trimSpaces(out, kept)), 0, nil
}

func trimSpaces(value []byte, kept int) []byte {
	for len(value) > kept && value[len(value)-1] == ' ' {
		value = value[:len(value)-1]
	}
	return value
}

// unescape reads what follows a backslash, and how long that is.
func unescape(s string) (b byte, n int, err error) {
	if s != "" && strings.ContainsRune(`"+,;<>\ #=`, rune(s[0])) {
		return s[0], 1, nil
	}
	if len(s) >= 2 {
		if one, err := hex.DecodeString(s[:2]); err == nil {
			return one[0], 2, nil
		}
	}
	return 0, 0, errors.New("a \\ is followed by neither a special character nor two hexadecimal digits")
}

// formatSubject writes a name from DER as Key Vault does: as RFC 4514, with a space
// behind each comma. What cannot be read is "".
func formatSubject(der []byte) string {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) != 0 {
		return ""
	}
	var out strings.Builder
	for _, rdn := range slices.Backward(rdns) {
		if out.Len() > 0 {
			out.WriteString(", ")
		}
		for j, one := range rdn {
			if j > 0 {
				out.WriteString(" + ")
			}
			out.WriteString(attributeKeyword(one.Type) + "=")
			text, ok := one.Value.(string)
			if !ok {
				return ""
			}
			out.WriteString(escapeValue(text))
		}
	}
	return out.String()
}

func attributeKeyword(oid asn1.ObjectIdentifier) string {
	for _, k := range subjectKeywords {
		if k.oid.Equal(oid) {
			return k.keyword
		}
	}
	return "OID." + oid.String()
}

func escapeValue(value string) string {
	var out strings.Builder
	for i := range len(value) {
		c := value[i]
		special := strings.IndexByte("\"+,;<>\\", c) >= 0
		edge := c == ' ' && (i == 0 || i == len(value)-1) || c == '#' && i == 0
		switch {
		case special, edge:
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ':
			fmt.Fprintf(&out, `\%02x`, c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}
