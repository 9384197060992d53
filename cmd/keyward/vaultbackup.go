package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keyward/keyward/broker/localvault"
)

// vaultFileFlags say which local vault is meant.
type vaultFileFlags struct {
	Data string `xor:"where" placeholder:"DIR" help:"The folder of a vault of keyward vault or keyward dev (.keyward)."`
	DB   string `name:"db" xor:"where" placeholder:"FILE" help:"The file of any other: local.path in keyward serve's configuration."`

	Output string `short:"o" enum:"text,json" default:"text" placeholder:"FORM" help:"text, for people, or json, for programs (${default})."`
}

func (f vaultFileFlags) path() string {
	switch {
	case f.DB != "":
		return f.DB
	case f.Data != "":
		return filepath.Join(f.Data, "vault.db")
	}
	return filepath.Join(".keyward", "vault.db")
}

type vaultBackupCmd struct {
	vaultFileFlags

	Out   string `required:"" placeholder:"FILE" help:"Write the copy to FILE, for its owner alone."`
	Force bool   `help:"Replace FILE if it is there."`
}

// Help says how to get back.
func (*vaultBackupCmd) Help() string {
	return `The copy is of one moment, whatever is written meanwhile: the process that has the vault open hands it out, and where there is none, the
file is read. Values and private keys in it are sealed, names are not. It is worth nothing without the key file, which is not in it: keep a
copy of that elsewhere.

  keyward vault backup --out vault-monday.db
  keyward vault backup --db /var/lib/keyward/vault.db --out /backup/vault.db

To bring it back, stop the process, put the copy where the vault's file was, and its key file beside it, and check it:

  cp vault-monday.db .keyward/vault.db && chmod 600 .keyward/vault.db
  keyward vault fsck

Whatever was purged, deleted or changed since then is as it was.`
}

// vaultBackupJSON is the output for programs.
type vaultBackupJSON struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// Run copies the vault.
func (c *vaultBackupCmd) Run(a *app) error {
	switch out, err := os.Stat(c.Out); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !c.Force:
		return fmt.Errorf("%s is there already; name another file, or replace it with --force", c.Out)
	default:
		if vault, err := os.Stat(c.path()); err == nil && os.SameFile(out, vault) {
			return fmt.Errorf("%s is the vault itself; name another file", c.Out)
		}
	}
	size := int64(0)
	err := fillFile(c.Out, 0o600, func(w io.Writer) error {
		counted := &countingWriter{w: w}
		err := localvault.Snapshot(a.ctx, c.path(), counted)
		size = counted.n
		return err
	})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printIndented(a.out, vaultBackupJSON{c.Out, size})
	}
	_, err = fmt.Fprintf(a.out, "saved the vault in %s\n", c.Out)
	return err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}
