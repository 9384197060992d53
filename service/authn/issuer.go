package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker"
)

// Issuer is one issuer of bearer tokens: an OpenID provider, or a file of keys.
type Issuer struct {
	// Name stands before the subject and the groups of the issuer's tokens, so
	// that no issuer can mint another's: "kubernetes" makes
	// "kubernetes/<subject>". One to 63 of [a-z0-9-], starting with a letter or
	// a digit.
	Name string
	// Issuer is the exact iss claim. Without a JWKSFile it is an https URL, and
	// the keys are found by OpenID discovery when they are first needed.
	Issuer string
	// Audience must be among the token's aud claim.
	Audience string
	// GroupsClaim is the claim that lists the caller's groups. Empty: none.
	GroupsClaim string
	// RootCAs verify the issuer's server. nil means the system's.
	RootCAs *x509.CertPool
	// JWKSFile holds the issuer's public keys as a JSON Web Key Set. With it
	// the issuer is never called. It is read again as a remote set would be.
	JWKSFile string
	// Algorithms are those a signature may use: RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 or EdDSA. Empty means RS256 and ES256.
	Algorithms []string
}

// maxSubjectLen bounds the sub claim and each group, in bytes.
const maxSubjectLen = 512

var issuerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// asymmetric are the algorithms an issuer may be configured with. A symmetric
// one would let whoever verifies tokens make them.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
	jose.EdDSA,
}

type issuer struct {
	name        string
	iss         string
	audience    string
	groupsClaim string
	algorithms  []jose.SignatureAlgorithm
	keys        *keySet
}

func newIssuer(c Issuer, log *slog.Logger) (*issuer, error) {
	// The pattern also keeps a name from looking like a SPIFFE ID's scheme.
	if !issuerName.MatchString(c.Name) {
		return nil, errors.New("a name is 1 to 63 of [a-z0-9-], starting with a letter or a digit")
	}
	if c.Issuer == "" || c.Audience == "" {
		return nil, errors.New("an issuer and an audience are required")
	}
	is := &issuer{name: c.Name, iss: c.Issuer, audience: c.Audience, groupsClaim: c.GroupsClaim}
	for _, a := range c.Algorithms {
		alg := jose.SignatureAlgorithm(a)
		if !slices.Contains(asymmetric, alg) {
			return nil, fmt.Errorf("algorithm %q is not offered; choose of %v", a, asymmetric)
		}
		is.algorithms = append(is.algorithms, alg)
	}
	if len(is.algorithms) == 0 {
		is.algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}
	}
	var err error
	is.keys, err = newKeySet(c, log)
	return is, err
}

// verify checks the signature and returns the claims.
func (is *issuer) verify(ctx context.Context, token *jwt.JSONWebToken) (jwt.Claims, map[string]any, error) {
	h := token.Headers[0]
	alg := jose.SignatureAlgorithm(h.Algorithm)
	if !slices.Contains(is.algorithms, alg) {
		return jwt.Claims{}, nil, errors.New("authn: algorithm not accepted of this issuer")
	}
	// Extensions of JWS that a verifier must understand have no use in a JWT.
	if _, ok := h.ExtraHeaders["crit"]; ok {
		return jwt.Claims{}, nil, errors.New("authn: critical header")
	}
	keys, err := is.keys.find(ctx, h.KeyID, alg)
	if err != nil {
		return jwt.Claims{}, nil, err
	}
	for _, k := range keys {
		var claims jwt.Claims
		var all map[string]any
		if err := token.Claims(k, &claims, &all); err == nil {
			return claims, all, nil
		}
	}
	return jwt.Claims{}, nil, errors.New("authn: no key of the issuer verifies the token")
}

// principal makes the names, which stand behind the issuer's.
func (is *issuer) principal(subject string, claims map[string]any) (broker.Principal, error) {
	if !validSubject(subject) {
		return broker.Principal{}, errors.New("authn: no sub claim, or one that is not 1 to 512 printable bytes")
	}
	p := broker.Principal{ID: is.name + "/" + subject}
	if is.groupsClaim == "" {
		return p, nil
	}
	// A token whose groups cannot be read is refused, not taken for one without
	// groups: a policy may forbid by group.
	switch v := claims[is.groupsClaim].(type) {
	case nil:
	case string:
		p.Groups = []string{v}
	case []any:
		for _, g := range v {
			s, ok := g.(string)
			if !ok {
				return broker.Principal{}, errors.New("authn: a group is no string")
			}
			p.Groups = append(p.Groups, s)
		}
	default:
		return broker.Principal{}, errors.New("authn: the groups claim is no list of strings")
	}
	for i, g := range p.Groups {
		if !validSubject(g) {
			return broker.Principal{}, errors.New("authn: a group is not 1 to 512 printable bytes")
		}
		p.Groups[i] = is.name + "/" + g
	}
	return p, nil
}

func validSubject(s string) bool {
	return s != "" && len(s) <= maxSubjectLen && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
