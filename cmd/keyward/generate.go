package main

import (
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type generateCmd struct {
	clientFlags

	Name     string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
	Length   int32  `placeholder:"N" help:"How many characters. Default: 32."`
	Alphabet string `placeholder:"CHARS" help:"The characters to choose from, 2 to 256, each once. Default: letters, digits and -._~, with at least one of each kind."`

	versionFlags
}

// Help shows examples.
func (*generateCmd) Help() string {
	return `The broker makes the value from the system's random numbers and sets it as a new version, whose full name is printed. The value itself goes to the vault only; who may read it gets it with keyward get.

  keyward generate db-password
  keyward generate pin --length 6 --alphabet 0123456789
  keyward generate api-key --tag team=pay --expires 2160h` + exitCodes
}

// Run sets a secret to a random value.
func (c *generateCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, "")
	if err != nil {
		return err
	}
	reply, err := cl.secrets.GenerateSecret(a.ctx, &keywardv1.GenerateSecretRequest{
		Name:          name,
		Length:        c.Length,
		Alphabet:      c.Alphabet,
		ContentType:   c.ContentType,
		Tags:          c.Tag,
		Enabled:       new(!c.Disabled),
		NotBeforeTime: c.NotBefore.timestamp(),
		ExpireTime:    c.Expires.timestamp(),
		Etag:          c.ETag,
	})
	if err != nil {
		return err
	}
	return printVersion(a.out, c.Output, reply)
}
