package main

import (
	"fmt"
	"io"
	"path"
	"strings"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// keyCmd has the commands for keys; those for secrets have no word before them.
type keyCmd struct {
	Create  keyCreateCmd  `cmd:"" help:"Make a key, or a new version of it, in the vault."`
	Import  keyImportCmd  `cmd:"" help:"Make a version of a key that was made elsewhere."`
	Get     keyGetCmd     `cmd:"" help:"Show a key, or print its public half."`
	List    keyListCmd    `cmd:"" help:"List the keys you may list."`
	Vers    keyVersCmd    `cmd:"" name:"versions" help:"List a key's versions, newest first."`
	Update  keyUpdateCmd  `cmd:"" help:"Change what is known of a key."`
	Rotate  keyRotateCmd  `cmd:"" help:"Make a new version of the same type and size."`
	Policy  keyPolicyCmd  `cmd:"" name:"rotation-policy" help:"Show or set when a key gets a new version by itself."`
	Encrypt keyEncryptCmd `cmd:"" help:"Encrypt a small piece of data."`
	Decrypt keyDecryptCmd `cmd:"" help:"Decrypt what keyward key encrypt wrote."`
	Wrap    keyWrapCmd    `cmd:"" help:"Encrypt a symmetric key."`
	Unwrap  keyUnwrapCmd  `cmd:"" help:"Decrypt what keyward key wrap wrote."`
	Sign    keySignCmd    `cmd:"" help:"Sign a file."`
	Verify  keyVerifyCmd  `cmd:"" help:"Check a file's signature."`

	Delete   keyDeleteCmd   `cmd:"" help:"Delete a key with all its versions; the vault keeps it for a while."`
	Deleted  keyDeletedCmd  `cmd:"" help:"Look at deleted keys."`
	Undelete keyUndeleteCmd `cmd:"" help:"Bring a deleted key back, with all its versions."`
	Purge    keyPurgeCmd    `cmd:"" help:"Remove a deleted key for good."`
	Backup   keyBackupCmd   `cmd:"" help:"Save all versions of a key as an opaque blob."`
	Restore  keyRestoreCmd  `cmd:"" help:"Bring back a key from its backup."`
}

// keyArg names a key as a whole.
type keyArg struct {
	Name string `arg:"" complete:"keys" help:"The key: invoices in the context's vault, or in full vaults/ALIAS/keys/NAME."`
}

// keyVersionArg names a key, or one version of it.
type keyVersionArg struct {
	Name    string `arg:"" complete:"keys" help:"The key: invoices in the context's vault, or in full vaults/ALIAS/keys/NAME, with /versions/VERSION if wanted."`
	Version string `placeholder:"VERSION" help:"The version: 32 hexadecimal digits, as keyward key versions shows them. Default: the latest."`
}

// deletedKeyArg names a deleted key.
type deletedKeyArg struct {
	Name string `arg:"" complete:"deletedKeys" help:"The deleted key: invoices in the context's vault, or in full vaults/ALIAS/deletedKeys/NAME."`
}

type keyGetCmd struct {
	clientFlags
	keyVersionArg

	PEM bool `name:"pem" help:"Print the public key as PEM, for openssl and other programs."`
}

// Help shows examples.
func (*keyGetCmd) Help() string {
	return `Only the public half can be seen: the private one never leaves its vault.

  keyward key get invoices
  keyward key get invoices --pem > invoices.pem
  keyward key get invoices -o json | jq .publicJwk` + exitCodes
}

// Run shows a key.
func (c *keyGetCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, c.Version)
		if err != nil {
			return err
		}
		k, err := cl.keys.GetKey(a.ctx, &keywardv1.GetKeyRequest{Name: name})
		switch {
		case err != nil:
			return err
		case c.PEM && k.GetPublicPem() == "":
			return fmt.Errorf("a key of type %s has no public half", k.GetPublicJwk().GetKty())
		case c.PEM:
			_, err = io.WriteString(a.out, k.GetPublicPem())
			return err
		case c.Output == outputJSON:
			return printJSON(a.out, k)
		}
		return printTable(a.out, []string{"VERSION", "TYPE", "ENABLED", "UPDATED", "EXPIRES", "FOR", "TAGS"}, [][]string{{
			k.GetVersion(), keyType(k), enabledText(k.GetEnabled()), timeText(k.GetUpdateTime()),
			timeText(k.GetExpireTime()), strings.Join(k.GetKeyOps(), ","), tagsText(k.GetTags()),
		}})
	})
}

// keyType is a key's type, with its curve where it has one.
func keyType(k *keywardv1.Key) string {
	j := k.GetPublicJwk()
	return strings.TrimSpace(j.GetKty() + " " + j.GetCrv())
}

type keyListCmd struct {
	clientFlags
}

// Help shows examples.
func (*keyListCmd) Help() string {
	return `Only the keys that the policy lets you list are shown.

  keyward key list
  keyward key list --vault pay -o json` + exitCodes
}

// Run lists a vault's keys.
func (c *keyListCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		vault, err := cl.vaultName()
		if err != nil {
			return err
		}
		all, err := cl.listKeys(a.ctx, vault)
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		if len(all.GetKeys()) == 0 {
			fmt.Fprintf(a.err, "no keys in %s that you may list\n", vault)
			return nil
		}
		rows := make([][]string, 0, len(all.GetKeys()))
		for _, k := range all.GetKeys() {
			rows = append(rows, []string{
				path.Base(k.GetName()), enabledText(k.GetEnabled()), timeText(k.GetUpdateTime()), timeText(k.GetExpireTime()), tagsText(k.GetTags()),
			})
		}
		return printTable(a.out, []string{"NAME", "ENABLED", "UPDATED", "EXPIRES", "TAGS"}, rows)
	})
}

type keyVersCmd struct {
	clientFlags
	keyArg
}

// Help shows examples.
func (*keyVersCmd) Help() string {
	return `The newest version comes first: it signs, encrypts and wraps where none is named. What an older one encrypted is decrypted by that one.

  keyward key versions invoices
  keyward key decrypt invoices --version VERSION < card.enc` + exitCodes
}

// Run lists a key's versions.
func (c *keyVersCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		all := &keywardv1.ListKeyVersionsResponse{}
		for request := (&keywardv1.ListKeyVersionsRequest{Parent: name, PageSize: listPage}); ; {
			page, err := cl.keys.ListKeyVersions(a.ctx, request)
			if err != nil {
				return err
			}
			all.Keys = append(all.Keys, page.GetKeys()...)
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		if c.Output == outputJSON {
			return printJSON(a.out, all)
		}
		rows := make([][]string, 0, len(all.GetKeys()))
		for _, k := range all.GetKeys() {
			rows = append(rows, []string{
				k.GetVersion(), enabledText(k.GetEnabled()), timeText(k.GetCreateTime()), timeText(k.GetExpireTime()), tagsText(k.GetTags()),
			})
		}
		return printTable(a.out, []string{"VERSION", "ENABLED", "CREATED", "EXPIRES", "TAGS"}, rows)
	})
}

// withClient calls act with a connection for as long as it takes.
func withClient(a *app, f callFlags, act func(*client) error) error {
	cl, err := f.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	return act(cl)
}

// printKey prints the full name of a key's version.
func printKey(w io.Writer, form string, k *keywardv1.Key) error {
	if form == outputJSON {
		return printJSON(w, k)
	}
	_, err := fmt.Fprintf(w, "%s/versions/%s\n", k.GetName(), k.GetVersion())
	return err
}
