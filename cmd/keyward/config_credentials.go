package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/keyward/keyward/broker"
)

// credentialConfig is exactly one way to get tokens from Microsoft Entra ID.
//
// Where a kind has an authority, that is the token service's https URL. Default:
// the variable AZURE_AUTHORITY_HOST, or else that of the cloud which the vault's
// url belongs to: https://login.microsoftonline.com, https://login.chinacloudapi.cn
// (.azure.cn) or https://login.microsoftonline.us (.usgovcloudapi.net). It is
// believed without asking Microsoft about it.
//
// HTTPS_PROXY and NO_PROXY are honoured for Key Vault and Entra ID. Endpoints of
// the platform are never asked through a proxy.
type credentialConfig struct {
	ManagedIdentity   *managedIdentityConfig   `yaml:"managedIdentity"`
	WorkloadIdentity  *workloadIdentityConfig  `yaml:"workloadIdentity"`
	ClientCertificate *clientCertificateConfig `yaml:"clientCertificate"`
	ClientSecret      *clientSecretConfig      `yaml:"clientSecret"`
	AzureCLI          *azureCLIConfig          `yaml:"azureCli"`
	Default           *defaultCredentialConfig `yaml:"default"`
}

// count returns how many kinds are given.
func (c credentialConfig) count() int {
	n := 0
	for _, given := range []bool{
		c.ManagedIdentity != nil, c.WorkloadIdentity != nil, c.ClientCertificate != nil,
		c.ClientSecret != nil, c.AzureCLI != nil, c.Default != nil,
	} {
		if given {
			n++
		}
	}
	return n
}

// managedIdentityConfig is the identity that Azure gives to this host: on virtual
// machines, scale sets, AKS nodes, App Service and Container Apps. With nothing
// set it is the system-assigned one; a user-assigned one is named by one of the
// three. For how long a token's renewal may fail is the platform's promise.
type managedIdentityConfig struct {
	ClientID   string `yaml:"clientId"`
	ObjectID   string `yaml:"objectId"`
	ResourceID string `yaml:"resourceId"` // /subscriptions/…/userAssignedIdentities/NAME
}

// workloadIdentityConfig is an application, or a user-assigned identity, that
// trusts another issuer's tokens: AKS with workload identity. There the platform
// sets the defaults, and workloadIdentity: {} is enough.
type workloadIdentityConfig struct {
	TenantID string `yaml:"tenantId"` // default: the variable AZURE_TENANT_ID
	ClientID string `yaml:"clientId"` // default: the variable AZURE_CLIENT_ID
	// TokenFile is read anew for each token. Default: the variable
	// AZURE_FEDERATED_TOKEN_FILE.
	TokenFile string `yaml:"tokenFile"`
	Authority string `yaml:"authority"`
}

// clientCertificateConfig is an app registration with a certificate.
type clientCertificateConfig struct {
	TenantID string `yaml:"tenantId"`
	ClientID string `yaml:"clientId"`
	// CertificateFile holds the certificate and its RSA key, both, as PEM or PFX.
	// It is read anew for each token, so that a renewed one is taken up.
	CertificateFile string `yaml:"certificateFile"`
	// The password of a PFX, if it has one: from a file, or from the environment
	// variable that passwordEnv names.
	PasswordFile string `yaml:"passwordFile"`
	PasswordEnv  string `yaml:"passwordEnv"`
	Authority    string `yaml:"authority"`
}

// clientSecretConfig is an app registration with a secret, from a file or from
// the environment variable that secretEnv names.
type clientSecretConfig struct {
	TenantID   string `yaml:"tenantId"`
	ClientID   string `yaml:"clientId"`
	SecretFile string `yaml:"secretFile"`
	SecretEnv  string `yaml:"secretEnv"`
	Authority  string `yaml:"authority"`
	// secretText serves keyward dev, which keeps no such file.
	secretText broker.Value
}

// azureCLIConfig is who is logged in to the Azure CLI: for a laptop.
type azureCLIConfig struct {
	TenantID string `yaml:"tenantId"` // default: the CLI's own
}

// defaultCredentialConfig is what the surroundings offer: an application in the
// AZURE_* variables, workload identity, managed identity, az, azd, PowerShell; the
// first that gives a token stays. AZURE_TOKEN_CREDENTIALS narrows that. Where
// others than its owner can set variables, name a credential instead.
type defaultCredentialConfig struct{}

// secret reads the client secret from where the configuration says.
func (s *clientSecretConfig) secret(c *config, env func(string) string) (broker.Value, error) {
	if s.secretText.Len() > 0 {
		return s.secretText, nil
	}
	return c.secretFrom("client secret", s.SecretFile, s.SecretEnv, env)
}

// password reads the password of a PFX; none is none.
func (s *clientCertificateConfig) password(c *config, env func(string) string) (broker.Value, error) {
	if s.PasswordFile == "" && s.PasswordEnv == "" {
		return broker.Value{}, nil
	}
	return c.secretFrom("certificate's password", s.PasswordFile, s.PasswordEnv, env)
}

// secretFrom reads a secret from a variable, if one is named, or a file.
func (c *config) secretFrom(what, file, variable string, env func(string) string) (broker.Value, error) {
	if variable != "" {
		if v := env(variable); v != "" {
			return broker.NewValue(v), nil
		}
		// Its name is not repeated: it may be the secret itself, by mistake.
		return broker.Value{}, fmt.Errorf("the environment variable that is to hold the %s is empty or not set", what)
	}
	text, err := os.ReadFile(c.file(file))
	if err != nil {
		return broker.Value{}, fmt.Errorf("the %s: %w", what, err)
	}
	v := strings.TrimSpace(string(text))
	if v == "" {
		return broker.Value{}, fmt.Errorf("the %s: %s is empty", what, file)
	}
	return broker.NewValue(v), nil
}
