package main

import (
	"errors"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type updateCmd struct {
	clientFlags

	Name    string `arg:"" complete:"secrets" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME, with /versions/VERSION if wanted."`
	Version string `placeholder:"VERSION" help:"The version: 32 hexadecimal digits, as keyward versions shows them. Default: the latest."`

	ContentType *string           `placeholder:"TEXT" help:"What the value is, such as text/plain."`
	Tag         map[string]string `mapsep:"none" xor:"tags" placeholder:"KEY=VALUE" help:"A tag. May be repeated; all earlier tags go."`
	NoTags      bool              `xor:"tags" help:"Remove all tags."`
	Enable      bool              `xor:"enabled" help:"Let the version be read."`
	Disable     bool              `xor:"enabled" help:"Let the version not be read."`
	NotBefore   moment            `placeholder:"WHEN" help:"Note that it is to be used from WHEN on: 2027-01-31, 2027-01-31T12:00:00Z, or 1h from now."`
	Expires     moment            `placeholder:"WHEN" help:"Note that it is to be used before WHEN."`
	ETag        string            `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the version, as keyward get -o json shows it."`
}

// Help shows examples.
func (*updateCmd) Help() string {
	return `What is not named stays as it is, and so does the value: to change that, make a new version with keyward set. The times can be changed but not removed.

  keyward update db-password --expires 2160h
  keyward update db-password --tag team=pay --tag tier=1
  keyward update db-password --version VERSION --disable` + exitCodes
}

// Run updates a version.
func (c *updateCmd) Run(a *app) error {
	mask := c.mask()
	if len(mask.GetPaths()) == 0 {
		return errors.New("nothing to change; see what there is with: keyward update --help")
	}
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	name, err := cl.secretName(c.Name, c.Version)
	if err != nil {
		return err
	}
	secret := &keywardv1.Secret{
		Name:          name,
		Tags:          c.Tag,
		Enabled:       c.Enable,
		NotBeforeTime: c.NotBefore.timestamp(),
		ExpireTime:    c.Expires.timestamp(),
		Etag:          c.ETag,
	}
	if c.ContentType != nil {
		secret.ContentType = *c.ContentType
	}
	reply, err := cl.secrets.UpdateSecret(a.ctx, &keywardv1.UpdateSecretRequest{Secret: secret, UpdateMask: mask})
	if err != nil {
		return err
	}
	return printVersion(a.out, c.Output, reply)
}

// mask names what was given: nothing, false and no tags are values too.
func (c *updateCmd) mask() *fieldmaskpb.FieldMask {
	m := &fieldmaskpb.FieldMask{}
	for _, f := range []struct {
		path  string
		given bool
	}{
		{"content_type", c.ContentType != nil},
		{"tags", c.Tag != nil || c.NoTags},
		{"enabled", c.Enable || c.Disable},
		{"not_before_time", c.NotBefore.timestamp() != nil},
		{"expire_time", c.Expires.timestamp() != nil},
	} {
		if f.given {
			m.Paths = append(m.Paths, f.path)
		}
	}
	return m
}
