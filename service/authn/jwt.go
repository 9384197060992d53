package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/maypok86/otter/v2"

	"github.com/keyward/keyward/broker"
)

const (
	// maxTokenLen bounds a token before anything of it is parsed, in bytes.
	maxTokenLen = 16 << 10
	// skew is how far an issuer's clock may run ahead of ours. A token's end is
	// not stretched.
	skew = time.Minute
	// rememberFor is how long a verified token is taken as such again. A key
	// that was withdrawn lives on in it for as long.
	rememberFor = time.Minute
	// rememberMost bounds the verified tokens that are remembered.
	rememberMost = 10_000
)

// JWTConfig lists the issuers of bearer tokens.
type JWTConfig struct {
	Issuers []Issuer
	// Logger may be nil. It is told when an issuer's keys cannot be had.
	Logger *slog.Logger
}

// NewJWT returns an Authenticator of bearer tokens: JSON Web Tokens that one of
// the issuers signed, with iss, aud, exp and what names its subject. What a token's header says of
// keys and where to find them is ignored, but for kid.
//
// It fails if an issuer is not usable as configured, or its JWKSFile cannot be
// read. It calls no issuer.
func NewJWT(c JWTConfig) (Authenticator, error) {
	log := c.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	j := &jwtAuth{
		log:     log,
		issuers: make(map[string]*issuer, len(c.Issuers)),
		seen: otter.Must(&otter.Options[[sha256.Size]byte, seenToken]{
			MaximumSize: rememberMost,
			Logger:      &otter.NoopLogger{},
		}),
	}
	var errs []error
	for _, p := range Check(c.Issuers) {
		errs = append(errs, fmt.Errorf("authn: issuer %q: %s: %s", c.Issuers[p.Issuer].Name, p.Field, p.Text))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, ic := range c.Issuers {
		issuers, err := newIssuers(ic, log)
		if err != nil {
			return nil, fmt.Errorf("authn: issuer %q: %w", ic.Name, err)
		}
		for _, is := range issuers {
			j.issuers[is.iss] = is
			for _, a := range is.algorithms {
				if !slices.Contains(j.algorithms, a) {
					j.algorithms = append(j.algorithms, a)
				}
			}
		}
	}
	return j, nil
}

type jwtAuth struct {
	log        *slog.Logger
	issuers    map[string]*issuer // by iss claim
	algorithms []jose.SignatureAlgorithm
	seen       *otter.Cache[[sha256.Size]byte, seenToken]
}

// seenToken is a verified token. Its principal is every caller's, and not
// changed. until carries a monotonic reading, exp is the
// token's own and does not.
type seenToken struct {
	principal  broker.Principal
	until, exp time.Time
}

// Authenticate implements Authenticator.
func (j *jwtAuth) Authenticate(ctx context.Context, c Credentials) (broker.Principal, error) {
	token, err := bearer(c.Authorization)
	if err != nil {
		return broker.Principal{}, err
	}
	now := time.Now()
	key := sha256.Sum256([]byte(token))
	if t, ok := j.seen.GetIfPresent(key); ok && now.Before(t.until) && now.Before(t.exp) {
		return t.principal, nil
	}
	p, exp, err := j.verify(ctx, token, now)
	if err != nil {
		return broker.Principal{}, err
	}
	j.seen.Set(key, seenToken{principal: p, until: now.Add(rememberFor), exp: exp})
	return p, nil
}

// bearer returns the token of the one Authorization header.
func bearer(headers []string) (string, error) {
	if len(headers) == 0 {
		return "", ErrNoCredentials
	}
	if len(headers) > 1 {
		return "", refuse("send one Authorization header", nil)
	}
	scheme, token, ok := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrNoCredentials
	}
	if token = strings.TrimLeft(token, " "); !ok || token == "" {
		return "", refuse(`the bearer token is empty; send "Authorization: Bearer <token>"`, nil)
	}
	if len(token) > maxTokenLen {
		return "", refuse("the bearer token is longer than 16 KiB; get one with fewer claims", nil)
	}
	return token, nil
}

const notAccepted = "the bearer token is not valid here; get one of a configured issuer, for the audience configured for it"

// verify returns the principal that token names and when the token ends.
func (j *jwtAuth) verify(ctx context.Context, token string, now time.Time) (broker.Principal, time.Time, error) {
	fail := func(err error) (broker.Principal, time.Time, error) {
		return broker.Principal{}, time.Time{}, refuse(notAccepted, err)
	}
	if !canonical(token) {
		return fail(errors.New("authn: not three parts of base64url"))
	}
	parsed, err := jwt.ParseSigned(token, j.algorithms)
	if err != nil {
		return fail(errors.New("authn: malformed token, or an algorithm not accepted"))
	}
	// Which keys to try is all that is taken from the token unverified.
	var claimed struct {
		Issuer string `json:"iss"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&claimed); err != nil {
		return fail(errors.New("authn: malformed claims"))
	}
	is, ok := j.issuers[claimed.Issuer]
	if !ok {
		return fail(errors.New("authn: unknown issuer"))
	}
	registered, all, err := is.verify(ctx, parsed)
	if err != nil {
		if errors.Is(err, errNoKeys) {
			j.log.WarnContext(ctx, "a token cannot be verified without its issuer's keys", "issuer", is.config.Name, "error", err)
			return broker.Principal{}, time.Time{}, &broker.Error{
				Code:       broker.CodeBadCredentials,
				Message:    "the bearer token cannot be verified now, because its issuer's keys cannot be had; try again later",
				RetryAfter: fetchEvery,
				Err:        err,
			}
		}
		// The caller's time was over before there was a key to judge the token by.
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return broker.Principal{}, time.Time{}, broker.AsError(err)
		}
		return fail(err)
	}
	switch exp := registered.Expiry; {
	case exp == nil:
		return fail(errors.New("authn: no exp claim"))
	case !now.Before(exp.Time()):
		return broker.Principal{}, time.Time{}, refuse("the bearer token has expired; get a new one", nil)
	}
	if err := registered.ValidateWithLeeway(jwt.Expected{Issuer: is.iss, AnyAudience: is.config.Audiences, Time: now}, skew); err != nil {
		return fail(err)
	}
	p, err := is.principal(all)
	if _, ok := errors.AsType[*broker.Error](err); ok { // it has words for the caller
		return broker.Principal{}, time.Time{}, err
	}
	if err != nil {
		return fail(err)
	}
	return p, registered.Expiry.Time(), nil
}

// canonical reports whether token is three parts of base64url without padding,
// in the one spelling that their bytes have. Decoders take others too: the same
// signature would be good for many tokens.
func canonical(token string) bool {
	parts := strings.Split(token, ".")
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool {
		_, err := base64.RawURLEncoding.Strict().DecodeString(p)
		return err != nil || strings.ContainsAny(p, "\r\n")
	})
}
