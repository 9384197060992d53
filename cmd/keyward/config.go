package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// config is the configuration file of keyward serve, and its manual.
//
// It is YAML and read strictly: an unknown key, a key given twice or a value of
// the wrong type is an error with file, line and column. Durations are Go's
// ("60s", "1h"). Relative paths start at the file's own folder. No secret
// stands in it: each is a file, or the name of an environment variable.
//
// A change of it is taken within three seconds, and on SIGHUP at once: limits,
// identity, cache and vaults while the process serves, the rest with its next start,
// which the log and /readyz?verbose say. What is wrong with it is logged, and the one
// before stays, whole.
type config struct {
	// GRPC is where the API is served over gRPC, with TLS. Default 0.0.0.0:7443.
	GRPC listenConfig `yaml:"grpc"`
	// HTTP is where the API is served over REST, with TLS. Default 0.0.0.0:7444.
	HTTP listenConfig `yaml:"http"`
	// Admin serves /livez, /readyz and /metrics over plain HTTP: keep it off the
	// network. Default 127.0.0.1:7446.
	Admin listenConfig `yaml:"admin"`

	TLS      tlsConfig      `yaml:"tls"`
	Identity identityConfig `yaml:"identity"`
	Limits   limitsConfig   `yaml:"limits"` // see config_limits.go

	// Policy is a folder of *.cedar files and, if wanted, an entities.json.
	Policy struct {
		Path string `yaml:"path"`
	} `yaml:"policy"`

	Audit auditConfig `yaml:"audit"` // see config_audit.go
	Cache cacheConfig `yaml:"cache"` // see config_cache.go

	// PageTokens holds the key that page tokens are sealed with. Replicas share
	// it, so that a list begun at one can be continued at another. Made up at
	// start where absent.
	PageTokens struct {
		KeyFile string `yaml:"keyFile"` // at least 32 bytes
	} `yaml:"pageTokens"`

	// Drain is what happens on SIGTERM: for notice the broker serves on but is
	// not ready, so that balancers send nobody new; then calls in flight have
	// timeout to end.
	Drain struct {
		Notice  *duration `yaml:"notice"`  // default 3s
		Timeout *duration `yaml:"timeout"` // default 20s
	} `yaml:"drain"`

	// Vaults, by alias: the {vault} of resource names, 1 to 63 of [a-z0-9-].
	Vaults map[string]vaultConfig `yaml:"vaults"`

	dir string // relative paths start here
}

type listenConfig struct {
	Address string `yaml:"address"` // host:port
}

// tlsConfig is the server's certificate (PEM, with its chain) and key, and the
// CA that client certificates are checked against. Without clientCa nobody can
// authenticate by certificate. Changed files are taken within three seconds, for
// new connections; what is wrong with them is logged, and those before stay.
type tlsConfig struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	ClientCA    string `yaml:"clientCa"`
}

// identityConfig says who can be believed. At least one of the two is needed.
type identityConfig struct {
	MTLS *mtlsConfig `yaml:"mtls"`
	JWT  []jwtConfig `yaml:"jwt"` // see config_jwt.go
}

// mtlsConfig: client certificates with exactly one SPIFFE ID, in trustDomain; or
// with exactly one DNS name below one of the domains of dns, and no URI name. The
// principal is then "{name}/{DNS name}". At least one of the two is needed.
type mtlsConfig struct {
	TrustDomain string `yaml:"trustDomain"`
	DNS         struct {
		Name    string   `yaml:"name"` // [a-z0-9-], ours, and no issuer's
		Domains []string `yaml:"domains"`
	} `yaml:"dns"`
}

// duration is a length of time in Go's syntax, 0s or more.
type duration struct{ time.Duration }

// UnmarshalYAML implements yaml.NodeUnmarshaler, for an error with a position.
func (d *duration) UnmarshalYAML(n ast.Node) error {
	var text string
	err := yaml.NodeToValue(n, &text)
	if err == nil {
		d.Duration, err = time.ParseDuration(text)
	}
	if err != nil || d.Duration < 0 {
		return &yaml.SyntaxError{Token: n.GetToken(), Message: "want a duration such as 90s or 1h, 0s or more"}
	}
	return nil
}

// vaultConfig is a vault: one of url, with a credential, or local.
type vaultConfig struct {
	URL string `yaml:"url"` // https://{name}.vault.azure.net, or another cloud's
	// Kind is keyVault, the default, or managedHsm: https://{name}.managedhsm.azure.net,
	// which has keys and no secrets.
	Kind string `yaml:"kind"`
	// CAFile is a private CA, if any: of the vault, of an authority that is not
	// Azure's, and of a managed identity's endpoint.
	CAFile     string           `yaml:"caFile"`
	APIVersion string           `yaml:"apiVersion"`
	Credential credentialConfig `yaml:"credential"` // see config_credentials.go
	Local      *localConfig     `yaml:"local"`
	Cache      keptConfig       `yaml:"cache"` // what differs here; see config_cache.go
	// Limits is how much of Key Vault's own limits to take.
	Limits *vaultLimitsConfig `yaml:"limits"` // see config_vaultlimits.go
}

// The kinds of vaults.
const (
	kindKeyVault   = "keyVault"
	kindManagedHSM = "managedHsm"
)

// localConfig is an embedded vault: one file, sealed with a key of its own.
// Both are made at the first start.
type localConfig struct {
	Path    string `yaml:"path"`
	KeyFile string `yaml:"keyFile"`
}

// inlineSecrets are keys by which people put a secret into a configuration.
var inlineSecrets = []string{"secret", "clientSecret", "password", "certificate", "token", "value", "key"}

const noInlineSecret = "a secret does not stand in the configuration: name a file (secretFile, passwordFile, keyFile), or an environment variable (secretEnv, passwordEnv)"

// loadConfig reads and checks a configuration. Warnings name what is accepted
// and has no effect.
func loadConfig(path string) (c *config, warnings []string, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no configuration %s; keyward serve --help shows a small one", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	c, warnings, err = parseConfig(path, text)
	if err != nil {
		return nil, nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration: %w", err)
	}
	c.dir = filepath.Dir(abs)
	return c, warnings, nil
}

func parseConfig(path string, text []byte) (*config, []string, error) {
	c := &config{}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, yamlError(path, err)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, nil, yamlError(path, err)
	}
	c.setDefaults()
	check := &configCheck{path: path, file: file}
	check.all(c)
	if len(check.errs) > 0 {
		return nil, nil, errors.Join(check.errs...)
	}
	return c, check.warnings, nil
}

// yamlError gives the position and the words, but never the source line: a
// secret could stand in it, by mistake.
func yamlError(path string, err error) error {
	yerr, ok := errors.AsType[yaml.Error](err)
	if !ok || yerr.GetToken() == nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	tok := yerr.GetToken()
	msg := yerr.GetMessage()
	if strings.HasPrefix(tok.Value, "*") || tok.Prev != nil && tok.Prev.Value == "*" {
		msg = "a value that begins with * is an alias in YAML; quote it if it is text"
	}
	if uerr, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		key := uerr.Token.Value
		msg = fmt.Sprintf("unknown key %q", key)
		if slices.Contains(inlineSecrets, key) {
			msg = noInlineSecret
		}
	}
	if prev := tok.Prev; prev != nil && prev.Prev != nil && slices.Contains(inlineSecrets, prev.Prev.Value) {
		msg = noInlineSecret // "clientSecret: hunter2", where a map is wanted
	}
	return fmt.Errorf("%s:%d:%d: %s", path, tok.Position.Line, tok.Position.Column, msg)
}

func (c *config) setDefaults() {
	c.GRPC.Address = cmp.Or(c.GRPC.Address, "0.0.0.0:7443")
	c.HTTP.Address = cmp.Or(c.HTTP.Address, "0.0.0.0:7444")
	c.Admin.Address = cmp.Or(c.Admin.Address, "127.0.0.1:7446")
	if c.Drain.Notice == nil {
		c.Drain.Notice = &duration{3 * time.Second}
	}
	if c.Drain.Timeout == nil {
		c.Drain.Timeout = &duration{20 * time.Second}
	}
	c.Cache.given, c.Cache.Kept = c.Cache.Kept, c.Cache.Kept.or(keptDefaults)
}

// file returns a path of the configuration, relative to its folder.
func (c *config) file(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.dir, path)
}
