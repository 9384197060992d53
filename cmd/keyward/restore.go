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
	blob, err := readBackup(a, c.File)
	if err != nil {
		return err
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

// readBackup returns the backup in file, or what comes in on standard input. It
// reads no more than it takes to know that a backup is too large.
func readBackup(a *app, file string) (broker.Value, error) {
	blob, err := readData(a, "backup", file, broker.MaxBackupLen)
	switch {
	case err != nil:
		return broker.Value{}, err
	case blob.Len() == 0:
		return broker.Value{}, advise("the backup is empty; nothing was restored", "name the file that was written, or pipe it in")
	case blob.Len() > broker.MaxBackupLen:
		return broker.Value{}, fmt.Errorf("the backup is larger than 1 MiB, the most that a broker takes (%s)", broker.CodeValueTooLarge)
	}
	return blob, nil
}

// readData returns the bytes of file, or of standard input if file is "" or
// "-", and of a larger one no more than one byte too many. what says what they
// are.
func readData(a *app, what, file string, most int64) (broker.Value, error) {
	in := a.in
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return broker.Value{}, fmt.Errorf("the %s: %w", what, err)
		}
		defer f.Close()
		in = f
	} else if _, ok := terminal(a.in); ok {
		return broker.Value{}, advise("the "+what+": a terminal has none", "name the file, or pipe it in")
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return broker.Value{}, fmt.Errorf("the %s: %w", what, err)
	}
	return broker.NewValue(string(b)), nil
}
