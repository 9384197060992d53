package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// KeyType is a key's kty, as RFC 7518 and Key Vault spell it. One that ends with
// "-HSM" never leaves a hardware security module.
type KeyType string

const (
	KeyTypeEC     KeyType = "EC"
	KeyTypeECHSM  KeyType = "EC-HSM"
	KeyTypeRSA    KeyType = "RSA"
	KeyTypeRSAHSM KeyType = "RSA-HSM"
	KeyTypeOct    KeyType = "oct"
	KeyTypeOctHSM KeyType = "oct-HSM"
)

// Curve is the crv of an elliptic curve key. P-256K is secp256k1.
type Curve string

const (
	CurveP256  Curve = "P-256"
	CurveP384  Curve = "P-384"
	CurveP521  Curve = "P-521"
	CurveP256K Curve = "P-256K"
)

// KeyOp is what a key may be used for: one of its key_ops, RFC 7517 section 4.3.
type KeyOp string

const (
	KeyOpEncrypt   KeyOp = "encrypt"
	KeyOpDecrypt   KeyOp = "decrypt"
	KeyOpSign      KeyOp = "sign"
	KeyOpVerify    KeyOp = "verify"
	KeyOpWrapKey   KeyOp = "wrapKey"
	KeyOpUnwrapKey KeyOp = "unwrapKey"
	KeyOpImport    KeyOp = "import"
	KeyOpExport    KeyOp = "export"
)

// Algorithm is how a key is used: the alg of RFC 7518, or one of Key Vault's
// own, such as "A256CBCPAD", "ES256K" or "RSA-OAEP-256".
type Algorithm string

// JWK is a key's public half (RFC 7517): big-endian numbers, N and E of an RSA
// key, X and Y of an elliptic curve key. A symmetric key has none.
type JWK struct {
	Type  KeyType
	Curve Curve
	N, E  []byte
	X, Y  []byte
}

// Key is what may be known of a key: never its private half. A zero time is
// unset.
type Key struct {
	// Name carries the version that the other fields describe, but in a list of
	// keys, whose items have neither a JWK nor Ops.
	Name      Name
	JWK       JWK
	Ops       []KeyOp
	Tags      map[string]string
	Enabled   bool
	NotBefore time.Time
	Expires   time.Time
	Created   time.Time
	Updated   time.Time
	// Exportable: the key can be released, by a vault that offers it.
	Exportable      bool
	HSMPlatform     string
	RecoveryLevel   string
	RecoverableDays int32
	// Managed: the key backs a certificate of the same name.
	Managed bool
}

// ETag returns a quoted hash of the version and all that an update can change.
func (k Key) ETag() string {
	h := sha256.New()
	text := func(parts ...string) {
		for _, p := range parts {
			fmt.Fprintf(h, "%d:%s", len(p), p)
		}
	}
	text(k.Name.Version())
	for _, t := range slices.Sorted(maps.Keys(k.Tags)) {
		text(t, k.Tags[t])
	}
	fmt.Fprint(h, "|", k.Enabled, "|")
	for _, op := range slices.Sorted(slices.Values(k.Ops)) {
		text(string(op))
	}
	for _, t := range []time.Time{k.Updated, k.NotBefore, k.Expires} {
		fmt.Fprint(h, "|", t.Unix()) // an unset time is none that can be set
	}
	return `"` + hex.EncodeToString(h.Sum(nil)[:12]) + `"`
}

// DeletedKey is a soft-deleted key. A zero Purges means that the vault does not
// say.
type DeletedKey struct {
	Key
	Deleted time.Time
	Purges  time.Time
}

// NewKey is what a caller creates.
type NewKey struct {
	Type KeyType
	// Size is in bits, of RSA (2048, 3072, 4096) and symmetric keys (128, 192,
	// 256); 0 leaves it to the vault. Curve is of EC; "" means P-256.
	Size  int32
	Curve Curve
	// Ops empty leaves them to the vault: all that the type can do.
	Ops       []KeyOp
	Tags      map[string]string
	Enabled   bool
	NotBefore time.Time
	Expires   time.Time
}

// KeyImport is a key that was made elsewhere.
type KeyImport struct {
	NewKey
	// Material is the whole key as a JSON Web Key (RFC 7517, RFC 7518 section 6).
	Material Value
	// HSM asks for a hardware-backed key.
	HSM bool
}

// KeyUpdate is what a caller changes of a version. What is nil stays as it is;
// Tags and Ops, where given, replace them all.
type KeyUpdate struct {
	Ops       *[]KeyOp
	Tags      *map[string]string
	Enabled   *bool
	NotBefore *time.Time
	Expires   *time.Time
}

// KeyPage is part of a list, as SecretPage is.
type KeyPage struct {
	Keys []Key
	Next string
}

// DeletedKeyPage is part of a list.
type DeletedKeyPage struct {
	Keys []DeletedKey
	Next string
}

// Actions of a lifetime action.
const (
	RotationRotate = "Rotate"
	RotationNotify = "Notify"
)

// RotationPolicy says when a key gets a new version by itself.
type RotationPolicy struct {
	// ExpiryTime is the life of each new version as an ISO 8601 duration, such as
	// "P90D" or "P1Y"; "" for none.
	ExpiryTime string
	Actions    []LifetimeAction
	Created    time.Time
	Updated    time.Time
}

// LifetimeAction is what happens at a point of a key's life: one of AfterCreate
// and BeforeExpiry is set, an ISO 8601 duration.
type LifetimeAction struct {
	Type         string // RotationRotate or RotationNotify
	AfterCreate  string
	BeforeExpiry string
}

// Cipher is the input or the output of an encryption: Data is the plaintext,
// the ciphertext or the wrapped key. IV, AAD and Tag are of the symmetric
// algorithms that have them (RFC 7518 section 5.3; RFC 5116).
type Cipher struct {
	Data Value
	IV   []byte
	AAD  []byte
	Tag  []byte
}

// CipherResult is what encrypting, decrypting, wrapping or unwrapping gave, and
// which version of the key did it.
type CipherResult struct {
	Cipher
	Key Name
	// Local: the broker did it with the public key, and asked no vault.
	Local bool
}

// Signature is a signature, raw: r‖s for ECDSA (RFC 7518 section 3.4), and
// which version of the key made it.
type Signature struct {
	Value []byte
	Key   Name
}

// Verdict is whether a signature is good. Key has the version that was taken, or
// none where none was named and the vault does not tell it: Key Vault does not.
type Verdict struct {
	Valid bool
	Key   Name
	Local bool
}

// KeyStore is one vault's keys. Every error is an *Error with a Code, or the
// context's. A name with a version means that version, without the latest. All
// methods may be called concurrently.
//
// A key that is not there is CodeKeyNotFound; a disabled one CodeKeyDisabled; one
// that may not be used for this, or not at this time, CodeKeyOperationForbidden;
// what does not fit the key (algorithm, length, padding) CodeBadField of "value",
// with the same words for every way in which a ciphertext can be wrong.
type KeyStore interface {
	// CreateKey makes a new key, or a new version. A soft-deleted key of the name
	// is CodeKeySoftDeleted.
	CreateKey(ctx context.Context, name Name, k NewKey) (Key, error)

	// ImportKey makes a version of a key that was made elsewhere.
	ImportKey(ctx context.Context, name Name, k KeyImport) (Key, error)

	// GetKey returns the public half.
	GetKey(ctx context.Context, name Name) (Key, error)

	// UpdateKey changes what is known of the named version, or of the latest.
	UpdateKey(ctx context.Context, name Name, u KeyUpdate) (Key, error)

	// DeleteKey soft-deletes all versions.
	DeleteKey(ctx context.Context, name Name) (DeletedKey, error)

	// ListKeys returns a page of at most MaxStorePage keys, as ListSecrets does.
	ListKeys(ctx context.Context, vault Name, p Page) (KeyPage, error)

	// ListKeyVersions returns all versions, newest first.
	ListKeyVersions(ctx context.Context, name Name) ([]Key, error)

	// GetDeletedKey and what follows are as those of secrets.
	GetDeletedKey(ctx context.Context, name Name) (DeletedKey, error)
	ListDeletedKeys(ctx context.Context, vault Name, p Page) (DeletedKeyPage, error)
	RecoverKey(ctx context.Context, name Name) (Key, error)
	PurgeKey(ctx context.Context, name Name) error
	BackupKey(ctx context.Context, name Name) (Value, error)
	RestoreKey(ctx context.Context, vault Name, blob Value) (Key, error)

	// RotateKey makes a new version of the same type.
	RotateKey(ctx context.Context, name Name) (Key, error)
	GetRotationPolicy(ctx context.Context, name Name) (RotationPolicy, error)
	UpdateRotationPolicy(ctx context.Context, name Name, p RotationPolicy) (RotationPolicy, error)

	// Encrypt, Decrypt, WrapKey and UnwrapKey use the named version, or the
	// latest.
	Encrypt(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error)
	Decrypt(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error)
	WrapKey(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error)
	UnwrapKey(ctx context.Context, name Name, alg Algorithm, in Cipher) (CipherResult, error)

	// Sign and Verify take a digest, not what was digested.
	Sign(ctx context.Context, name Name, alg Algorithm, digest []byte) (Signature, error)
	Verify(ctx context.Context, name Name, alg Algorithm, digest, signature []byte) (Verdict, error)
}

// A FreshKeyReader is a KeyStore that can answer from memory, and can be told not
// to.
type FreshKeyReader interface {
	// GetKeyWithin is GetKey with an answer that is at most maxAge old; 0 asks the
	// vault. cached: it cost no vault call of its own.
	GetKeyWithin(ctx context.Context, name Name, maxAge time.Duration) (k Key, cached bool, err error)
}

// A WholeKeyLister is a KeyStore that has whole lists at hand, as a WholeLister has.
type WholeKeyLister interface {
	// AllKeys returns what all pages of ListKeys hold.
	AllKeys(ctx context.Context, vault Name) (Whole[*Key], error)

	// AllDeletedKeys returns what all pages of ListDeletedKeys hold.
	AllDeletedKeys(ctx context.Context, vault Name) (Whole[*DeletedKey], error)

	// AllKeyVersions returns what ListKeyVersions does.
	AllKeyVersions(ctx context.Context, name Name) (Whole[Key], error)
}
