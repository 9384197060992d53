package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// certificateCmd has the commands for certificates.
type certificateCmd struct {
	Create    certificateCreateCmd    `cmd:"" help:"Make a certificate, or a new version of it, in the vault."`
	Operation certificateOperationCmd `cmd:"" help:"Look at, cancel or remove the making of a certificate."`
	Merge     certificateMergeCmd     `cmd:"" help:"Complete a certificate with what its signing request became."`
	Import    certificateImportCmd    `cmd:"" help:"Make a version of a certificate that was made elsewhere."`
	Get       certificateGetCmd       `cmd:"" help:"Show a certificate, or write it with its private key for a server."`
	Watch     certificateWatchCmd     `cmd:"" help:"Keep a server's files current, and run a command when they change."`
	List      certificateListCmd      `cmd:"" help:"List the certificates you may list."`
	Vers      certificateVersCmd      `cmd:"" name:"versions" help:"List a certificate's versions, newest first."`
	Update    certificateUpdateCmd    `cmd:"" help:"Change what is known of a certificate."`
	Policy    certificatePolicyCmd    `cmd:"" help:"Show or change how the next version will be made."`

	Delete   certificateDeleteCmd   `cmd:"" help:"Delete a certificate with all its versions; the vault keeps it for a while."`
	Deleted  certificateDeletedCmd  `cmd:"" help:"Look at deleted certificates."`
	Undelete certificateUndeleteCmd `cmd:"" help:"Bring a deleted certificate back, with all its versions."`
	Purge    certificatePurgeCmd    `cmd:"" help:"Remove a deleted certificate for good."`
	Backup   certificateBackupCmd   `cmd:"" help:"Save all versions of a certificate as an opaque blob."`
	Restore  certificateRestoreCmd  `cmd:"" help:"Bring back a certificate from its backup."`

	Contacts certificateContactsCmd `cmd:"" help:"Show or set whom the vault writes to about its certificates."`
	Issuers  certificateIssuersCmd  `cmd:"" help:"List the certificate authorities that the vault can ask."`
}

// certificateArg names a certificate as a whole.
type certificateArg struct {
	Name string `arg:"" complete:"certificates" help:"The certificate: web in the context's vault, or in full vaults/ALIAS/certificates/NAME."`
}

// certificateVersionArg names a certificate, or one version of it.
type certificateVersionArg struct {
	Name    string `arg:"" complete:"certificates" help:"The certificate: web in the context's vault, or in full vaults/ALIAS/certificates/NAME, with /versions/VERSION if wanted."`
	Version string `placeholder:"VERSION" help:"The version: 32 hexadecimal digits, as keyward certificate versions shows them. Default: the latest."`
}

type certificateGetCmd struct {
	clientFlags
	certificateVersionArg

	PEM bool `name:"pem" xor:"form" help:"Print the certificate alone as PEM, without its chain and key."`

	certificateFiles
}

// Help shows examples.
func (*certificateGetCmd) Help() string {
	return `What may be known of a certificate is shown. With --out, it is written with its private key, which takes the right to downloadCertificate and no other.

  keyward certificate get web
  keyward certificate get web --pem | openssl x509 -text
  keyward certificate get web --out /etc/web/tls
  keyward certificate get web --out . --pfx --password-file password.txt` + filesHelp + exitCodes
}

// Run shows a certificate, or writes it.
func (c *certificateGetCmd) Run(a *app) error {
	if err := c.check(c.Output); err != nil {
		return err
	}
	if c.PEM && c.Out != "" {
		return errors.New("--pem: it is printed; leave out --out")
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, c.Version)
		if err != nil {
			return err
		}
		if c.Out != "" {
			version, _, err := c.download(a.ctx, cl, name)
			if err == nil {
				_, err = fmt.Fprintf(a.out, "wrote %s in %s\n", version, c.Out)
			}
			return err
		}
		got, err := cl.certificates.GetCertificate(a.ctx, &keywardv1.GetCertificateRequest{Name: name})
		switch {
		case err != nil:
			return err
		case c.PEM && got.GetX509Pem() == "":
			return advise("the certificate has no version yet", "see how far it is with: keyward certificate operation get "+got.GetName())
		case c.PEM:
			_, err = io.WriteString(a.out, got.GetX509Pem())
			return err
		case c.Output == outputJSON:
			return printJSON(a.out, got)
		}
		return printTable(a.out, []string{"VERSION", "SUBJECT", "ENABLED", "FROM", "EXPIRES", "ISSUER", "SHA-1", "TAGS"}, [][]string{{
			got.GetVersion(), got.GetSubject(), enabledText(got.GetEnabled()), timeText(got.GetNotBeforeTime()),
			timeText(got.GetExpireTime()), got.GetPolicy().GetIssuerName(), thumbprint(got), tagsText(got.GetTags()),
		}})
	})
}

// thumbprint is x5t in hexadecimal, as other programs show it.
func thumbprint(c *keywardv1.Certificate) string {
	b, err := base64.RawURLEncoding.DecodeString(c.GetX5T())
	if err != nil {
		return ""
	}
	return hex.EncodeToString(b)
}

type certificateListCmd struct {
	clientFlags
}

// Help shows examples.
func (*certificateListCmd) Help() string {
	return `Only the certificates that the policy lets you list are shown.

  keyward certificate list
  keyward certificate list --vault pay -o json` + exitCodes
}

// Run lists a vault's certificates.
func (c *certificateListCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		all, err := cl.listCertificates(a.ctx, vault)
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetCertificates()) == 0 {
			fmt.Fprintf(a.err, "no certificates in %s that you may list\n", vault)
			return nil
		}
		rows := make([][]string, 0, len(all.GetCertificates()))
		for _, c := range all.GetCertificates() {
			rows = append(rows, []string{
				path.Base(c.GetName()), c.GetSubject(), enabledText(c.GetEnabled()), timeText(c.GetExpireTime()), thumbprint(c), tagsText(c.GetTags()),
			})
		}
		return printTable(a.out, []string{"NAME", "SUBJECT", "ENABLED", "EXPIRES", "SHA-1", "TAGS"}, rows)
	})
}

type certificateVersCmd struct {
	clientFlags
	certificateArg
}

// Help shows examples.
func (*certificateVersCmd) Help() string {
	return `The newest version comes first.

  keyward certificate versions web
  keyward certificate get web --version VERSION --pem` + exitCodes
}

// Run lists a certificate's versions.
func (c *certificateVersCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, "")
		if err != nil {
			return err
		}
		all := &keywardv1.ListCertificateVersionsResponse{}
		for request := (&keywardv1.ListCertificateVersionsRequest{Parent: name, PageSize: listPage}); ; {
			page, err := cl.certificates.ListCertificateVersions(a.ctx, request)
			if err != nil {
				return err
			}
			all.Certificates = append(all.Certificates, page.GetCertificates()...)
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		rows := make([][]string, 0, len(all.GetCertificates()))
		for _, v := range all.GetCertificates() {
			rows = append(rows, []string{
				v.GetVersion(), enabledText(v.GetEnabled()), timeText(v.GetCreateTime()), timeText(v.GetExpireTime()), thumbprint(v), tagsText(v.GetTags()),
			})
		}
		return printTable(a.out, []string{"VERSION", "ENABLED", "CREATED", "EXPIRES", "SHA-1", "TAGS"}, rows)
	})
}

type certificateUpdateCmd struct {
	clientFlags
	certificateVersionArg

	Tag     map[string]string `mapsep:"none" xor:"tags" placeholder:"KEY=VALUE" help:"A tag. May be repeated; all earlier tags go."`
	NoTags  bool              `xor:"tags" help:"Remove all tags."`
	Enable  bool              `xor:"enabled" help:"Let the version's key and secret be used."`
	Disable bool              `xor:"enabled" help:"Let them not be used."`
	ETag    string            `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the version, as keyward certificate get -o json shows it."`
}

// Help shows examples.
func (*certificateUpdateCmd) Help() string {
	return `What is not named stays as it is. How the next version will be made changes with keyward certificate policy.

  keyward certificate update web --tag team=pay
  keyward certificate update web --version VERSION --disable` + exitCodes
}

// Run updates a version.
func (c *certificateUpdateCmd) Run(a *app) error {
	mask := &fieldmaskpb.FieldMask{}
	if c.Tag != nil || c.NoTags {
		mask.Paths = append(mask.Paths, "tags")
	}
	if c.Enable || c.Disable {
		mask.Paths = append(mask.Paths, "enabled")
	}
	if len(mask.GetPaths()) == 0 {
		return errors.New("nothing to change; see what there is with: keyward certificate update --help")
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.certificateName(c.Name, c.Version)
		if err != nil {
			return err
		}
		now, err := cl.certificates.UpdateCertificate(a.ctx, &keywardv1.UpdateCertificateRequest{
			UpdateMask: mask, Certificate: &keywardv1.Certificate{Name: name, Tags: c.Tag, Enabled: c.Enable, Etag: c.ETag},
		})
		if err != nil {
			return err
		}
		return printCertificate(a.out, c.Output, now)
	})
}

// printCertificate prints the full name of a certificate's version.
func printCertificate(w io.Writer, form string, c *keywardv1.Certificate) error {
	if form == outputJSON {
		return printJSON(w, c)
	}
	_, err := fmt.Fprintf(w, "%s/versions/%s\n", c.GetName(), c.GetVersion())
	return err
}
