package broker

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
)

// The default alphabet: what RFC 3986 leaves unescaped, by kind.
var alphabetKinds = []string{
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"abcdefghijklmnopqrstuvwxyz",
	"0123456789",
	"-._~",
}

const (
	defaultGeneratedLen = 32
	maxAlphabet         = 256
)

// Generator says what random values look like. The zero Generator makes 32
// characters of letters, digits and "-._~", with at least one of each kind.
type Generator struct {
	// Length is the number of characters; 0 means 32.
	Length int
	// Alphabet are the characters to choose from, 2 to 256, each once. Empty
	// means the default.
	Alphabet string
}

// generate returns a value in which each character was chosen evenly.
func (g Generator) generate() (Value, error) {
	switch {
	case g.Length == 0:
		g.Length = defaultGeneratedLen
	case g.Length < 0, g.Length > MaxValueLen:
		return Value{}, &Error{Code: CodeBadField, Field: "length", Message: "length is 1 to 25600; 0 means 32"}
	}
	alphabet := []rune(g.Alphabet)
	if g.Alphabet == "" {
		alphabet = []rune(strings.Join(alphabetKinds, ""))
	}
	if err := checkAlphabet(alphabet); err != nil {
		return Value{}, err
	}
	for {
		var text strings.Builder
		for range g.Length {
			text.WriteRune(alphabet[randomIndex(uint32(len(alphabet)))]) //nolint:gosec // at most 256
		}
		if text.Len() > MaxValueLen {
			return Value{}, &Error{Code: CodeBadField, Field: "length", Message: "a value is at most 25600 bytes, and this alphabet takes more than one for a character"}
		}
		// Trying again until all kinds are there leaves every such value as
		// likely as every other.
		if g.Alphabet != "" || g.Length < len(alphabetKinds) || hasAllKinds(text.String()) {
			return NewValue(text.String()), nil
		}
	}
}

func checkAlphabet(alphabet []rune) error {
	seen := make(map[rune]bool, len(alphabet))
	for _, r := range alphabet {
		if seen[r] || r == '\uFFFD' {
			return &Error{Code: CodeBadField, Field: "alphabet", Message: "an alphabet has each character once, as UTF-8"}
		}
		seen[r] = true
	}
	if len(alphabet) < 2 || len(alphabet) > maxAlphabet {
		return &Error{Code: CodeBadField, Field: "alphabet", Message: "an alphabet has 2 to 256 characters"}
	}
	return nil
}

func hasAllKinds(s string) bool {
	for _, kind := range alphabetKinds {
		if !strings.ContainsAny(s, kind) {
			return false
		}
	}
	return true
}

// randomIndex returns a number below n, each as likely as the others: a draw
// from the incomplete last span is thrown away, where a remainder would favour
// the small numbers.
func randomIndex(n uint32) uint32 {
	limit := (1 << 32) / uint64(n) * uint64(n)
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		if v := binary.NativeEndian.Uint32(b[:]); uint64(v) < limit {
			return v % n
		}
	}
}
