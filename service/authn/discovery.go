package authn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// discovery finds an issuer's keys by its OpenID discovery document.
type discovery struct {
	origin

	client    *http.Client
	tokenFile string // "" is none
}

// keys fetches the document and the keys it names.
func (d discovery) keys(ctx context.Context) ([]jose.JSONWebKey, error) {
	body, err := d.get(ctx, strings.TrimSuffix(d.discovery, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	defer body.Close()
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.NewDecoder(io.LimitReader(body, maxKeysLen)).Decode(&doc); err != nil {
		return nil, errors.New("discovery: the document is not JSON as expected")
	}
	if doc.Issuer != d.iss {
		return nil, errors.New("discovery: the document is another issuer's; configure the issuer exactly as it calls itself")
	}
	if err := wantHTTPS(doc.JWKSURI); err != nil {
		return nil, fmt.Errorf("discovery: jwks_uri: %w", err)
	}
	address := doc.JWKSURI
	if d.tokenFile != "" {
		// An API server's document calls the server by an address of its own choice.
		// The token goes to nobody but whom it was configured for.
		if address, err = atOriginOf(d.discovery, address); err != nil {
			return nil, fmt.Errorf("discovery: jwks_uri: %w", err)
		}
	}
	set, err := d.get(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer set.Close()
	return parseKeys(set)
}

func (d discovery) get(ctx context.Context, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/json")
	if err := d.authorize(req); err != nil {
		return nil, err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		if code := resp.StatusCode; code == http.StatusUnauthorized || code == http.StatusForbidden {
			return nil, fmt.Errorf("the issuer answered %d; let anybody read its keys, or give them as a file (jwksFile)", code)
		}
		return nil, fmt.Errorf("the issuer answered %d", resp.StatusCode)
	}
	return resp.Body, nil
}

// authorize adds the token of tokenFile. With one, all requests are to the
// issuer's own origin.
func (d discovery) authorize(req *http.Request) error {
	if d.tokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(d.tokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if !validToken(token) {
		return fmt.Errorf("tokenFile: want one token, of 1 byte to 16 KiB, in %s", d.tokenFile)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// validToken keeps what is no token out of a header, and out of the error of
// one that cannot be sent.
func validToken(s string) bool {
	return s != "" && len(s) <= maxTokenLen && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// atOriginOf returns the path of address at the host of own.
func atOriginOf(own, address string) (string, error) {
	at, err1 := url.Parse(own)
	u, err2 := url.Parse(address)
	if err := errors.Join(err1, err2); err != nil {
		return "", errors.New("not a URL")
	}
	u.Scheme, u.Host = at.Scheme, at.Host
	return u.String(), nil
}

func wantHTTPS(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("want an https URL")
	}
	return nil
}
