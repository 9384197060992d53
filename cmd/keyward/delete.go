package main

import (
	"fmt"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type deleteCmd struct {
	clientFlags

	Name string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
	ETag string `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward get -o json shows it."`
}

// Help shows an example.
func (*deleteCmd) Help() string {
	return `All versions go together. The vault keeps them, soft-deleted, until it purges them; meanwhile the name cannot be set again, but the secret can be brought back.

  keyward delete db-password
  keyward undelete db-password` + exitCodes
}

// Run deletes a secret.
func (c *deleteCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, "")
	if err != nil {
		return err
	}
	reply, err := cl.secrets.DeleteSecret(a.ctx, &keywardv1.DeleteSecretRequest{Name: name, Etag: c.ETag})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	purge := "keyward undelete brings it back"
	if t := timeText(reply.GetPurgeTime()); t != "" {
		purge = "the vault keeps it until " + t
	}
	_, err = fmt.Fprintf(a.out, "deleted %s; %s\n", name, purge)
	return err
}
