package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyward/keyward/broker"
)

// defaultContext is the context file that keyward dev writes.
const defaultContext = ".keyward/context.json"

// clientContext is the context file of the client commands: where a broker is,
// and who calls it. Relative paths start at the file's own folder.
type clientContext struct {
	// GRPC is the broker's host:port.
	GRPC string `json:"grpc"`
	// HTTP is the address of its REST API. The commands do not use it.
	HTTP string `json:"http"`
	// CA is a PEM file with what the broker's certificate is checked against;
	// without it, the system's roots.
	CA string `json:"ca"`
	// Certificate and Key are the caller's, in PEM files.
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
	// TokenFile holds a bearer token. Where both are given, the token names the
	// caller.
	TokenFile string `json:"tokenFile"`
	// Vault is the alias that short names are in.
	Vault string `json:"vault"`
}

// readContext reads a context file. It is strict: an unknown key is an error.
func readContext(file string) (clientContext, error) {
	var c clientContext
	b, err := os.ReadFile(file) //nolint:gosec // the file that its user names
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, advise("there is no context file "+file,
			"start a broker on this machine with: keyward dev",
			"or name the file of another with --context FILE or KEYWARD_CONTEXT")
	case err != nil:
		return c, fmt.Errorf("the context file: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("%s: more follows the end of the object", file)
	}
	switch {
	case c.GRPC == "":
		return c, fmt.Errorf(`%s: "grpc" is missing: the broker's host:port`, file)
	case (c.Certificate == "") != (c.Key == ""):
		return c, fmt.Errorf(`%s: "certificate" and "key" go together`, file)
	}
	dir := filepath.Dir(file)
	for _, p := range []*string{&c.CA, &c.Certificate, &c.Key, &c.TokenFile} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

// tls returns what the connection is secured with.
func (c clientContext) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("the broker's CA: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the broker's CA: no PEM certificate in %s", c.CA)
		}
	}
	if c.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, fmt.Errorf("your certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// token returns the bearer token, or an empty value if the context names none.
func (c clientContext) token() (broker.Value, error) {
	if c.TokenFile == "" {
		return broker.Value{}, nil
	}
	b, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return broker.Value{}, fmt.Errorf("your token: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return broker.Value{}, fmt.Errorf("your token: %s holds no bearer token; want one line of visible ASCII", c.TokenFile)
	}
	return broker.NewValue(text), nil
}
