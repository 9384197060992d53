package vaulthttp

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// apiVersions are those whose contract for secrets, keys and certificates
// the handler keeps. The last
// one is the newest.
//
// Of the fields of a plain secret one differs between them: see trim. Of
// secrets that back certificates, 2025-07-01 tells the previous version, and
// can convert the value.
var apiVersions = []string{"7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"}

// previewVersions are served as well, as the version that they became: clients
// have been seen to ask for them, or Key Vault describes them.
var previewVersions = []string{
	"7.4-preview.1", "7.6-preview.2",
	"2025-06-01-preview", "2026-01-01-preview", "2026-03-01-preview", "2026-05-01-preview", "2026-07-01-preview",
}

// apiVersionOf returns what a query asks for. There is no default.
func apiVersionOf(query url.Values) (string, error) {
	version := query.Get("api-version")
	switch {
	case version == "":
		return "", badParameter(`The "api-version" query parameter is required.`)
	case !slices.Contains(apiVersions, version) && !slices.Contains(previewVersions, version):
		return "", badParameter(fmt.Sprintf("The specified version (%s) is not recognized. Consider using the latest supported version (%s).",
			shorten(version), apiVersions[len(apiVersions)-1]))
	}
	return version, nil
}

// trim returns s without the fields that are younger than the request's version.
func (r request) trim(s keyvault.Secret) keyvault.Secret {
	if r.apiVersion == "7.0" {
		s.Attributes.RecoverableDays = 0
	}
	return s
}

// trimKey takes from a key's attributes what is younger than the request's version.
func (r request) trimKey(a *keyvault.KeyAttributes) {
	if r.apiVersion == "7.0" {
		a.RecoverableDays = 0
	}
	if r.olderThan("7.3") {
		a.Exportable = nil
	}
	if r.olderThan("7.5") {
		a.HSMPlatform = ""
	}
}

// orderVersion is the first that knows the order of a certificate's chain, and
// namesVersion the first with URIs and addresses among its names.
const (
	orderVersion = "7.6"
	namesVersion = "2025-07-01"
)

// trimCertificate takes from a certificate's attributes what is younger than the
// request's version.
func (r request) trimCertificate(a *keyvault.Attributes) {
	if r.apiVersion == "7.0" {
		a.RecoverableDays = 0
	}
}

// policyOf returns p without what is younger than the request's version, which an
// older Key Vault neither heeds nor tells.
func (r request) policyOf(p *broker.CertificatePolicy) *broker.CertificatePolicy {
	if p == nil || !r.olderThan(namesVersion) {
		return p
	}
	own := *p
	own.Names.URIs, own.Names.IPAddresses = nil, nil
	return &own
}

// preserveOrder returns what a client asks for, if its version has that.
func (r request) preserveOrder(asked *bool) *bool {
	if r.olderThan(orderVersion) {
		return nil
	}
	return asked
}

// olderThan reports whether the request asks for a version before v. Previews
// are as what they became.
func (r request) olderThan(v string) bool {
	i := slices.Index(apiVersions, r.apiVersion)
	return i >= 0 && i < slices.Index(apiVersions, v)
}
