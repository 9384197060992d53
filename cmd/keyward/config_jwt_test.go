package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/keyward/keyward/service/authn"
)

// withIssuers is a configuration with these lines under identity.jwt. The first
// is line 7.
func withIssuers(lines string) []byte {
	return []byte(`tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
policy: {path: p}
audit: {path: a}
vaults: {dev: {local: {path: v.db, keyFile: v.key}}}
identity:
  jwt:
` + lines)
}

func TestConfigReadsIssuers(t *testing.T) {
	c, warnings, err := parseConfig("k.yaml", withIssuers(`
    - name: any
      issuer: https://issuer.example
      audience: [keyward, keyward-eu]
      algorithms: [ES256, EdDSA]
      subject: "{/realm/team}:{sub}"
      groupsClaim: /realm/groups
      caFile: ca.pem
      jwksFile: jwks.json
    - {name: kube, preset: kubernetes, issuer: "https://kube.example", audience: keyward, tokenFile: /var/run/token}
    - {name: azure, preset: entra, tenantId: 11111111-2222-3333-4444-555555555555, authority: "https://login.microsoftonline.us", audience: api}
    - {name: gh, preset: github, owners: [octo-org], audience: keyward, subject: "{repository}"}
`))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	c.dir = "/etc/keyward"
	c.Identity.JWT[0].CAFile = "" // it is not there to be read
	got, err := wiring{config: c}.issuers()
	if err != nil {
		t.Fatal(err)
	}
	want := []authn.Issuer{
		{
			Name: "any", Issuer: "https://issuer.example", Audiences: []string{"keyward", "keyward-eu"}, Algorithms: []string{"ES256", "EdDSA"},
			Subject: "{/realm/team}:{sub}", GroupsClaim: "/realm/groups", JWKSFile: "/etc/keyward/jwks.json",
		},
		{Name: "kube", Preset: authn.PresetKubernetes, Issuer: "https://kube.example", Audiences: []string{"keyward"}, TokenFile: "/var/run/token"},
		{
			Name: "azure", Preset: authn.PresetEntra, TenantID: "11111111-2222-3333-4444-555555555555",
			Authority: "https://login.microsoftonline.us", Audiences: []string{"api"},
		},
		{Name: "gh", Preset: authn.PresetGitHub, Owners: []string{"octo-org"}, Audiences: []string{"keyward"}, Subject: "{repository}"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestConfigRefusesIssuers(t *testing.T) {
	const (
		tenant = "11111111-2222-3333-4444-555555555555"
		plain  = "name: a, issuer: \"https://a\", audience: k"
		kube   = "name: a, preset: kubernetes, issuer: \"https://a\", audience: k"
		entra  = "name: a, preset: entra, audience: k, tenantId: " + tenant
		gitHub = "name: a, preset: github, audience: k, owners: [o]"
	)
	tests := map[string]struct{ issuers, want string }{
		"an unknown preset":             {"{name: a, preset: gitlab, issuer: \"https://a\", audience: k}", "k.yaml:7:25: identity.jwt[0].preset: \"gitlab\" is none; choose kubernetes"},
		"an unknown algorithm":          {"{" + plain + ", algorithms: [RS256, HS256]}", `.algorithms: "HS256" is not offered; choose of`},
		"algorithm none":                {"{" + plain + ", algorithms: [none]}", `.algorithms: "none" is not offered`},
		"no audience":                   {"{name: a, issuer: \"https://a\"}", "identity.jwt[0].audience: name the audience"},
		"an empty audience":             {"{name: a, issuer: \"https://a\", audience: [k, \"\"]}", "k.yaml:7:48: identity.jwt[0].audience: name the audience"},
		"an audience that is a map":     {"{name: a, issuer: \"https://a\", audience: {k: 1}}", "k.yaml:7:"},
		"no issuer":                     {"{name: a, audience: k}", "identity.jwt[0].issuer: want the issuer's https:// URL"},
		"a bad name":                    {"{name: A/b, issuer: \"https://a\", audience: k}", "k.yaml:7:14: identity.jwt[0].name: want 1 to 63"},
		"a template without a claim":    {"{" + plain + ", subject: me}", "k.yaml:7:60: identity.jwt[0].subject: without a claim"},
		"a template that is not closed": {"{" + plain + ", subject: \"{sub\"}", ".subject: a brace is not closed"},
		"a template closed twice":       {"{" + plain + ", subject: \"{sub}}\"}", ".subject: want text and claims in braces"},
		"a template of no claim's name": {"{" + plain + ", subject: \"{}\"}", ".subject: a claim's name is not empty"},
		"a template without separator":  {"{" + plain + ", subject: \"{a}{b}\"}", ".subject: put a separator"},
		"a bad pointer":                 {"{" + plain + ", subject: \"{/a~2}\"}", ".subject: in \"/a~2\" a ~ is neither"},
		"a bad groups claim":            {"{" + plain + ", groupsClaim: \"/a~\"}", ".groupsClaim: in \"/a~\" a ~ is neither"},
		"owners without a preset":       {"{" + plain + ", owners: [o]}", ".owners: this belongs to preset: github"},
		"a tenant without a preset":     {"{" + plain + ", tenantId: " + tenant + "}", ".tenantId: this belongs to preset: entra"},
		"a token without a preset":      {"{" + plain + ", tokenFile: t}", ".tokenFile: this belongs to preset: kubernetes"},
		"kubernetes with a subject":     {"{" + kube + ", subject: \"{sub}\"}", ".subject: the preset kubernetes makes this itself"},
		"kubernetes with groups":        {"{" + kube + ", groupsClaim: g}", ".groupsClaim: the preset kubernetes"},
		"kubernetes, a token for files": {"{" + kube + ", tokenFile: t, jwksFile: j}", ".tokenFile: with jwksFile the issuer is never called"},
		"entra without a tenant":        {"{name: a, preset: entra, audience: k}", ".tenantId: want the tenant's id"},
		"entra with a domain":           {"{name: a, preset: entra, audience: k, tenantId: example.org}", "k.yaml:7:55: identity.jwt[0].tenantId: want the tenant's id"},
		"entra for all tenants":         {"{name: a, preset: entra, audience: k, tenantId: common}", ".tenantId: want the tenant's id"},
		"entra with an issuer":          {"{" + entra + ", issuer: \"https://a\"}", ".issuer: the preset entra makes this itself"},
		"entra with a path":             {"{" + entra + ", authority: \"https://login.microsoftonline.com/" + tenant + "\"}", ".authority: want the token service's https:// URL and nothing behind it"},
		"entra over http":               {"{" + entra + ", authority: \"http://login\"}", ".authority: want the token service's"},
		"github without owners":         {"{name: a, preset: github, audience: k}", ".owners: name the accounts"},
		"github, a repository as owner": {"{name: a, preset: github, audience: k, owners: [o/r]}", `.owners: "o/r" is no account's name`},
		"github, all as owners":         {"{name: a, preset: github, audience: k, owners: [\"*\"]}", `.owners: "*" is no account's name`},
		"github over http":              {"{" + gitHub + ", issuer: \"http://a\"}", ".issuer: want the issuer's https:// URL"},
		"github with groups":            {"{" + gitHub + ", groupsClaim: g}", ".groupsClaim: the preset github"},
		"one name twice":                {"{" + plain + "}\n    - {name: a, issuer: \"https://b\", audience: k}", "k.yaml:8:14: identity.jwt[1].name: two issuers of one name"},
		"one issuer twice":              {"{" + plain + "}\n    - {name: b, issuer: \"https://a\", audience: k}", "k.yaml:8:25: identity.jwt[1].issuer: another issuer has the same tokens"},
		"one tenant twice":              {"{" + entra + "}\n    - {name: b, preset: entra, audience: j, tenantId: " + tenant + "}", "k.yaml:8:55: identity.jwt[1].tenantId: another issuer has"},
		"a tenant's issuer by itself":   {"{" + entra + "}\n    - {name: b, audience: j, issuer: \"https://sts.windows.net/" + tenant + "/\"}", "identity.jwt[1].issuer: another issuer has"},
		"github's issuer by itself":     {"{" + gitHub + "}\n    - {name: b, audience: j, issuer: \"https://token.actions.githubusercontent.com\"}", "identity.jwt[1].issuer: another issuer has"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := parseConfig("k.yaml", withIssuers("    - "+tt.issuers+"\n"))
			if err == nil || !strings.HasPrefix(err.Error(), "k.yaml:") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}
