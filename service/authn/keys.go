package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// fetchEvery is the least time between two fetches of an issuer's keys,
	// whatever callers send.
	fetchEvery = 30 * time.Second
	// refreshAfter is the age from which keys are fetched again in the
	// background, so that a key the issuer withdrew does not stay.
	refreshAfter = 10 * time.Minute
	// fetchTimeout bounds one fetch, which no caller's deadline does.
	fetchTimeout = 5 * time.Second
	maxKeys      = 64
	maxKeysLen   = 256 << 10 // bytes, of a key set and of a discovery document
	minRSABits   = 2048
)

// errNoKeys: the issuer's keys have never been had.
var errNoKeys = errors.New("authn: the issuer's keys cannot be had")

// keySet is an issuer's public keys. They are fetched when first needed, when
// a token names a key that is not among them, and when they are old; at most
// once each fetchEvery. If a fetch fails, the old keys stay.
type keySet struct {
	fetch func(context.Context) ([]jose.JSONWebKey, error)
	log   *slog.Logger

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time     // when the keys in hand were asked for
	tried   time.Time     // when a fetch last began
	running chan struct{} // closed at the end of the fetch that is under way
}

func newKeySet(c Issuer, o origin, log *slog.Logger) (*keySet, error) {
	s := &keySet{log: log.With("issuer", c.Name)}
	if c.JWKSFile != "" {
		s.fetch = func(context.Context) ([]jose.JSONWebKey, error) { return readKeys(c.JWKSFile) }
		keys, err := s.fetch(context.Background())
		if err != nil {
			return nil, err
		}
		s.keys, s.fetched, s.tried = keys, time.Now(), time.Now()
		return s, nil
	}
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			// A fetch is rare: a connection kept for the next would only go stale.
			DisableKeepAlives:      true,
			ForceAttemptHTTP2:      true,
			MaxResponseHeaderBytes: 32 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	d := discovery{origin: o, client: client, tokenFile: c.TokenFile}
	s.fetch = d.keys
	return s, nil
}

// find returns the keys that may have made a signature with alg: the one named
// kid, or where no kid is given, every one that fits. None is no error.
func (s *keySet) find(ctx context.Context, kid string, alg jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	found := match(s.keys, kid, alg)
	if len(found) > 0 {
		if time.Since(s.fetched) >= refreshAfter {
			s.start(ctx)
		}
		s.mu.Unlock()
		return found, nil
	}
	s.start(ctx)
	running := s.running
	s.mu.Unlock()

	if running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched.IsZero() {
		return nil, errNoKeys
	}
	return match(s.keys, kid, alg), nil
}

// start begins a fetch, unless one is under way or one began too recently. It
// is called with mu held. The fetch outlives the caller who caused it.
func (s *keySet) start(ctx context.Context) {
	if s.running != nil || (!s.tried.IsZero() && time.Since(s.tried) < fetchEvery) {
		return
	}
	s.tried = time.Now()
	done := make(chan struct{})
	s.running = done
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(done)
		began := time.Now()
		fctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		keys, err := s.fetch(fctx)

		s.mu.Lock()
		defer s.mu.Unlock()
		s.running = nil
		if err != nil {
			s.log.WarnContext(ctx, "an issuer's keys could not be fetched; the old ones stay", "keys", len(s.keys), "error", err)
			return
		}
		s.keys, s.fetched = keys, began
	}()
}

func match(keys []jose.JSONWebKey, kid string, alg jose.SignatureAlgorithm) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, k := range keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == string(alg)) && fits(k.Key, alg) {
			found = append(found, k)
		}
	}
	return found
}

// fits reports whether key is of the kind, curve and strength of alg.
func fits(key any, alg jose.SignatureAlgorithm) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return (strings.HasPrefix(string(alg), "RS") || strings.HasPrefix(string(alg), "PS")) && k.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		bits := map[jose.SignatureAlgorithm]int{jose.ES256: 256, jose.ES384: 384, jose.ES512: 521}[alg]
		return k.Curve.Params().BitSize == bits
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

func readKeys(file string) ([]jose.JSONWebKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseKeys(f)
}

// parseKeys reads a JSON Web Key Set, and keeps what can verify a signature. A
// key of a kind that is not known is left out; it may be for others.
func parseKeys(r io.Reader) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(r, maxKeysLen)).Decode(&set); err != nil {
		return nil, errors.New("no JSON Web Key Set, or one of more than 256 KiB")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || !k.Valid() || (k.Use != "" && k.Use != "sig") {
			continue
		}
		if k.IsPublic() {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key for signatures in the JSON Web Key Set")
	}
	return keys, nil
}
