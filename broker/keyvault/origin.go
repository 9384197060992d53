package keyvault

import (
	"errors"
	"net/url"
	"strings"
)

const (
	publicScope    = "https://vault.azure.net/.default"
	publicHSMScope = "https://managedhsm.azure.net/.default"
)

// scopes are what tokens are asked for, by the end of a vault's host name.
var scopes = map[string]string{
	".vault.azure.net":              publicScope,
	".managedhsm.azure.net":         "https://managedhsm.azure.net/.default",
	".vault.azure.cn":               "https://vault.azure.cn/.default",
	".managedhsm.azure.cn":          "https://managedhsm.azure.cn/.default",
	".vault.usgovcloudapi.net":      "https://vault.usgovcloudapi.net/.default",
	".managedhsm.usgovcloudapi.net": "https://managedhsm.usgovcloudapi.net/.default",
}

// scopeFor returns the scope for a vault at the host. managedHSM says what it is
// if its host does not.
func scopeFor(host string, managedHSM bool) string {
	if _, scope := cloudOf(host); scope != "" {
		return scope
	}
	if managedHSM {
		return publicHSMScope
	}
	return publicScope
}

// cloudOf returns what a host of a vault ends with, and the scope there, if it is
// Azure's.
func cloudOf(host string) (suffix, scope string) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for suffix, scope := range scopes {
		if strings.HasSuffix(host, suffix) {
			return suffix, scope
		}
	}
	return "", ""
}

// IsManagedHSM reports whether a host is that of a Managed HSM, and whether that
// can be told: it is one of Azure's.
func IsManagedHSM(host string) (hsm, known bool) {
	suffix, _ := cloudOf(host)
	return strings.HasPrefix(suffix, ".managedhsm."), suffix != ""
}

// HostOf returns the host of a vault's URL, or why New would refuse it.
func HostOf(vaultURL string) (string, error) {
	u, err := parseOrigin(vaultURL)
	return u.Hostname(), err
}

// parseOrigin returns the scheme, host and port of a vault's URL, and refuses
// whatever has more, or would send a token in the clear. Errors do not quote
// the URL, which may hold a password.
func parseOrigin(s string) (url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return url.URL{}, errors.New(`keyvault: the vault's URL is missing; it looks like "https://name.vault.azure.net"`)
	case err != nil:
		return url.URL{}, errors.New(`keyvault: the vault's URL cannot be read; it looks like "https://name.vault.azure.net"`)
	case u.Scheme != "https":
		return url.URL{}, errors.New(`keyvault: the vault's URL must begin with "https://": tokens and values go over TLS only`)
	case u.Hostname() == "":
		return url.URL{}, errors.New(`keyvault: the vault's URL names no host; it looks like "https://name.vault.azure.net"`)
	case u.User != nil:
		return url.URL{}, errors.New("keyvault: the vault's URL must hold no user or password; configure a credential instead")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return url.URL{}, errors.New(`keyvault: the vault's URL must end after the host, or its port: "https://name.vault.azure.net"`)
	}
	return url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// hostPort returns host and port, the scheme's own if u has none.
func hostPort(u url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}
