package main

import (
	"fmt"
	"io"
	"os"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type restoreCmd struct {
	clientFlags

	File string `arg:"" optional:"" complete:"files" help:"The file that keyward backup wrote. Default: standard input."`
}

// Help shows examples.
func (*restoreCmd) Help() string {
	return `All versions come back under the old name, which must be free: a secret of that name, deleted or not, is in the way. The blob hides the name, so the policy must allow restoreSecret on the vault.

  keyward restore db-password.backup
  keyward restore --vault pay < db-password.backup` + exitCodes
}

// Run restores a backup.
func (c *restoreCmd) Run(a *app) error {
	blob, err := c.read(a)
	if err != nil {
		return fmt.Errorf("the backup: %w", err)
	}
	switch {
	case blob.Len() == 0:
		return advise("the backup is empty; nothing was restored", "name the file that keyward backup wrote, or pipe it in")
	case blob.Len() > broker.MaxBackupLen:
		return fmt.Errorf("the backup is larger than 1 MiB, the most that a broker takes (%s)", broker.CodeValueTooLarge)
	}
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	vault, err := cl.vaultName()
	if err != nil {
		return err
	}
	reply, err := cl.secrets.RestoreSecret(a.ctx, &keywardv1.RestoreSecretRequest{Parent: vault, Blob: []byte(blob.Reveal())})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	_, err = fmt.Fprintf(a.out, "restored %s\n", reply.GetName())
	return err
}

// read reads no more than it takes to know that a backup is too large.
func (c *restoreCmd) read(a *app) (broker.Value, error) {
	in := a.in
	if c.File != "" {
		f, err := os.Open(c.File)
		if err != nil {
			return broker.Value{}, err
		}
		defer f.Close()
		in = f
	} else if _, ok := terminal(a.in); ok {
		return broker.Value{}, advise("a terminal has none", "name the file that keyward backup wrote, or pipe it in")
	}
	b, err := io.ReadAll(io.LimitReader(in, broker.MaxBackupLen+1))
	return broker.NewValue(string(b)), err
}
