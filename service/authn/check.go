package authn

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Problem is what is wrong with one field of an issuer's configuration.
type Problem struct {
	Issuer int    // its index
	Field  string // as the configuration file spells it, "tenantId"
	Text   string // what to do about it
}

// Fields of an issuer, as the configuration file spells them.
const (
	fieldName        = "name"
	fieldPreset      = "preset"
	fieldIssuer      = "issuer"
	fieldAudience    = "audience"
	fieldAlgorithms  = "algorithms"
	fieldSubject     = "subject"
	fieldGroupsClaim = "groupsClaim"
	fieldTokenFile   = "tokenFile"
	fieldTenantID    = "tenantId"
	fieldAuthority   = "authority"
	fieldOwners      = "owners"
)

var issuerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// asymmetric are the algorithms an issuer may be configured with. A symmetric
// one would let whoever verifies tokens make them.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
	jose.EdDSA,
}

// Check returns all that is wrong with the configuration of issuers, but for
// the files it names. NewJWT refuses whatever Check finds.
func Check(issuers []Issuer) []Problem {
	var found []Problem
	names, origins := map[string]bool{}, map[string]bool{}
	for i, c := range issuers {
		fields := c.check()
		if names[c.Name] {
			fields = append(fields, Problem{Field: fieldName, Text: "two issuers of one name could mint each other's principals"})
		}
		names[c.Name] = true
		if len(fields) == 0 { // its origins can be told
			own := presets[c.Preset].read(c).origins
			if slices.ContainsFunc(own, func(o origin) bool { return origins[o.iss] }) {
				fields = append(fields, Problem{Field: c.originField(), Text: "another issuer has the same tokens; a token is of one"})
			}
			for _, o := range own {
				origins[o.iss] = true
			}
		}
		for _, f := range fields {
			found = append(found, Problem{Issuer: i, Field: f.Field, Text: f.Text})
		}
	}
	return found
}

// originField is the field that decides over the tokens' iss.
func (c Issuer) originField() string {
	if c.Preset == PresetEntra {
		return fieldTenantID
	}
	return fieldIssuer
}

func (c Issuer) check() []Problem {
	var found []Problem
	wrong := func(field, format string, args ...any) {
		found = append(found, Problem{Field: field, Text: fmt.Sprintf(format, args...)})
	}
	// The pattern also keeps a name from looking like a SPIFFE ID's scheme.
	if !issuerName.MatchString(c.Name) {
		wrong(fieldName, "want 1 to 63 of [a-z0-9-], starting with a letter or a digit; it is the first part of the principals' ids")
	}
	if len(c.Audiences) == 0 || slices.Contains(c.Audiences, "") {
		wrong(fieldAudience, "name the audience that tokens must be made for, for example keyward")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(asymmetric, jose.SignatureAlgorithm(a)) {
			wrong(fieldAlgorithms, "%q is not offered; choose of %v", a, asymmetric)
		}
	}
	p, ok := presets[c.Preset]
	if !ok {
		wrong(fieldPreset, "%q is none; choose kubernetes, entra or github, or leave it out for any OpenID provider", c.Preset)
		return found
	}
	for _, f := range c.given() {
		if !slices.Contains(p.takes, f) {
			wrong(f, "%s", c.notTaken(f))
		}
	}
	c.checkTaken(wrong)
	return found
}

// given lists those fields, of those that only some presets take, that are set.
func (c Issuer) given() []string {
	var fields []string
	for _, f := range []struct {
		field string
		set   bool
	}{
		{fieldIssuer, c.Issuer != ""},
		{fieldSubject, c.Subject != ""},
		{fieldGroupsClaim, c.GroupsClaim != ""},
		{fieldTokenFile, c.TokenFile != ""},
		{fieldTenantID, c.TenantID != ""},
		{fieldAuthority, c.Authority != ""},
		{fieldOwners, len(c.Owners) > 0},
	} {
		if f.set {
			fields = append(fields, f.field)
		}
	}
	return fields
}

func (c Issuer) notTaken(field string) string {
	if c.Preset == PresetNone {
		for name, p := range presets { // just one takes it
			if slices.Contains(p.takes, field) {
				return fmt.Sprintf("this belongs to preset: %s; add that, or leave this out", name)
			}
		}
	}
	return fmt.Sprintf("the preset %s makes this itself, or has no use for it; leave it out", c.Preset)
}

// checkTaken looks at the values of the fields that the preset takes.
func (c Issuer) checkTaken(wrong func(field, format string, args ...any)) {
	takes := func(field string) bool { return slices.Contains(presets[c.Preset].takes, field) }
	if takes(fieldIssuer) && (c.Issuer != "" || c.Preset != PresetGitHub) && wantHTTPS(c.Issuer) != nil {
		wrong(fieldIssuer, "want the issuer's https:// URL, exactly as in the tokens' iss")
	}
	if takes(fieldSubject) {
		if _, err := c.subjectOf(); err != nil {
			wrong(fieldSubject, "%v", err)
		}
	}
	if takes(fieldGroupsClaim) && c.GroupsClaim != "" {
		if _, err := parseClaim(c.GroupsClaim); err != nil {
			wrong(fieldGroupsClaim, "%v", err)
		}
	}
	if takes(fieldTokenFile) && c.TokenFile != "" && c.JWKSFile != "" {
		wrong(fieldTokenFile, "with jwksFile the issuer is never called; leave out one of the two")
	}
	if takes(fieldTenantID) && !entraTenant.MatchString(c.TenantID) {
		wrong(fieldTenantID, "want the tenant's id, in lower case: 8-4-4-4-12 digits of [0-9a-f]; az account show has it")
	}
	if takes(fieldAuthority) && c.Authority != "" {
		if u, err := url.Parse(c.Authority); err != nil || wantHTTPS(c.Authority) != nil || strings.Trim(u.Path, "/") != "" {
			wrong(fieldAuthority, "want the token service's https:// URL and nothing behind it, for example %s", entraAuthority)
		}
	}
	if takes(fieldOwners) {
		if len(c.Owners) == 0 {
			wrong(fieldOwners, "name the accounts whose repositories are believed: anybody on GitHub can get a token of this issuer")
		}
		for _, o := range c.Owners {
			if !gitHubOwner.MatchString(o) {
				wrong(fieldOwners, "%q is no account's name; want that of a user or an organization, without a repository", o)
			}
		}
	}
}
