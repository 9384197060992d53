package localvault

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
)

// A shelf is one kind of the vault's objects: where they lie in the file, and how
// the vault speaks of them. An object has one head; each of its versions has
// metadata and a value, sealed apart so that lists open no value.
//
//	vault            "header"            -> the vault's id, sealed under the master key
//	secrets          name                -> head
//	secret-metadata  name 0x00 version   -> metadata, sealed under the data key
//	secret-values    name 0x00 version   -> the value, sealed under the data key
//	keys, key-metadata, key-values       -> the same of keys, whose values are private
//	certificates, certificate-metadata, certificate-values
//	                                     -> the same of certificates, whose values are chains
//	certificate-pending  name 0x00 version
//	                                     -> the private key of a version that waits to be signed
type shelf struct {
	noun                    string // begins the purposes of all its records
	kind                    broker.Kind
	heads, metadata, values []byte // buckets
	pending                 []byte // a bucket of certificates only

	notFound, exists, softDeleted broker.Code
}

var (
	bucketVault = []byte("vault")
	headerKey   = []byte("header")

	secretShelf = &shelf{
		noun: "secret", kind: broker.KindSecrets,
		heads: []byte("secrets"), metadata: []byte("secret-metadata"), values: []byte("secret-values"),
		notFound: broker.CodeSecretNotFound, exists: broker.CodeSecretExists, softDeleted: broker.CodeSecretSoftDeleted,
	}
	keyShelf = &shelf{
		noun: "key", kind: broker.KindKeys,
		heads: []byte("keys"), metadata: []byte("key-metadata"), values: []byte("key-values"),
		notFound: broker.CodeKeyNotFound, exists: broker.CodeKeyExists, softDeleted: broker.CodeKeySoftDeleted,
	}
	certificateShelf = &shelf{
		noun: "certificate", kind: broker.KindCertificates,
		heads: []byte("certificates"), metadata: []byte("certificate-metadata"), values: []byte("certificate-values"),
		pending:  []byte("certificate-pending"),
		notFound: broker.CodeCertificateNotFound, exists: broker.CodeCertificateExists, softDeleted: broker.CodeCertificateSoftDeleted,
	}
	shelves = []*shelf{secretShelf, keyShelf, certificateShelf}
)

// buckets returns where the shelf's records lie, versions behind heads.
func (s *shelf) buckets() [][]byte {
	all := [][]byte{s.heads, s.metadata, s.values}
	if s.pending != nil {
		all = append(all, s.pending)
	}
	return all
}

// place returns what a record of the shelf is bound to.
func (s *shelf) place(purpose, name string, ver version) place {
	return place{s.noun + " " + purpose, name, ver}
}

const vaultIDLen = 16

// head is what an object has beside its versions. Stored, it is the data key
// sealed under the master key, then the state sealed under the data key.
type head struct {
	shelf *shelf
	name  string
	key   sealer // under the object's data key
	boxed []byte // the data key, as stored
	state state
}

const boxedKeyLen = dataKeyLen + sealOverhead

// state is an object's own. Times are Unix seconds.
type state struct {
	Latest version `json:"latest"`
	// Deleted is 0 while the object lives. A deleted one keeps its versions until
	// Purges.
	Deleted int64 `json:"deleted,omitempty"`
	Purges  int64 `json:"purges,omitempty"`
	// Rotation is a key's rotation policy, once one was set.
	Rotation *rotationPolicy `json:"rotation,omitempty"`
	// Managed: the key or secret is of the certificate of the same name.
	Managed bool `json:"managed,omitempty"`
	// Policy and Operation are a certificate's. One whose first version is still
	// being made has no Latest.
	Policy    *certificatePolicy `json:"policy,omitempty"`
	Operation *operation         `json:"operation,omitempty"`
}

// metadata is what a version has beside its value. Times are Unix seconds.
type metadata struct {
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Enabled     bool              `json:"enabled"`
	NotBefore   *int64            `json:"nbf,omitempty"`
	Expires     *int64            `json:"exp,omitempty"`
	Created     int64             `json:"created"`
	Updated     int64             `json:"updated"`
	// Key is of keys only.
	Key *keyMetadata `json:"key,omitempty"`
	// Certificate is of certificates only.
	Certificate *certificateMetadata `json:"certificate,omitempty"`

	managed bool // as the head says
}

func (v *Vault) newHeader() []byte {
	id := make([]byte, vaultIDLen)
	_, _ = rand.Read(id) // never fails
	return v.seal.seal(place{purpose: purposeHeader}, id)
}

func (v *Vault) openHeader(header []byte) (id []byte, err error) {
	id, err = v.seal.open(place{purpose: purposeHeader}, header)
	if err == nil && len(id) != vaultIDLen {
		err = errDamaged
	}
	return id, err
}

func readHeader(tx *bbolt.Tx) []byte {
	b := tx.Bucket(bucketVault)
	if b == nil {
		return nil
	}
	return bytes.Clone(b.Get(headerKey))
}

func writeHeader(tx *bbolt.Tx, header []byte) error {
	b, err := tx.CreateBucketIfNotExists(bucketVault)
	if err != nil {
		return err
	}
	return errors.Join(makeShelves(tx), b.Put(headerKey, header))
}

// makeShelves makes the shelves that the file lacks: all of a new one, and those
// that came later of an older one.
func makeShelves(tx *bbolt.Tx) error {
	for _, s := range shelves {
		for _, name := range s.buckets() {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// newHead returns the head of an object that has no version yet.
func (v *Vault) newHead(s *shelf, name string) *head {
	key := make([]byte, dataKeyLen)
	defer clear(key)
	_, _ = rand.Read(key) // never fails
	return &head{
		shelf: s,
		name:  name,
		key:   newSealer(key, v.seal.vault),
		boxed: v.seal.seal(s.place(purposeDataKey, name, version{}), key),
	}
}

// openHead opens a stored head.
func (v *Vault) openHead(s *shelf, name string, stored []byte) (*head, error) {
	if len(stored) < boxedKeyLen {
		return nil, errDamaged
	}
	boxed, sealed := stored[:boxedKeyLen], stored[boxedKeyLen:]
	key, err := v.seal.open(s.place(purposeDataKey, name, version{}), boxed)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	h := &head{shelf: s, name: name, key: newSealer(key, v.seal.vault), boxed: bytes.Clone(boxed)}
	plain, err := h.key.open(s.place(purposeState, name, version{}), sealed)
	if err != nil {
		return nil, err
	}
	return h, json.Unmarshal(plain, &h.state)
}

// stored returns the head as it lies in the file.
func (h *head) stored() ([]byte, error) {
	plain, err := json.Marshal(h.state)
	if err != nil {
		return nil, err
	}
	return slices.Concat(h.boxed, h.key.seal(h.shelf.place(purposeState, h.name, version{}), plain)), nil
}

// row is the key of a version in its buckets. Keys of one object are adjacent,
// oldest first.
func (h *head) row(ver version) []byte { return append(rowPrefix(h.name), ver[:]...) }

func rowPrefix(name string) []byte { return append([]byte(name), 0) }

// putVersion writes a version: its metadata, its value, and the head that makes
// it the latest.
func (h *head) putVersion(tx *bbolt.Tx, ver version, m metadata, value []byte) error {
	sealed := h.key.seal(h.shelf.place(purposeValue, h.name, ver), value)
	h.state.Latest = ver
	return errors.Join(
		h.putMetadata(tx, ver, m),
		tx.Bucket(h.shelf.values).Put(h.row(ver), sealed),
		h.put(tx),
	)
}

// putMetadata writes what a version has beside its value.
func (h *head) putMetadata(tx *bbolt.Tx, ver version, m metadata) error {
	plain, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sealed := h.key.seal(h.shelf.place(purposeMetadata, h.name, ver), plain)
	return tx.Bucket(h.shelf.metadata).Put(h.row(ver), sealed)
}

// put writes the head.
func (h *head) put(tx *bbolt.Tx) error {
	stored, err := h.stored()
	if err != nil {
		return err
	}
	return tx.Bucket(h.shelf.heads).Put([]byte(h.name), stored)
}

// metadata returns what is stored of a version, or errNoRow.
func (h *head) metadata(tx *bbolt.Tx, ver version) (metadata, error) {
	sealed := tx.Bucket(h.shelf.metadata).Get(h.row(ver))
	if sealed == nil {
		return metadata{}, errNoRow
	}
	return h.openMetadata(ver, sealed)
}

func (h *head) openMetadata(ver version, sealed []byte) (m metadata, err error) {
	plain, err := h.key.open(h.shelf.place(purposeMetadata, h.name, ver), sealed)
	if err != nil {
		return metadata{}, err
	}
	m.managed = h.state.Managed
	return m, json.Unmarshal(plain, &m)
}

// value returns the value of a version, or errNoRow.
func (h *head) value(tx *bbolt.Tx, ver version) ([]byte, error) {
	sealed := tx.Bucket(h.shelf.values).Get(h.row(ver))
	if sealed == nil {
		return nil, errNoRow
	}
	return h.openValue(ver, sealed)
}

func (h *head) openValue(ver version, sealed []byte) ([]byte, error) {
	return h.key.open(h.shelf.place(purposeValue, h.name, ver), sealed)
}

var errNoRow = errors.New("a row is missing")

// expired reports whether a deleted object's retention is over.
func (s state) expired(now time.Time) bool { return s.Deleted != 0 && now.Unix() >= s.Purges }

// remove takes an object out of the file, with all its versions. A certificate, its
// key and its secret go together.
func (h *head) remove(tx *bbolt.Tx) error {
	if h.shelf != certificateShelf && !h.state.Managed {
		return h.shelf.remove(tx, h.name)
	}
	var err error
	for _, s := range shelves {
		err = errors.Join(err, s.remove(tx, h.name))
	}
	return err
}

func (s *shelf) remove(tx *bbolt.Tx, name string) error {
	prefix := rowPrefix(name)
	for _, bucket := range s.buckets()[1:] {
		c := tx.Bucket(bucket).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
	}
	return tx.Bucket(s.heads).Delete([]byte(name))
}

// purgeExpired removes the deleted objects whose retention is over. A damaged
// one stays, so that it can be looked into.
func (v *Vault) purgeExpired(tx *bbolt.Tx) error {
	var err error
	now := time.Now()
	for _, s := range shelves {
		var expired []*head
		err = errors.Join(err, tx.Bucket(s.heads).ForEach(func(k, stored []byte) error {
			if h, err := v.openHead(s, string(k), stored); err == nil && h.state.expired(now) {
				expired = append(expired, h)
			}
			return nil
		}))
		for _, h := range expired {
			err = errors.Join(err, h.remove(tx))
		}
	}
	return err
}
