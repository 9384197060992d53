package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

type vaultCmd struct {
	logFlags

	Data string `default:".keyward" placeholder:"DIR" help:"The folder the vault is kept in; made where absent (${default})."`
	Addr string `default:"127.0.0.1:7445" placeholder:"HOST:PORT" help:"Where to listen (${default})."`
}

// Help tells how to use it.
func (*vaultCmd) Help() string {
	return `It speaks Azure Key Vault's REST contract for secrets over HTTPS, with a token service of its own, so any Key Vault
client can use it. DIR/vault.env has what such a client needs:

  set -a; . .keyward/vault.env; set +a

Clients that check a vault's host name against its challenge need that turned off for 127.0.0.1: in Go
azsecrets.ClientOptions{DisableChallengeResourceVerification: true}.`
}

// Run serves the local vault.
func (c *vaultCmd) Run(a *app) error {
	restrictFiles()
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
	ln, err := listenTCP("--addr", c.Addr)
	if err != nil {
		return err
	}
	vault, err := openVaultServer(c.Data, ln, c.logger(a.err))
	if err != nil {
		_ = ln.Close()
		return err
	}
	if err := vault.writeEnv(); err != nil {
		return errors.Join(err, vault.close())
	}
	done := make(chan error, 1)
	go func() { done <- vault.serve() }()
	fmt.Fprintf(a.out, "The local vault is at %s; Azure clients find what they need in %s\nready\n",
		vault.authority, filepath.Join(c.Data, "vault.env"))
	select {
	case <-a.ctx.Done():
	case err = <-done:
	}
	if cerr := vault.close(); err == nil {
		err = cerr
	}
	return err
}

// restrictFiles makes every file of this process its owner's alone.
func restrictFiles() { syscall.Umask(0o077) }
