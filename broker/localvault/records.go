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

// The file's buckets. A secret has one head; each of its versions has metadata
// and a value, sealed apart so that lists open no value.
//
//	vault            "header"            -> the vault's id, sealed under the master key
//	secrets          name                -> head
//	secret-metadata  name 0x00 version   -> metadata, sealed under the data key
//	secret-values    name 0x00 version   -> the value, sealed under the data key
var (
	bucketVault    = []byte("vault")
	bucketSecrets  = []byte("secrets")
	bucketMetadata = []byte("secret-metadata")
	bucketValues   = []byte("secret-values")

	headerKey = []byte("header")
)

const vaultIDLen = 16

// head is what a secret has beside its versions. Stored, it is the data key
// sealed under the master key, then the state sealed under the data key.
type head struct {
	name  string
	key   sealer // under the secret's data key
	boxed []byte // the data key, as stored
	state state
}

const boxedKeyLen = dataKeyLen + sealOverhead

// state is a secret's own. Times are Unix seconds.
type state struct {
	Latest version `json:"latest"`
	// Deleted is 0 while the secret lives. A deleted one keeps its versions until
	// Purges.
	Deleted int64 `json:"deleted,omitempty"`
	Purges  int64 `json:"purges,omitempty"`
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
	for _, name := range [][]byte{bucketSecrets, bucketMetadata, bucketValues, bucketVault} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return tx.Bucket(bucketVault).Put(headerKey, header)
}

// newHead returns the head of a secret that has no version yet.
func (v *Vault) newHead(name string) *head {
	key := make([]byte, dataKeyLen)
	defer clear(key)
	_, _ = rand.Read(key) // never fails
	return &head{
		name:  name,
		key:   newSealer(key, v.seal.vault),
		boxed: v.seal.seal(place{purpose: purposeDataKey, name: name}, key),
	}
}

// openHead opens a stored head.
func (v *Vault) openHead(name string, stored []byte) (*head, error) {
	if len(stored) < boxedKeyLen {
		return nil, errDamaged
	}
	boxed, sealed := stored[:boxedKeyLen], stored[boxedKeyLen:]
	key, err := v.seal.open(place{purpose: purposeDataKey, name: name}, boxed)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	h := &head{name: name, key: newSealer(key, v.seal.vault), boxed: bytes.Clone(boxed)}
	plain, err := h.key.open(place{purpose: purposeState, name: name}, sealed)
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
	return slices.Concat(h.boxed, h.key.seal(place{purpose: purposeState, name: h.name}, plain)), nil
}

// row is the key of a version in its buckets. Keys of one secret are adjacent,
// oldest first.
func (h *head) row(ver version) []byte { return append(rowPrefix(h.name), ver[:]...) }

func rowPrefix(name string) []byte { return append([]byte(name), 0) }

// putVersion writes a version: its metadata, its value, and the head that makes
// it the latest.
func (h *head) putVersion(tx *bbolt.Tx, ver version, m metadata, value broker.Value) error {
	plain := []byte(value.Reveal())
	defer clear(plain)
	sealed := h.key.seal(place{purposeValue, h.name, ver}, plain)
	h.state.Latest = ver
	return errors.Join(
		h.putMetadata(tx, ver, m),
		tx.Bucket(bucketValues).Put(h.row(ver), sealed),
		h.put(tx),
	)
}

// putMetadata writes what a version has beside its value.
func (h *head) putMetadata(tx *bbolt.Tx, ver version, m metadata) error {
	plain, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sealed := h.key.seal(place{purposeMetadata, h.name, ver}, plain)
	return tx.Bucket(bucketMetadata).Put(h.row(ver), sealed)
}

// put writes the head.
func (h *head) put(tx *bbolt.Tx) error {
	stored, err := h.stored()
	if err != nil {
		return err
	}
	return tx.Bucket(bucketSecrets).Put([]byte(h.name), stored)
}

// metadata returns what is stored of a version, or errNoRow.
func (h *head) metadata(tx *bbolt.Tx, ver version) (metadata, error) {
	sealed := tx.Bucket(bucketMetadata).Get(h.row(ver))
	if sealed == nil {
		return metadata{}, errNoRow
	}
	return h.openMetadata(ver, sealed)
}

func (h *head) openMetadata(ver version, sealed []byte) (m metadata, err error) {
	plain, err := h.key.open(place{purposeMetadata, h.name, ver}, sealed)
	if err != nil {
		return metadata{}, err
	}
	return m, json.Unmarshal(plain, &m)
}

// value returns the value of a version, or errNoRow.
func (h *head) value(tx *bbolt.Tx, ver version) (broker.Value, error) {
	sealed := tx.Bucket(bucketValues).Get(h.row(ver))
	if sealed == nil {
		return broker.Value{}, errNoRow
	}
	plain, err := h.openValue(ver, sealed)
	if err != nil {
		return broker.Value{}, err
	}
	defer clear(plain)
	return broker.NewValue(string(plain)), nil
}

func (h *head) openValue(ver version, sealed []byte) ([]byte, error) {
	return h.key.open(place{purposeValue, h.name, ver}, sealed)
}

var errNoRow = errors.New("a row is missing")

// expired reports whether a deleted secret's retention is over.
func (s state) expired(now time.Time) bool { return s.Deleted != 0 && now.Unix() >= s.Purges }

// remove takes a secret out of the file, with all its versions.
func remove(tx *bbolt.Tx, name string) error {
	prefix := rowPrefix(name)
	for _, bucket := range [][]byte{bucketMetadata, bucketValues} {
		c := tx.Bucket(bucket).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
	}
	return tx.Bucket(bucketSecrets).Delete([]byte(name))
}

// purgeExpired removes the deleted secrets whose retention is over. A damaged
// one stays, so that it can be looked into.
func (v *Vault) purgeExpired(tx *bbolt.Tx) error {
	var expired []string
	now := time.Now()
	err := tx.Bucket(bucketSecrets).ForEach(func(k, stored []byte) error {
		if h, err := v.openHead(string(k), stored); err == nil && h.state.expired(now) {
			expired = append(expired, h.name)
		}
		return nil
	})
	for _, name := range expired {
		err = errors.Join(err, remove(tx, name))
	}
	return err
}
