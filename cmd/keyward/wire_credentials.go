package main

import (
	"cmp"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/keyward/keyward/broker/keyvault"
)

// credential returns the source of tokens that the configuration of the vault at
// a URL names. Exactly one kind is given: the configuration was checked.
func (w wiring) credential(vaultURL string, c credentialConfig, roots *x509.CertPool, transport http.RoundTripper) (keyvault.TokenSource, error) {
	// at says where a kind asks, and whom it trusts: the vault's private CA stands
	// for a private authority too.
	at := func(configured string) (authority string, trusted *x509.CertPool) {
		authority = w.authority(configured, vaultURL)
		if keyvault.IsAzureAuthority(authority) {
			return authority, nil
		}
		return authority, roots
	}
	switch {
	case c.ClientSecret != nil:
		s := c.ClientSecret
		secret, err := s.secret(w.config, w.env)
		if err != nil {
			return nil, err
		}
		authority, trusted := at(s.Authority)
		return keyvault.ClientSecret(keyvault.ClientSecretConfig{
			TenantID: s.TenantID, ClientID: s.ClientID, Secret: secret, Authority: authority, RootCAs: trusted, Transport: transport,
		})
	case c.ClientCertificate != nil:
		s := c.ClientCertificate
		password, err := s.password(w.config, w.env)
		if err != nil {
			return nil, err
		}
		authority, trusted := at(s.Authority)
		return keyvault.ClientCertificate(keyvault.ClientCertificateConfig{
			TenantID: s.TenantID, ClientID: s.ClientID, CertificateFile: w.config.file(s.CertificateFile), Password: password,
			Authority: authority, RootCAs: trusted, Transport: transport,
		})
	case c.WorkloadIdentity != nil:
		return w.workloadIdentity(c.WorkloadIdentity, at, transport)
	case c.AzureCLI != nil:
		return keyvault.AzureCLI(keyvault.AzureCLIConfig{TenantID: c.AzureCLI.TenantID})
	case c.Default != nil:
		authority, trusted := at("")
		return keyvault.Default(keyvault.DefaultConfig{Authority: authority, RootCAs: trusted, Transport: transport})
	}
	m := c.ManagedIdentity
	return keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{
		ClientID: m.ClientID, ObjectID: m.ObjectID, ResourceID: m.ResourceID, RootCAs: roots, Transport: transport,
	})
}

// authority returns the token service for a vault: the one configured, or that
// of the surroundings, or that of the vault's cloud.
func (w wiring) authority(configured, vaultURL string) string {
	return cmp.Or(configured, w.env("AZURE_AUTHORITY_HOST"), keyvault.AuthorityFor(vaultURL), keyvault.PublicAuthority)
}

// workloadIdentity fills in what AKS's webhook has put into the environment.
func (w wiring) workloadIdentity(
	s *workloadIdentityConfig, at func(string) (string, *x509.CertPool), transport http.RoundTripper,
) (keyvault.TokenSource, error) {
	tenant := cmp.Or(s.TenantID, w.env("AZURE_TENANT_ID"))
	client := cmp.Or(s.ClientID, w.env("AZURE_CLIENT_ID"))
	file := cmp.Or(w.config.file(s.TokenFile), w.env("AZURE_FEDERATED_TOKEN_FILE"))
	switch {
	case tenant == "":
		return nil, errors.New("workloadIdentity: name the tenantId; AZURE_TENANT_ID is not set either")
	case client == "":
		return nil, errors.New("workloadIdentity: name the clientId; AZURE_CLIENT_ID is not set either")
	case file == "":
		return nil, errors.New("workloadIdentity: name the tokenFile; AZURE_FEDERATED_TOKEN_FILE is not set either: " +
			"on AKS, label the pod azure.workload.identity/use: \"true\" and annotate its service account")
	}
	authority, trusted := at(s.Authority)
	return keyvault.WorkloadIdentity(keyvault.WorkloadIdentityConfig{
		TenantID: tenant, ClientID: client, TokenFile: file, Authority: authority, RootCAs: trusted, Transport: transport,
	})
}
