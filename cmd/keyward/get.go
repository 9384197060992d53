package main

import (
	"io"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type getCmd struct {
	clientFlags

	Name    string `arg:"" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME, with /versions/VERSION if wanted."`
	Version string `placeholder:"VERSION" help:"The version: 32 hexadecimal digits, as keyward versions shows them. Default: the latest."`
}

// Help shows examples.
func (*getCmd) Help() string {
	return `The value is printed alone and exactly as it is stored; a newline is added only when the output is a terminal.

  keyward get db-password
  keyward get vaults/pay/secrets/api-key -o json
  PGPASSWORD=$(keyward get db-password) psql` + exitCodes
}

// Run prints a secret's value.
func (c *getCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, c.Version)
	if err != nil {
		return err
	}
	reply, err := cl.secrets.GetSecret(a.ctx, &keywardv1.GetSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	value := reply.GetValue()
	if _, ok := terminal(a.out); ok {
		value += "\n"
	}
	_, err = io.WriteString(a.out, value)
	return err
}
