package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type backupCmd struct {
	clientFlags

	Name string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`

	bytesFlags
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
	if err := c.check(a, "backup", c.Output); err != nil {
		return err
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
	return c.write(a, "saved "+name, c.Output, reply, reply.GetBlob())
}

// bytesFlags say where bytes go that are no text.
type bytesFlags struct {
	Out string `placeholder:"FILE" help:"Write it to FILE, for its owner alone, replacing what was there. Default: standard output, if that is no terminal."`
}

// check refuses what could not be written, before a call is made. what says
// what the bytes are.
func (f bytesFlags) check(a *app, what, form string) error {
	_, shown := terminal(a.out)
	switch {
	case f.Out != "" && form == outputJSON:
		return fmt.Errorf("--out: a file gets the %s as it is; leave out -o json", what)
	case f.Out == "" && form != outputJSON && shown:
		return advise("the "+what+" is no text for a terminal", "name a file with --out FILE, take -o json, or pipe it on")
	}
	return nil
}

// write writes b to where it goes, or reply as JSON; done says what was done.
func (f bytesFlags) write(a *app, done, form string, reply proto.Message, b []byte) error {
	switch {
	case form == outputJSON:
		return printJSON(a.out, reply)
	case f.Out == "":
		_, err := a.out.Write(b)
		return err
	}
	if err := writeFile(f.Out, b); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s in %s\n", done, f.Out)
	return err
}
