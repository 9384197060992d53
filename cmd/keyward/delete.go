package main

import (
	"fmt"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type deleteCmd struct {
	clientFlags

	Name string `arg:"" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
}

// Help shows an example.
func (*deleteCmd) Help() string {
	return `All versions go together. The vault keeps them, soft-deleted, until it purges them; meanwhile the name cannot be set again.

  keyward delete db-password` + exitCodes
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
	reply, err := cl.secrets.DeleteSecret(a.ctx, &keywardv1.DeleteSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	purge := "it can be recovered in the vault"
	if t := timeText(reply.GetPurgeTime()); t != "" {
		purge = "the vault keeps it until " + t
	}
	_, err = fmt.Fprintf(a.out, "deleted %s; %s\n", name, purge)
	return err
}
