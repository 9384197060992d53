package localvault

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"slices"

	"github.com/keyward/keyward/broker"
)

// maxJWKLen bounds a key that is imported.
const maxJWKLen = 16 << 10

// jwk is a JSON Web Key, read strictly: a member that stands twice, or whose
// number is no base64url, is an error. Members that are not asked for are not
// looked at.
type jwk map[string]json.RawMessage

func parseJWK(text []byte) (jwk, error) {
	if len(text) > maxJWKLen {
		return nil, errors.New("it is longer than 16 KiB")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	members := make(jwk)
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("it is no JSON object")
		}
		if _, twice := members[name]; twice {
			return nil, errors.New("a member stands in it twice")
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, errors.New("it is no JSON object")
		}
		members[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it is cut short")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return members, nil
}

// clear overwrites the members.
func (j jwk) clear() {
	for _, raw := range j {
		clear(raw)
	}
}

// text returns a member that is text, or "".
func (j jwk) text(name string) string {
	var s string
	if json.Unmarshal(j[name], &s) != nil {
		return ""
	}
	return s
}

// number returns a member's bytes as they are.
func (j jwk) number(name string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(j.text(name))
	if err != nil || len(b) == 0 {
		return nil, errors.New("the member " + name + " is missing, or is no base64url without padding")
	}
	return b, nil
}

// integer returns a member as a number. Zero bytes before it are let pass, as Key
// Vault does: some libraries write them.
func (j jwk) integer(name string) (*big.Int, error) {
	b, err := j.number(name)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return new(big.Int).SetBytes(b), nil
}

// ops returns the member key_ops, if there is one.
func (j jwk) ops() ([]broker.KeyOp, error) {
	raw, ok := j["key_ops"]
	if !ok {
		return nil, nil
	}
	var ops []broker.KeyOp
	if err := json.Unmarshal(raw, &ops); err != nil {
		return nil, errors.New("the member key_ops is no list of texts")
	}
	return ops, nil
}

// private checks the key and returns it. Errors quote nothing of it.
func (j jwk) private() (privateKey, shape, error) {
	s := shape{Type: broker.KeyType(j.text("kty"))}
	var k privateKey
	var err error
	switch s.Type {
	case broker.KeyTypeRSA, broker.KeyTypeRSAHSM:
		if k.rsa, err = j.rsa(); err == nil {
			s.Bits = k.rsa.N.BitLen()
		}
	case broker.KeyTypeEC, broker.KeyTypeECHSM:
		s.Curve = broker.Curve(j.text("crv"))
		k, err = j.ec(s)
	case broker.KeyTypeOct, broker.KeyTypeOctHSM:
		if k.oct, err = j.number("k"); err == nil {
			s.Bits = 8 * len(k.oct)
		}
		if err == nil && !slices.Contains(octImportBits, s.Bits) {
			err = errors.New("a symmetric key has 128, 192, 256, 384 or 512 bits")
		}
	default:
		err = errors.New("its kty is none of RSA, EC and oct")
	}
	if err != nil {
		k.clear()
		return privateKey{}, shape{}, err
	}
	return k, s, nil
}

// octImportBits are the sizes of symmetric keys. HMACs with SHA-384 and SHA-512
// take the longer ones.
var octImportBits = []int{128, 192, 256, 384, 512}

// rsa checks that the numbers are of one key.
func (j jwk) rsa() (*rsa.PrivateKey, error) {
	numbers := make(map[string]*big.Int)
	for _, name := range []string{"n", "e", "d", "p", "q", "dp", "dq", "qi"} {
		n, err := j.integer(name)
		if err != nil {
			return nil, err
		}
		numbers[name] = n
	}
	n, p, q := numbers["n"], numbers["p"], numbers["q"]
	if _, err := broker.NewPublicKey(broker.JWK{Type: broker.KeyTypeRSA, N: n.Bytes(), E: numbers["e"].Bytes()}); err != nil {
		return nil, err
	}
	// A prime that is as long as it should be also bounds the time that it takes to
	// look at it.
	switch {
	case !slices.Contains(rsaBits, n.BitLen()):
		return nil, errors.New("an RSA key has 2048, 3072 or 4096 bits")
	case p.BitLen() != n.BitLen()/2, q.BitLen() != n.BitLen()/2, p.Cmp(q) == 0,
		!p.ProbablyPrime(primeRounds), !q.ProbablyPrime(primeRounds):
		return nil, errors.New("its p and q are not the two primes of its n")
	}
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: int(numbers["e"].Int64())}, D: numbers["d"], Primes: []*big.Int{p, q}}
	k.Precompute()
	if k.Validate() != nil || k.D.Cmp(n) >= 0 {
		return nil, errors.New("its d does not belong to its n and e")
	}
	if k.Precomputed.Dp.Cmp(numbers["dp"]) != 0 || k.Precomputed.Dq.Cmp(numbers["dq"]) != 0 || k.Precomputed.Qinv.Cmp(numbers["qi"]) != 0 {
		return nil, errors.New("its dp, dq or qi does not belong to its d, p and q")
	}
	return k, nil
}

// primeRounds makes a composite number pass as prime with less than 2^-40,
// whoever made it up.
const primeRounds = 20

var rsaBits = []int{2048, 3072, 4096}

// ec checks that the point is on the curve and belongs to the number.
func (j jwk) ec(s shape) (privateKey, error) {
	public := broker.JWK{Type: broker.KeyTypeEC, Curve: s.Curve}
	var d []byte
	for name, into := range map[string]*[]byte{"x": &public.X, "y": &public.Y, "d": &d} {
		var err error
		if *into, err = j.number(name); err != nil {
			return privateKey{}, err
		}
	}
	defer clear(d)
	if _, err := broker.NewPublicKey(public); err != nil {
		return privateKey{}, err
	}
	k, err := parsePrivate(s, d)
	if err != nil {
		return privateKey{}, errors.New("its d is not as long as its curve's are, or not below the curve's order")
	}
	mine, err := k.public(s.Type)
	if err != nil || !bytes.Equal(mine.X, public.X) || !bytes.Equal(mine.Y, public.Y) {
		k.clear()
		return privateKey{}, errors.New("its x and y do not belong to its d")
	}
	return k, nil
}
