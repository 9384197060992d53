package localvault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
)

const (
	dataKeyLen = 32
	// sealOverhead is what sealing adds: the nonce before, the tag behind.
	sealOverhead = 12 + 16
)

var errDamaged = errors.New("the record was changed, or moved from another place")

// sealer seals and opens records under one key.
type sealer struct {
	aead  cipher.AEAD
	vault []byte // the vault's id, which every record is bound to; none for backups
}

func newSealer(key, vault []byte) sealer {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is wrong: a mistake in this package
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // not the standard library's AES
	}
	return sealer{aead: aead, vault: vault}
}

// newBackupSealer returns the sealer of backups, which leave the vault: they have
// a key of their own and are bound to no vault's id.
func newBackupSealer(master []byte) (sealer, error) {
	key, err := hkdf.Key(sha256.New, master, nil, "keyward localvault 1 backup key", dataKeyLen)
	if err != nil {
		return sealer{}, err
	}
	defer clear(key)
	return newSealer(key, nil), nil
}

// A place is what a sealed record is bound to: nothing opens it elsewhere.
type place struct {
	purpose string
	name    string // of the object
	version version
}

// Purposes of records. They keep apart what lies at the same name. But for the
// header's and the contacts', a purpose begins with its shelf's noun.
const (
	purposeHeader   = "vault"
	purposeDataKey  = "data key"
	purposeState    = "state"
	purposeMetadata = "metadata"
	purposeValue    = "value"
	purposeBackup   = "backup"
	purposePending  = "pending key"
	purposeContacts = "contacts"
)

// bytes encodes the place so that no two places read alike: neither purposes
// nor names hold a zero byte, and the rest has a fixed length.
func (p place) bytes(vault []byte) []byte {
	b := make([]byte, 0, len("keyward localvault 1")+len(p.purpose)+len(vault)+len(p.name)+len(p.version)+2)
	b = append(b, "keyward localvault 1 "...)
	b = append(b, p.purpose...)
	b = append(b, 0)
	b = append(b, vault...)
	b = append(b, p.name...)
	b = append(b, 0)
	return append(b, p.version[:]...)
}

func (s sealer) seal(p place, plain []byte) []byte {
	return s.aead.Seal(nil, nil, plain, p.bytes(s.vault)) //nolint:gosec // the AEAD makes its own nonce, at random
}

// open returns a copy, so that the sealed bytes may lie in the vault's file.
func (s sealer) open(p place, sealed []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, p.bytes(s.vault))
	if err != nil {
		return nil, errDamaged
	}
	return plain, nil
}
