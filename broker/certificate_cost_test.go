package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"testing"
)

// A digest that looks like DER is none, and does not hide what stands beside it.
func TestCheapPFX(t *testing.T) {
	const (
		looksLikeDER = "\x04\x06\x30\x04\x02\x09\x01\x02" // an integer of nine bytes, of which there are two
		dear         = "\x30\x0a\x04\x02ab\x02\x04\x7f\xff\xff\xff"
		cheap        = "\x30\x08\x04\x02ab\x02\x02\x08\x00"
	)
	sequence := func(content string) string { return "\x30" + string(rune(len(content))) + content }
	octets := func(content string) string { return "\x04" + string(rune(len(content))) + content }
	tests := map[string]struct {
		der   string
		cheap bool
	}{
		"a digest like DER":                {sequence(looksLikeDER), true},
		"one beside a cheap count":         {sequence(looksLikeDER + cheap), true},
		"a dear count":                     {sequence(dear), false},
		"a dear count behind the digest":   {sequence(looksLikeDER + dear), false},
		"a dear count before the digest":   {sequence(dear + looksLikeDER), false},
		"a dear count in an octet string":  {sequence(octets(dear)), false},
		"a dear count with a salt of [4]":  {sequence("\x30\x0a\x84\x02ab\x02\x04\x7f\xff\xff\xff"), false},
		"a dear count in a text":           {sequence("\x0c\x0c" + dear), false},
		"a dear count in what is of [0]":   {sequence("\x80\x0c" + dear), false},
		"a dear count, and then no DER":    {sequence(octets(sequence(dear + "\x02\x09\x01"))), false},
		"no DER":                           {"PFX", false},
		"something behind it":              {sequence(cheap) + "x", false},
		"a bag in a bag in a bag, forever": {nested(40), false},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			if got := cheapPFX([]byte(tt.der)); got != tt.cheap {
				t.Errorf("cheap is %v", got)
			}
		})
	}
}

// nested returns an empty sequence within so many others.
func nested(depth int) string {
	s := ""
	for range depth {
		s = "\x30" + string(rune(len(s))) + s
	}
	return s
}

// TestCheapKey: an issuer's key that is longer than any is not computed with.
func TestCheapKey(t *testing.T) {
	for bits, cheap := range map[uint]bool{2048: true, 4096: true, 8192: true, 8193: false, 200_000: false} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		if got := cheapKey(&rsa.PublicKey{N: n, E: 65537}); got != cheap {
			t.Errorf("an RSA key of %d bits: cheap is %v", bits, got)
		}
	}
	if !cheapKey(&ecdsa.PublicKey{Curve: elliptic.P521()}) {
		t.Error("an EC key is not cheap")
	}
}
