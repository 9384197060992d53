package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type purgeCmd struct {
	clientFlags

	Name string `arg:"" complete:"deleted" help:"The deleted secret: db-password in the context's vault, or in full vaults/ALIAS/deletedSecrets/NAME."`
	Yes  bool   `short:"y" help:"Do not ask."`
}

// Help shows examples.
func (*purgeCmd) Help() string {
	return `Nobody can bring a purged secret back but from a backup. At a terminal it asks first; without one, as in a script, it takes --yes.

  keyward purge db-password
  keyward purge db-password --yes` + exitCodes
}

// Run purges a deleted secret.
func (c *purgeCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.deletedName(c.Name)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := confirm(a, fmt.Sprintf("Purge %s for good, with all its versions?", name)); err != nil {
			return err
		}
	}
	reply, err := cl.secrets.PurgeSecret(a.ctx, &keywardv1.PurgeSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	_, err = fmt.Fprintf(a.out, "purged %s\n", name)
	return err
}

// confirm asks a question at the terminal. Any answer but yes is an error, and
// so is having nobody to ask.
func confirm(a *app, question string) error {
	if _, ok := terminal(a.in); !ok {
		return advise("standard input is no terminal, so nobody can be asked; nothing was done", "to go ahead, add --yes")
	}
	fmt.Fprint(a.err, question+" [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n') // an end without an answer is no yes
		answer <- line
	}()
	select {
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errors.New("nothing was done")
	case <-a.ctx.Done():
		return errors.New("interrupted; nothing was done")
	}
}
