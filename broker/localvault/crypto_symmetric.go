package localvault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"strings"

	"github.com/keyward/keyward/broker"
)

const (
	gcmIVLen  = 12
	gcmTagLen = 16
)

// Families of the symmetric algorithms: what follows "A128" in their names.
const (
	familyGCM = "GCM"
	familyCBC = "CBC"
	familyPad = "CBCPAD"
	familyKW  = "KW"
)

func family(alg broker.Algorithm) string { return strings.TrimLeft(string(alg), "A0123456789") }

// encryptSymmetric encrypts or wraps with a key that fits the algorithm. The IV of
// GCM is made here: one that comes twice gives the key away.
func encryptSymmetric(key []byte, alg broker.Algorithm, plain []byte, in broker.Cipher) (broker.Cipher, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return broker.Cipher{}, err
	}
	f := family(alg)
	switch {
	case len(in.Tag) != 0:
		return broker.Cipher{}, badInput("a tag is what encrypting gives; leave it out")
	case len(in.AAD) != 0 && f != familyGCM:
		return broker.Cipher{}, badInput("only the GCM algorithms have additional data")
	case len(in.IV) != 0 && f == familyGCM:
		return broker.Cipher{}, badInput("the vault makes the IV of " + string(alg) + "; leave it out, and keep the one that it answers")
	case len(in.IV) != 0 && f == familyKW:
		return broker.Cipher{}, badInput(string(alg) + " takes no IV")
	case len(in.IV) != aes.BlockSize && (f == familyCBC || f == familyPad):
		return broker.Cipher{}, badInput("the IV of " + string(alg) + " has 16 random bytes, new for each plaintext")
	}
	out := broker.Cipher{IV: in.IV, AAD: in.AAD}
	var sealed []byte
	switch f {
	case familyGCM:
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return broker.Cipher{}, err
		}
		out.IV = make([]byte, gcmIVLen)
		_, _ = rand.Read(out.IV) // never fails
		both := aead.Seal(nil, out.IV, plain, in.AAD)
		sealed, out.Tag = both[:len(plain)], both[len(plain):]
	case familyPad:
		padded := pad(plain)
		defer clear(padded)
		sealed = encryptCBC(block, in.IV, padded)
	case familyCBC:
		if len(plain) == 0 || len(plain)%aes.BlockSize != 0 {
			return broker.Cipher{}, badInput("the plaintext of " + string(alg) + " is whole blocks of 16 bytes; use " + string(alg) + "PAD for others")
		}
		sealed = encryptCBC(block, in.IV, plain)
	default:
		if len(plain) < 16 || len(plain)%8 != 0 {
			return broker.Cipher{}, badInput("a key to wrap with " + string(alg) + " has 16 bytes or more, a multiple of 8")
		}
		sealed = wrap(block, plain)
	}
	out.Data = broker.NewValue(string(sealed))
	return out, nil
}

func encryptCBC(block cipher.Block, iv, plain []byte) []byte {
	sealed := make([]byte, len(plain))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, plain)
	return sealed
}

// decryptSymmetric is the inverse, with one error for all that can be wrong.
func decryptSymmetric(key []byte, alg broker.Algorithm, sealed []byte, in broker.Cipher) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	var plain []byte
	ok := false
	switch f := family(alg); f {
	case familyGCM:
		plain, ok = decryptGCM(block, sealed, in)
	case familyCBC, familyPad:
		if len(in.IV) != aes.BlockSize || len(in.AAD)+len(in.Tag) != 0 || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
			break
		}
		plain, ok = make([]byte, len(sealed)), true
		cipher.NewCBCDecrypter(block, in.IV).CryptBlocks(plain, sealed)
		if f == familyPad {
			plain, ok = unpad(plain)
		}
	default:
		if len(in.IV)+len(in.AAD)+len(in.Tag) == 0 {
			plain, ok = unwrap(block, sealed)
		}
	}
	if !ok {
		clear(plain)
		return nil, errUndecryptable()
	}
	return plain, nil
}

func decryptGCM(block cipher.Block, sealed []byte, in broker.Cipher) ([]byte, bool) {
	aead, err := cipher.NewGCM(block)
	if err != nil || len(in.IV) != gcmIVLen || len(in.Tag) != gcmTagLen {
		return nil, false
	}
	both := make([]byte, 0, len(sealed)+len(in.Tag))
	both = append(both, sealed...)
	both = append(both, in.Tag...)
	plain, err := aead.Open(nil, in.IV, both, in.AAD)
	return plain, err == nil
}

// pad adds PKCS #7's padding: 1 to 16 bytes, each of them their count.
func pad(plain []byte) []byte {
	n := aes.BlockSize - len(plain)%aes.BlockSize
	padded := make([]byte, len(plain)+n)
	copy(padded, plain)
	for i := len(plain); i < len(padded); i++ {
		padded[i] = byte(n)
	}
	return padded
}

// unpad takes it off. It looks at every byte of the last block, whichever of them
// is wrong.
func unpad(padded []byte) ([]byte, bool) {
	last := padded[len(padded)-aes.BlockSize:]
	n := last[aes.BlockSize-1]
	good := subtle.ConstantTimeLessOrEq(1, int(n)) & subtle.ConstantTimeLessOrEq(int(n), aes.BlockSize)
	for i, b := range last {
		ours := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, int(n))
		good &= subtle.ConstantTimeSelect(ours, subtle.ConstantTimeByteEq(b, n), 1)
	}
	if good == 0 {
		return padded, false
	}
	return padded[:len(padded)-int(n)], true
}

// wrapIV is RFC 3394's, section 2.2.3.1.
const wrapIV = 0xa6a6a6a6a6a6a6a6

// wrap is RFC 3394's key wrap, section 2.2.1.
func wrap(block cipher.Block, plain []byte) []byte {
	out := make([]byte, 8+len(plain))
	copy(out[8:], plain)
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:8], wrapIV)
	n := uint64(len(plain) / 8)
	for t := range 6 * n {
		r := out[8+8*(t%n):][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^(t+1))
		copy(r, b[8:])
	}
	copy(out, b[:8])
	return out
}

// unwrap is section 2.2.2.
func unwrap(block cipher.Block, sealed []byte) ([]byte, bool) {
	if len(sealed) < 24 || len(sealed)%8 != 0 {
		return nil, false
	}
	plain := append([]byte(nil), sealed[8:]...)
	var b [aes.BlockSize]byte
	copy(b[:8], sealed)
	n := uint64(len(plain) / 8)
	for t := 6 * n; t > 0; t-- {
		r := plain[8*((t-1)%n):][:8]
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])^t)
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(r, b[8:])
	}
	var want [8]byte
	binary.BigEndian.PutUint64(want[:], wrapIV)
	return plain, subtle.ConstantTimeCompare(b[:8], want[:]) == 1
}
