package keyvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"

	"github.com/keyward/keyward/broker"
)

// keyOf returns w, which must be a version of name, and the very one if name has
// a version.
func (c *Client) keyOf(name broker.Name, w KeyBundle) (broker.Key, error) {
	if err := whole(w.Key); err != nil {
		return broker.Key{}, err
	}
	n, err := c.keyVersion(name, w.Key.KeyID)
	if err != nil {
		return broker.Key{}, err
	}
	return w.As(n), nil
}

// keyVersion returns the name, with its version, that a kid stands for, which
// must be a version of name.
func (c *Client) keyVersion(name broker.Name, kid string) (broker.Name, error) {
	n, err := c.keyName(name, kid)
	if err != nil {
		return broker.Name{}, err
	}
	if n.Base() != name.Base() || n.Version() == "" || (name.Version() != "" && n != name) {
		return broker.Name{}, errOtherKey
	}
	return n, nil
}

// keyName returns the name that a kid stands for. Unlike a secret's id, a kid is
// taken elsewhere, as what to trust: one of another host is an error.
func (c *Client) keyName(vault broker.Name, kid string) (broker.Name, error) {
	u, err := url.Parse(kid)
	switch {
	case err != nil:
		return broker.Name{}, errBadID
	case u.Scheme != "https" || u.User != nil || !strings.EqualFold(u.Hostname(), c.origin.Hostname()):
		return broker.Name{}, errors.New("the key's id is of another vault")
	}
	return nameAt(vault.Vault(), broker.KindKeys, u)
}

var errOtherKey = errors.New("another key, or another version, than was asked for")

// deletedKeyOf returns w, which must be the soft-deleted key of name.
func (c *Client) deletedKeyOf(name broker.Name, w DeletedKeyBundle) (broker.DeletedKey, error) {
	if err := whole(w.Key); err != nil {
		return broker.DeletedKey{}, err
	}
	n, err := c.keyName(name, w.Key.KeyID)
	if err != nil {
		return broker.DeletedKey{}, err
	}
	if n.Base() != name.Base() {
		return broker.DeletedKey{}, errOtherKey
	}
	return w.Deletion.As(w.KeyBundle.As(n)), nil
}

// whole reports whether a reply has all of a key's public half and nothing of its
// private one. Half a key that is taken for a whole one is found out where it is
// used, by whoever trusted it.
func whole(k *JSONWebKey) error {
	switch {
	case k == nil:
		return errors.New("a key without its public half")
	case k.privateMembers != privateMembers{}:
		return errors.New("a key with its private half")
	case k.Type.Software() != broker.KeyTypeOct:
		_, err := broker.NewPublicKey(k.public())
		return err
	case len(k.N)+len(k.E)+len(k.X)+len(k.Y) > 0 || k.Curve != "":
		return errors.New("a symmetric key with members of another type")
	}
	return nil
}

func (k JSONWebKey) public() broker.JWK {
	return broker.JWK{Type: k.Type, Curve: k.Curve, N: k.N, E: k.E, X: k.X, Y: k.Y}
}

var errOtherMade = errors.New("another type, size, curve or kind of protection than was asked for")

// fits reports whether the key that a create made is what it was to make. An HSM
// may put what was asked for in software into its hardware, and not the reverse.
func fits(n broker.NewKey, made broker.JWK) error {
	curve := n.Curve
	if curve == "" && made.Type.Software() == broker.KeyTypeEC {
		curve = broker.CurveP256
	}
	switch {
	case made.Type != n.Type && made.Type.Software() != n.Type, made.Curve != curve,
		n.Size != 0 && len(made.N) > 0 && new(big.Int).SetBytes(made.N).BitLen() != int(n.Size):
		return errOtherMade
	}
	return nil
}

// fitsImport reports whether the key that an import made has the imported public
// half, as far as that can be read: the vault judges what it takes.
func fitsImport(asked ImportKeyRequest, made broker.JWK) error {
	if asked.HSM && made.Type == made.Type.Software() {
		return errOtherMade
	}
	var k JSONWebKey
	_ = json.Unmarshal(asked.Key, &k) // what cannot be read is not compared
	for _, m := range []struct{ asked, made []byte }{{k.N, made.N}, {k.E, made.E}, {k.X, made.X}, {k.Y, made.Y}} {
		// Zeros before a number are no part of it.
		if len(m.asked) > 0 && !bytes.Equal(bytes.TrimLeft(m.asked, "\x00"), bytes.TrimLeft(m.made, "\x00")) {
			return errors.New("another key than was imported")
		}
	}
	return nil
}

// used returns which version did what w says.
func (c *Client) used(name broker.Name, alg broker.Algorithm, w KeyUsed) (broker.Name, error) {
	switch {
	case w.Value == nil:
		return broker.Name{}, errors.New("a use of a key without its result")
	case w.Algorithm != "" && w.Algorithm != alg:
		return broker.Name{}, errors.New("a use of a key with another algorithm")
	}
	return c.keyVersion(name, w.KeyID)
}

// readable reports whether w has all that a later decryption takes: what was lost
// on the way is lost for good. Only a decrypted text may be empty.
func readable(operation string, alg broker.Algorithm, in broker.Cipher, w KeyUsed) error {
	gcm := strings.HasSuffix(string(alg), "GCM")
	switch {
	case operation == decrypt:
	case w.Value.Len() == 0 && !gcm:
		return errors.New("an empty result")
	case operation != encrypt:
	case gcm && (len(w.IV) == 0 || len(w.Tag) == 0):
		return errors.New("a ciphertext without its initialization vector or its tag")
	case strings.Contains(string(alg), "CBC") && len(w.IV)+len(in.IV) == 0:
		return errors.New("a ciphertext without its initialization vector")
	}
	return nil
}

// signatureLen reports whether a signature of the algorithm can have n bytes. Of
// an algorithm that is not known, any has some.
func signatureLen(alg broker.Algorithm, n int) bool {
	f, _ := alg.Facts()
	switch f.Type {
	case broker.KeyTypeEC:
		return n == 2*f.Curve.Size()
	case broker.KeyTypeOct:
		return n == f.Hash.Size()
	default:
		return n > 0
	}
}

// wholePolicy reports whether each action of a policy says what happens, and when.
func wholePolicy(p RotationPolicy) error {
	if p.ID == "" && p.Actions == nil {
		return errors.New("a rotation policy that says nothing")
	}
	for _, a := range p.Actions {
		if a.Action.Type == "" || (a.Trigger.AfterCreate == "") == (a.Trigger.BeforeExpiry == "") {
			return errors.New("an action of a rotation policy without its type, or without one trigger")
		}
	}
	return nil
}
