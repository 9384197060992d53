package keyvault

import (
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// The token services of Azure's clouds.
const (
	PublicAuthority = "https://login.microsoftonline.com"
	ChinaAuthority  = "https://login.chinacloudapi.cn"
	USGovAuthority  = "https://login.microsoftonline.us"
)

// AuthorityFor returns the token service of the cloud that a vault's URL
// belongs to, or "" where it belongs to none of Azure's.
func AuthorityFor(vaultURL string) string {
	u, err := url.Parse(vaultURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	for suffix := range scopes {
		if strings.HasSuffix(host, suffix) {
			switch {
			case strings.HasSuffix(suffix, ".azure.cn"):
				return ChinaAuthority
			case strings.HasSuffix(suffix, ".usgovcloudapi.net"):
				return USGovAuthority
			}
			return PublicAuthority
		}
	}
	return ""
}

// IsAzureAuthority reports whether the token service is one of Azure's clouds',
// and so has a certificate that every system trusts.
func IsAzureAuthority(authority string) bool {
	switch strings.TrimSuffix(strings.ToLower(authority), "/") {
	case PublicAuthority, ChinaAuthority, USGovAuthority:
		return true
	}
	return false
}

// authorityAliases are the hosts that are one token service: a discovery
// document at one may name another.
var authorityAliases = [][]string{
	{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
	{"login.chinacloudapi.cn", "login.partner.microsoftonline.cn"},
	{"login.microsoftonline.us", "login.usgovcloudapi.net"},
}

// sameAuthority reports whether u is a request to authority, over TLS.
func sameAuthority(u *url.URL, authority string) bool {
	want, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" {
		return false
	}
	if strings.EqualFold(u.Host, want.Host) {
		return true
	}
	for _, hosts := range authorityAliases {
		if slices.Contains(hosts, strings.ToLower(want.Host)) {
			return slices.Contains(hosts, strings.ToLower(u.Host))
		}
	}
	return false
}

// entraProxy says which proxy a token request takes: what HTTPS_PROXY says for
// Entra ID, and none for what the platform answers on this host. That is plain
// HTTP, link-local, or named by the platform's variables.
func entraProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme != "https" {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && ip.IsLinkLocalUnicast() {
		return nil, nil
	}
	for _, name := range []string{"IDENTITY_ENDPOINT", "IMDS_ENDPOINT", "MSI_ENDPOINT"} {
		if u, err := url.Parse(os.Getenv(name)); err == nil && u.Host != "" && u.Host == r.URL.Host {
			return nil, nil
		}
	}
	return http.ProxyFromEnvironment(r)
}
