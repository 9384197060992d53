package brokertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
)

// What is here shares no code with the stores: RSA and the NIST curves are the
// standard library's, secp256k1 is written out below from its definition.

// libraryKey is a whole key outside of any store.
type libraryKey struct {
	rsa   *rsa.PrivateKey
	curve broker.Curve
	d     *big.Int // of an elliptic curve key
	x, y  *big.Int
}

// libraryRSA is one key for all tests: making it is slow.
var libraryRSA = sync.OnceValue(func() libraryKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return libraryKey{rsa: k}
})

// libraryEC makes a key.
func libraryEC(c broker.Curve) libraryKey {
	if c == broker.CurveP256K {
		d, err := rand.Int(rand.Reader, new(big.Int).Sub(k256N, big.NewInt(1)))
		if err != nil {
			panic(err)
		}
		d.Add(d, big.NewInt(1))
		x, y := k256Mul(d, k256Gx, k256Gy)
		return libraryKey{curve: c, d: d, x: x, y: y}
	}
	k, err := ecdsa.GenerateKey(nistCurve(c), rand.Reader)
	if err != nil {
		panic(err)
	}
	d, err := k.Bytes()
	if err != nil {
		panic(err)
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	size := coordinateLen(c)
	return libraryKey{
		curve: c, d: new(big.Int).SetBytes(d),
		x: new(big.Int).SetBytes(point[1 : 1+size]), y: new(big.Int).SetBytes(point[1+size:]),
	}
}

func nistCurve(c broker.Curve) elliptic.Curve {
	return map[broker.Curve]elliptic.Curve{
		broker.CurveP256: elliptic.P256(), broker.CurveP384: elliptic.P384(), broker.CurveP521: elliptic.P521(),
	}[c]
}

func coordinateLen(c broker.Curve) int {
	return map[broker.Curve]int{broker.CurveP256: 32, broker.CurveP256K: 32, broker.CurveP384: 48, broker.CurveP521: 66}[c]
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// members returns the whole key as the members of a JWK.
func (k libraryKey) members() map[string]string {
	if k.rsa == nil {
		size := coordinateLen(k.curve)
		fixed := func(n *big.Int) string { return base64URL(n.FillBytes(make([]byte, size))) }
		return map[string]string{"kty": "EC", "crv": string(k.curve), "x": fixed(k.x), "y": fixed(k.y), "d": fixed(k.d)}
	}
	number := func(n *big.Int) string { return base64URL(n.Bytes()) }
	p, q := k.rsa.Primes[0], k.rsa.Primes[1]
	return map[string]string{
		"kty": "RSA", "n": number(k.rsa.N), "e": number(big.NewInt(int64(k.rsa.E))), "d": number(k.rsa.D),
		"p": number(p), "q": number(q), "dp": number(new(big.Int).Mod(k.rsa.D, new(big.Int).Sub(p, big.NewInt(1)))),
		"dq": number(new(big.Int).Mod(k.rsa.D, new(big.Int).Sub(q, big.NewInt(1)))), "qi": number(new(big.Int).ModInverse(q, p)),
	}
}

// material returns the whole key as a JWK.
func (k libraryKey) material() string { return jsonOf(k.members()) }

func jsonOf(members map[string]string) string {
	b, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// hashOf returns the hash of a signature's algorithm, by its last digits.
func hashOf(alg broker.Algorithm) crypto.Hash {
	switch name := strings.TrimSuffix(string(alg), "K"); {
	case strings.HasSuffix(name, "256"):
		return crypto.SHA256
	case strings.HasSuffix(name, "384"):
		return crypto.SHA384
	default:
		return crypto.SHA512
	}
}

func digestOf(alg broker.Algorithm, text string) []byte {
	h := hashOf(alg).New()
	h.Write([]byte(text))
	return h.Sum(nil)
}

// sign signs without a store.
func (k libraryKey) sign(t *testing.T, alg broker.Algorithm, digest []byte) []byte {
	t.Helper()
	var signature []byte
	var err error
	switch {
	case k.rsa != nil && alg[0] == 'P':
		signature, err = rsa.SignPSS(rand.Reader, k.rsa, hashOf(alg), digest, &rsa.PSSOptions{SaltLength: hashOf(alg).Size()})
	case k.rsa != nil:
		signature, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, hashOf(alg), digest)
	case k.curve == broker.CurveP256K:
		signature = k256Sign(k.d, digest)
	default:
		size := coordinateLen(k.curve)
		key, parseErr := ecdsa.ParseRawPrivateKey(nistCurve(k.curve), k.d.FillBytes(make([]byte, size)))
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		r, s, signErr := ecdsa.Sign(rand.Reader, key, digest)
		err = signErr
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// verifyWithLibrary checks a signature with nothing but the public half.
func verifyWithLibrary(t *testing.T, j broker.JWK, alg broker.Algorithm, digest, signature []byte) bool {
	t.Helper()
	if j.Type.Software() == broker.KeyTypeRSA {
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(j.N), E: int(new(big.Int).SetBytes(j.E).Int64())}
		if alg[0] == 'P' {
			return rsa.VerifyPSS(key, hashOf(alg), digest, signature, &rsa.PSSOptions{SaltLength: hashOf(alg).Size()}) == nil
		}
		return rsa.VerifyPKCS1v15(key, hashOf(alg), digest, signature) == nil
	}
	size := coordinateLen(j.Curve)
	if len(signature) != 2*size {
		t.Errorf("a signature of %d bytes on %s, want %d", len(signature), j.Curve, 2*size)
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	if j.Curve == broker.CurveP256K {
		return k256Verify(new(big.Int).SetBytes(j.X), new(big.Int).SetBytes(j.Y), digest, r, s)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(nistCurve(j.Curve), append(append([]byte{4}, j.X...), j.Y...))
	if err != nil {
		t.Errorf("the public half: %v", err)
		return false
	}
	return ecdsa.Verify(key, digest, r, s)
}

// encryptWithLibrary encrypts with nothing but the public half.
func encryptWithLibrary(t *testing.T, j broker.JWK, alg broker.Algorithm, plain []byte) []byte {
	t.Helper()
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(j.N), E: int(new(big.Int).SetBytes(j.E).Int64())}
	var sealed []byte
	var err error
	switch alg {
	case "RSA-OAEP":
		sealed, err = rsa.EncryptOAEP(sha1.New(), rand.Reader, key, plain, nil)
	case "RSA-OAEP-256":
		sealed, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, key, plain, nil)
	default:
		sealed, err = rsa.EncryptPKCS1v15(rand.Reader, key, plain) //nolint:staticcheck // RSA1_5 is what is tested
	}
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// decrypt decrypts without a store.
func (k libraryKey) decrypt(alg broker.Algorithm, sealed []byte) ([]byte, error) {
	switch alg {
	case "RSA-OAEP":
		return rsa.DecryptOAEP(sha1.New(), nil, k.rsa, sealed, nil)
	case "RSA-OAEP-256":
		return rsa.DecryptOAEP(sha256.New(), nil, k.rsa, sealed, nil)
	default:
		return rsa.DecryptPKCS1v15(nil, k.rsa, sealed) //nolint:staticcheck // RSA1_5 is what is tested
	}
}

var _ = sha512.New // linked in for hashOf

// secp256k1, from SEC 2: y² = x³ + 7 over k256P, with the generator G of order
// k256N.
var (
	k256P  = k256Number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f")
	k256N  = k256Number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	k256Gx = k256Number("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
	k256Gy = k256Number("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8")
)

func k256Number(hex string) *big.Int {
	n, ok := new(big.Int).SetString(hex, 16)
	if !ok {
		panic(hex)
	}
	return n
}

// k256Add adds two points; a nil x is the point at infinity.
func k256Add(x1, y1, x2, y2 *big.Int) (x, y *big.Int) {
	switch {
	case x1 == nil:
		return x2, y2
	case x2 == nil:
		return x1, y1
	}
	slope := new(big.Int)
	if x1.Cmp(x2) == 0 {
		if y1.Cmp(y2) != 0 {
			return nil, nil
		}
		slope.Mul(x1, x1)
		slope.Mul(slope, big.NewInt(3))
		slope.Mul(slope, new(big.Int).ModInverse(new(big.Int).Lsh(y1, 1), k256P))
	} else {
		slope.Sub(y2, y1)
		difference := new(big.Int).Sub(x2, x1)
		slope.Mul(slope, difference.ModInverse(difference.Mod(difference, k256P), k256P))
	}
	x = new(big.Int).Mul(slope, slope)
	x.Sub(x, x1).Sub(x, x2).Mod(x, k256P)
	y = new(big.Int).Sub(x1, x)
	y.Mul(y, slope).Sub(y, y1).Mod(y, k256P)
	return x, y
}

func k256Mul(n, px, py *big.Int) (x, y *big.Int) {
	for i := n.BitLen() - 1; i >= 0; i-- {
		x, y = k256Add(x, y, x, y)
		if n.Bit(i) == 1 {
			x, y = k256Add(x, y, px, py)
		}
	}
	return x, y
}

func k256Verify(x, y *big.Int, digest []byte, r, s *big.Int) bool {
	if r.Sign() == 0 || s.Sign() == 0 || r.Cmp(k256N) >= 0 || s.Cmp(k256N) >= 0 {
		return false
	}
	w := new(big.Int).ModInverse(s, k256N)
	u := new(big.Int).Mul(new(big.Int).SetBytes(digest), w)
	v := new(big.Int).Mul(r, w)
	x1, y1 := k256Mul(u.Mod(u, k256N), k256Gx, k256Gy)
	x2, y2 := k256Mul(v.Mod(v, k256N), x, y)
	sum, _ := k256Add(x1, y1, x2, y2)
	return sum != nil && new(big.Int).Mod(sum, k256N).Cmp(r) == 0
}

func k256Sign(d *big.Int, digest []byte) []byte {
	nonce := libraryEC(broker.CurveP256K)
	r := new(big.Int).Mod(nonce.x, k256N)
	s := new(big.Int).Mul(r, d)
	s.Add(s, new(big.Int).SetBytes(digest)).Mul(s, new(big.Int).ModInverse(nonce.d, k256N)).Mod(s, k256N)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}
