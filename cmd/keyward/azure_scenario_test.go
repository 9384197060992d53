package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// The scenario of testdata/sdk/README.md, by Azure's own client for Go.
func TestAzureScenario(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := vaultEnv(t, start(t, dir, nil, "vault", "--data", dir, "--addr", "127.0.0.1:0"))
	for mode, connect := range map[string]func(*testing.T, map[string]string) *azsecrets.Client{
		"secret":   azureClient,
		"verified": verifiedAzureClient,
	} {
		t.Run(mode, func(t *testing.T) {
			if mode == "secret" {
				t.Run("tls", func(t *testing.T) { refusedWithoutItsCA(t, env) })
			}
			runAzureScenario(t, mode, connect(t, env))
		})
	}
}

// vaultEnvOnly says that a process has vault.env as its environment.
const vaultEnvOnly = "KEYWARD_TEST_VAULT_ENV_ONLY"

// The same with what the SDK finds in vault.env alone, in a process of its own:
// CAs and credentials are looked up once in a process.
func TestAzureScenarioDefault(t *testing.T) {
	if os.Getenv(vaultEnvOnly) != "" {
		t.Run("default", func(t *testing.T) { runAzureScenario(t, "default", defaultAzureClient(t)) })
		return
	}
	dir := filepath.Join(t.TempDir(), "data")
	env := vaultEnv(t, start(t, dir, nil, "vault", "--data", dir, "--addr", "127.0.0.1:0"))
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout="+patience.String())
	child.Env = []string{vaultEnvOnly + "=yes"}
	for k, v := range env {
		child.Env = append(child.Env, k+"="+v)
	}
	out, err := child.CombinedOutput()
	if err != nil {
		t.Errorf("with vault.env alone: %v", err)
	}
	t.Logf("with vault.env alone:\n%s", out)
}

func runAzureScenario(t *testing.T, mode string, c *azsecrets.Client) {
	t.Helper()
	s := &azureScenario{client: c, prefix: "go-" + mode, name: "go-" + mode + "-db"}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"set", s.set},
		{"get", s.get},
		{"get-version", s.getVersion},
		{"update", s.update},
		{"versions", s.versions},
		{"list", s.list},
		{"disabled", s.disabled},
		{"missing", s.missing},
		{"oversize", s.oversize},
		{"bad-name", s.badName},
		{"backup", s.backup},
		{"delete", s.delete},
		{"deleted-get", s.deletedGet},
		{"deleted-list", s.deletedList},
		{"recover", s.recover},
		{"purge", s.purge},
		{"restore", s.restore},
	} {
		if !t.Run(step.name, step.run) {
			t.FailNow() // the later steps build on it
		}
	}
}

// verifiedAzureClient holds the vault's host name to its challenge.
func verifiedAzureClient(t *testing.T, env map[string]string) *azsecrets.Client {
	t.Helper()
	url, opts := byName(t, env)
	c, err := azsecrets.NewClient(url, azureCredential(t, env), &azsecrets.ClientOptions{ClientOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// byName is how the vault is asked by a name in the domain of vaults on this
// machine, as clients want it that check the host against the challenge.
func byName(t *testing.T, env map[string]string) (url string, opts azcore.ClientOptions) {
	t.Helper()
	transport := azureTransport(t, env)
	// Not every system resolves *.localhost.
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return strings.Replace(env["VAULT_URL"], "127.0.0.1", "dev.vault.localhost", 1),
		azcore.ClientOptions{Transport: &http.Client{Transport: transport}}
}

// defaultAzureClient is what a program makes that was told nothing.
func defaultAzureClient(t *testing.T) *azsecrets.Client {
	t.Helper()
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azsecrets.NewClient(os.Getenv("VAULT_URL"), cred, &azsecrets.ClientOptions{DisableChallengeResourceVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// refusedWithoutItsCA shows that the scenario's client verifies whom it talks to.
func refusedWithoutItsCA(t *testing.T, env map[string]string) {
	opts := azcore.ClientOptions{Transport: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	opts.Retry.MaxRetries = -1
	c, err := azsecrets.NewClient(env["VAULT_URL"], azureCredential(t, env), &azsecrets.ClientOptions{ClientOptions: opts})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetSecret(t.Context(), "a", "", nil)
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("without the vault's CA: %v", err)
	}
}
