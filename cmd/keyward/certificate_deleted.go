package main

import (
	"context"
	"fmt"
	"io"
	"path"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// listCertificates returns all pages as one.
func (c *client) listCertificates(ctx context.Context, vault string) (*keywardv1.ListCertificatesResponse, error) {
	all := &keywardv1.ListCertificatesResponse{}
	for request := (&keywardv1.ListCertificatesRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.certificates.ListCertificates(ctx, request)
		if err != nil {
			return nil, err
		}
		all.Certificates = append(all.Certificates, page.GetCertificates()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

// listDeletedCertificates returns all pages as one.
func (c *client) listDeletedCertificates(ctx context.Context, vault string) (*keywardv1.ListDeletedCertificatesResponse, error) {
	all := &keywardv1.ListDeletedCertificatesResponse{}
	for request := (&keywardv1.ListDeletedCertificatesRequest{Parent: vault, PageSize: listPage}); ; {
		page, err := c.certificates.ListDeletedCertificates(ctx, request)
		if err != nil {
			return nil, err
		}
		all.DeletedCertificates = append(all.DeletedCertificates, page.GetDeletedCertificates()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return all, nil
		}
	}
}

type certificateDeleteCmd struct {
	clientFlags
	certificateArg

	ETag string `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward certificate get -o json shows it."`
}

// Help shows an example.
func (*certificateDeleteCmd) Help() string {
	return `All versions go together, and nothing can be signed or decrypted with them. The vault keeps them, soft-deleted, until it purges them; until then the certificate can be brought back.

  keyward certificate delete web
  keyward certificate undelete web` + exitCodes
}

// Run deletes a certificate.
func (c *certificateDeleteCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		reply, err := cl.certificates.DeleteCertificate(a.ctx, &keywardv1.DeleteCertificateRequest{Name: name, Etag: c.ETag})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		purge := "keyward certificate undelete brings it back"
		if t := timeText(reply.GetPurgeTime()); t != "" {
			purge = "the vault keeps it until " + t
		}
		_, err = fmt.Fprintf(a.out, "deleted %s; %s\n", name, purge)
		return err
	})
}

type certificateDeletedCmd struct {
	List certificateDeletedListCmd `cmd:"" help:"List the deleted certificates you may list."`
	Get  certificateDeletedGetCmd  `cmd:"" help:"Show what is known of a deleted certificate."`
}

type certificateDeletedListCmd struct {
	clientFlags
}

// Help shows examples.
func (*certificateDeletedListCmd) Help() string {
	return `PURGED is when the vault removes a certificate for good. Until then keyward certificate undelete brings it back.

  keyward certificate deleted list
  keyward certificate deleted list --vault pay -o json` + exitCodes
}

// Run lists a vault's deleted certificates.
func (c *certificateDeletedListCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		all, err := cl.listDeletedCertificates(a.ctx, vault)
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetDeletedCertificates()) == 0 {
			fmt.Fprintf(a.err, "no deleted certificates in %s that you may list\n", vault)
			return nil
		}
		return printDeletedCertificates(a.out, all.GetDeletedCertificates()...)
	})
}

type certificateDeletedGetCmd struct {
	clientFlags
	deletedCertificateArg
}

// Help shows examples.
func (*certificateDeletedGetCmd) Help() string {
	return `A certificate cannot be used while it is deleted.

  keyward certificate deleted get web
  keyward certificate deleted get web -o json` + exitCodes
}

// Run shows a deleted certificate.
func (c *certificateDeletedGetCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedCertificateName(c.Name)
		if err != nil {
			return err
		}
		reply, err := cl.certificates.GetDeletedCertificate(a.ctx, &keywardv1.GetDeletedCertificateRequest{Name: name})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, reply)
		}
		return printDeletedCertificates(a.out, reply)
	})
}

func printDeletedCertificates(w io.Writer, all ...*keywardv1.DeletedCertificate) error {
	rows := make([][]string, 0, len(all))
	for _, d := range all {
		rows = append(rows, []string{path.Base(d.GetName()), timeText(d.GetDeleteTime()), timeText(d.GetPurgeTime()), tagsText(d.GetCertificate().GetTags())})
	}
	return printTable(w, []string{"NAME", "DELETED", "PURGED", "TAGS"}, rows)
}

type certificateUndeleteCmd struct {
	clientFlags
	deletedCertificateArg
}

// Help shows an example.
func (*certificateUndeleteCmd) Help() string {
	return `All versions come back together.

  keyward certificate deleted list
  keyward certificate undelete web` + exitCodes
}

// Run brings a deleted certificate back.
func (c *certificateUndeleteCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedCertificateName(c.Name)
		if err != nil {
			return err
		}
		reply, err := cl.certificates.UndeleteCertificate(a.ctx, &keywardv1.UndeleteCertificateRequest{Name: name})
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

type certificatePurgeCmd struct {
	clientFlags
	deletedCertificateArg

	Yes bool `short:"y" help:"Do not ask."`
}

// Help shows examples.
func (*certificatePurgeCmd) Help() string {
	return `What a purged key encrypted cannot be decrypted any more, by nobody, but with a backup of the certificate. At a terminal it asks first; without one, as in a script, it takes --yes.

  keyward certificate purge web
  keyward certificate purge web --yes` + exitCodes
}

// Run purges a deleted certificate.
func (c *certificatePurgeCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.deletedCertificateName(c.Name)
		if err != nil {
			return err
		}
		if !c.Yes {
			if err := confirm(a, fmt.Sprintf("Purge %s for good, with all its versions?", name)); err != nil {
				return err
			}
		}
		reply, err := cl.certificates.PurgeCertificate(a.ctx, &keywardv1.PurgeCertificateRequest{Name: name})
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

type certificateBackupCmd struct {
	clientFlags
	certificateArg
	bytesFlags
}

// Help shows examples.
func (*certificateBackupCmd) Help() string {
	return `The blob has all versions, private halves included. Only the vault that made it can read it; in Azure that is any vault of the same subscription and geography.

  keyward certificate backup web --out web.backup
  keyward certificate restore web.backup

With -o json the blob is base64, on standard output.` + exitCodes
}

// Run writes a backup.
func (c *certificateBackupCmd) Run(a *app) error {
	if err := c.check(a, "backup", c.Output); err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		reply, err := cl.certificates.BackupCertificate(a.ctx, &keywardv1.BackupCertificateRequest{Name: name})
		if err != nil {
			return err
		}
		return c.write(a, "saved "+name, c.Output, reply, reply.GetBlob())
	})
}

type certificateRestoreCmd struct {
	clientFlags

	File string `arg:"" optional:"" complete:"files" help:"The file that keyward certificate backup wrote. Default: standard input."`
}

// Help shows examples.
func (*certificateRestoreCmd) Help() string {
	return `All versions come back under the old name, which must be free: a certificate of that name, deleted or not, is in the way. The blob hides the name, so the policy must allow restoreCertificate on the vault.

  keyward certificate restore web.backup` + exitCodes
}

// Run restores a backup.
func (c *certificateRestoreCmd) Run(a *app) error {
	blob, err := readBackup(a, c.File)
	if err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		reply, err := cl.certificates.RestoreCertificate(a.ctx, &keywardv1.RestoreCertificateRequest{Parent: vault, Blob: []byte(blob.Reveal())})
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

// deletedCertificateArg names a deleted certificate.
type deletedCertificateArg struct {
	Name string `arg:"" complete:"deletedCertificates" help:"The deleted certificate: web in the context's vault, or in full vaults/ALIAS/deletedCertificates/NAME."`
}
