package main

import (
	"errors"
	"fmt"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type backupCmd struct {
	clientFlags

	Name string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
	Out  string `placeholder:"FILE" help:"Write the blob to FILE, for its owner alone, replacing what was there. Default: standard output, if that is no terminal."`
}

// Help shows examples.
func (*backupCmd) Help() string {
	return `The blob has all versions, values included. Only the vault that made it can read it; in Azure that is any vault of the same subscription and geography. Keep it as you would keep the secret.

  keyward backup db-password --out db-password.backup
  keyward backup db-password | age -r RECIPIENT > db-password.age
  keyward restore db-password.backup

With -o json the blob is base64, on standard output.` + exitCodes
}

// Run writes a backup.
func (c *backupCmd) Run(a *app) error {
	_, shown := terminal(a.out)
	switch {
	case c.Out != "" && c.Output == outputJSON:
		return errors.New("--out: a file gets the blob as it is; leave out -o json")
	case c.Out == "" && c.Output != outputJSON && shown:
		return advise("a backup is no text for a terminal", "name a file with --out FILE, or pipe it on")
	}
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, "")
	if err != nil {
		return err
	}
	reply, err := cl.secrets.BackupSecret(a.ctx, &keywardv1.BackupSecretRequest{Name: name})
	if err != nil {
		return err
	}
	switch {
	case c.Output == outputJSON:
		return printJSON(a.out, reply)
	case c.Out == "":
		_, err = a.out.Write(reply.GetBlob())
		return err
	}
	if err := writeFile(c.Out, reply.GetBlob()); err != nil {
		return fmt.Errorf("the backup: %w", err)
	}
	_, err = fmt.Fprintf(a.out, "saved %s in %s\n", name, c.Out)
	return err
}
