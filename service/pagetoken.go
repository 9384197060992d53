package service

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/keyward/keyward/broker"
)

const (
	minPageTokenKeyLen = 32 // bytes
	// pageTokenV2 is the first byte of a token. Another form takes another: the
	// first showed how long a continuation is.
	pageTokenV2 = 2
	// maxPageTokenLen bounds a token, in characters.
	maxPageTokenLen = 8 << 10
	// pageTokenPad is what a continuation with its end is rounded up to, in bytes.
	// A name has 127 at most.
	pageTokenPad = 128
	// pageTokenEnd follows a continuation, and zeros follow that.
	pageTokenEnd = "\x80"
)

// pageOf is the list that a page token belongs to: it opens for the same
// principal, method and parent only.
type pageOf struct{ principal, method, parent string }

// bound returns p as additional data, each part behind its length, so that no
// two lists look alike.
func (p pageOf) bound() []byte {
	var b []byte
	for _, s := range []string{p.principal, p.method, p.parent} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // bounded by the message's size
		b = append(b, s...)
	}
	return b
}

// pageTokens seals the continuation of a list. It is not for a client's eyes: it
// may be the name of a secret that the client may not know of, so that not even
// its length shows. Its methods may be called concurrently.
type pageTokens struct{ aead cipher.AEAD }

// newPageTokens derives the key from secret. Servers with the same secret take
// each other's tokens. An empty secret makes one up.
func newPageTokens(secret []byte) (pageTokens, error) {
	switch {
	case len(secret) == 0:
		secret = make([]byte, minPageTokenKeyLen)
		_, _ = rand.Read(secret) // never fails
	case len(secret) < minPageTokenKeyLen:
		return pageTokens{}, errors.New("service: a page token key is at least 32 random bytes")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "keyward page tokens 1", 32)
	if err != nil {
		return pageTokens{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return pageTokens{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return pageTokens{aead}, err
}

// seal returns the token for the page of p that begins at next; "" stays "".
func (t pageTokens) seal(p pageOf, next string) string {
	if next == "" {
		return ""
	}
	padded := make([]byte, (len(next)/pageTokenPad+1)*pageTokenPad)
	copy(padded, next+pageTokenEnd)
	sealed := t.aead.Seal([]byte{pageTokenV2}, nil, padded, p.bound()) //nolint:gosec // the AEAD makes its nonces itself
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// open returns what seal was given, or CodeBadPageToken.
func (t pageTokens) open(p pageOf, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	bad := &broker.Error{Code: broker.CodeBadPageToken, Field: "page_token"}
	// The decoder passes over line breaks.
	if len(token) > maxPageTokenLen || strings.ContainsAny(token, "\r\n") {
		return "", bad
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(sealed) == 0 || sealed[0] != pageTokenV2 {
		return "", bad
	}
	padded, err := t.aead.Open(nil, nil, sealed[1:], p.bound())
	if err != nil {
		return "", bad
	}
	return strings.TrimSuffix(strings.TrimRight(string(padded), "\x00"), pageTokenEnd), nil
}

// page answers a request for a page of a method's list, which is of parent: it has
// ask return the page that the request's token is for, with what the next one
// begins at, and returns the token for that.
func (t pageTokens) page(
	ctx context.Context, method string, parent broker.Name, req interface {
		GetPageSize() int32
		GetPageToken() string
	},
	ask func(broker.Caller, broker.Page) (next string, err error),
) (token string, err error) {
	c := caller(ctx)
	list := pageOf{principal: c.ID, method: method, parent: parent.String()}
	from, err := t.open(list, req.GetPageToken())
	if err != nil {
		return "", err
	}
	next, err := ask(c, broker.Page{Size: int(req.GetPageSize()), Token: from})
	if err != nil {
		return "", err
	}
	return t.seal(list, next), nil
}
