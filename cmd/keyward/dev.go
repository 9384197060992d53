package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What keyward dev is made of.
const (
	devVault       = "dev"
	devTrustDomain = "dev.keyward"
	devAdmin       = "spiffe://dev.keyward/admin"
	devAuditKey    = "audit.key"
	devAuditPub    = "audit.pub"
	devAuditOrigin = "dev.keyward/audit"
)

// devPolicy is what a new data folder's policy begins with.
//
//go:embed dev.cedar
var devPolicy []byte

type devCmd struct {
	logFlags

	Data  string `default:".keyward" placeholder:"DIR" help:"The folder everything is kept in; made where absent (${default})."`
	GRPC  string `name:"grpc" default:"127.0.0.1:7443" placeholder:"ADDR" help:"Where to serve gRPC (${default})."`
	HTTP  string `name:"http" default:"127.0.0.1:7444" placeholder:"ADDR" help:"Where to serve REST (${default})."`
	Vault string `default:"127.0.0.1:7445" placeholder:"ADDR" help:"Where to serve the local vault (${default})."`
	Admin string `default:"127.0.0.1:7446" placeholder:"ADDR" help:"Where to serve /livez, /readyz and /metrics (${default})."`
}

// Help tells what it makes.
func (*devCmd) Help() string {
	return `It makes a certificate authority, a server and an admin client certificate, a token issuer, a policy to edit and a local
vault called "dev", serves all of it on loopback, and prints what to try. A second start finds everything as it was.

The broker reaches the local vault as it would reach Azure's: over HTTPS, by the same REST contract, with a token.`
}

// Run serves until it is told to stop.
func (c *devCmd) Run(a *app) error {
	if err := harden(); err != nil {
		return err
	}
	for _, l := range []struct{ flag, address string }{
		{"--grpc", c.GRPC}, {"--http", c.HTTP}, {"--vault", c.Vault}, {"--admin", c.Admin},
	} {
		if _, _, err := net.SplitHostPort(l.address); err != nil {
			return fmt.Errorf("%s: want HOST:PORT: %w", l.flag, err)
		}
	}
	if err := c.prepare(); err != nil {
		return err
	}
	vaultLn, err := listenTCP("--vault", c.Vault)
	if err != nil {
		return err
	}
	log := c.logger(a.err)
	limitMemory(a.ctx, a.env, log)
	vault, err := openVaultServer(c.Data, vaultLn, log)
	if err != nil {
		_ = vaultLn.Close()
		return err
	}
	conf := c.config(vault)
	ln, err := listen(conf)
	if err != nil {
		return errors.Join(err, vault.close())
	}
	at := addresses{grpc: reachable(ln.grpc), http: reachable(ln.http)}
	if err := errors.Join(c.writeContext(at), vault.writeEnv()); err != nil {
		ln.close()
		return errors.Join(err, vault.close())
	}
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	vaultDone := make(chan error, 1)
	go func() {
		err := vault.serve()
		cancel(err)
		vaultDone <- err
	}()
	err = wiring{
		config:     conf,
		env:        a.env,
		log:        log,
		reflection: true,
		ready:      func() { fmt.Fprint(a.out, c.tour(at), "ready\n") },
	}.serve(ctx, ln)
	return errors.Join(err, vault.close(), <-vaultDone)
}

// prepare makes the folder's certificates, token issuer and policy, where they
// are absent.
func (c *devCmd) prepare() error {
	policies := filepath.Join(c.Data, "policy")
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	ca, err := openCA(c.Data)
	if err != nil {
		return err
	}
	var hosts []string
	for _, address := range []string{c.GRPC, c.HTTP, c.Vault} {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return err
		}
		hosts = append(hosts, host)
	}
	if err := ca.ensureServer(hosts...); err != nil {
		return err
	}
	if err := ca.ensureClient("admin", devAdmin); err != nil {
		return err
	}
	if err := ensureIssuer(c.Data); err != nil {
		return err
	}
	if err := c.ensureAuditKey(); err != nil {
		return err
	}
	if exists(policies) { // the user's
		return nil
	}
	if err := os.MkdirAll(policies, 0o700); err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(policies, "dev.cedar"), devPolicy),
		writeFile(filepath.Join(policies, "entities.json"), []byte("[]\n")))
}

// ensureAuditKey makes the key that the audit log's checkpoints are signed with,
// where it is absent, and leaves its public key beside it.
func (c *devCmd) ensureAuditKey() error {
	path := filepath.Join(c.Data, devAuditKey)
	if !exists(path) {
		if err := makeSigner(path, devAuditOrigin); err != nil {
			return err
		}
	}
	signer, err := readSigner(path, "")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(c.Data, devAuditPub), []byte(signer.PublicKey()+"\n"))
}

// config is what keyward serve would be given to do the same.
func (c *devCmd) config(vault *vaultServer) *config {
	in := func(name string) string { return filepath.Join(c.Data, name) }
	conf := &config{
		GRPC:  listenConfig{Address: c.GRPC},
		HTTP:  listenConfig{Address: c.HTTP},
		Admin: listenConfig{Address: c.Admin},
		TLS:   tlsConfig{Certificate: in("server.pem"), Key: in("server-key.pem"), ClientCA: in("ca.pem")},
		Identity: identityConfig{
			MTLS: &mtlsConfig{TrustDomain: devTrustDomain},
			JWT: []jwtConfig{{
				Name: devIssuerName, Issuer: devIssuer, Audience: stringList{devAudience}, GroupsClaim: devGroupsClaim, JWKSFile: jwksFile(c.Data),
			}},
		},
		Audit: auditConfig{Path: in("audit.jsonl"), Checkpoint: &checkpointConfig{KeyFile: in(devAuditKey)}},
		Vaults: map[string]vaultConfig{devVault: {
			URL:    vault.authority,
			CAFile: in("ca.pem"),
			Credential: credentialConfig{ClientSecret: &clientSecretConfig{
				TenantID: localTenant, ClientID: localClientID, Authority: vault.authority, secretText: vault.secret,
			}},
		}},
	}
	conf.Policy.Path = in("policy")
	conf.Drain.Notice = &duration{} // nobody balances here
	conf.setDefaults()
	return conf
}

// addresses are where clients on this machine reach the broker.
type addresses struct{ grpc, http string }

// reachable is the address of a listener for a client on this machine: one that
// listens everywhere is reached by loopback.
func reachable(ln net.Listener) string {
	a, ok := ln.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return ln.Addr().String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
}

// writeContext leaves the context file by which the client commands find the
// broker, as the admin.
func (c *devCmd) writeContext(at addresses) error {
	text, err := json.MarshalIndent(clientContext{
		GRPC:        at.grpc,
		HTTP:        at.http,
		CA:          "ca.pem",
		Certificate: "admin.pem",
		Key:         "admin-key.pem",
		Vault:       devVault,
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(c.Data, "context.json"), append(text, '\n'))
}

// tour is what to try in another terminal. Each line works as it is.
func (c *devCmd) tour(at addresses) string {
	command := "keyward"
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		command = "go run ./cmd/keyward" // that is how this one was started
	}
	flags := ""
	if c.Data != ".keyward" {
		flags = " --context " + shellQuote(filepath.Join(c.Data, "context.json"))
	}
	token := command + " token --as billing"
	if c.Data != ".keyward" {
		token += " --data " + shellQuote(c.Data)
	}
	curl := "curl -sS --cacert " + shellQuote(filepath.Join(c.Data, "ca.pem"))
	rest := "https://" + at.http + "/v1/vaults/dev/secrets"
	var b strings.Builder
	section := func(title string, lines ...string) {
		fmt.Fprintf(&b, "  # %s\n", title)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
		b.WriteString("\n")
	}
	b.WriteString("Keyward runs on this machine, without Azure. In another terminal, from this folder:\n\n")
	section("You are the admin. Set two secrets, read one, list them.",
		"printf %s correct-horse | "+command+" set db-password"+flags,
		"printf %s battery-staple | "+command+" set api-key"+flags,
		command+" get db-password"+flags,
		command+" list"+flags)
	section("The workload billing, over REST, with a bearer token: it may read db-password ...",
		"TOKEN=$("+token+")",
		curl+` -H "Authorization: Bearer $TOKEN" `+rest+"/db-password")
	section("... and is denied everything else, whether it exists or not.",
		curl+` -H "Authorization: Bearer $TOKEN" `+rest+"/api-key")
	section("See why: who asked for what, and which policy decided. The policy is yours to edit ("+filepath.Join(c.Data, "policy")+"; a change takes effect within a second).",
		"tail -n 2 "+shellQuote(filepath.Join(c.Data, "audit.jsonl")),
		command+" audit show --denied "+shellQuote(filepath.Join(c.Data, "audit.jsonl")))
	section("Any gRPC client will do (reflection is on); this is grpcurl.",
		"go run github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4 -cacert "+shellQuote(filepath.Join(c.Data, "ca.pem"))+
			` -H "Authorization: Bearer $TOKEN" -d '{"name":"vaults/dev/secrets/db-password"}' `+
			at.grpc+" keyward.v1.SecretService/GetSecret")
	section("Delete one, and bring it back: the vault keeps it, soft-deleted, for 90 days.",
		command+" delete api-key"+flags,
		command+" undelete api-key"+flags)
	b.WriteString("The REST API, to look at in a browser (which will not know the local CA): https://" + at.http + "/docs\n\n")
	return b.String()
}
