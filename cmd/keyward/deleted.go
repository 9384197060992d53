package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type deletedCmd struct {
	List deletedListCmd `cmd:"" help:"List the deleted secrets you may list."`
	Get  deletedGetCmd  `cmd:"" help:"Show what is known of a deleted secret."`
}

type deletedListCmd struct {
	clientFlags
}

// Help shows examples.
func (*deletedListCmd) Help() string {
	return `PURGED is when the vault removes a secret for good. Until then keyward undelete brings it back, and its name cannot be set.

  keyward deleted list
  keyward deleted list --vault pay -o json` + exitCodes
}

// Run lists a vault's deleted secrets.
func (c *deletedListCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	vault, err := cl.vaultName()
	if err != nil {
		return err
	}
	all, err := cl.listDeletedSecrets(a.ctx, vault)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, all)
	}
	if len(all.GetDeletedSecrets()) == 0 {
		fmt.Fprintf(a.err, "no deleted secrets in %s that you may list\n", vault)
		return nil
	}
	return printDeleted(a.out, all.GetDeletedSecrets()...)
}

// listDeletedSecrets returns all pages as one.
func (c *client) listDeletedSecrets(ctx context.Context, vault string) (*keywardv1.ListDeletedSecretsResponse, error) {
	all := &keywardv1.ListDeletedSecretsResponse{}
	for request := (&keywardv1.ListDeletedSecretsRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.secrets.ListDeletedSecrets(ctx, request)
		if err != nil {
			return nil, err
		}
		all.DeletedSecrets = append(all.DeletedSecrets, page.GetDeletedSecrets()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

type deletedGetCmd struct {
	clientFlags

	Name string `arg:"" complete:"deleted" help:"The deleted secret: db-password in the context's vault, or in full vaults/ALIAS/deletedSecrets/NAME."`
}

// Help shows examples.
func (*deletedGetCmd) Help() string {
	return `The value cannot be read while the secret is deleted.

  keyward deleted get db-password
  keyward deleted get db-password -o json` + exitCodes
}

// Run shows a deleted secret.
func (c *deletedGetCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.deletedName(c.Name)
	if err != nil {
		return err
	}
	reply, err := cl.secrets.GetDeletedSecret(a.ctx, &keywardv1.GetDeletedSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	return printDeleted(a.out, reply)
}

func printDeleted(w io.Writer, all ...*keywardv1.DeletedSecret) error {
	rows := make([][]string, 0, len(all))
	for _, d := range all {
		rows = append(rows, []string{
			path.Base(d.GetName()), timeText(d.GetDeleteTime()), timeText(d.GetPurgeTime()),
			d.GetSecret().GetContentType(), tagsText(d.GetSecret().GetTags()),
		})
	}
	return printTable(w, []string{"NAME", "DELETED", "PURGED", "CONTENT TYPE", "TAGS"}, rows)
}

// deletedName returns the resource name of a deleted secret. NAME may be what
// it was called before, too.
func (c *client) deletedName(name string) (string, error) {
	return c.deletedObjectName(broker.KindSecrets, broker.KindDeletedSecrets, name)
}

// deletedKeyName is deletedName of keys.
func (c *client) deletedKeyName(name string) (string, error) {
	return c.deletedObjectName(broker.KindKeys, broker.KindDeletedKeys, name)
}

// deletedCertificateName is deletedSecretName of certificates.
func (c *client) deletedCertificateName(name string) (string, error) {
	return c.deletedObjectName(broker.KindCertificates, broker.KindDeletedCertificates, name)
}

func (c *client) deletedObjectName(kind, deleted broker.Kind, name string) (string, error) {
	live, err := c.objectName(kind, strings.Replace(name, "/"+string(deleted)+"/", "/"+string(kind)+"/", 1), "")
	if err != nil {
		return "", err
	}
	n, err := broker.ParseName(kind, live)
	if err != nil {
		return "", badName(name, err)
	}
	if n.Version() != "" {
		return "", errors.New("all versions of what is deleted go together; leave the version out")
	}
	return n.As(deleted).String(), nil
}
