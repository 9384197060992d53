package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker/audit"
)

// fullConfig has every key of the file.
const fullConfig = `
grpc:  {address: "0.0.0.0:7443"}
http:  {address: "0.0.0.0:7444"}
admin: {address: "127.0.0.1:7446"}
tls:   {certificate: server.pem, key: server-key.pem, clientCa: ca.pem}
identity:
  mtls: {trustDomain: example.org}
  jwt:
    - {name: kubernetes, issuer: "https://kubernetes.example", audience: keyward, groupsClaim: groups, caFile: k8s.pem, jwksFile: jwks.json}
policy: {path: policy/}
audit:  {path: audit.jsonl, sync: always}
cache:  {ttl: "90s", staleIfError: 2h, publicKeys: true, negativeTtl: 2s, maxBytes: 1048576}
pageTokens: {keyFile: page.key}
drain: {notice: 5s, timeout: 30s}
vaults:
  pay:
    url: https://pay.vault.azure.net
    caFile: ""
    apiVersion: "7.6"
    credential: {managedIdentity: {clientId: 11111111-1111-1111-1111-111111111111}}
  shop:
    url: https://shop.vault.azure.net
    credential: {clientSecret: {tenantId: t, clientId: c, secretEnv: SHOP_SECRET, authority: "https://login.microsoftonline.us"}}
  gate:
    url: https://gate.vault.azure.cn
    credential: {clientCertificate: {tenantId: t, clientId: c, certificateFile: gate.pfx, passwordFile: gate.txt, authority: "https://login.example"}}
  pods:
    url: https://pods.vault.azure.net
    credential: {workloadIdentity: {tenantId: t, clientId: c, tokenFile: token, authority: "https://login.example"}}
  desk:
    url: https://desk.vault.azure.net
    credential: {azureCli: {tenantId: t}}
  any:
    url: https://any.vault.azure.net
    credential: {default: {}}
  edge:
    local: {path: vault.db, keyFile: vault.key}
    cache: {ttl: 5s, staleIfError: 0s, negativeTtl: 0s, maxBytes: 2097152}
limits: {principal: {rate: 100, burst: 200}, failedAuthentication: {rate: 0.5}}
`

func TestConfigReadsEveryKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keyward.yaml")
	if err := os.WriteFile(file, []byte(fullConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
	if c.Cache.Kept.TTL.Duration != 90*time.Second || !c.Cache.PublicKeys || c.Audit.Sync.Sync != audit.SyncAlways || len(c.Vaults) != 7 ||
		c.Identity.JWT[0].GroupsClaim != "groups" || c.Vaults["pay"].APIVersion != "7.6" {
		t.Errorf("read %+v", c)
	}
	if got, want := c.file("page.key"), filepath.Join(filepath.Dir(file), "page.key"); got != want {
		t.Errorf("a relative path is %s, want %s", got, want)
	}
}

// Keys that are not kept cannot be used.
func TestConfigWarnsOfPublicKeysThatAreNotKept(t *testing.T) {
	for ttl, want := range map[string]int{"0s": 1, "1s": 0} {
		_, warnings, err := parseConfig("k.yaml", []byte(`
tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
audit: {path: a}
cache: {publicKeys: true, ttl: `+ttl+`}
vaults: {pay: {url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}}}
`))
		if err != nil || len(warnings) != want || want > 0 && !strings.Contains(warnings[0], "k.yaml:6:21: cache.publicKeys has no effect") {
			t.Errorf("ttl %s: warnings %q, %v; want %d", ttl, warnings, err, want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	c, _, err := parseConfig("k.yaml", []byte(`
tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
audit: {path: a}
vaults: {pay: {url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.GRPC.Address != "0.0.0.0:7443" || c.HTTP.Address != "0.0.0.0:7444" || c.Admin.Address != "127.0.0.1:7446" ||
		c.Cache.Kept.TTL.Duration != time.Minute || c.Cache.PublicKeys || c.Audit.Sync.Sync != audit.SyncInterval {
		t.Errorf("defaults: %+v", c)
	}
}

func TestConfigRefuses(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(fullConfig, old) {
			t.Fatalf("no %q to replace", old)
		}
		return strings.Replace(fullConfig, old, with, 1)
	}
	tests := map[string]struct{ text, want string }{
		"an unknown key":           {replace("audit:  {path", "audti:  {path"), `k.yaml:11:1: unknown key "audti"`},
		"a key given twice":        {fullConfig + "cache: {ttl: 1s}\n", `k.yaml:40:1: `},
		"a long negativeTtl":       {replace("negativeTtl: 2s", "negativeTtl: 2m"), "k.yaml:12:71: cache.negativeTtl: want 1m at most"},
		"a vault's negativeTtl":    {replace("negativeTtl: 0s", "negativeTtl: 61s"), "k.yaml:38:53: vaults.edge.cache.negativeTtl: want 1m at most"},
		"a small maxBytes":         {replace("maxBytes: 1048576", "maxBytes: 1024"), "cache.maxBytes: want 1048576 (1 MiB) or more"},
		"publicKeys of a vault":    {replace("cache: {ttl: 5s", "cache: {publicKeys: true, ttl: 5s"), `unknown key "publicKeys"`},
		"a wrong type":             {replace(`cache:  {ttl: "90s"`, "cache:  {ttl: soon"), "k.yaml:12:15: "},
		"a list for a map":         {replace("policy: {path: policy/}", "policy: [policy/]"), "k.yaml:10:9: "},
		"broken YAML":              {replace("policy: {path: policy/}", "policy: {path: policy/"), "k.yaml:"},
		"an inline secret":         {replace("secretEnv: SHOP_SECRET", "secret: hunter2"), "secretFile"},
		"two places of a secret":   {replace("secretEnv: SHOP_SECRET", "secretEnv: A, secretFile: b"), "either secretFile"},
		"no place of a secret":     {replace("secretEnv: SHOP_SECRET, ", ""), "either secretFile"},
		"http to a vault":          {replace("url: https://pay", "url: http://pay"), "k.yaml:17:10: vaults.pay.url: want the vault's URL, https://"},
		"no credential":            {replace("credential: {managedIdentity: {clientId: 11111111-1111-1111-1111-111111111111}}", "credential: {}"), "vaults.pay.credential: want exactly one"},
		"a bad alias":              {replace("  shop:", "  Shop.1:"), `k.yaml:16:6: vaults: "Shop.1": an alias is`},
		"an alias like an index":   {replace("  shop:", "  \"a[0\":"), `vaults: "a[0": an alias is`},
		"a URL with a fragment":    {replace("url: https://pay.vault.azure.net", "url: https://pay.vault.azure.net#x"), "vaults.pay.url: want the vault's URL"},
		"a URL without a host":     {replace("url: https://pay.vault.azure.net", "url: https://:443"), "vaults.pay.url: want the vault's URL"},
		"a bad sync":               {replace("sync: always", "sync: sometimes"), "k.yaml:11:"},
		"a negative TTL":           {replace(`ttl: "90s"`, "ttl: -1s"), "k.yaml:12:15: want a duration"},
		"a bad address":            {replace(`grpc:  {address: "0.0.0.0:7443"}`, `grpc:  {address: "7443"}`), "k.yaml:2:18: grpc.address: want host:port"},
		"no policy":                {replace("policy: {path: policy/}", ""), "policy.path: name the folder"},
		"no audit":                 {replace("audit:  {path: audit.jsonl, sync: always}", ""), "audit.path: name the audit log"},
		"no certificate":           {replace("certificate: server.pem, ", ""), "tls.certificate"},
		"mtls without a client CA": {replace(", clientCa: ca.pem", ""), "tls.clientCa"},
		"no trust domain":          {replace("mtls: {trustDomain: example.org}", "mtls: {}"), "identity.mtls.trustDomain: name the SPIFFE trust domain"},
		"a trust domain as a URI":  {replace("trustDomain: example.org", "trustDomain: \"spiffe://example.org\""), "identity.mtls.trustDomain: name the SPIFFE trust domain"},
		"DNS without a name":       {replace("trustDomain: example.org", "dns: {domains: [example.org]}"), "identity.mtls.dns.name: want"},
		"DNS without domains":      {replace("trustDomain: example.org", "dns: {name: mesh}"), "identity.mtls.dns.domains: name the domains"},
		"DNS with a wildcard":      {replace("trustDomain: example.org", "dns: {name: mesh, domains: [a.org, \"*.example.org\"]}"), "identity.mtls.dns.domains[1]: want a domain"},
		"DNS named as an issuer":   {replace("trustDomain: example.org", "dns: {name: kubernetes, domains: [example.org]}"), "identity.jwt[0].name: identity.mtls.dns has this name"},
		"two issuers of one name":  {replace("    - {name: kubernetes", "    - {name: kubernetes, issuer: \"https://x\", audience: k}\n    - {name: kubernetes"), "mint each other's"},
		"an issuer over http":      {replace("https://kubernetes.example", "http://kubernetes.example"), "identity.jwt[0].issuer"},
		"nobody to believe":        {replace("  mtls: {trustDomain: example.org}\n  jwt:", "  jwt: []\nx:"), "unknown key"},
		"local and a URL":          {replace("local: {path: vault.db", "url: https://x\n    local: {path: vault.db"), "either local or url"},
		"nothing":                  {"", "vaults: name at least one"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := parseConfig("k.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v\nwant %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error quotes the secret: %v", err)
			}
			if !strings.HasPrefix(err.Error(), "k.yaml:") {
				t.Errorf("the error has no position: %v", err)
			}
		})
	}
}
