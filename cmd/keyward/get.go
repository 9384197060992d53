package main

import (
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type getCmd struct {
	clientFlags

	Name    string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME, with /versions/VERSION if wanted."`
	Version string `placeholder:"VERSION" help:"The version: 32 hexadecimal digits, as keyward versions shows them. Default: the latest."`

	MaxAge       *time.Duration `placeholder:"DURATION" help:"How old the answer may be: 0s asks the vault. Default: what the broker's cache keeps."`
	KnownVersion string         `placeholder:"VERSION" help:"Print nothing if this is still the version."`
}

// Help shows examples.
func (*getCmd) Help() string {
	return `The value is printed alone and exactly as it is stored; a newline is added only when the output is a terminal.

  keyward get db-password
  keyward get vaults/pay/secrets/api-key -o json
  keyward get db-password --max-age 0s           (what the vault has now)
  keyward get db-password --known-version VERSION

With --known-version a version that is still the one prints nothing, or "notModified": true as JSON; a value is never empty. To hand secrets to a program, see keyward exec.` + exitCodes
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
	request := &keywardv1.GetSecretRequest{Name: name, KnownVersion: c.KnownVersion}
	if c.MaxAge != nil {
		request.MaxAge = durationpb.New(*c.MaxAge)
	}
	reply, err := cl.secrets.GetSecret(a.ctx, request)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	if reply.GetNotModified() {
		fmt.Fprintf(a.err, "not modified: %s is still the version\n", c.KnownVersion)
		return nil
	}
	if f := reply.GetFreshness(); f.GetStale() {
		fmt.Fprintf(a.err, "stale: the vault cannot be asked; this is its answer of %s\n", timeText(f.GetFetchTime()))
	}
	value := reply.GetValue()
	if _, ok := terminal(a.out); ok {
		value += "\n"
	}
	_, err = io.WriteString(a.out, value)
	return err
}
