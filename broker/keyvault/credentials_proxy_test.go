package keyvault_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

const proxyCase = "KEYWARD_TEST_PROXY_CASE"

// proxied is what a process behind a hostile proxy does, and what the proxy may
// see of it: where to, and nothing else.
var proxied = map[string]struct {
	act  func(ctx context.Context, t *testing.T)
	env  []string
	sees []string
}{
	"the vault": {
		act: func(ctx context.Context, t *testing.T) {
			_, err := newClient(t, keyvault.Config{URL: "https://pay.vault.azure.net"}).DeleteSecret(ctx, secretNamed(t, "db"))
			wantCode(t, err, broker.CodeVaultUnavailable)
		},
		sees: []string{"CONNECT pay.vault.azure.net:443"},
	},
	"Entra": {
		act: func(ctx context.Context, t *testing.T) {
			askToken(ctx, t)(keyvault.ClientSecret(keyvault.ClientSecretConfig{TenantID: "t", ClientID: "c", Secret: broker.NewValue(clientSecret)}))
		},
		sees: []string{"CONNECT login.microsoftonline.com:443"},
	},
	"Entra, by the default chain": {
		act: func(ctx context.Context, t *testing.T) { askToken(ctx, t)(keyvault.Default(keyvault.DefaultConfig{})) },
		env: []string{
			"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential", "AZURE_TENANT_ID=t", "AZURE_CLIENT_ID=c", "AZURE_CLIENT_SECRET=" + clientSecret,
		},
		sees: []string{"CONNECT login.microsoftonline.com:443"},
	},
	"a machine's identity": {
		act: func(ctx context.Context, t *testing.T) {
			askToken(ctx, t)(keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{}))
		},
	},
	// 0.0.0.0 is this machine, but for net/http not an address that goes past
	// every proxy.
	"a service's identity": {
		act: func(ctx context.Context, t *testing.T) {
			askToken(ctx, t)(keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{}))
		},
		env: []string{"IDENTITY_ENDPOINT=http://0.0.0.0:1/msi/token", "IDENTITY_HEADER=h"},
	},
	"a machine's identity, by the default chain": {
		act: func(ctx context.Context, t *testing.T) { askToken(ctx, t)(keyvault.Default(keyvault.DefaultConfig{})) },
		env: []string{"AZURE_TOKEN_CREDENTIALS=prod"},
	},
	"a service's identity over TLS, by the default chain": {
		act: func(ctx context.Context, t *testing.T) { askToken(ctx, t)(keyvault.Default(keyvault.DefaultConfig{})) },
		env: []string{"AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential", "IDENTITY_ENDPOINT=https://0.0.0.0:1/msi/token", "IDENTITY_HEADER=h"},
	},
}

// askToken asks a source, in vain.
func askToken(ctx context.Context, t *testing.T) func(keyvault.TokenSource, error) {
	return func(src keyvault.TokenSource, err error) {
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Token(ctx, scope, "")
		wantCode(t, err, broker.CodeVaultAuthentication)
	}
}

// HTTPS_PROXY is for the vault and for Entra; the platform's endpoints are never
// asked through it. net/http reads the environment once, hence a process for
// each case.
func TestProxy(t *testing.T) {
	if c, ok := proxied[os.Getenv(proxyCase)]; ok {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c.act(ctx, t)
		return
	}
	for label, tt := range proxied {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var seen []string
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, r.Method+" "+r.Host)
				for name := range r.Header {
					if name != "User-Agent" {
						t.Errorf("the proxy saw a header %s", name)
					}
				}
				w.WriteHeader(http.StatusForbidden)
			}))
			t.Cleanup(proxy.Close)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$")
			cmd.Env = append([]string{
				proxyCase + "=" + label, "HTTP_PROXY=" + proxy.URL, "HTTPS_PROXY=" + proxy.URL, "HOME=" + t.TempDir(), "PATH=" + t.TempDir(),
			}, tt.env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(seen)
			if got := slices.Compact(seen); !slices.Equal(got, tt.sees) {
				t.Errorf("the proxy saw %q, want %q", got, tt.sees)
			}
		})
	}
}
