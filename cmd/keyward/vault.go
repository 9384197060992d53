package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/broker/localvault"
)

// vaultCmd serves the local vault, where no other command is named.
type vaultCmd struct {
	Serve  vaultServeCmd  `cmd:"" default:"withargs" help:"Run the local vault (the default)."`
	Backup vaultBackupCmd `cmd:"" help:"Copy a local vault's file, while it is in use or not."`
	Fsck   vaultFsckCmd   `cmd:"" help:"Check all that a local vault's file holds, while it is in use or not."`
}

type vaultServeCmd struct {
	logFlags

	Data string `default:".keyward" placeholder:"DIR" help:"The folder the vault is kept in; made where absent (${default})."`
	Addr string `default:"127.0.0.1:7445" placeholder:"HOST:PORT" help:"Where to listen (${default})."`

	Kind            string   `enum:"keyVault,managedHsm" default:"keyVault" placeholder:"KIND" help:"keyVault; or managedHsm, which has keys only, symmetric ones too (${default})."`
	RetentionDays   int32    `default:"90" placeholder:"DAYS" help:"How long what is deleted can be recovered, 7 to 90 days (${default})."`
	PurgeProtection bool     `help:"What is deleted cannot be purged before its time."`
	Simulate        []string `placeholder:"WHAT" help:"What to try a client with; see above."`

	IMDS             bool   `name:"imds" help:"Serve the identity endpoint of virtual machines as well. It gives a token to all who reach it."`
	FederatedIssuer  string `and:"federated" placeholder:"URL" help:"An issuer whose tokens stand for the application, beside the vault's own."`
	FederatedSubject string `and:"federated" placeholder:"SUB" help:"The subject of such tokens; their audience is api://AzureADTokenExchange."`
	FederatedKeys    string `and:"federated" placeholder:"FILE" help:"That issuer's public keys: a JSON Web Key Set. They are not fetched."`
}

// Help tells where the flags are.
func (*vaultCmd) Help() string {
	return `Without a command it is keyward vault serve, whose flags it takes: see keyward vault serve --help.`
}

// Help tells how to use it.
func (*vaultServeCmd) Help() string {
	return `It speaks Azure Key Vault's REST contract for secrets, keys and certificates over HTTPS, with a token service of its own, so any Key
Vault client can use it. DIR/vault.env has what such a client needs:

  set -a; . .keyward/vault.env; set +a

It holds a client secret, a certificate and a federated token of the one application that there is, and where to ask for a token
as App Service's managed identity; DefaultAzureCredential takes the last. Go's and JavaScript's credentials for the others need
their instance discovery turned off: this token service is not one of Azure's.

Clients that check a vault's host name against its challenge need that turned off for 127.0.0.1. What that looks like in Go,
JavaScript, Python, Java and .NET is printed at the start.

` + simulateHelp
}

// Run serves the local vault.
func (c *vaultServeCmd) Run(a *app) error {
	if err := harden(); err != nil {
		return err
	}
	simulate, err := parseSimulation(c.Simulate)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("--addr: want HOST:PORT: %w", err)
	}
	ca, err := openCA(c.Data)
	if err != nil {
		return err
	}
	if err := ca.ensureServer(host); err != nil {
		return err
	}
	options, err := c.options(simulate)
	if err != nil {
		return err
	}
	ln, err := listenTCP("--addr", c.Addr)
	if err != nil {
		return err
	}
	log := c.logger(a.err)
	limitMemory(a.ctx, a.env, log)
	vault, err := openVaultServerAs(options, c.Data, ln, log)
	if err != nil {
		_ = ln.Close()
		return err
	}
	if err := errors.Join(writeFederatedToken(c.Data), vault.writeEnv()); err != nil {
		return errors.Join(err, vault.close())
	}
	go keepFederatedToken(a.ctx, c.Data, log)
	done := make(chan error, 1)
	go func() { done <- vault.serve() }()
	printClients(a.out, vault.authority, c.Data, options.managedHSM)
	fmt.Fprintln(a.out, "ready")
	select {
	case <-a.ctx.Done():
	case err = <-done:
	}
	if cerr := vault.close(); err == nil {
		err = cerr
	}
	return err
}

// options are what the flags ask for, and all that the application can ask for
// tokens with.
func (c *vaultServeCmd) options(simulate simulation) (vaultOptions, error) {
	cert, err := ensureVaultCertificate(c.Data)
	if err != nil {
		return vaultOptions{}, err
	}
	own, err := federation(c.Data)
	if err != nil {
		return vaultOptions{}, err
	}
	dir, err := filepath.Abs(c.Data)
	if err != nil {
		return vaultOptions{}, err
	}
	o := vaultOptions{
		managedHSM:      c.Kind == kindManagedHSM,
		retentionDays:   c.RetentionDays,
		purgeProtection: c.PurgeProtection,
		certificates:    []*x509.Certificate{cert},
		federated:       []localvault.Federated{own},
		imds:            c.IMDS,
		simulate:        simulate,
		env: [][2]string{
			{"AZURE_CLIENT_CERTIFICATE_PATH", filepath.Join(dir, vaultCertificateFile)},
			{"AZURE_FEDERATED_TOKEN_FILE", filepath.Join(dir, federatedTokenFile)},
		},
	}
	if c.FederatedIssuer != "" {
		keys, err := readKeySet(c.FederatedKeys)
		if err != nil {
			return vaultOptions{}, fmt.Errorf("--federated-keys: %w", err)
		}
		o.federated = append(o.federated, localvault.Federated{Issuer: c.FederatedIssuer, Subject: c.FederatedSubject, Keys: keys})
	}
	return o, nil
}
