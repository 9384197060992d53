package main

import (
	"context"
	"fmt"
	"io"
	"path"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// listKeys returns all pages as one.
func (c *client) listKeys(ctx context.Context, vault string) (*keywardv1.ListKeysResponse, error) {
	all := &keywardv1.ListKeysResponse{}
	for request := (&keywardv1.ListKeysRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.keys.ListKeys(ctx, request)
		if err != nil {
			return nil, err
		}
		all.Keys = append(all.Keys, page.GetKeys()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

// listDeletedKeys returns all pages as one.
func (c *client) listDeletedKeys(ctx context.Context, vault string) (*keywardv1.ListDeletedKeysResponse, error) {
	all := &keywardv1.ListDeletedKeysResponse{}
	for request := (&keywardv1.ListDeletedKeysRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.keys.ListDeletedKeys(ctx, request)
		if err != nil {
			return nil, err
		}
		all.DeletedKeys = append(all.DeletedKeys, page.GetDeletedKeys()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

type keyDeleteCmd struct {
	clientFlags
	keyArg

	ETag string `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward key get -o json shows it."`
}

// Help shows an example.
func (*keyDeleteCmd) Help() string {
	return `All versions go together, and nothing can be signed or decrypted with them. The vault keeps them, soft-deleted, until it purges them; until then the key can be brought back.

  keyward key delete invoices
  keyward key undelete invoices` + exitCodes
}

// Run deletes a key.
func (c *keyDeleteCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		reply, err := cl.keys.DeleteKey(a.ctx, &keywardv1.DeleteKeyRequest{Name: name, Etag: c.ETag})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		purge := "keyward key undelete brings it back"
		if t := timeText(reply.GetPurgeTime()); t != "" {
			purge = "the vault keeps it until " + t
		}
		_, err = fmt.Fprintf(a.out, "deleted %s; %s\n", name, purge)
		return err
	})
}

type keyDeletedCmd struct {
	List keyDeletedListCmd `cmd:"" help:"List the deleted keys you may list."`
	Get  keyDeletedGetCmd  `cmd:"" help:"Show what is known of a deleted key."`
}

type keyDeletedListCmd struct {
	clientFlags
}

// Help shows examples.
func (*keyDeletedListCmd) Help() string {
	return `PURGED is when the vault removes a key for good. Until then keyward key undelete brings it back.

  keyward key deleted list
  keyward key deleted list --vault pay -o json` + exitCodes
}

// Run lists a vault's deleted keys.
func (c *keyDeletedListCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		all, err := cl.listDeletedKeys(a.ctx, vault)
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetDeletedKeys()) == 0 {
			fmt.Fprintf(a.err, "no deleted keys in %s that you may list\n", vault)
			return nil
		}
		return printDeletedKeys(a.out, all.GetDeletedKeys()...)
	})
}

type keyDeletedGetCmd struct {
	clientFlags
	deletedKeyArg
}

// Help shows examples.
func (*keyDeletedGetCmd) Help() string {
	return `A key cannot be used while it is deleted.

  keyward key deleted get invoices
  keyward key deleted get invoices -o json` + exitCodes
}

// Run shows a deleted key.
func (c *keyDeletedGetCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedKeyName(c.Name)
		if err != nil {
			return err
		}
		reply, err := cl.keys.GetDeletedKey(a.ctx, &keywardv1.GetDeletedKeyRequest{Name: name})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		return printDeletedKeys(a.out, reply)
	})
}

func printDeletedKeys(w io.Writer, all ...*keywardv1.DeletedKey) error {
	rows := make([][]string, 0, len(all))
	for _, d := range all {
		rows = append(rows, []string{path.Base(d.GetName()), timeText(d.GetDeleteTime()), timeText(d.GetPurgeTime()), tagsText(d.GetKey().GetTags())})
	}
	return printTable(w, []string{"NAME", "DELETED", "PURGED", "TAGS"}, rows)
}

type keyUndeleteCmd struct {
	clientFlags
	deletedKeyArg
}

// Help shows an example.
func (*keyUndeleteCmd) Help() string {
	return `All versions come back together.

  keyward key deleted list
  keyward key undelete invoices` + exitCodes
}

// Run brings a deleted key back.
func (c *keyUndeleteCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedKeyName(c.Name)
		if err != nil {
			return err
		}
		reply, err := cl.keys.UndeleteKey(a.ctx, &keywardv1.UndeleteKeyRequest{Name: name})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		_, err = fmt.Fprintf(a.out, "recovered %s\n", reply.GetName())
		return err
	})
}

type keyPurgeCmd struct {
	clientFlags
	deletedKeyArg

	Yes bool `short:"y" help:"Do not ask."`
}

// Help shows examples.
func (*keyPurgeCmd) Help() string {
	return `What a purged key encrypted cannot be decrypted any more, by nobody, but with a backup of the key. At a terminal it asks first; without one, as in a script, it takes --yes.

  keyward key purge invoices
  keyward key purge invoices --yes` + exitCodes
}

// Run purges a deleted key.
func (c *keyPurgeCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedKeyName(c.Name)
		if err != nil {
			return err
		}
		if !c.Yes {
			if err := confirm(a, fmt.Sprintf("Purge %s for good, with all its versions?", name)); err != nil {
				return err
			}
		}
		reply, err := cl.keys.PurgeKey(a.ctx, &keywardv1.PurgeKeyRequest{Name: name})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		_, err = fmt.Fprintf(a.out, "purged %s\n", name)
		return err
	})
}

type keyBackupCmd struct {
	clientFlags
	keyArg
	bytesFlags
}

// Help shows examples.
func (*keyBackupCmd) Help() string {
	return `The blob has all versions, private halves included. Only the vault that made it can read it; in Azure that is any vault of the same subscription and geography.

  keyward key backup invoices --out invoices.backup
  keyward key restore invoices.backup

With -o json the blob is base64, on standard output.` + exitCodes
}

// Run writes a backup.
func (c *keyBackupCmd) Run(a *app) error {
	if err := c.check(a, "backup", c.Output); err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		reply, err := cl.keys.BackupKey(a.ctx, &keywardv1.BackupKeyRequest{Name: name})
		if err != nil {
			return err
		}
		return c.write(a, "saved "+name, c.Output, reply, reply.GetBlob())
	})
}

type keyRestoreCmd struct {
	clientFlags

	File string `arg:"" optional:"" complete:"files" help:"The file that keyward key backup wrote. Default: standard input."`
}

// Help shows examples.
func (*keyRestoreCmd) Help() string {
	return `All versions come back under the old name, which must be free: a key of that name, deleted or not, is in the way. The blob hides the name, so the policy must allow restoreKey on the vault.

  keyward key restore invoices.backup` + exitCodes
}

// Run restores a backup.
func (c *keyRestoreCmd) Run(a *app) error {
	blob, err := readBackup(a, c.File)
	if err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		reply, err := cl.keys.RestoreKey(a.ctx, &keywardv1.RestoreKeyRequest{Parent: vault, Blob: []byte(blob.Reveal())})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		_, err = fmt.Fprintf(a.out, "restored %s\n", reply.GetName())
		return err
	})
}
