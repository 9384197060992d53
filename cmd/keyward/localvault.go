package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// The one tenant and application that a local vault's token service knows.
const (
	localTenant   = "6b657977-6172-4d76-a175-6c7474656e61"
	localClientID = "6b657977-6172-4d76-a175-6c74636c6e74"
)

// embeddedAuthority is the host of a vault that is in this process only.
const embeddedAuthority = "https://vault.keyward.invalid"

// localVault is an embedded vault with its token service, as one handler that
// speaks Key Vault's contract.
type localVault struct {
	http.Handler
	store     *localvault.Vault
	authority string
	audience  string // of its tokens
	secret    broker.Value
}

// localVaultConfig says where a local vault lies and how it is reached.
type localVaultConfig struct {
	store     localvault.Config
	authority string       // https://host:port
	secret    broker.Value // the application's
	// Of vaults that others reach: the key that outlives a restart, and what
	// managed identity is asked with.
	tokenKeyFile   string
	identityHeader broker.Value
	options        vaultOptions
}

// vaultOptions are what keyward vault can be told beyond where its vault lies.
type vaultOptions struct {
	managedHSM      bool
	retentionDays   int32
	purgeProtection bool
	// How the application can ask for tokens beside its secret.
	certificates []*x509.Certificate
	federated    []localvault.Federated
	imds         bool
	simulate     simulation
	// env is added to vault.env.
	env [][2]string
}

func openLocalVault(alias broker.Name, c localVaultConfig) (*localVault, error) {
	audience := localvault.DefaultAudience
	if c.store.ManagedHSM {
		audience = localvault.ManagedHSMAudience
	}
	sts, err := localvault.NewSTS(localvault.STSConfig{
		Authority:      c.authority,
		Audience:       audience,
		TenantID:       localTenant,
		ClientID:       localClientID,
		ClientSecret:   c.secret,
		KeyFile:        c.tokenKeyFile,
		IdentityHeader: c.identityHeader,
		Certificates:   c.options.certificates,
		Federated:      c.options.federated,
		IMDS:           c.options.imds,
		TokenLife:      c.options.simulate.tokenLife,
		Logger:         c.store.Logger,
	})
	if err != nil {
		return nil, err
	}
	c.store.Control = true
	c.store.RetentionDays, c.store.PurgeProtection = c.options.retentionDays, c.options.purgeProtection
	store, err := localvault.Open(c.store)
	if err != nil {
		return nil, err
	}
	served := vaulthttp.Config{
		Vault:        alias,
		Secrets:      store.Secrets(),
		Keys:         store.Keys(),
		Certificates: store.Certificates(),
		ManagedHSM:   c.store.ManagedHSM,
		Tokens:       sts,
		Authority:    c.authority + "/" + localTenant,
		Resource:     audience,
		Simulate:     c.options.simulate.Simulation,
		Logger:       c.store.Logger,
	}
	if served.ManagedHSM {
		served.Secrets = nil
	}
	vault := vaulthttp.New(served)
	return &localVault{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if sts.Owns(r.URL.Path) {
				sts.ServeHTTP(w, r)
				return
			}
			vault.ServeHTTP(w, r)
		}),
		store:     store,
		authority: c.authority,
		audience:  audience,
		secret:    c.secret,
	}, nil
}

// openEmbedded opens a vault that only this process uses.
func openEmbedded(alias broker.Name, c localvault.Config) (*localVault, error) {
	return openLocalVault(alias, localVaultConfig{
		store:     c,
		authority: embeddedAuthority,
		secret:    broker.NewValue(rand.Text()),
	})
}

// vaultServer is a local vault served over HTTPS from a data folder.
type vaultServer struct {
	*localVault
	dir    string
	header broker.Value // what managed identity is asked with
	env    [][2]string
	http   *http.Server
	ln     net.Listener
}

// openVaultServer opens the folder's vault. The folder has a CA and a server
// certificate.
func openVaultServer(dir string, ln net.Listener, log *slog.Logger) (*vaultServer, error) {
	return openVaultServerAs(vaultOptions{}, dir, ln, log)
}

func openVaultServerAs(options vaultOptions, dir string, ln net.Listener, log *slog.Logger) (*vaultServer, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		return nil, err
	}
	secret, err := ensureText(filepath.Join(dir, "vault-client-secret"))
	if err != nil {
		return nil, err
	}
	header, err := ensureText(filepath.Join(dir, "vault-identity-header"))
	if err != nil {
		return nil, err
	}
	alias, err := broker.VaultName(devVault)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, err
	}
	vault, err := openLocalVault(alias, localVaultConfig{
		store: localvault.Config{
			Path:       filepath.Join(dir, "vault.db"),
			KeyFile:    filepath.Join(dir, "vault.key"),
			ManagedHSM: options.managedHSM,
			Logger:     log,
		},
		authority:      "https://127.0.0.1:" + port,
		secret:         secret,
		tokenKeyFile:   filepath.Join(dir, "vault-token-key.pem"),
		identityHeader: header,
		options:        options,
	})
	if err != nil {
		return nil, err
	}
	return &vaultServer{
		localVault: vault,
		dir:        dir,
		header:     header,
		env:        options.env,
		ln:         ln,
		http: &http.Server{
			Handler:           vault,
			TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      15 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    32 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}, nil
}

// serve serves until close, or an error.
func (s *vaultServer) serve() error {
	if err := s.http.ServeTLS(s.ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the local vault: %w", err)
	}
	return nil
}

// close lets calls in flight end, and closes the vault.
func (s *vaultServer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	return errors.Join(err, s.store.Close())
}

// writeEnv leaves vault.env, with what an Azure client needs to find the vault.
func (s *vaultServer) writeEnv() error {
	ca, err := filepath.Abs(filepath.Join(s.dir, "ca.pem"))
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, kv := range append([][2]string{
		{"VAULT_URL", s.authority},
		{"AZURE_TENANT_ID", localTenant},
		{"AZURE_CLIENT_ID", localClientID},
		{"AZURE_CLIENT_SECRET", s.secret.Reveal()},
		{"AZURE_AUTHORITY_HOST", s.authority},
		{"SSL_CERT_FILE", ca},
		{"NODE_EXTRA_CA_CERTS", ca},
		{"REQUESTS_CA_BUNDLE", ca},
		{"IDENTITY_ENDPOINT", s.authority + "/msi/token"},
		{"IDENTITY_HEADER", s.header.Reveal()},
		{"AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"},
	}, s.env...) {
		b.WriteString(kv[0] + "=" + shellQuote(kv[1]) + "\n")
	}
	return writeFile(filepath.Join(s.dir, "vault.env"), []byte(b.String()))
}

// shellQuote quotes s for a POSIX shell where it needs it.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !safe(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ensureText returns the text in a file, and makes it up where there is none.
func ensureText(path string) (broker.Value, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(rand.Text())
		err = writeFile(path, append(text, '\n'))
	}
	if err != nil {
		return broker.Value{}, err
	}
	v := strings.TrimSpace(string(text))
	if v == "" {
		return broker.Value{}, fmt.Errorf("%s is empty; remove it, and it is made anew", path)
	}
	return broker.NewValue(v), nil
}
