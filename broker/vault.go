package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Key Vault's limits for a secret.
const (
	MaxValueLen       = 25_600 // bytes
	MaxContentTypeLen = 255    // characters
	MaxTags           = 15
	MaxTagLen         = 256 // characters, of a tag's name and of its value
)

// Secret is what may be known of a secret without its value. A zero time is
// unset.
type Secret struct {
	// Name carries the version that the other fields describe, but in a list of
	// secrets.
	Name            Name
	ContentType     string
	Tags            map[string]string
	Enabled         bool
	NotBefore       time.Time
	Expires         time.Time
	Created         time.Time
	Updated         time.Time
	RecoveryLevel   string
	RecoverableDays int32
	// Managed: the secret backs a certificate of the same name.
	Managed bool

	// tag is the hash of ETag where it is known, as it is of what a cache keeps.
	tag etag
}

// etag is what an ETag shows; the zero one is none.
type etag [12]byte

// ETag returns a quoted hash of the version, the time of its last update and
// all that an update can change: Key Vault keeps the time in seconds, and two
// updates within one must not look alike.
func (s Secret) ETag() string {
	var b [2*len(s.tag) + 2]byte
	return string(s.AppendETag(b[:0]))
}

// AppendETag appends the ETag to b.
func (s Secret) AppendETag(b []byte) []byte {
	if s.tag == (etag{}) {
		s.tag = s.hash()
	}
	return append(hex.AppendEncode(append(b, '"'), s.tag[:]), '"')
}

func (s Secret) hash() etag {
	var buf [256]byte
	b := buf[:0]
	text := func(part string) { b = append(append(strconv.AppendInt(b, int64(len(part)), 10), ':'), part...) }
	text(s.Name.Version())
	text(s.ContentType)
	for _, k := range slices.Sorted(maps.Keys(s.Tags)) {
		text(k)
		text(s.Tags[k])
	}
	b = strconv.AppendBool(append(b, '|'), s.Enabled)
	for _, t := range [...]time.Time{s.Updated, s.NotBefore, s.Expires} {
		b = strconv.AppendInt(append(b, '|'), t.Unix(), 10) // an unset time is none that can be set
	}
	sum := sha256.Sum256(b)
	return etag(sum[:len(s.tag)])
}

// SecretValue is a secret with its value, and how fresh both are.
type SecretValue struct {
	Secret
	Value Value
	// Fetched is when the vault was asked.
	Fetched time.Time
	// Cached: this answer cost no vault call of its own.
	Cached bool
	// Stale: older than the cache's time to live, served because the vault
	// could not be asked.
	Stale bool
	// NotModified: the caller has this version, and Value is empty.
	NotModified bool
}

// DeletedSecret is a soft-deleted secret. Secret.Name has no version: all of
// them are deleted. A zero Purges means that the vault does not say.
type DeletedSecret struct {
	Secret
	Deleted time.Time
	Purges  time.Time
}

// NewSecret is what a caller sets.
type NewSecret struct {
	Value       Value
	ContentType string
	Tags        map[string]string
	Enabled     bool
	NotBefore   time.Time
	Expires     time.Time
}

// SecretUpdate is what a caller changes of a version. What is nil stays as it
// is; Tags, where given, replaces them all.
type SecretUpdate struct {
	ContentType *string
	Tags        *map[string]string
	Enabled     *bool
	NotBefore   *time.Time
	Expires     *time.Time
}

// Page asks for part of a list.
type Page struct {
	// Size is the most items to return. 0 leaves it to the store.
	Size int
	// Token is Next of the page before; "" is the beginning.
	Token string
}

// SecretPage is part of a list. It may be empty and still have a Next.
type SecretPage struct {
	Secrets []Secret
	// Next asks for the following page; "" is the end. A store's is opaque, a
	// Broker's is a secret's name; neither is fit to be shown to a client as it is.
	Next string
}

// DeletedSecretPage is part of a list, as SecretPage is.
type DeletedSecretPage struct {
	Secrets []DeletedSecret
	Next    string
}

// MaxBackupLen is the most bytes of a backup: what a message can carry back.
const MaxBackupLen = 1 << 20

// SecretStore is one vault's secrets. Every error is an *Error with a Code, or
// the context's. All methods may be called concurrently.
type SecretStore interface {
	// GetSecret returns the named version, or the latest. A secret that is not
	// there is CodeSecretNotFound, a disabled one CodeSecretDisabled.
	GetSecret(ctx context.Context, name Name) (SecretValue, error)

	// SetSecret makes a new version. A soft-deleted secret of the name is
	// CodeSecretSoftDeleted.
	SetSecret(ctx context.Context, name Name, s NewSecret) (Secret, error)

	// UpdateSecret changes what is known of the named version, or of the latest.
	UpdateSecret(ctx context.Context, name Name, u SecretUpdate) (Secret, error)

	// DeleteSecret soft-deletes all versions.
	DeleteSecret(ctx context.Context, name Name) (DeletedSecret, error)

	// GetDeletedSecret returns a soft-deleted secret. One that is not there is
	// CodeSecretNotFound; one whose delete settles still, CodeSecretInTransition.
	// So do RecoverSecret and PurgeSecret.
	GetDeletedSecret(ctx context.Context, name Name) (DeletedSecret, error)

	// ListDeletedSecrets returns a page of the vault's soft-deleted secrets, as
	// ListSecrets does.
	ListDeletedSecrets(ctx context.Context, vault Name, p Page) (DeletedSecretPage, error)

	// RecoverSecret brings a soft-deleted secret back, with all its versions.
	RecoverSecret(ctx context.Context, name Name) (Secret, error)

	// PurgeSecret removes a soft-deleted secret for good. A vault that forbids it
	// is CodeNotSupported.
	PurgeSecret(ctx context.Context, name Name) error

	// BackupSecret returns all versions as a blob that RestoreSecret takes. It is
	// opaque, and as secret as the values in it. One of more than MaxBackupLen is
	// CodeValueTooLarge.
	BackupSecret(ctx context.Context, name Name) (Value, error)

	// RestoreSecret brings back what BackupSecret returned, under its old name. A
	// name in use is CodeSecretExists, or CodeSecretSoftDeleted; what is no blob
	// of this vault is CodeBadField of the field "blob".
	RestoreSecret(ctx context.Context, vault Name, blob Value) (Secret, error)

	// ListSecrets returns a page of the vault's secrets, at most 25 of them,
	// ordered as the vault likes. Their names carry no version.
	ListSecrets(ctx context.Context, vault Name, p Page) (SecretPage, error)

	// ListSecretVersions returns all versions, newest first.
	ListSecretVersions(ctx context.Context, name Name) ([]Secret, error)
}

// A FreshReader is a SecretStore that can answer from memory, and can be told
// not to.
type FreshReader interface {
	// GetSecretWithin is GetSecret with an answer that is at most maxAge old. 0
	// asks the vault.
	GetSecretWithin(ctx context.Context, name Name, maxAge time.Duration) (SecretValue, error)

	// TTL is the most that an answer of GetSecret is old while the vault can be
	// asked. 0 means that each asks the vault.
	TTL() time.Duration
}

// Whole is all of a list: objects sorted by name, or versions newest first. The items are shared with others, and
// not to be changed.
type Whole[T any] struct {
	Items []T
	// Cached: it cost no vault call of its own.
	Cached bool
}

// A WholeLister is a SecretStore that has its vault's whole lists at hand.
// Without one, each page that a caller asks for is a walk of all pages of the
// store.
type WholeLister interface {
	// AllSecrets returns what all pages of ListSecrets hold.
	AllSecrets(ctx context.Context, vault Name) (Whole[*Secret], error)

	// AllDeletedSecrets returns what all pages of ListDeletedSecrets hold.
	AllDeletedSecrets(ctx context.Context, vault Name) (Whole[*DeletedSecret], error)
}

// MaxStorePage is the most items that a store returns in a page: Key Vault's
// own bound.
const MaxStorePage = 25

// Vault is the stores behind one alias. A nil store answers CodeNotSupported.
type Vault struct {
	Secrets      SecretStore
	Keys         KeyStore
	Certificates CertificateStore
}
