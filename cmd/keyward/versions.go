package main

import (
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type versionsCmd struct {
	clientFlags

	Name string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
}

// Help shows examples.
func (*versionsCmd) Help() string {
	return `The newest version comes first: it is what keyward get prints.

  keyward versions db-password
  keyward get db-password --version VERSION` + exitCodes
}

// Run lists a secret's versions.
func (c *versionsCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, "")
	if err != nil {
		return err
	}
	all := &keywardv1.ListSecretVersionsResponse{}
	for request := (&keywardv1.ListSecretVersionsRequest{Parent: name, PageSize: listPage}); ; {
		page, err := cl.secrets.ListSecretVersions(a.ctx, request)
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
	rows := make([][]string, 0, len(all.GetSecrets()))
	for _, s := range all.GetSecrets() {
		rows = append(rows, []string{
			s.GetVersion(), enabledText(s.GetEnabled()), timeText(s.GetCreateTime()),
			timeText(s.GetExpireTime()), s.GetContentType(), tagsText(s.GetTags()),
		})
	}
	return printTable(a.out, []string{"VERSION", "ENABLED", "CREATED", "EXPIRES", "CONTENT TYPE", "TAGS"}, rows)
}
