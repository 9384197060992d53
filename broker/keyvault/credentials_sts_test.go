package keyvault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/localvault"
)

// Every credential that has an endpoint gets a token of the local vault's token
// service, and that service accepts it.
func TestCredentialsAtTheLocalTokenService(t *testing.T) {
	const issuer, subject = "https://oidc.example", "system:serviceaccount:pay:broker"
	certificate, key := pemCertificate(t)
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	authority := "https://" + server.Listener.Addr().String()
	sts, err := localvault.NewSTS(localvault.STSConfig{
		Authority: authority, TenantID: "tenant-1", ClientID: "app-1", ClientSecret: broker.NewValue(clientSecret),
		Certificates: []*x509.Certificate{certificateOf(t, "", certificate)},
		Federated: []localvault.Federated{{Issuer: issuer, Subject: subject, Keys: jose.JSONWebKeySet{
			Keys: []jose.JSONWebKey{{Key: signer.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}},
		}}},
		IdentityHeader: broker.NewValue("header-1"), IMDS: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = sts
	server.StartTLS()
	t.Cleanup(server.Close)

	federated := func(subject string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: signer, KeyID: "1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		token, err := jwt.Signed(s).Claims(jwt.Claims{
			Issuer: issuer, Subject: subject, Audience: jwt.Audience{"api://AzureADTokenExchange"},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	roots := rootsOf(server)
	for label, tt := range map[string]struct {
		source func(t *testing.T) (keyvault.TokenSource, error)
		want   string // a part of the error, "" for none
	}{
		"client secret": {func(*testing.T) (keyvault.TokenSource, error) {
			return keyvault.ClientSecret(keyvault.ClientSecretConfig{
				TenantID: "tenant-1", ClientID: "app-1", Secret: broker.NewValue(clientSecret), Authority: authority, RootCAs: roots,
			})
		}, ""},
		"another application": {func(*testing.T) (keyvault.TokenSource, error) {
			return keyvault.ClientSecret(keyvault.ClientSecretConfig{
				TenantID: "tenant-1", ClientID: "app-2", Secret: broker.NewValue(clientSecret), Authority: authority, RootCAs: roots,
			})
		}, "AADSTS700016; the tenant does not know this application"},
		"another tenant": {func(*testing.T) (keyvault.TokenSource, error) {
			return keyvault.ClientSecret(keyvault.ClientSecretConfig{
				TenantID: "tenant-2", ClientID: "app-1", Secret: broker.NewValue(clientSecret), Authority: authority, RootCAs: roots,
			})
		}, "AADSTS90002; there is no such tenant"},
		"client certificate": {func(t *testing.T) (keyvault.TokenSource, error) {
			return keyvault.ClientCertificate(keyvault.ClientCertificateConfig{
				TenantID: "tenant-1", ClientID: "app-1", CertificateFile: writeFile(t, filepath.Join(t.TempDir(), "app.pem"), certificate, key),
				Authority: authority, RootCAs: roots,
			})
		}, ""},
		"another certificate": {func(*testing.T) (keyvault.TokenSource, error) {
			return keyvault.ClientCertificate(keyvault.ClientCertificateConfig{
				TenantID: "tenant-1", ClientID: "app-1", CertificateFile: "testdata/certificate.pfx", Password: broker.NewValue(pfxPassword),
				Authority: authority, RootCAs: roots,
			})
		}, "AADSTS700027; the app registration does not know this certificate"},
		"workload identity": {func(t *testing.T) (keyvault.TokenSource, error) {
			return keyvault.WorkloadIdentity(keyvault.WorkloadIdentityConfig{
				TenantID: "tenant-1", ClientID: "app-1", TokenFile: writeFile(t, filepath.Join(t.TempDir(), "token"), []byte(federated(subject))),
				Authority: authority, RootCAs: roots,
			})
		}, ""},
		"another workload": {func(t *testing.T) (keyvault.TokenSource, error) {
			return keyvault.WorkloadIdentity(keyvault.WorkloadIdentityConfig{
				TenantID: "tenant-1", ClientID: "app-1", TokenFile: writeFile(t, filepath.Join(t.TempDir(), "token"), []byte(federated("system:serviceaccount:pay:other"))),
				Authority: authority, RootCAs: roots,
			})
		}, "no federated credential of the application"},
		"managed identity": {func(t *testing.T) (keyvault.TokenSource, error) {
			t.Setenv("IDENTITY_ENDPOINT", authority+"/msi/token")
			t.Setenv("IDENTITY_HEADER", "header-1")
			return keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{RootCAs: roots})
		}, ""},
		"another host's identity": {func(t *testing.T) (keyvault.TokenSource, error) {
			t.Setenv("IDENTITY_ENDPOINT", authority+"/msi/token")
			t.Setenv("IDENTITY_HEADER", "header-1")
			return keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{ClientID: "app-2", RootCAs: roots})
		}, "not assigned to this host"},
		"default": {func(t *testing.T) (keyvault.TokenSource, error) {
			t.Setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
			t.Setenv("AZURE_TENANT_ID", "tenant-1")
			t.Setenv("AZURE_CLIENT_ID", "app-1")
			t.Setenv("AZURE_CLIENT_SECRET", clientSecret)
			return keyvault.Default(keyvault.DefaultConfig{Authority: authority, RootCAs: roots})
		}, ""},
	} {
		t.Run(label, func(t *testing.T) {
			noPlatform(t)
			src, err := tt.source(t)
			if err != nil {
				t.Fatal(err)
			}
			// With claims nobody answers from a cache: azidentity has one of managed
			// identities, for the process.
			got, err := src.Token(t.Context(), scope, `{"access_token":{"nbf":{"value":"1"}}}`)
			if tt.want != "" {
				wantCode(t, err, broker.CodeVaultAuthentication)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v; want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := sts.Verify(t.Context(), got.Value.Reveal()); err != nil {
				t.Errorf("the token is not accepted: %v", err)
			}
		})
	}
}
