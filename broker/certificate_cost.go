package broker

import (
	"crypto"
	"crypto/rsa"
	"encoding/asn1"
)

// Key derivations of a PFX repeat a hash as often as the PFX says: that is up to
// whoever made it. OpenSSL says 2048, three times; Firefox 600,000. A million takes
// about a second.
const maxPFXIterations = 2_000_000

// maxPFXDepth is deeper than any PFX.
const maxPFXDepth = 32

// cheapPFX reports whether der is DER, and the iteration counts that can be seen in
// it are within reason together. Of a key that is sealed within a sealed bag, the
// count cannot be seen: see keySealedTwice.
func cheapPFX(der []byte) bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	budget := int64(maxPFXIterations)
	return err == nil && len(rest) == 0 && cheapDER(v, maxPFXDepth, &budget)
}

func cheapDER(v asn1.RawValue, depth int, budget *int64) bool {
	if depth == 0 {
		return false
	}
	if !v.IsCompound {
		// A bag within: DER in an octet string, or in whatever a lax reader takes
		// for one.
		var inner asn1.RawValue
		if rest, err := asn1.Unmarshal(v.Bytes, &inner); err != nil || len(rest) > 0 || !inner.IsCompound {
			return true
		}
		return cheapDER(inner, depth-1, budget)
	}
	salted := false
	for rest := v.Bytes; len(rest) > 0; {
		var child asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &child); err != nil {
			// Nothing that can be read, such as a salt that begins as a bag does.
			// Whatever could be read before it was looked at.
			return true
		}
		// Salt, then iterations: RFC 7292 section 4 and appendix C, RFC 8018
		// appendix A.
		if salted && child.Class == asn1.ClassUniversal && child.Tag == asn1.TagInteger {
			var n int64
			if _, err := asn1.Unmarshal(child.FullBytes, &n); err != nil || n > *budget {
				return false
			}
			*budget -= max(n, 0)
		}
		// Of any class: the reader of PBKDF2's parameters looks at the number alone.
		salted = child.Tag == asn1.TagOctetString
		if !cheapDER(child, depth-1, budget) {
			return false
		}
	}
	return true
}

// cheapKey reports whether it takes no time to check a signature of the key. The
// cost grows with the square of its length: one of 200,000 bits, which fits in a
// chain, takes seconds.
func cheapKey(public crypto.PublicKey) bool {
	k, ok := public.(*rsa.PublicKey)
	return !ok || k.N.BitLen() <= maxRSABits
}
