package main

import (
	"flag"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var updateScripts = flag.Bool("update", false, "rewrite what the scripts of testdata/policy compare with")

// The commands on policies, as a user types them. They ask no broker.
func TestPolicyScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/policy", UpdateScripts: *updateScripts})
}

// Wrong usage ends with its own exit code, and says what is right.
func TestPolicyUsage(t *testing.T) {
	const dir = leastPrivilegeDir + "/one-secret"
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"an action's slip", []string{"who-can", "getSecrt", "vaults/pay/secrets/x"}, "did you mean getSecret?"},
		{"no action at all", []string{"who-can", "fly", "vaults/pay/secrets/x"}, "there are: backupCertificate, backupKey, backupSecret, "},
		{"a group of actions", []string{"who-can", "readSecrets", "vaults/pay/secrets/x"}, "ask for one: getSecret, listSecretVersions, listSecrets, watchSecret"},
		{"a vault for a secret", []string{"who-can", "listSecrets", "vaults/pay"}, "write one: vaults/pay/secrets/NAME"},
		{"a secret for a vault", []string{"who-can", "restoreSecret", "vaults/pay/secrets/x"}, "write vaults/ALIAS"},
		{"a short name without its vault", []string{"who-can", "getSecret", "x"}, "name it with --vault ALIAS, or in full: vaults/ALIAS/secrets/x"},
		{"a name that cannot be", []string{"who-can", "getSecret", "vaults/pay/secrets/a_b"}, "names are vaults/ALIAS/secrets/NAME"},
		{"two vaults", []string{"who-can", "getSecret", "vaults/pay/secrets/x", "--vault", "web"}, "the name already has another vault"},
		{"no principal", []string{"explain", "getSecret", "vaults/pay/secrets/x"}, "--principal"},
		{"half a principal", []string{"what-can", "billing"}, "want the whole id, such as spiffe://example.org/billing or dev/billing"},
		{"a group for a principal", []string{"what-can", `Group::"dev/x"`}, `want Workload::"…"`},
		{"half a group", []string{"what-can", "dev/x", "--group", "team"}, "want the whole id, such as kubernetes/team-pay"},
		{"an attribute without its value", []string{"what-can", "dev/x", "--attribute", "namespace"}, "want NAME=VALUE"},
		{"a time", []string{"explain", "getSecret", "vaults/pay/secrets/x", "--principal", "dev/x", "--time", "noon"}, "want RFC 3339"},
		{"an address", []string{"explain", "getSecret", "vaults/pay/secrets/x", "--principal", "dev/x", "--peer", "here"}, "want an IP address"},
		{"a transport", []string{"explain", "getSecret", "vaults/pay/secrets/x", "--principal", "dev/x", "--transport", "pigeon"}, "--transport"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errOut := runHere(t, append([]string{"policy", tt.args[0], "--policy", dir}, tt.args[1:]...)...)
			if code != exitUsage || out != "" {
				t.Errorf("exit code %d, printed %q", code, out)
			}
			if !strings.Contains(errOut, tt.want) {
				t.Errorf("%s\nsays nothing of %q", errOut, tt.want)
			}
		})
	}
}
