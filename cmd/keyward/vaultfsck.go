package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/keyward/keyward/broker/localvault"
)

type vaultFsckCmd struct {
	vaultFileFlags

	Key string `type:"path" placeholder:"FILE" help:"The vault's key file: local.keyFile in keyward serve's configuration. Default: vault.key beside the vault's file."`
}

// Help says what is looked at.
func (*vaultFsckCmd) Help() string {
	return `It reads every page, opens every record, parses every private key, and holds each certificate against its key and its secret. What is
damaged is printed by name, with what to do; no value is. Nothing is changed. A vault that is in use is checked as it was at one moment, in
a copy that takes as much disk for as long as it takes.

  keyward vault fsck
  keyward vault fsck --db /var/lib/keyward/vault.db --key /etc/keyward/vault.key -o json

That an older copy was put back is not found.

Exit codes: 0 nothing is damaged, 1 something is, or it could not be looked at, 2 wrong usage.`
}

// vaultFsckJSON is the output for programs.
type vaultFsckJSON struct {
	Secrets      int                `json:"secrets"`
	Keys         int                `json:"keys"`
	Certificates int                `json:"certificates"`
	Versions     int                `json:"versions"`
	Findings     []vaultFindingJSON `json:"findings"`
}

type vaultFindingJSON struct {
	Kind    string `json:"kind"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Problem string `json:"problem"`
	Advice  string `json:"advice"`
}

// Run checks the vault.
func (c *vaultFsckCmd) Run(a *app) error {
	key := c.Key
	if key == "" {
		key = filepath.Join(filepath.Dir(c.path()), "vault.key")
	}
	r, err := localvault.Check(a.ctx, c.path(), key)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		found := vaultFsckJSON{r.Secrets, r.Keys, r.Certificates, r.Versions, []vaultFindingJSON{}}
		for _, f := range r.Findings {
			found.Findings = append(found.Findings, vaultFindingJSON(f))
		}
		err = printIndented(a.out, found)
	} else {
		for _, f := range r.Findings {
			what := []string{f.Kind}
			if f.Name != "" {
				what = append(what, printable(f.Name))
			}
			if f.Version != "" {
				what = append(what, "version", f.Version)
			}
			fmt.Fprintf(a.out, "%s: %s; %s\n", strings.Join(what, " "), f.Problem, f.Advice)
		}
		if len(r.Findings) == 0 {
			fmt.Fprintf(a.out, "ok: %s, %s, %s, %s in all\n", count(r.Secrets, "secret", "secrets"), count(r.Keys, "key", "keys"),
				count(r.Certificates, "certificate", "certificates"), count(r.Versions, "version", "versions"))
		}
	}
	if err != nil {
		return err
	}
	if len(r.Findings) > 0 {
		return codedError{code: exitError}
	}
	return nil
}
