package main

import (
	"encoding/hex"
	"errors"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// maxCipherFile bounds what is read to be encrypted or decrypted, in bytes: as
// JSON it is more than the data.
const maxCipherFile = 8 * broker.MaxCipherLen

// cipherFlags are those of the commands that take data and give data.
type cipherFlags struct {
	clientFlags
	keyVersionArg
	bytesFlags

	File      string `arg:"" optional:"" complete:"files" help:"The file to read. Default: standard input."`
	Algorithm string `default:"RSA-OAEP-256" placeholder:"ALGORITHM" help:"The algorithm (${default}). Keys of type oct have others: A256GCM and its kin, and to wrap A256KW."`
}

// run makes a call with the file's data, and writes what it gives.
func (c *cipherFlags) run(a *app, what string, call func(cl *client, name string, data []byte) (proto.Message, string, []byte, error)) error {
	if err := c.check(a, what, c.Output); err != nil {
		return err
	}
	data, err := readData(a, "data", c.File, maxCipherFile)
	switch {
	case err != nil:
		return err
	case data.Len() == 0:
		return advise("there is no data", "name a file, or pipe it in")
	case data.Len() > maxCipherFile:
		return advise("the data is too large: it is at most 16 KiB, and with an RSA key a few hundred bytes",
			"encrypt the data with a key of your own, and that with keyward key wrap")
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, c.Version)
		if err != nil {
			return err
		}
		reply, by, out, err := call(cl, name, []byte(data.Reveal()))
		if err != nil {
			return err
		}
		return c.write(a, "done by "+by, c.Output, reply, out)
	})
}

type keyEncryptCmd struct {
	cipherFlags

	IV  hexBytes `name:"iv" placeholder:"HEX" help:"The initialisation vector of A*CBC and A*CBCPAD, 16 bytes."`
	AAD hexBytes `name:"aad" placeholder:"HEX" help:"What A*GCM authenticates beside."`
}

// Help shows examples.
func (*keyEncryptCmd) Help() string {
	return `The ciphertext is written as it is, or with -o json together with all that decrypting takes: keyward key decrypt reads either. Algorithms other than RSA's need -o json, for they have more than a ciphertext. An RSA key of 2048 bits encrypts 190 bytes; for more, encrypt with a key of your own and wrap that.

  printf '4111 1111' | keyward key encrypt cards -o json > card.json
  keyward key decrypt cards card.json` + exitCodes
}

// Run encrypts.
func (c *keyEncryptCmd) Run(a *app) error {
	if !strings.HasPrefix(c.Algorithm, "RSA") && c.Output != outputJSON {
		return advise(c.Algorithm+" has more than a ciphertext", "add -o json, which has it all; keyward key decrypt reads it")
	}
	return c.run(a, "ciphertext", func(cl *client, name string, data []byte) (proto.Message, string, []byte, error) {
		r, err := cl.keys.Encrypt(a.ctx, &keywardv1.EncryptRequest{Name: name, Algorithm: c.Algorithm, Plaintext: data, Iv: c.IV, Aad: c.AAD})
		return r, r.GetKeyVersion(), r.GetCiphertext(), err
	})
}

type keyDecryptCmd struct{ cipherFlags }

// Help shows examples.
func (*keyDecryptCmd) Help() string {
	return `It takes a ciphertext as it is, or what keyward key encrypt -o json wrote, which also says which version it was. A ciphertext of another version than the latest needs --version.

  keyward key decrypt cards card.enc
  keyward key decrypt cards card.json --out card.txt` + exitCodes
}

// Run decrypts.
func (c *keyDecryptCmd) Run(a *app) error {
	return c.run(a, "plaintext", func(cl *client, name string, data []byte) (proto.Message, string, []byte, error) {
		in := &keywardv1.EncryptResponse{}
		if protojson.Unmarshal(data, in) != nil || len(in.GetCiphertext()) == 0 {
			in = &keywardv1.EncryptResponse{Ciphertext: data}
		}
		r, err := cl.keys.Decrypt(a.ctx, &keywardv1.DecryptRequest{
			Name: ofVersion(name, in.GetKeyVersion()), Algorithm: c.Algorithm,
			Ciphertext: in.GetCiphertext(), Iv: in.GetIv(), Tag: in.GetTag(), Aad: in.GetAad(),
		})
		return r, r.GetKeyVersion(), r.GetPlaintext(), err
	})
}

type keyWrapCmd struct{ cipherFlags }

// Help shows examples.
func (*keyWrapCmd) Help() string {
	return `The way to encrypt much: make a key, encrypt with it, keep it wrapped beside the data.

  openssl rand 32 > data.key
  keyward key wrap cards data.key --out data.key.wrapped
  keyward key unwrap cards data.key.wrapped --out data.key` + exitCodes
}

// Run wraps a key.
func (c *keyWrapCmd) Run(a *app) error {
	return c.run(a, "wrapped key", func(cl *client, name string, data []byte) (proto.Message, string, []byte, error) {
		r, err := cl.keys.WrapKey(a.ctx, &keywardv1.WrapKeyRequest{Name: name, Algorithm: c.Algorithm, Key: data})
		return r, r.GetKeyVersion(), r.GetWrappedKey(), err
	})
}

type keyUnwrapCmd struct{ cipherFlags }

// Help shows an example.
func (*keyUnwrapCmd) Help() string {
	return `It takes a wrapped key as it is, or what keyward key wrap -o json wrote, which also says which version it was.

  keyward key unwrap cards data.key.wrapped --out data.key` + exitCodes
}

// Run unwraps a key.
func (c *keyUnwrapCmd) Run(a *app) error {
	return c.run(a, "key", func(cl *client, name string, data []byte) (proto.Message, string, []byte, error) {
		in := &keywardv1.WrapKeyResponse{}
		if protojson.Unmarshal(data, in) != nil || len(in.GetWrappedKey()) == 0 {
			in = &keywardv1.WrapKeyResponse{WrappedKey: data}
		}
		r, err := cl.keys.UnwrapKey(a.ctx, &keywardv1.UnwrapKeyRequest{
			Name: ofVersion(name, in.GetKeyVersion()), Algorithm: c.Algorithm, WrappedKey: in.GetWrappedKey(),
		})
		return r, r.GetKeyVersion(), r.GetKey(), err
	})
}

// ofVersion returns the version that did it, if it is one of name and name has
// none of its own.
func ofVersion(name, version string) string {
	if strings.HasPrefix(version, name+"/versions/") {
		return version
	}
	return name
}

// hexBytes are bytes on the command line.
type hexBytes []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *hexBytes) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil {
		return errors.New("want hexadecimal digits, two for each byte")
	}
	*b = raw
	return nil
}
