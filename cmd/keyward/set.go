package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
	"google.golang.org/protobuf/types/known/timestamppb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type setCmd struct {
	clientFlags

	Name  string     `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME."`
	Never refusedArg `arg:"" optional:"" name:"nothing-else" help:"A value is never an argument: other users and your shell's history would see it."`

	ValueFile   string `placeholder:"FILE" help:"Take the value from FILE, all of it. Default: standard input, or a hidden prompt at a terminal."`
	KeepNewline bool   `help:"Keep the newline that ends standard input. Without this one is dropped, because echo adds it."`

	versionFlags

	RecoverDeleted bool `help:"If a deleted secret has the name, bring it back first, with its versions."`
}

// versionFlags are what is known of a new version beside its value, and the
// condition to make it on.
type versionFlags struct {
	ContentType string            `placeholder:"TEXT" help:"What the value is, such as text/plain."`
	Tag         map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"A tag. May be repeated; tags of an earlier version are not kept."`
	Disabled    bool              `help:"Make a version that cannot be read until it is enabled."`
	NotBefore   moment            `placeholder:"WHEN" help:"Note that it is to be used from WHEN on: 2027-01-31, 2027-01-31T12:00:00Z, or 1h from now."`
	Expires     moment            `placeholder:"WHEN" help:"Note that it is to be used before WHEN. Reads go on: the vault does not enforce it."`
	ETag        string            `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward get -o json shows it."`
}

// Help shows examples.
func (*setCmd) Help() string {
	return `A new version is made, and its full name printed.

  keyward set db-password                            (asks, without showing)
  openssl rand -base64 32 | keyward set db-password
  keyward set tls-key --value-file key.pem --content-type application/x-pem-file
  keyward set api-key --tag team=pay --expires 2160h < key.txt
  keyward set api-key --etag "$(keyward get api-key -o json | jq -r .secret.etag)" < key.txt

From standard input one newline at the end is dropped, unless --keep-newline is given: echo adds one, printf does not, and hardly any password ends in one. A file named by --value-file is taken as it is. A value is 1 to 25,600 bytes of UTF-8 text.

With --etag nothing is set if the secret has changed meanwhile. That is certain among those who write through the same broker; a writer at the vault itself can slip in between.` + exitCodes
}

// Run sets a secret.
func (c *setCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, "")
	if err != nil {
		return err
	}
	value, err := readValue(a, c.ValueFile, c.KeepNewline)
	if err != nil {
		return err
	}
	reply, err := cl.secrets.SetSecret(a.ctx, &keywardv1.SetSecretRequest{
		Name:           name,
		Value:          value.Reveal(),
		ContentType:    c.ContentType,
		Tags:           c.Tag,
		Enabled:        new(!c.Disabled),
		NotBeforeTime:  c.NotBefore.timestamp(),
		ExpireTime:     c.Expires.timestamp(),
		Etag:           c.ETag,
		RecoverDeleted: c.RecoverDeleted,
	})
	if err != nil {
		return err
	}
	return printVersion(a.out, c.Output, reply)
}

// printVersion prints the full name of a version.
func printVersion(w io.Writer, form string, s *keywardv1.Secret) error {
	if form == outputJSON {
		return printJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "%s/versions/%s\n", s.GetName(), s.GetVersion())
	return err
}

// refusedArg is an argument that must not be given. Its error does not repeat
// it, because it is likely to be a secret.
type refusedArg struct{}

// Decode implements kong.MapperValue.
func (refusedArg) Decode(*kong.DecodeContext) error {
	return errors.New("a value is never an argument, because other users and your shell's history would see it\n" +
		"  pipe it in, name a file with --value-file, or give only the name and be asked")
}

// moment is a time on the command line: RFC 3339, a date (its midnight in UTC),
// or a duration from now. The zero moment is unset.
type moment struct{ time time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.time = t
			return nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is no time: want 2027-01-31, 2027-01-31T12:00:00Z, or a duration from now such as 720h", s)
	}
	m.time = time.Now().Add(d)
	return nil
}

// timestamp returns the moment in whole seconds, as vaults keep it.
func (m moment) timestamp() *timestamppb.Timestamp {
	if m.time.IsZero() {
		return nil
	}
	return timestamppb.New(m.time.Truncate(time.Second))
}
