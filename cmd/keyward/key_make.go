package main

import (
	"errors"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// newKeyFlags are what is known of a new version, and the condition to make it
// on.
type newKeyFlags struct {
	Op        []string          `placeholder:"OP" help:"What it is for: encrypt, decrypt, sign, verify, wrapKey, unwrapKey. May be repeated. Default: all that its type can do."`
	Tag       map[string]string `mapsep:"none" placeholder:"KEY=VALUE" help:"A tag. May be repeated; tags of an earlier version are not kept."`
	Disabled  bool              `help:"Make a version that cannot be used until it is enabled."`
	NotBefore moment            `placeholder:"WHEN" help:"Sign, encrypt and wrap from WHEN on: 2027-01-31, 2027-01-31T12:00:00Z, or 1h from now."`
	Expires   moment            `placeholder:"WHEN" help:"Sign, encrypt and wrap before WHEN."`
	ETag      string            `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the latest version, as keyward key get -o json shows it."`
}

type keyCreateCmd struct {
	clientFlags
	keyArg

	Type  string `enum:"EC,RSA,oct,EC-HSM,RSA-HSM,oct-HSM" default:"EC" placeholder:"TYPE" help:"EC, RSA or oct; with -HSM behind it one that never leaves a hardware security module (${default})."`
	Size  int32  `placeholder:"BITS" help:"RSA: 2048, 3072 or 4096. oct: 128, 192 or 256."`
	Curve string `enum:",P-256,P-384,P-521,P-256K" default:"" placeholder:"CURVE" help:"EC: P-256, P-384, P-521 or P-256K."`

	newKeyFlags
}

// Help shows examples.
func (*keyCreateCmd) Help() string {
	return `A new version is made, and its full name printed. EC keys sign; RSA keys also encrypt and wrap.

  keyward key create invoices
  keyward key create invoices --curve P-384 --op sign --op verify
  keyward key create cards --type RSA --size 3072 --expires 8760h` + exitCodes
}

// Run creates a key.
func (c *keyCreateCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		made, err := cl.keys.CreateKey(a.ctx, &keywardv1.CreateKeyRequest{
			Name: name, Kty: c.Type, KeySize: c.Size, Crv: c.Curve,
			KeyOps: c.Op, Tags: c.Tag, Enabled: new(!c.Disabled),
			NotBeforeTime: c.NotBefore.timestamp(), ExpireTime: c.Expires.timestamp(), Etag: c.ETag,
		})
		if err != nil {
			return err
		}
		return printKey(a.out, c.Output, made)
	})
}

type keyImportCmd struct {
	clientFlags
	keyArg

	File string `arg:"" optional:"" complete:"files" help:"The key's file: PEM, or a JSON Web Key. Default: standard input."`
	HSM  bool   `name:"hsm" help:"Keep it in a hardware security module."`

	newKeyFlags
}

// Help shows examples.
func (*keyImportCmd) Help() string {
	return `The file has the private key, not encrypted: PEM (PKCS #8, PKCS #1 or SEC 1) or a JSON Web Key. It is never an argument itself, and once it is in the vault nobody can read it: delete the file, or better, make the key there with keyward key create.

  keyward key import invoices invoices-key.pem
  openssl pkcs8 -in encrypted.pem | keyward key import invoices` + exitCodes
}

// Run imports a key.
func (c *keyImportCmd) Run(a *app) error {
	jwk, err := readKey(a, c.File)
	if err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		made, err := cl.keys.ImportKey(a.ctx, &keywardv1.ImportKeyRequest{
			Name: name, Jwk: jwk.Reveal(), Hsm: c.HSM,
			KeyOps: c.Op, Tags: c.Tag, Enabled: new(!c.Disabled),
			NotBeforeTime: c.NotBefore.timestamp(), ExpireTime: c.Expires.timestamp(), Etag: c.ETag,
		})
		if err != nil {
			return err
		}
		return printKey(a.out, c.Output, made)
	})
}

type keyUpdateCmd struct {
	clientFlags
	keyVersionArg

	Op        []string          `placeholder:"OP" help:"What it is for: encrypt, decrypt, sign, verify, wrapKey, unwrapKey. May be repeated; all others go."`
	Tag       map[string]string `mapsep:"none" xor:"tags" placeholder:"KEY=VALUE" help:"A tag. May be repeated; all earlier tags go."`
	NoTags    bool              `xor:"tags" help:"Remove all tags."`
	Enable    bool              `xor:"enabled" help:"Let the version be used."`
	Disable   bool              `xor:"enabled" help:"Let the version not be used."`
	NotBefore moment            `placeholder:"WHEN" help:"Sign, encrypt and wrap from WHEN on: 2027-01-31, 2027-01-31T12:00:00Z, or 1h from now."`
	Expires   moment            `placeholder:"WHEN" help:"Sign, encrypt and wrap before WHEN."`
	ETag      string            `name:"etag" placeholder:"ETAG" help:"Only if this is still the etag of the version, as keyward key get -o json shows it."`
}

// Help shows examples.
func (*keyUpdateCmd) Help() string {
	return `What is not named stays as it is. The times can be changed but not removed; the key itself changes with keyward key rotate.

  keyward key update invoices --op verify
  keyward key update invoices --version VERSION --disable` + exitCodes
}

// Run updates a version.
func (c *keyUpdateCmd) Run(a *app) error {
	mask := &fieldmaskpb.FieldMask{}
	for _, f := range []struct {
		path  string
		given bool
	}{
		{"key_ops", len(c.Op) > 0},
		{"tags", c.Tag != nil || c.NoTags},
		{"enabled", c.Enable || c.Disable},
		{"not_before_time", c.NotBefore.timestamp() != nil},
		{"expire_time", c.Expires.timestamp() != nil},
	} {
		if f.given {
			mask.Paths = append(mask.Paths, f.path)
		}
	}
	if len(mask.GetPaths()) == 0 {
		return errors.New("nothing to change; see what there is with: keyward key update --help")
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, c.Version)
		if err != nil {
			return err
		}
		now, err := cl.keys.UpdateKey(a.ctx, &keywardv1.UpdateKeyRequest{UpdateMask: mask, Key: &keywardv1.Key{
			Name: name, KeyOps: c.Op, Tags: c.Tag, Enabled: c.Enable,
			NotBeforeTime: c.NotBefore.timestamp(), ExpireTime: c.Expires.timestamp(), Etag: c.ETag,
		}})
		if err != nil {
			return err
		}
		return printKey(a.out, c.Output, now)
	})
}

type keyRotateCmd struct {
	clientFlags
	keyArg
}

// Help shows examples.
func (*keyRotateCmd) Help() string {
	return `What is signed, encrypted and wrapped from now on is so by the new version. Older ones go on verifying, decrypting and unwrapping where they are named.

  keyward key rotate invoices
  keyward key rotation-policy invoices --rotate-after P90D   (and then by itself)` + exitCodes
}

// Run rotates a key.
func (c *keyRotateCmd) Run(a *app) error {
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		made, err := cl.keys.RotateKey(a.ctx, &keywardv1.RotateKeyRequest{Name: name})
		if err != nil {
			return err
		}
		return printKey(a.out, c.Output, made)
	})
}
