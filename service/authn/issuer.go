package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keyward/keyward/broker"
)

// Issuer is one issuer of bearer tokens: an OpenID provider, or a file of keys.
type Issuer struct {
	// Name stands before the subject and the groups of the issuer's tokens, so
	// that no issuer can mint another's: "kubernetes" makes
	// "kubernetes/<subject>". One to 63 of [a-z0-9-], starting with a letter or
	// a digit. It is the attribute "issuer" of the principals.
	Name string
	// Preset says how the issuer's tokens are read. "" is any OpenID provider.
	Preset Preset
	// Issuer is the exact iss claim, an https URL. Without a JWKSFile the keys
	// are found by OpenID discovery when they are first needed. PresetEntra
	// makes its own, PresetGitHub has a default.
	Issuer string
	// Audiences are those a token may be for: one must be in its aud claim.
	Audiences []string
	// Subject makes the principal's name of claims in braces. "{sub}", the
	// default, is the claim sub; "{/kubernetes.io/namespace}", a JSON Pointer,
	// one within another. Not of PresetKubernetes and PresetEntra.
	Subject string
	// GroupsClaim is the claim that lists the caller's groups, named as in
	// Subject. Empty: none. Not of presets.
	GroupsClaim string
	// RootCAs verify the issuer's server. nil means the system's.
	RootCAs *x509.CertPool
	// JWKSFile holds the issuer's public keys as a JSON Web Key Set. With it
	// the issuer is never called. It is read again as a remote set would be.
	JWKSFile string
	// TokenFile holds a bearer token that is sent when the issuer's keys are
	// asked for, to the issuer's own origin only. It is read at each request.
	// PresetKubernetes only.
	TokenFile string
	// Algorithms are those a signature may use: RS256, RS384, RS512, PS256,
	// PS384, PS512, ES256, ES384, ES512 or EdDSA. Empty means RS256 and ES256,
	// or what the preset's issuer is known to use.
	Algorithms []string
	// TenantID and Authority, the token service's https URL, are PresetEntra's.
	TenantID, Authority string
	// Owners are the accounts whose repositories are believed: PresetGitHub's.
	Owners []string
}

// origin is an iss claim, and the URL that its discovery document stands under.
type origin struct{ iss, discovery string }

// reading is what is to be known of an issuer's tokens. A preset makes one.
type reading struct {
	origins []origin
	// attributes are where a principal's attributes come from: the first of
	// the claims that a token has.
	attributes map[string][]claimPath
	// name returns the subject and the groups of a token of origin iss, without
	// the issuer's name before them. An error refuses the token.
	name func(iss string, c claims) (subject string, groups []string, err error)
}

// issuer judges the tokens of one iss claim.
type issuer struct {
	reading

	config     Issuer
	iss        string
	algorithms []jose.SignatureAlgorithm
	keys       *keySet
}

// newIssuers returns an issuer for each iss claim that c's tokens may have. c
// has been checked.
func newIssuers(c Issuer, log *slog.Logger) ([]*issuer, error) {
	r := presets[c.Preset].read(c)
	names := c.Algorithms
	if len(names) == 0 {
		names = presets[c.Preset].algorithms
	}
	algorithms := make([]jose.SignatureAlgorithm, len(names))
	for i, a := range names {
		algorithms[i] = jose.SignatureAlgorithm(a)
	}
	issuers := make([]*issuer, len(r.origins))
	for i, o := range r.origins {
		keys, err := newKeySet(c, o, log)
		if err != nil {
			return nil, err
		}
		issuers[i] = &issuer{reading: r, config: c, iss: o.iss, algorithms: algorithms, keys: keys}
	}
	return issuers, nil
}

// verify checks the signature and returns the claims.
func (is *issuer) verify(ctx context.Context, token *jwt.JSONWebToken) (jwt.Claims, claims, error) {
	h := token.Headers[0]
	alg := jose.SignatureAlgorithm(h.Algorithm)
	if !slices.Contains(is.algorithms, alg) {
		return jwt.Claims{}, nil, errors.New("authn: algorithm not accepted of this issuer")
	}
	// Extensions of JWS that a verifier must understand have no use in a JWT.
	for _, extension := range []jose.HeaderKey{"crit", "b64"} {
		if _, ok := h.ExtraHeaders[extension]; ok {
			return jwt.Claims{}, nil, errors.New("authn: critical header")
		}
	}
	keys, err := is.keys.find(ctx, h.KeyID, alg)
	if err != nil {
		return jwt.Claims{}, nil, err
	}
	for _, k := range keys {
		var registered jwt.Claims
		var all map[string]any
		if err := token.Claims(k, &registered, &all); err == nil {
			return registered, all, nil
		}
	}
	return jwt.Claims{}, nil, errors.New("authn: no key of the issuer verifies the token")
}

// principal makes the names, which stand behind the issuer's.
func (is *issuer) principal(c claims) (broker.Principal, error) {
	subject, groups, err := is.name(is.iss, c)
	if err != nil {
		return broker.Principal{}, err
	}
	p := broker.Principal{
		ID:         is.config.Name + "/" + subject,
		Attributes: map[string]string{"issuer": is.config.Name},
	}
	for _, g := range groups {
		p.Groups = append(p.Groups, is.config.Name+"/"+g)
	}
	for attribute, paths := range is.attributes {
		for _, path := range paths {
			v, err := c.optional(path...)
			if err != nil {
				return broker.Principal{}, err
			}
			if v != "" {
				p.Attributes[attribute] = v
				break
			}
		}
	}
	return p, nil
}
