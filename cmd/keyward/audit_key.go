package main

import (
	"fmt"
	"os"

	"github.com/keyward/keyward/broker/audit"
)

type auditKeyCmd struct {
	New  string `placeholder:"NAME" help:"Make a key of that name, such as audit.example.org/keyward. The file must not be there."`
	File string `arg:"" complete:"files" help:"The file of the private key."`
}

// Help says what the keys are for.
func (*auditKeyCmd) Help() string {
	return `Checkpoints of the audit log are signed with this key (audit.checkpoint.keyFile). The public key is printed; whoever has it can verify
the log:

  keyward audit key --new audit.example.org/keyward audit.key > audit.pub
  keyward audit verify --key audit.pub audit.jsonl

Keep the private key from those whom the log is to be kept from: who has it can make the log anew.`
}

// Run makes a key, or reads it.
func (c *auditKeyCmd) Run(a *app) error {
	if c.New != "" {
		restrictFiles()
		if exists(c.File) {
			return fmt.Errorf("%s is there already, and what it signed could not be verified any more; choose another file", c.File)
		}
		if err := makeSigner(c.File, c.New); err != nil {
			return err
		}
	}
	signer, err := readSigner(c.File, "")
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, signer.PublicKey())
	return nil
}

// makeSigner makes the file of a key.
func makeSigner(path, name string) error {
	key, err := audit.NewKey(name)
	if err != nil {
		return err
	}
	return writeFile(path, []byte(key+"\n"))
}

func readSigner(path, origin string) (*audit.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; make one with: keyward audit key --new NAME %s", err, path)
	}
	signer, err := audit.NewSigner(string(text), origin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}
