package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// azure is a vault and its token service, which answer as they are told.
type azure struct {
	*httptest.Server
	token func(w http.ResponseWriter)
	list  func(w http.ResponseWriter)
	get   func(w http.ResponseWriter)
	// The same of keys.
	listKeys func(w http.ResponseWriter)
	getKey   func(w http.ResponseWriter)
	// And of certificates.
	listCertificates func(w http.ResponseWriter)
	getCertificate   func(w http.ResponseWriter)
}

func newAzure(t *testing.T) *azure {
	t.Helper()
	z := &azure{
		token: func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"access_token":"t","expires_in":3599}`) },
		list:  func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"value":[],"nextLink":null}`) },
		get: func(w http.ResponseWriter) {
			vaultAnswers(404, "SecretNotFound", "", "A secret with (name/id) x was not found in this key vault.")(w)
		},
		listKeys: func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"value":[],"nextLink":null}`) },
		getKey: func(w http.ResponseWriter) {
			vaultAnswers(404, "KeyNotFound", "", "A key with (name/id) x was not found in this key vault.")(w)
		},
		listCertificates: func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"value":[],"nextLink":null}`) },
		getCertificate: func(w http.ResponseWriter) {
			vaultAnswers(404, "CertificateNotFound", "", "A certificate with (name/id) x was not found in this key vault.")(w)
		},
	}
	z.Server = httptest.NewUnstartedServer(z)
	z.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	z.StartTLS()
	t.Cleanup(z.Close)
	return z
}

func (z *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch base := "https://" + r.Host + "/tenant-1"; {
	case r.URL.Path == "/tenant-1/v2.0/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
		})
	case r.URL.Path == "/tenant-1/oauth2/v2.0/token":
		z.token(w)
	case r.URL.Path == "/secrets":
		z.list(w)
	case r.URL.Path == "/keys":
		z.listKeys(w)
	case r.URL.Path == "/keys/signer/versions":
		_, _ = io.WriteString(w, `{"value":[{"kid":"https://`+r.Host+`/keys/signer/4fdaaf1456c7478babf4a28ddef5bdab","attributes":{"enabled":true}}]}`)
	case strings.HasPrefix(r.URL.Path, "/keys/keyward-check-"):
		z.getKey(w)
	case r.URL.Path == "/certificates":
		z.listCertificates(w)
	case strings.HasPrefix(r.URL.Path, "/certificates/keyward-check-"):
		z.getCertificate(w)
	case strings.HasSuffix(r.URL.Path, "/versions"):
		_, _ = io.WriteString(w, `{"value":[{"id":"https://`+r.Host+`/secrets/db/4fdaaf1456c7478babf4a28ddef5bdab","attributes":{"enabled":true}}]}`)
	case strings.HasPrefix(r.URL.Path, "/secrets/keyward-check-"):
		z.get(w)
	default:
		panic("asked for " + r.URL.Path) // no secret that exists
	}
}

// vaultAnswers is an error of Key Vault's.
func vaultAnswers(status int, code, inner, message string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		e := map[string]any{"code": code, "message": message}
		if inner != "" {
			e["innererror"] = map[string]string{"code": inner}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"error": e})
	}
}

func lacksRole(action string) func(http.ResponseWriter) {
	return vaultAnswers(403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n"+
		"Caller: appid=0;oid=5;iss=https://sts.windows.net/e/\r\nAction: 'Microsoft.KeyVault/vaults/secrets/"+action+"'\r\nAssignment: (not found)\r\n")
}

func lacksPolicy(permission string) func(http.ResponseWriter) {
	return vaultAnswers(403, "Forbidden", "AccessDenied", "The user, group or application 'appid=d;oid=0;iss=https://sts.windows.net/c/' does not have secrets "+
		permission+" permission on key vault 'v;location=southindia'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287")
}

func lacksKeyRole(action string) func(http.ResponseWriter) {
	return vaultAnswers(403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nAction: 'Microsoft.KeyVault/vaults/"+action+"'\r\n")
}

func lacksHSMRole(action string) func(http.ResponseWriter) {
	return vaultAnswers(403, "AccessDenied", "", "Not authorized to access Microsoft.KeyVault/managedHsm/"+action+" on /keys (Activity ID: 7)")
}

func lacksKeyPolicy(permission string) func(http.ResponseWriter) {
	return vaultAnswers(403, "Forbidden", "AccessDenied", "The user, group or application 'appid=d' does not have keys "+permission+" permission on key vault 'v'.")
}

// online runs --check --online against z, its configuration changed by edits.
func (z *azure) online(t *testing.T, edits ...string) (int, string) {
	t.Helper()
	return z.onlineWith(t, "", edits...)
}

// onlineWith does so with a policy in place of the usual ones.
func (z *azure) onlineWith(t *testing.T, policy string, edits ...string) (int, string) {
	t.Helper()
	dir, file := serveDir(t, "127.0.0.1:0")
	if policy != "" {
		if err := os.WriteFile(filepath.Join(dir, "policy", "dev.cedar"), []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: z.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "azure.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(read(t, file), "vaults:")
	vaults := fmt.Sprintf(`vaults:
  pay:
    url: %[1]s
    caFile: azure.pem
    credential: {clientSecret: {tenantId: tenant-1, clientId: app-1, secretEnv: PAY_SECRET, authority: "%[1]s"}}
`, z.URL)
	if err := os.WriteFile(file, []byte(text+strings.NewReplacer(edits...).Replace(vaults)), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string { return map[string]string{"PAY_SECRET": "pay-secret-1f"}[name] }
	var out bytes.Buffer
	rc := run(t.Context(), []string{"serve", "--config", file, "--check", "--online"}, env, nil, &out, &out)
	return rc, out.String()
}

func TestCheckOnline(t *testing.T) {
	z := newAzure(t)
	for label, tt := range map[string]struct{ list, listKeys string }{
		"an empty vault": {`{"value":[],"nextLink":null}`, `{"value":[],"nextLink":null}`},
		"one of each": {
			`{"value":[{"id":"` + z.URL + `/secrets/db","attributes":{"enabled":true}}]}`,
			`{"value":[{"kid":"` + z.URL + `/keys/signer","attributes":{"enabled":true}}]}`,
		},
	} {
		z.list = func(w http.ResponseWriter) { _, _ = io.WriteString(w, tt.list) }
		z.listKeys = func(w http.ResponseWriter) { _, _ = io.WriteString(w, tt.listKeys) }
		if rc, out := z.online(t); rc != exitOK || !strings.HasSuffix(out, "vault pay: ok\n") {
			t.Errorf("%s: %d\n%s", label, rc, out)
		}
	}
}

// A vault is asked for what policies may permit, and a Managed HSM for keys.
func TestCheckOnlineAsksForWhatPoliciesPermit(t *testing.T) {
	none := func(http.ResponseWriter) { panic("nobody may do this") }
	for label, tt := range map[string]struct {
		policy        string
		hsm           bool
		secrets, keys bool
		certificates  bool
	}{
		"secrets": {policy: `permit (principal, action in Action::"readSecrets", resource in Vault::"pay");`, secrets: true},
		"keys":    {policy: `permit (principal, action == Action::"signKey", resource == Key::"vaults/pay/keys/signer");`, keys: true},
		"certs":   {policy: `permit (principal, action == Action::"downloadCertificate", resource in Vault::"pay");`, certificates: true},
		"all":     {policy: `permit (principal, action, resource);`, secrets: true, keys: true, certificates: true},
		"nothing": {policy: `permit (principal, action, resource in Vault::"hr");`, secrets: true},
		"an HSM":  {policy: `permit (principal, action, resource);`, hsm: true, keys: true},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			z := newAzure(t)
			var secrets, keys, certificates atomic.Bool
			list, listKeys, listCertificates := z.list, z.listKeys, z.listCertificates
			z.listCertificates = func(w http.ResponseWriter) { certificates.Store(true); listCertificates(w) }
			if !tt.certificates {
				z.listCertificates, z.getCertificate = none, none
			}
			z.list = func(w http.ResponseWriter) { secrets.Store(true); list(w) }
			z.listKeys = func(w http.ResponseWriter) { keys.Store(true); listKeys(w) }
			if !tt.secrets {
				z.list, z.get = none, none
			}
			if !tt.keys {
				z.listKeys, z.getKey = none, none
			}
			edits := []string{}
			if tt.hsm {
				edits = []string{"    caFile:", "    kind: managedHsm\n    caFile:"}
			}
			rc, out := z.onlineWith(t, tt.policy, edits...)
			if rc != exitOK || secrets.Load() != tt.secrets || keys.Load() != tt.keys || certificates.Load() != tt.certificates {
				t.Errorf("exit code %d, asked for secrets %v, for keys %v, for certificates %v\n%s", rc, secrets.Load(), keys.Load(), certificates.Load(), out)
			}
		})
	}
}

// Whatever is wrong is one line, which says what to do.
func TestCheckOnlineNamesWhatIsWrong(t *testing.T) {
	refuses := func(status int, code int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"AADSTS%d: words","error_codes":[%[1]d]}`, code)
		}
	}
	page := func(w http.ResponseWriter) { w.WriteHeader(403); _, _ = io.WriteString(w, "<html>") }
	for label, tt := range map[string]struct {
		token, list, get func(http.ResponseWriter)
		listKeys, getKey func(http.ResponseWriter)

		listCertificates, getCertificate func(http.ResponseWriter)

		edits []string
		want  []string // a part of each line
	}{
		"a role, to read":    {get: lacksRole("getSecret/action"), want: []string{"403 Forbidden/ForbiddenByRbac: the identity lacks Microsoft.KeyVault/vaults/secrets/getSecret/action; assign it the role Key Vault Secrets User on"}},
		"a role, to list":    {list: lacksRole("readMetadata/action"), want: []string{"readMetadata/action; assign it the role Key Vault Secrets User (or, to list and no more, Key Vault Reader)"}},
		"a role, for both":   {list: lacksRole("readMetadata/action"), get: lacksRole("getSecret/action"), want: []string{"readMetadata/action", "getSecret/action"}},
		"a policy, to list":  {list: lacksPolicy("list"), want: []string{"403 Forbidden/AccessDenied: the vault's access policies do not give the identity secrets list; add it"}},
		"a policy, for both": {list: lacksPolicy("list"), get: lacksPolicy("get"), want: []string{"secrets list", "secrets get"}},
		"a role, for keys": {
			listKeys: lacksKeyRole("keys/read"), getKey: lacksKeyRole("keys/read"),
			want: []string{"403 Forbidden/ForbiddenByRbac: the identity lacks Microsoft.KeyVault/vaults/keys/read; assign it the role Key Vault Crypto User (or, to list and read public keys and no more, Key Vault Reader) on the vault, which takes some minutes to be heeded; or let no policy permit anything with the vault's keys"},
		},
		"a role, for all": {list: lacksRole("readMetadata/action"), get: lacksRole("getSecret/action"), listKeys: lacksKeyRole("keys/read"), want: []string{"readMetadata/action", "getSecret/action", "keys/read"}},
		"a role, for certificates": {
			listCertificates: lacksKeyRole("certificates/read"), getCertificate: lacksKeyRole("certificates/read"),
			want: []string{"403 Forbidden/ForbiddenByRbac: the identity lacks Microsoft.KeyVault/vaults/certificates/read; assign it the role Key Vault Certificate User (or, to list and read public certificates and no more, Key Vault Reader) on the vault, which takes some minutes to be heeded; or let no policy permit anything with the vault's certificates"},
		},
		"a policy, for keys":  {listKeys: lacksKeyPolicy("list"), getKey: lacksKeyPolicy("get"), want: []string{"403 Forbidden/AccessDenied: the vault's access policies do not give the identity keys list; add it (az keyvault set-policy --key-permissions get list)", "keys get"}},
		"a role in an HSM":    {listKeys: lacksHSMRole("keys/read/action"), edits: []string{"    caFile:", "    kind: managedHsm\n    caFile:"}, want: []string{"403 AccessDenied: the identity lacks Microsoft.KeyVault/managedHsm/keys/read/action; assign it the role Managed HSM Crypto User in the HSM itself"}},
		"an HSM's empty 401":  {listKeys: func(w http.ResponseWriter) { w.WriteHeader(401) }, edits: []string{"    caFile:", "    kind: managedHsm\n    caFile:"}, want: []string{"the vault answered 401; check that url and authority are of one cloud"}},
		"the firewall":        {list: vaultAnswers(403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized."), want: []string{"network settings do not let this host in"}},
		"a private endpoint":  {list: vaultAnswers(403, "Forbidden", "ForbiddenByConnection", "Public network access is disabled."), want: []string{"private endpoint"}},
		"on behalf of":        {list: vaultAnswers(403, "Forbidden", "ForbiddenByPolicy", "The policy requires OBO"), want: []string{"for the identity alone"}},
		"another tenant":      {list: vaultAnswers(401, "Unauthorized", "", "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/7/"), want: []string{"401 AKV10032: the token is of another tenant than the vault's; check tenantId"}},
		"another audience":    {list: vaultAnswers(401, "Unauthorized", "", "AKV10022: Invalid audience."), want: []string{"401 AKV10022: the token is for another audience"}},
		"another token":       {list: vaultAnswers(401, "Unauthorized", "", "AKV10046: Unable to resolve the key"), want: []string{"set this host's clock"}},
		"a proxy's page":      {list: page, want: []string{"any proxy on the way"}},
		"an unknown version":  {list: vaultAnswers(400, "BadParameter", "", "The specified version (9) is not recognized."), want: []string{"leave apiVersion out"}},
		"throttling":          {list: vaultAnswers(429, "Throttled", "", "too many"), want: []string{"try again in a minute"}},
		"a wrong secret":      {token: refuses(401, 7000215), want: []string{"AADSTS7000215; the client secret is wrong"}},
		"an expired secret":   {token: refuses(401, 7000222), want: []string{"AADSTS7000222; the client secret has expired"}},
		"an unknown tenant":   {token: refuses(400, 90002), want: []string{"AADSTS90002; there is no such tenant"}},
		"an unknown host":     {edits: []string{"    url: https://127.0.0.1", "    url: https://keyward.invalid"}, want: []string{"the vault has a host name that cannot be resolved here"}},
		"nobody there":        {edits: []string{"    url: https://127.0.0.1:", "    url: https://127.0.0.1:1 #"}, want: []string{"the vault cannot be connected to"}},
		"no trust":            {edits: []string{"    caFile: azure.pem", "    caFile: ca.pem"}, want: []string{"the token endpoint has a certificate that this host does not trust: name its CA as caFile"}},
		"an unknown endpoint": {edits: []string{`authority: "https://127.0.0.1`, `authority: "https://keyward.invalid`}, want: []string{"the token endpoint has a host name that cannot be resolved here"}},
	} {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			z := newAzure(t)
			if tt.token != nil {
				z.token = tt.token
			}
			if tt.listCertificates != nil {
				z.listCertificates, z.getCertificate = tt.listCertificates, tt.getCertificate
			}
			if tt.list != nil {
				z.list = tt.list
			}
			if tt.get != nil {
				z.get = tt.get
			}
			if tt.listKeys != nil {
				z.listKeys = tt.listKeys
			}
			if tt.getKey != nil {
				z.getKey = tt.getKey
			}
			rc, out := z.online(t, tt.edits...)
			_, faults, _ := strings.Cut(out, "policies: 2, ok\n")
			lines := strings.Split(strings.TrimSuffix(faults, "\n"), "\n")
			if rc != exitError || len(lines) != len(tt.want) {
				t.Fatalf("exit code %d, want 1 and %d lines\n%s", rc, len(tt.want), out)
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], "vault pay: ") || !strings.Contains(lines[i], want) {
					t.Errorf("%s\nwant %s", lines[i], want)
				}
			}
			if strings.Contains(out, "pay-secret-1f") || strings.Contains(faults, "https://") {
				t.Errorf("it says too much:\n%s", out)
			}
		})
	}
}

func TestRoleFor(t *testing.T) {
	for permission, want := range map[string]string{
		"Microsoft.KeyVault/vaults/secrets/getSecret/action":            "Key Vault Secrets User",
		"Microsoft.KeyVault/vaults/secrets/setSecret/action":            "Key Vault Secrets Officer",
		"Microsoft.KeyVault/vaults/certificates/create/action":          "Key Vault Certificates Officer",
		"Microsoft.KeyVault/vaults/keys/sign/action":                    "Key Vault Crypto User",
		"Microsoft.KeyVault/vaults/keys/unwrap/action":                  "Key Vault Crypto User",
		"Microsoft.KeyVault/vaults/keys/create/action":                  "Key Vault Crypto Officer",
		"Microsoft.KeyVault/vaults/keys/delete":                         "Key Vault Crypto Officer",
		"Microsoft.KeyVault/vaults/keyrotationpolicies/read":            "Key Vault Crypto Officer",
		"Microsoft.KeyVault/managedHsm/keys/sign/action":                "Managed HSM Crypto User",
		"Microsoft.KeyVault/managedHsm/keys/deletedKeys/read/action":    "Managed HSM Crypto User",
		"Microsoft.KeyVault/managedHsm/keys/deletedKeys/recover/action": "Managed HSM Crypto Officer",
		"": "Key Vault Secrets Officer",
	} {
		if got := roleFor(permission); got != want {
			t.Errorf("%s: %s, want %s", permission, got, want)
		}
	}
}
