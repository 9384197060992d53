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
	"github.com/keyward/keyward/broker/keyvault"
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
	k.audit(c.Audit)
	k.cache("$.cache", c.Cache.given, c.Cache.Kept)
	if c.Cache.PublicKeys && c.Cache.Kept.TTL.Duration == 0 {
		k.warnings = append(k.warnings, k.position("$.cache.publicKeys")+
			": cache.publicKeys has no effect while cache.ttl is 0s: no key is kept")
	}
	k.identity(c)
	k.limits(c.Limits)
	if len(c.Vaults) == 0 {
		k.errorf("$.vaults", "name at least one vault")
	}
	files := map[string]bool{}
	for _, alias := range slices.Sorted(maps.Keys(c.Vaults)) {
		// Only what is an alias can be part of a path, to the library that finds it.
		if _, err := broker.VaultName(alias); err != nil {
			k.errorf("$.vaults", "%q: an alias is 1 to 63 of [a-z0-9-], not starting or ending with a hyphen", alias)
			continue
		}
		v := c.Vaults[alias]
		k.vault("$.vaults."+alias, v)
		k.cache("$.vaults."+alias+".cache", v.Cache, v.Cache.or(c.Cache.Kept))
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
		k.mtls("$.identity.mtls", *m)
		k.require("$.tls.clientCa", c.TLS.ClientCA, "name the CA of the client certificates: identity.mtls needs it")
	}
	k.jwt(c.Identity.JWT)
	for i, j := range c.Identity.JWT {
		if m := c.Identity.MTLS; m != nil && m.DNS.Name != "" && m.DNS.Name == j.Name {
			k.errorf(fmt.Sprintf("$.identity.jwt[%d].name", i), "identity.mtls.dns has this name, and the two could mint each other's principals")
		}
	}
}

func (k *configCheck) mtls(at string, m mtlsConfig) {
	dns := m.DNS.Name != "" || len(m.DNS.Domains) > 0
	if !trustDomain.MatchString(m.TrustDomain) && (m.TrustDomain != "" || !dns) {
		k.errorf(at+".trustDomain", "name the SPIFFE trust domain alone and in lower case, for example example.org")
	}
	if !dns {
		return
	}
	if _, err := broker.VaultName(m.DNS.Name); err != nil {
		k.errorf(at+".dns.name", "want 1 to 63 of [a-z0-9-]; it is the first part of the principals' ids")
	}
	if len(m.DNS.Domains) == 0 {
		k.errorf(at+".dns.domains", "name the domains that the names are in, for example svc.example.org")
	}
	for i, d := range m.DNS.Domains {
		if !trustDomain.MatchString(d) || strings.HasPrefix(d, ".") || strings.HasSuffix(d, ".") || strings.Contains(d, "..") {
			k.errorf(fmt.Sprintf("%s.dns.domains[%d]", at, i), "want a domain alone and in lower case, for example svc.example.org")
		}
	}
}

func (k *configCheck) vault(at string, v vaultConfig) {
	if v.Kind != "" && v.Kind != kindKeyVault && v.Kind != kindManagedHSM {
		k.errorf(at+".kind", "want keyVault, the default, or managedHsm")
	}
	k.vaultLimits(at+".limits", v)
	if v.Local != nil {
		if v.URL != "" || v.Credential.count() > 0 {
			k.errorf(at, "a vault has either local or url with a credential")
		}
		k.require(at+".local.path", v.Local.Path, "name the vault's file")
		k.require(at+".local.keyFile", v.Local.KeyFile, "name the file of the vault's master key; keep it on another volume than the vault")
		return
	}
	if host, err := keyvault.HostOf(v.URL); err != nil {
		k.errorf(at+".url", "want the vault's URL, https://{name}.vault.azure.net and nothing behind it, or local for an embedded vault")
	} else if hsm, known := keyvault.IsManagedHSM(host); known && hsm != (v.Kind == kindManagedHSM) {
		k.errorf(at+".kind", "want managedHsm for the URL of a Managed HSM, and for no other")
	}
	k.credential(at+".credential", v.Credential)
}

func (k *configCheck) credential(at string, c credentialConfig) {
	if c.count() != 1 {
		k.errorf(at, "want exactly one of managedIdentity, workloadIdentity, clientCertificate, clientSecret, azureCli and default "+
			"(with nothing to set: managedIdentity: {})")
		return
	}
	switch {
	case c.ManagedIdentity != nil:
		m, given := c.ManagedIdentity, 0
		for _, id := range []string{m.ClientID, m.ObjectID, m.ResourceID} {
			if id != "" {
				given++
			}
		}
		if given > 1 {
			k.errorf(at+".managedIdentity", "name the identity by one of clientId, objectId and resourceId")
		}
	case c.WorkloadIdentity != nil:
		k.authority(at+".workloadIdentity", c.WorkloadIdentity.Authority)
	case c.ClientCertificate != nil:
		s, at := c.ClientCertificate, at+".clientCertificate"
		k.application(at, s.TenantID, s.ClientID, s.Authority)
		k.require(at+".certificateFile", s.CertificateFile, "name the file with the certificate and its key, PEM or PFX")
		if s.PasswordFile != "" && s.PasswordEnv != "" {
			k.errorf(at, "name where the PFX's password is: either passwordFile, or the environment variable as passwordEnv")
		}
		k.variable(at+".passwordEnv", s.PasswordEnv)
	case c.ClientSecret != nil:
		s, at := c.ClientSecret, at+".clientSecret"
		k.application(at, s.TenantID, s.ClientID, s.Authority)
		if (s.SecretFile == "") == (s.SecretEnv == "") {
			k.errorf(at, "name where the secret is: either secretFile, or the environment variable as secretEnv")
		}
		k.variable(at+".secretEnv", s.SecretEnv)
	}
}

// application checks what names an application, and where it gets its tokens.
func (k *configCheck) application(at, tenant, client, authority string) {
	k.require(at+".tenantId", tenant, "name the tenant's id")
	k.require(at+".clientId", client, "name the application's (client) id")
	k.authority(at, authority)
}

func (k *configCheck) authority(at, authority string) {
	if authority == "" {
		return
	}
	if u, err := url.Parse(authority); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		k.errorf(at+".authority", "want an https:// URL, such as https://login.microsoftonline.us")
	}
}

// variable checks the name of an environment variable. It may be the secret
// itself: not to be repeated.
func (k *configCheck) variable(at, name string) {
	if name != "" && !variableName.MatchString(name) {
		k.errorf(at, "want the name of an environment variable, such as KEYWARD_PAY_SECRET")
	}
}
