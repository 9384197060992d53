package main

import (
	// The hashes of the algorithms.
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// signFlags are those of sign and verify: what is signed, and how.
type signFlags struct {
	clientFlags
	keyVersionArg

	File      string   `arg:"" optional:"" complete:"files" help:"The file that is signed. Default: standard input."`
	Digest    hexBytes `placeholder:"HEX" help:"The file's digest, instead of the file."`
	Algorithm string   `placeholder:"ALGORITHM" help:"RS256, PS256, ES256 and their kin. Default: by the key's type RS256, ES256, ES384, ES512 or ES256K, for which the key is looked up."`
}

// signed is what is signed, ready to be sent.
type signed struct {
	name, algorithm string
	digest          []byte
}

// signed digests the file by the algorithm's own hash.
func (c *signFlags) signed(a *app, cl *client) (signed, error) {
	name, err := cl.keyName(c.Name, c.Version)
	if err != nil {
		return signed{}, err
	}
	s := signed{name: name, algorithm: c.Algorithm}
	if s.algorithm == "" {
		k, err := cl.keys.GetKey(a.ctx, &keywardv1.GetKeyRequest{Name: name})
		if err != nil {
			return signed{}, fmt.Errorf("the key's type, unless --algorithm says how to sign: %w", err)
		}
		if s.algorithm = defaultSigning(k.GetPublicJwk()); s.algorithm == "" {
			return signed{}, advise("a key of type "+keyType(k)+" has no algorithm by default", "name one with --algorithm, such as HS256")
		}
	}
	switch {
	case c.Digest != nil && c.File != "":
		return signed{}, errors.New("--digest: it stands for the file; leave one of them out")
	case c.Digest != nil:
		s.digest = c.Digest
		return s, nil
	}
	s.digest, err = c.digestFile(a, broker.Algorithm(s.algorithm))
	return s, err
}

// defaultSigning is the algorithm for a key that is not told how to sign.
func defaultSigning(j *keywardv1.JsonWebKey) string {
	if strings.HasPrefix(j.GetKty(), "RSA") {
		return "RS256"
	}
	return map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "P-256K": "ES256K"}[j.GetCrv()]
}

func (c *signFlags) digestFile(a *app, algorithm broker.Algorithm) ([]byte, error) {
	facts, ok := algorithm.Facts()
	if !ok || facts.Hash == 0 || !facts.Hash.Available() {
		return nil, fmt.Errorf("--algorithm: %q is none that signs; want RS256, PS256, ES256 or one of their kin", algorithm)
	}
	in := a.in
	if c.File != "" && c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, fmt.Errorf("the file to sign: %w", err)
		}
		defer f.Close()
		in = f
	} else if _, ok := terminal(a.in); ok {
		return nil, advise("what is signed? a terminal has no file", "name a file, pipe it in, or give its --digest")
	}
	h := facts.Hash.New()
	if _, err := io.Copy(h, in); err != nil {
		return nil, fmt.Errorf("the file to sign: %w", err)
	}
	return h.Sum(nil), nil
}

type keySignCmd struct {
	signFlags
	bytesFlags
}

// Help shows examples.
func (*keySignCmd) Help() string {
	return `The file stays here: it is digested by the algorithm's hash, and the digest is sent. An RSA signature is as openssl has it; one of ECDSA is r and s, one after the other, as JSON Web Signatures have it.

  keyward key sign invoices invoice.pdf --out invoice.sig
  keyward key verify invoices invoice.pdf --signature invoice.sig
  keyward key sign invoices --digest "$(sha256sum < invoice.pdf | cut -d' ' -f1)" -o json

At a terminal the signature is shown in base64.` + exitCodes
}

// Run signs.
func (c *keySignCmd) Run(a *app) error {
	_, shown := terminal(a.out)
	shown = shown && c.Out == "" && c.Output != outputJSON
	if !shown {
		if err := c.check(a, "signature", c.Output); err != nil {
			return err
		}
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		s, err := c.signed(a, cl)
		if err != nil {
			return err
		}
		made, err := cl.keys.Sign(a.ctx, &keywardv1.SignRequest{Name: s.name, Algorithm: s.algorithm, Digest: s.digest})
		if err != nil {
			return err
		}
		if shown {
			_, err = fmt.Fprintln(a.out, base64.StdEncoding.EncodeToString(made.GetSignature()))
			return err
		}
		return c.write(a, "signed by "+made.GetKeyVersion(), c.Output, made, made.GetSignature())
	})
}

type keyVerifyCmd struct {
	signFlags

	Signature string `required:"" placeholder:"FILE" help:"The file that keyward key sign wrote."`
}

// Help shows examples.
func (*keyVerifyCmd) Help() string {
	return `A signature that is not good is exit code 1. One of another version than the latest needs --version.

  keyward key verify invoices invoice.pdf --signature invoice.sig` + exitCodes
}

// Run verifies.
func (c *keyVerifyCmd) Run(a *app) error {
	signature, err := readSignature(c.Signature)
	if err != nil {
		return err
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		s, err := c.signed(a, cl)
		if err != nil {
			return err
		}
		v, err := cl.keys.Verify(a.ctx, &keywardv1.VerifyRequest{Name: s.name, Algorithm: s.algorithm, Digest: s.digest, Signature: signature})
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			err = printJSON(a.out, v)
		} else if v.GetValid() {
			_, err = fmt.Fprintf(a.out, "the signature is good: %s\n", v.GetKeyVersion())
		}
		if err == nil && !v.GetValid() {
			err = fmt.Errorf("the signature is not good: it is not of this file by %s", v.GetKeyVersion())
		}
		return err
	})
}

// readSignature reads a file of no more than a signature can have.
func readSignature(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the signature: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, broker.MaxCipherLen+1))
	if err != nil {
		return nil, fmt.Errorf("the signature: %w", err)
	}
	return b, nil
}
