package keyvault_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// installAZ puts a program in az's place, the one thing on the PATH, and returns
// the file that it leaves its arguments in.
func installAZ(t *testing.T, script string) (arguments string) {
	t.Helper()
	dir := t.TempDir()
	arguments = filepath.Join(dir, "arguments")
	if script != "" {
		text := "#!/bin/sh\necho \"$@\" >" + arguments + "\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(dir, "az"), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	return arguments
}

func TestAzureCLI(t *testing.T) {
	expires := time.Now().Add(time.Hour).Unix()
	for label, tt := range map[string]struct{ tenant, want string }{
		"the CLI's tenant": {"", "account get-access-token -o json --resource https://vault.azure.net\n"},
		"another tenant":   {"tenant-1", "account get-access-token -o json --resource https://vault.azure.net --tenant tenant-1\n"},
	} {
		t.Run(label, func(t *testing.T) {
			arguments := installAZ(t, fmt.Sprintf(`echo '{"accessToken":"az-token","expires_on":%d,"expiresOn":"2000-01-01 00:00:00.000000"}'`, expires))
			src, err := keyvault.AzureCLI(keyvault.AzureCLIConfig{TenantID: tt.tenant})
			if err != nil {
				t.Fatal(err)
			}
			got, err := src.Token(t.Context(), scope, "")
			if err != nil {
				t.Fatal(err)
			}
			if got.Value.Reveal() != "az-token" || got.Expires.Unix() != expires {
				t.Errorf("a token until %v", got.Expires)
			}
			if said, err := os.ReadFile(arguments); err != nil || string(said) != tt.want {
				t.Errorf("az %s, %v; want az %s", said, err, tt.want)
			}
		})
	}
	if _, err := keyvault.AzureCLI(keyvault.AzureCLIConfig{TenantID: "a; rm"}); err == nil {
		t.Error("a tenant that a shell would read")
	}
}

// What az says becomes what to do; its words stay out.
func TestAzureCLIFails(t *testing.T) {
	for label, tt := range map[string]struct{ script, claims, want string }{
		"no az":           {"", "", "install it"},
		"nobody there":    {`echo "ERROR: Please run 'az login' to setup account. ` + canary + `" >&2; exit 1`, "", "run az login"},
		"login expired":   {`echo "ERROR: AADSTS700082: The refresh token has expired ` + canary + `" >&2; exit 1`, "", "(AADSTS700082); the login has expired"},
		"something else":  {`echo "ERROR: ` + canary + `" >&2; exit 3`, "", "see what it says"},
		"no JSON":         {`echo "` + canary + `"`, "", "see what it says"},
		"claims it lacks": {"", `{"access_token":{}}`, "run az login again"},
	} {
		t.Run(label, func(t *testing.T) {
			installAZ(t, tt.script)
			src, err := keyvault.AzureCLI(keyvault.AzureCLIConfig{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = src.Token(t.Context(), scope, tt.claims)
			wantCode(t, err, broker.CodeVaultAuthentication)
			if s := err.Error(); !strings.Contains(s, tt.want) || strings.Contains(s, canary) || broker.AsError(err).Message != "" {
				t.Errorf("the log: %s; want %q", s, tt.want)
			}
		})
	}
}

// The default chain stays with the credential that worked, and its cache; a
// claims challenge goes past that.
func TestDefault(t *testing.T) {
	noPlatform(t)
	e := newEntra(t)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
	t.Setenv("AZURE_TENANT_ID", "tenant-1")
	t.Setenv("AZURE_CLIENT_ID", "app-1")
	t.Setenv("AZURE_CLIENT_SECRET", clientSecret)
	src, err := keyvault.Default(keyvault.DefaultConfig{Authority: e.URL, RootCAs: rootsOf(e.Server)})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct{ claims, want string }{{"", "token-1"}, {"", "token-1"}, {`{"access_token":{"nbf":{"value":"1"}}}`, "token-2"}} {
		if i == 1 { // a change of the surroundings is not heeded
			t.Setenv("AZURE_CLIENT_SECRET", "another")
		}
		got, err := src.Token(t.Context(), scope, tt.claims)
		if err != nil || got.Value.Reveal() != tt.want {
			t.Errorf("call %d: %v; want %s", i+1, err, tt.want)
		}
	}
	if src, err = keyvault.Default(keyvault.DefaultConfig{Authority: e.URL, RootCAs: rootsOf(e.Server)}); err != nil {
		t.Fatal(err)
	}
	_, err = src.Token(t.Context(), scope, "")
	wantCode(t, err, broker.CodeVaultAuthentication)
	if !strings.Contains(err.Error(), "AADSTS7000215; the client secret is wrong") {
		t.Errorf("the log: %v", err)
	}
}

func TestDefaultFindsNothing(t *testing.T) {
	noPlatform(t)
	installAZ(t, "")
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "dev")
	src, err := keyvault.Default(keyvault.DefaultConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = src.Token(ctx, scope, "")
	wantCode(t, err, broker.CodeVaultAuthentication)
	if !strings.Contains(err.Error(), "name one credential in the configuration") {
		t.Errorf("the log: %v", err)
	}
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "nonsense")
	if _, err := keyvault.Default(keyvault.DefaultConfig{}); err == nil || !strings.Contains(err.Error(), "AZURE_TOKEN_CREDENTIALS") {
		t.Errorf("%v, want an error that names the variable", err)
	}
	if _, err := keyvault.Default(keyvault.DefaultConfig{Authority: "http://login.example"}); err == nil {
		t.Error("an authority over http")
	}
}
