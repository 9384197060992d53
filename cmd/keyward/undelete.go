package main

import (
	"fmt"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type undeleteCmd struct {
	clientFlags

	Name string `arg:"" complete:"deleted" help:"The deleted secret: db-password in the context's vault, or in full vaults/ALIAS/deletedSecrets/NAME."`
}

// Help shows an example.
func (*undeleteCmd) Help() string {
	return `All versions come back together, and what could be read before can be read again.

  keyward deleted list
  keyward undelete db-password` + exitCodes
}

// Run brings a deleted secret back.
func (c *undeleteCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.deletedName(c.Name)
	if err != nil {
		return err
	}
	reply, err := cl.secrets.UndeleteSecret(a.ctx, &keywardv1.UndeleteSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	_, err = fmt.Fprintf(a.out, "recovered %s\n", reply.GetName())
	return err
}
