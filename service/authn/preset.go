package authn

import (
	"github.com/go-jose/go-jose/v4"
)

// Preset is a kind of issuer whose tokens are known.
type Preset string

// The presets, and what is special about them.
const (
	// PresetNone is any OpenID provider.
	PresetNone Preset = ""
	// PresetKubernetes is a cluster, and its service accounts' projected tokens.
	PresetKubernetes Preset = "kubernetes"
	// PresetEntra is a tenant of Microsoft Entra ID, with access tokens of both
	// versions.
	PresetEntra Preset = "entra"
	// PresetGitHub is GitHub Actions.
	PresetGitHub Preset = "github"
)

// preset is what an issuer of a kind can be configured with.
type preset struct {
	// takes are the fields beside those that all take.
	takes      []string
	algorithms []string // the default
	// read is called with a configuration that has been checked.
	read func(Issuer) reading
}

var presets = map[Preset]preset{
	PresetNone: {
		takes:      []string{fieldIssuer, fieldSubject, fieldGroupsClaim},
		algorithms: []string{string(jose.RS256), string(jose.ES256)},
		read:       readAny,
	},
	PresetKubernetes: {
		takes:      []string{fieldIssuer, fieldTokenFile},
		algorithms: []string{string(jose.RS256), string(jose.ES256)},
		read:       readKubernetes,
	},
	PresetEntra: {
		takes:      []string{fieldTenantID, fieldAuthority},
		algorithms: []string{string(jose.RS256)},
		read:       readEntra,
	},
	PresetGitHub: {
		takes:      []string{fieldIssuer, fieldSubject, fieldOwners},
		algorithms: []string{string(jose.RS256)},
		read:       readGitHub,
	},
}

// subjectOf returns the template of subjects.
func (c Issuer) subjectOf() (template, error) {
	if c.Subject == "" {
		return parseTemplate("{sub}")
	}
	return parseTemplate(c.Subject)
}

// readAny reads the tokens of any OpenID provider.
func readAny(c Issuer) reading {
	subject, _ := c.subjectOf() // checked
	var groups claimPath
	if c.GroupsClaim != "" {
		groups, _ = parseClaim(c.GroupsClaim) // checked
	}
	return reading{
		origins: []origin{{c.Issuer, c.Issuer}},
		name: func(_ string, all claims) (s string, list []string, err error) {
			if s, err = subject.subject(all); err == nil && groups != nil {
				list, err = all.list(groups)
			}
			return s, list, err
		},
	}
}
