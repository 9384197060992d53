package broker

import (
	"strings"
)

// Kind is a collection of a vault. Its text is the collection's segment in
// resource names.
type Kind string

const (
	KindSecrets        Kind = "secrets"
	KindDeletedSecrets Kind = "deletedSecrets"
	KindKeys           Kind = "keys"
	KindDeletedKeys    Kind = "deletedKeys"
	KindCertificates   Kind = "certificates"

	KindDeletedCertificates Kind = "deletedCertificates"
	KindCertificateIssuers  Kind = "certificateIssuers"
)

// Limits of the segments of a name.
const (
	maxVaultLen  = 63
	maxObjectLen = 127
	versionLen   = 32
)

// Name names a vault, a collection of it, an object, or one version of an
// object. It is canonical by construction: only the functions of this package
// make one, and they fold ASCII upper case in object names (Key Vault compares
// them so) and refuse everything else that is outside the pattern. Names are
// comparable, so policy, cache, audit and vault cannot disagree on one.
//
// The zero Name names nothing.
type Name struct {
	vault   string
	kind    Kind
	object  string
	version string
}

// Own returns n with a text of its own, for who keeps it: what it was parsed from may
// be a whole request.
func (n Name) Own() Name {
	text := n.vault + n.object + n.version
	n.vault, text = text[:len(n.vault)], text[len(n.vault):]
	n.object, n.version = text[:len(n.object)], text[len(n.object):]
	return n
}

// VaultName names a vault by its alias.
func VaultName(vault string) (Name, error) {
	if !validVault(vault) {
		return Name{}, badName(`a vault is named by 1 to 63 of [a-z0-9-], not starting or ending with "-"`)
	}
	return Name{vault: vault}, nil
}

// ParseVaultName parses "vaults/{vault}".
func ParseVaultName(s string) (Name, error) {
	vault, ok := strings.CutPrefix(s, "vaults/")
	if !ok || strings.Contains(vault, "/") {
		return Name{}, badName(`want "vaults/{vault}"`)
	}
	return VaultName(vault)
}

// ParseName parses "vaults/{vault}/{kind}/{object}", with or without
// "/versions/{version}".
func ParseName(kind Kind, s string) (Name, error) {
	rest, ok := strings.CutPrefix(s, "vaults/")
	vault, rest, inVault := strings.Cut(rest, "/")
	collection, rest, inCollection := strings.Cut(rest, "/")
	object, rest, versioned := strings.Cut(rest, "/")
	version, isVersion := strings.CutPrefix(rest, "versions/")
	if !ok || !inVault || !inCollection || collection != string(kind) ||
		versioned && (!isVersion || strings.Contains(version, "/")) {
		return Name{}, badName(`want "vaults/{vault}/` + string(kind) + `/{name}" or that with "/versions/{version}"`)
	}
	n, err := VaultName(vault)
	if err != nil {
		return Name{}, err
	}
	if n, err = n.Object(kind, object); err != nil {
		return Name{}, err
	}
	if versioned {
		return n.WithVersion(version)
	}
	return n, nil
}

// Vault returns the name of the vault that n is in.
func (n Name) Vault() Name { return Name{vault: n.vault} }

// Collection returns the name of a collection in n's vault.
func (n Name) Collection(kind Kind) Name { return Name{vault: n.vault, kind: kind} }

// Object returns the name of an object in n's vault, folding ASCII upper case.
func (n Name) Object(kind Kind, object string) (Name, error) {
	folded, ok := foldObject(object)
	if !ok {
		return Name{}, badName("a name in a vault is 1 to 127 of [0-9a-zA-Z-]")
	}
	return Name{vault: n.vault, kind: kind, object: folded}, nil
}

// As returns the object of the same name in another collection of the vault: a
// managed secret's certificate, for example.
func (n Name) As(kind Kind) Name { return Name{vault: n.vault, kind: kind, object: n.object} }

// WithVersion returns the name of one version of n.
func (n Name) WithVersion(version string) (Name, error) {
	if !validVersion(version) {
		return Name{}, badName("a version is 32 lower-case hexadecimal digits")
	}
	n.version = version
	return n, nil
}

// Base returns n without its version.
func (n Name) Base() Name {
	n.version = ""
	return n
}

// VaultAlias returns the alias of the vault.
func (n Name) VaultAlias() string { return n.vault }

// Kind returns the collection, or "" for a vault.
func (n Name) Kind() Kind { return n.kind }

// ObjectName returns the object's last segment, or "" for a vault or a
// collection.
func (n Name) ObjectName() string { return n.object }

// Version returns the version, or "" for the latest.
func (n Name) Version() string { return n.version }

// IsZero reports whether n names nothing.
func (n Name) IsZero() bool { return n == Name{} }

// String returns the resource name, such as
// "vaults/pay/secrets/db-password/versions/…".
func (n Name) String() string {
	var buf [256]byte // the longest has 63 + 127 + 32, and what is between
	b, _ := n.AppendText(buf[:0])
	return string(b)
}

// AppendText implements encoding.TextAppender. It never fails, and appends letters,
// digits, "-" and "/" only.
func (n Name) AppendText(b []byte) ([]byte, error) {
	if n.vault == "" {
		return b, nil
	}
	b = append(append(b, "vaults/"...), n.vault...)
	if n.kind != "" {
		b = append(append(b, '/'), n.kind...)
	}
	if n.object != "" {
		b = append(append(b, '/'), n.object...)
	}
	if n.version != "" {
		b = append(append(b, "/versions/"...), n.version...)
	}
	return b, nil
}

// MarshalText implements encoding.TextMarshaler.
func (n Name) MarshalText() ([]byte, error) { return n.AppendText(nil) }

func badName(want string) *Error {
	return &Error{Code: CodeBadName, Field: "name", Message: want}
}

func validVault(s string) bool {
	if s == "" || len(s) > maxVaultLen || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func foldObject(s string) (string, bool) {
	if s == "" || len(s) > maxObjectLen {
		return "", false
	}
	upper := false
	for i := range len(s) {
		c := s[i]
		switch {
		case isLower(c), isDigit(c), c == '-':
		case 'A' <= c && c <= 'Z':
			upper = true
		default:
			return "", false
		}
	}
	if !upper {
		return s, true
	}
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b), true
}

func validVersion(s string) bool {
	if len(s) != versionLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
