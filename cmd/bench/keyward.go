package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// brokerSpec is how one keyward differs from another.
type brokerSpec struct {
	policies int
	// keep, if not 0: so many secrets are cached, and as good as new for an hour.
	keep int
}

// usual is the broker of most rows.
var usual = brokerSpec{policies: 1000}

// keyward is a running keyward serve.
type keyward struct {
	*process

	grpc, http, admin string
	// garbage is how its garbage collector is set, for a yardstick's environment.
	garbage []string
}

var keywardServes = regexp.MustCompile(`msg=serving grpc=(\S+) http=(\S+) admin=(\S+)`)

// broker starts a keyward, once for each spec.
func (r *rig) broker(ctx context.Context, s brokerSpec) (*keyward, error) {
	if k := r.brokers[s]; k != nil {
		return k, nil
	}
	dir := filepath.Join(r.dir, fmt.Sprintf("broker-%d", len(r.brokers)))
	if err := os.MkdirAll(filepath.Join(dir, "policy"), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "policy", "bench.cedar"), []byte(policies(s.policies)), 0o600); err != nil {
		return nil, err
	}
	config, err := r.config(s)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "keyward.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	// Traces alone: keyward's metrics are on its admin port in any case.
	p, err := r.start(ctx, "keyward serve", append([]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + r.collector.ready[1] + "/v1/traces",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG=0.01",
	}, r.env...), keywardServes, r.binary, "serve", "--config", file)
	if err != nil {
		return nil, err
	}
	k := &keyward{process: p, grpc: p.ready[1], http: p.ready[2], admin: p.ready[3]}
	if k.garbage, err = k.garbageSettings(ctx); err != nil {
		return nil, err
	}
	r.brokers[s] = k
	return k, nil
}

// config is what an operator would write, but for the second vault: the same
// one, of which nothing is kept.
func (r *rig) config(s brokerSpec) (string, error) {
	v, err := r.vaultAccess()
	if err != nil {
		return "", err
	}
	vault := fmt.Sprintf(`
    url: %[1]s
    caFile: ../ca.pem
    credential:
      clientSecret: {tenantId: %[2]s, clientId: %[3]s, authority: %[1]s, secretFile: ../vault-client-secret}`,
		v.url, v.tenant, v.client)
	cache := ""
	if s.keep > 0 {
		cache = "\ncache: {ttl: 1h, maxBytes: 268435456}"
	}
	return fmt.Sprintf(`grpc: {address: "127.0.0.1:0"}
http: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
tls: {certificate: ../server.pem, key: ../server-key.pem, clientCa: ../ca.pem}
identity:
  mtls: {trustDomain: %s}
  jwt: [{name: %s, issuer: %s, audience: %s, jwksFile: ../jwks.json}]
policy: {path: policy}
audit: {path: audit.jsonl, sync: interval}
drain: {notice: 0s, timeout: 1s}%s
vaults:
  bench:%s
  cold:%s
    cache: {ttl: 0s, staleIfError: 0s, negativeTtl: 0s}
`, trustDomain, issuerName, issuerURL, audience, cache, vault, vault), nil
}

// policies are n of them in the shapes that operators write, two of which are
// about the caller: it may read all secrets.
func policies(n int) string {
	var b strings.Builder
	for i, who := range []string{callerID, issuerName + "/" + tokenSubject} {
		for _, vault := range []string{"bench", "cold"} {
			fmt.Fprintf(&b, "@id(\"caller-%d-%s\")\npermit (principal == Workload::%q, action in Action::\"readSecrets\", resource is Secret in Vault::%q);\n",
				i, vault, who, vault)
		}
	}
	for i := range n - 4 {
		fmt.Fprintf(&b, "@id(\"p%d\")\n", i)
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "permit (principal == Workload::\"spiffe://%s/w%d\", action == Action::\"getSecret\", resource == Secret::\"vaults/bench/secrets/s%d\");\n", trustDomain, i, i)
		case 1:
			fmt.Fprintf(&b, "permit (principal in Group::\"%s/team-%d\", action in Action::\"readSecrets\", resource is Secret in Vault::\"bench\") when { resource.name like \"team-%d-*\" };\n", issuerName, i, i)
		case 2:
			fmt.Fprintf(&b, "permit (principal == Workload::\"%s/w%d\", action in [Action::\"getSecret\", Action::\"setSecret\"], resource is Secret in Vault::\"bench\");\n", issuerName, i)
		case 3:
			fmt.Fprintf(&b, "forbid (principal, action == Action::\"deleteSecret\", resource == Secret::\"vaults/bench/secrets/s%d\") unless { principal == Workload::\"spiffe://%s/admin\" };\n", i, trustDomain)
		}
	}
	return b.String()
}

// garbageSettings asks the process how its garbage collector is set.
func (k *keyward) garbageSettings(ctx context.Context) ([]string, error) {
	percent, err := k.metric(ctx, "go_gc_gogc_percent")
	if err != nil {
		return nil, err
	}
	env := []string{fmt.Sprintf("GOGC=%.0f", percent)}
	limit, err := k.metric(ctx, "go_gc_gomemlimit_bytes")
	if err == nil && limit < math.MaxInt64 { // which is none
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%.0f", limit))
	}
	return env, err
}

// metric reads one of the metrics that have no labels.
func (k *keyward) metric(ctx context.Context, name string) (float64, error) {
	text, err := fetch(ctx, "http://"+k.admin+"/metrics")
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("keyward has no metric %s", name)
	}
	return strconv.ParseFloat(m[1], 64)
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(url + ": " + resp.Status)
	}
	return string(body), err
}
