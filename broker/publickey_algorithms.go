package broker

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RSA keys that are used: shorter ones are broken, longer ones are a way to
// keep a processor busy.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// AlgorithmFacts is what an algorithm asks of a key and of its input.
type AlgorithmFacts struct {
	// Type is KeyTypeRSA, KeyTypeEC or KeyTypeOct. A key of the same type in an
	// HSM fits too.
	Type KeyType
	// Curve is of EC.
	Curve Curve
	// Bits is the size of a symmetric key; 0 is any.
	Bits int
	// Ops are what the algorithm is for.
	Ops []KeyOp
	// Hash makes the digest that is signed, or is OAEP's or HMAC's own; 0 is none.
	Hash crypto.Hash
}

var (
	opsSign    = []KeyOp{KeyOpSign, KeyOpVerify}
	opsEncrypt = []KeyOp{KeyOpEncrypt, KeyOpDecrypt}
	opsWrap    = []KeyOp{KeyOpWrapKey, KeyOpUnwrapKey}
	opsConceal = slices.Concat(opsEncrypt, opsWrap)
)

// algorithms are all that a key can be used with.
var algorithms = map[Algorithm]AlgorithmFacts{
	"RS256": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA256},
	"RS384": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA384},
	"RS512": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA512},
	"PS256": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA256},
	"PS384": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA384},
	"PS512": {Type: KeyTypeRSA, Ops: opsSign, Hash: crypto.SHA512},

	"ES256":  {Type: KeyTypeEC, Curve: CurveP256, Ops: opsSign, Hash: crypto.SHA256},
	"ES256K": {Type: KeyTypeEC, Curve: CurveP256K, Ops: opsSign, Hash: crypto.SHA256},
	"ES384":  {Type: KeyTypeEC, Curve: CurveP384, Ops: opsSign, Hash: crypto.SHA384},
	"ES512":  {Type: KeyTypeEC, Curve: CurveP521, Ops: opsSign, Hash: crypto.SHA512},

	"RSA1_5":       {Type: KeyTypeRSA, Ops: opsConceal},
	"RSA-OAEP":     {Type: KeyTypeRSA, Ops: opsConceal, Hash: crypto.SHA1},
	"RSA-OAEP-256": {Type: KeyTypeRSA, Ops: opsConceal, Hash: crypto.SHA256},

	"HS256": {Type: KeyTypeOct, Ops: opsSign, Hash: crypto.SHA256},
	"HS384": {Type: KeyTypeOct, Ops: opsSign, Hash: crypto.SHA384},
	"HS512": {Type: KeyTypeOct, Ops: opsSign, Hash: crypto.SHA512},

	"A128GCM": {Type: KeyTypeOct, Bits: 128, Ops: opsEncrypt},
	"A192GCM": {Type: KeyTypeOct, Bits: 192, Ops: opsEncrypt},
	"A256GCM": {Type: KeyTypeOct, Bits: 256, Ops: opsEncrypt},

	"A128CBC": {Type: KeyTypeOct, Bits: 128, Ops: opsEncrypt},
	"A192CBC": {Type: KeyTypeOct, Bits: 192, Ops: opsEncrypt},
	"A256CBC": {Type: KeyTypeOct, Bits: 256, Ops: opsEncrypt},

	"A128CBCPAD": {Type: KeyTypeOct, Bits: 128, Ops: opsEncrypt},
	"A192CBCPAD": {Type: KeyTypeOct, Bits: 192, Ops: opsEncrypt},
	"A256CBCPAD": {Type: KeyTypeOct, Bits: 256, Ops: opsEncrypt},

	"A128KW": {Type: KeyTypeOct, Bits: 128, Ops: opsWrap},
	"A192KW": {Type: KeyTypeOct, Bits: 192, Ops: opsWrap},
	"A256KW": {Type: KeyTypeOct, Bits: 256, Ops: opsWrap},
}

// Facts returns what is known of the algorithm, and whether anything is.
func (a Algorithm) Facts() (AlgorithmFacts, bool) {
	f, ok := algorithms[a]
	return f, ok
}

// Software returns the type without "-HSM".
func (t KeyType) Software() KeyType { return KeyType(strings.TrimSuffix(string(t), "-HSM")) }

// Ops returns all that a key of the type can do, in Key Vault's order.
func (t KeyType) Ops() []KeyOp {
	switch t.Software() {
	case KeyTypeEC:
		return slices.Clone(opsSign)
	case KeyTypeRSA, KeyTypeOct:
		return []KeyOp{KeyOpEncrypt, KeyOpDecrypt, KeyOpSign, KeyOpVerify, KeyOpWrapKey, KeyOpUnwrapKey}
	default:
		return nil
	}
}

// Allows reports whether a version may be used for op at the time. Before and after
// its time a key makes nothing new; what it made can still be opened and checked.
// The error is CodeKeyDisabled or CodeKeyOperationForbidden.
func (k Key) Allows(op KeyOp, at time.Time) error {
	switch {
	case !k.Enabled:
		return &Error{Code: CodeKeyDisabled}
	case !slices.Contains(k.Ops, op):
		return forbidden("the key is not for " + string(op) + "; see its key_ops")
	case op != KeyOpSign && op != KeyOpEncrypt && op != KeyOpWrapKey:
		return nil
	// Key Vault keeps times in seconds.
	case !k.NotBefore.IsZero() && at.Unix() < k.NotBefore.Unix():
		return forbidden("the key may not be used for " + string(op) + " yet; see its not_before_time")
	case !k.Expires.IsZero() && at.Unix() >= k.Expires.Unix():
		return forbidden("the key is past its expire_time and may not be used for " + string(op) + "; rotate it")
	}
	return nil
}

func forbidden(message string) error {
	return &Error{Code: CodeKeyOperationForbidden, Message: message}
}

// CheckAlgorithm reports whether a key can do op with alg. Its size in bits is
// looked at of symmetric keys only. The error is CodeBadField of "value".
func CheckAlgorithm(op KeyOp, alg Algorithm, t KeyType, curve Curve, bits int) error {
	f, ok := algorithms[alg]
	switch {
	case !ok:
		return badInput("this algorithm is not known here; see the key types' lists in Key Vault's documentation")
	case !slices.Contains(f.Ops, op):
		return badInput("the algorithm " + string(alg) + " is not for " + string(op))
	case f.Type != t.Software(), f.Type == KeyTypeEC && f.Curve != curve, f.Bits != 0 && f.Bits != bits:
		return badInput("the algorithm " + string(alg) + " does not fit this key; use one for its type, curve and size")
	}
	return nil
}

// CheckDigest reports whether the digest is as long as the algorithm's hash makes
// them. HMACs are of data of any length. The error is CodeBadField of "value".
func CheckDigest(alg Algorithm, digest []byte) error {
	f := algorithms[alg]
	switch {
	case !slices.Contains(f.Ops, KeyOpSign):
		return badInput("this algorithm does not sign")
	case f.Type != KeyTypeOct && len(digest) != f.Hash.Size():
		return badInput(fmt.Sprintf("the digest has %d bytes; %s takes %d, of %v", len(digest), alg, f.Hash.Size(), f.Hash))
	}
	return nil
}

// badInput refuses what does not fit a key.
func badInput(message string) error {
	return &Error{Code: CodeBadField, Field: "value", Message: message}
}
