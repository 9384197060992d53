package main

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/keyward/keyward/broker"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	trustDomain  = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)
)

// configCheck collects everything that is wrong, each with its position.
type configCheck struct {
	path     string
	file     *ast.File
	errs     []error
	warnings []string
}

// position finds the nearest existing node of a path such as
// "$.vaults.pay.url".
func (k *configCheck) position(at string) string {
	for at != "$" {
		if p, err := yaml.PathString(at); err == nil {
			if n, err := p.FilterFile(k.file); err == nil && n.GetToken() != nil {
				pos := n.GetToken().Position
				return k.path + ":" + strconv.Itoa(pos.Line) + ":" + strconv.Itoa(pos.Column)
			}
		}
		at = at[:strings.LastIndexAny(at, ".[")]
	}
	return k.path + ":1:1"
}

func (k *configCheck) errorf(at, format string, args ...any) {
	k.errs = append(k.errs, fmt.Errorf("%s: %s: "+format, append([]any{k.position(at), strings.TrimPrefix(at, "$.")}, args...)...))
}

func (k *configCheck) require(at, value, what string) {
	if value == "" {
		k.errorf(at, "%s", what)
	}
}

func (k *configCheck) all(c *config) {
	for at, l := range map[string]listenConfig{"$.grpc": c.GRPC, "$.http": c.HTTP, "$.admin": c.Admin} {
		if _, _, err := net.SplitHostPort(l.Address); err != nil {
			k.errorf(at+".address", "want host:port, for example 127.0.0.1:7443")
		}
	}
	k.require("$.tls.certificate", c.TLS.Certificate, "name the server's certificate file (PEM)")
	k.require("$.tls.key", c.TLS.Key, "name the server's key file (PEM)")
	k.require("$.policy.path", c.Policy.Path, "name the folder with the *.cedar files; without a policy nothing is served")
	k.require("$.audit.path", c.Audit.Path, "name the audit log's file; without a record nothing is disclosed")
	if c.Cache.StaleIfError != nil {
		k.warnings = append(k.warnings, k.position("$.cache.staleIfError")+
			": cache.staleIfError has no effect yet: while a vault is down, values older than cache.ttl are not served")
	}
	k.identity(c)
	if len(c.Vaults) == 0 {
		k.errorf("$.vaults", "name at least one vault")
	}
	files := map[string]bool{}
	for _, alias := range slices.Sorted(maps.Keys(c.Vaults)) {
		v := c.Vaults[alias]
		k.vault("$.vaults."+alias, alias, v)
		if v.Local != nil {
			if files[filepath.Clean(v.Local.Path)] {
				k.errorf("$.vaults."+alias+".local.path", "another vault has this file")
			}
			files[filepath.Clean(v.Local.Path)] = true
		}
	}
}

func (k *configCheck) identity(c *config) {
	if c.Identity.MTLS == nil && len(c.Identity.JWT) == 0 {
		k.errorf("$.identity", "name a way to authenticate: mtls, jwt or both")
	}
	if m := c.Identity.MTLS; m != nil {
		if !trustDomain.MatchString(m.TrustDomain) {
			k.errorf("$.identity.mtls.trustDomain", "name the SPIFFE trust domain alone and in lower case, for example example.org")
		}
		k.require("$.tls.clientCa", c.TLS.ClientCA, "name the CA of the client certificates: identity.mtls needs it")
	}
	seen := map[string]bool{}
	for i, j := range c.Identity.JWT {
		at := fmt.Sprintf("$.identity.jwt[%d]", i)
		if _, err := broker.VaultName(j.Name); err != nil {
			k.errorf(at+".name", "want 1 to 63 of [a-z0-9-]; it is the first part of the principals' ids")
		}
		if seen[j.Name] {
			k.errorf(at+".name", "two issuers of one name could mint each other's principals")
		}
		seen[j.Name] = true
		if u, err := url.Parse(j.Issuer); err != nil || u.Scheme != "https" || u.Host == "" {
			k.errorf(at+".issuer", "want the issuer's https:// URL, exactly as in the tokens' iss")
		}
		k.require(at+".audience", j.Audience, "name the audience that tokens must be made for, for example keyward")
	}
}

func (k *configCheck) vault(at, alias string, v vaultConfig) {
	if _, err := broker.VaultName(alias); err != nil {
		k.errorf(at, "an alias is 1 to 63 of [a-z0-9-], not starting or ending with a hyphen")
	}
	if v.Local != nil {
		if v.URL != "" || v.credentials() > 0 {
			k.errorf(at, "a vault has either local or url with a credential")
		}
		k.require(at+".local.path", v.Local.Path, "name the vault's file")
		k.require(at+".local.keyFile", v.Local.KeyFile, "name the file of the vault's master key; keep it on another volume than the vault")
		return
	}
	if u, err := url.Parse(v.URL); err != nil || u.Scheme != "https" || u.Host == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		k.errorf(at+".url", "want the vault's URL, https://{name}.vault.azure.net and nothing behind it, or local for an embedded vault")
	}
	switch cred := v.Credential; {
	case v.credentials() != 1:
		k.errorf(at+".credential", "want exactly one of managedIdentity (with nothing to set: managedIdentity: {}) and clientSecret")
	case cred.ClientSecret != nil:
		s, at := cred.ClientSecret, at+".credential.clientSecret"
		k.require(at+".tenantId", s.TenantID, "name the tenant's id")
		k.require(at+".clientId", s.ClientID, "name the application's (client) id")
		if (s.SecretFile == "") == (s.SecretEnv == "") {
			k.errorf(at, "name where the secret is: either secretFile, or the environment variable as secretEnv")
		}
		if s.SecretEnv != "" && !variableName.MatchString(s.SecretEnv) {
			// It may be the secret itself: not to be repeated.
			k.errorf(at+".secretEnv", "want the name of an environment variable, such as KEYWARD_PAY_SECRET")
		}
		if u, err := url.Parse(s.Authority); s.Authority != "" && (err != nil || u.Scheme != "https") {
			k.errorf(at+".authority", "want an https:// URL")
		}
	case cred.ManagedIdentity == nil:
		k.errorf(at+".credential", "this kind of credential is not built yet; use managedIdentity or clientSecret")
	}
}

// credentials counts the kinds that are given.
func (v vaultConfig) credentials() int {
	n := 0
	c := v.Credential
	for _, given := range []bool{
		c.ManagedIdentity != nil, c.ClientSecret != nil, c.ClientCertificate != nil,
		c.WorkloadIdentity != nil, c.AzureCLI != nil, c.Default != nil,
	} {
		if given {
			n++
		}
	}
	return n
}
