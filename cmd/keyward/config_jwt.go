package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/keyward/keyward/service/authn"
)

// jwtConfig is an issuer of OIDC bearer tokens. Principals are "{name}/{subject}",
// their groups "{name}/{group}"; each has the attribute issuer, which is name.
// docs/identity.md has an example of each kind.
type jwtConfig struct {
	Name string `yaml:"name"` // [a-z0-9-], ours
	// Preset: kubernetes, entra or github know their issuer's tokens. Any other
	// OpenID provider has none.
	Preset authn.Preset `yaml:"preset"`
	// Issuer is the token's iss; keys come from its discovery document. entra
	// makes its own; github's default is that of github.com.
	Issuer   string     `yaml:"issuer"`
	Audience stringList `yaml:"audience"` // one of these is required in the token's aud
	// Algorithms that signatures may use: RS, PS or ES with 256, 384 or 512, or
	// EdDSA. Default: RS256 and ES256; of entra and github RS256.
	Algorithms []string `yaml:"algorithms"`
	// Subject makes the principal's name of claims, each in braces and at most
	// 512 bytes in all. Default "{sub}". A claim is named as it stands, or, if it
	// is within another, by a JSON Pointer: "{/kubernetes.io/namespace}". Not of
	// kubernetes and entra.
	Subject string `yaml:"subject"`
	// GroupsClaim names the claim with the caller's groups, in the same way; none
	// if empty. Presets have their own.
	GroupsClaim string `yaml:"groupsClaim"`
	CAFile      string `yaml:"caFile"`   // a private CA of the issuer's, if any
	JWKSFile    string `yaml:"jwksFile"` // the keys from a file, instead of discovery
	// TokenFile, of kubernetes: a bearer token for discovery, read at each fetch
	// and sent to the issuer's own origin alone.
	TokenFile string `yaml:"tokenFile"`
	TenantID  string `yaml:"tenantId"` // of entra, required
	// Authority, of entra: the token service. Default
	// https://login.microsoftonline.com.
	Authority string `yaml:"authority"`
	// Owners, of github, required: the users and organizations whose repositories
	// are believed. Anybody on GitHub can get a token of its issuer.
	Owners []string `yaml:"owners"`
}

// stringList is a list of texts, or one alone.
type stringList []string

// UnmarshalYAML implements yaml.NodeUnmarshaler, for an error with a position.
func (l *stringList) UnmarshalYAML(n ast.Node) error {
	var one string
	if err := yaml.NodeToValue(n, &one); err == nil {
		*l = stringList{one}
		return nil
	}
	var list []string
	if err := yaml.NodeToValue(n, &list); err != nil {
		return &yaml.SyntaxError{Token: n.GetToken(), Message: "want a text, or a list of texts"}
	}
	*l = list
	return nil
}

// issuer is what the authenticator is made of, without what is in files.
func (j jwtConfig) issuer() authn.Issuer {
	return authn.Issuer{
		Name:        j.Name,
		Preset:      j.Preset,
		Issuer:      j.Issuer,
		Audiences:   j.Audience,
		Subject:     j.Subject,
		GroupsClaim: j.GroupsClaim,
		JWKSFile:    j.JWKSFile,
		TokenFile:   j.TokenFile,
		Algorithms:  j.Algorithms,
		TenantID:    j.TenantID,
		Authority:   j.Authority,
		Owners:      j.Owners,
	}
}

func (k *configCheck) jwt(configs []jwtConfig) {
	issuers := make([]authn.Issuer, len(configs))
	for i, j := range configs {
		issuers[i] = j.issuer()
	}
	for _, p := range authn.Check(issuers) {
		k.errorf(fmt.Sprintf("$.identity.jwt[%d].%s", p.Issuer, p.Field), "%s", p.Text)
	}
}
