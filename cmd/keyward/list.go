package main

import (
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
	all := &keywardv1.ListSecretsResponse{}
	for request := (&keywardv1.ListSecretsRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := cl.secrets.ListSecrets(a.ctx, request)
		if err != nil {
			return err
		}
		all.Secrets = append(all.Secrets, page.GetSecrets()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
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
