package main

import (
	"context"
	"fmt"
	"path"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// listPage is how many items a list asks for at once: the most there may be.
const listPage = 1000

type listCmd struct {
	clientFlags
}

// Help shows examples.
func (*listCmd) Help() string {
	return `Only the secrets that the policy lets you list are shown, and never a value.

  keyward list
  keyward list --vault pay -o json` + exitCodes
}

// listSecrets returns all pages as one.
func (c *client) listSecrets(ctx context.Context, vault string) (*keywardv1.ListSecretsResponse, error) {
	all := &keywardv1.ListSecretsResponse{}
	for request := (&keywardv1.ListSecretsRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.secrets.ListSecrets(ctx, request)
		if err != nil {
			return nil, err
		}
		all.Secrets = append(all.Secrets, page.GetSecrets()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

// Run lists a vault's secrets.
func (c *listCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	vault, err := cl.vaultName()
	if err != nil {
		return err
	}
	all, err := cl.listSecrets(a.ctx, vault)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, all)
	}
	if len(all.GetSecrets()) == 0 {
		fmt.Fprintf(a.err, "no secrets in %s that you may list\n", vault)
		return nil
	}
	rows := make([][]string, 0, len(all.GetSecrets()))
	for _, s := range all.GetSecrets() {
		rows = append(rows, []string{
			path.Base(s.GetName()), enabledText(s.GetEnabled()), timeText(s.GetUpdateTime()),
			timeText(s.GetExpireTime()), s.GetContentType(), tagsText(s.GetTags()),
		})
	}
	return printTable(a.out, []string{"NAME", "ENABLED", "UPDATED", "EXPIRES", "CONTENT TYPE", "TAGS"}, rows)
}
