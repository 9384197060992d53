package authn_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"
)

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	other  = "99999999-2222-3333-4444-555555555555"
	client = "aaaaaaaa-0000-0000-0000-000000000001"
	user   = "bbbbbbbb-0000-0000-0000-000000000002"
)

// The claims that the kinds of issuers put into tokens, beside aud and exp.
var (
	kubeClaims = map[string]any{
		"iss": "https://kube.example", "sub": "system:serviceaccount:pay:billing", "aud": []string{aud},
		"kubernetes.io": map[string]any{
			"namespace":      "pay",
			"serviceaccount": map[string]any{"name": "billing", "uid": "u-1"},
			"pod":            map[string]any{"name": "billing-7d9f", "uid": "u-2"},
			"node":           map[string]any{"name": "node-1", "uid": "u-3"},
			"warnafter":      1700000000,
		},
	}
	entraV2 = map[string]any{
		"iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "ver": "2.0", "tid": tenant,
		"oid": "cccccccc-0000-0000-0000-000000000003", "sub": "cccccccc-0000-0000-0000-000000000003", "azp": client, "azpacr": "1",
	}
	entraV1 = map[string]any{
		"iss": "https://sts.windows.net/" + tenant + "/", "ver": "1.0", "tid": tenant,
		"oid": "cccccccc-0000-0000-0000-000000000003", "sub": "cccccccc-0000-0000-0000-000000000003", "appid": client, "appidacr": "2",
	}
	entraUser = map[string]any{
		"iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "ver": "2.0", "tid": tenant,
		"oid": user, "sub": "pairwise", "azp": client, "scp": "access",
	}
	gitHubClaims = map[string]any{
		"iss": "https://token.actions.githubusercontent.com", "sub": "repo:octo-org/shop:environment:prod",
		"repository": "octo-org/shop", "repository_owner": "octo-org", "ref": "refs/heads/main", "environment": "prod",
		"job_workflow_ref": "octo-org/flows/.github/workflows/deploy.yml@refs/tags/v1",
		"workflow_ref":     "octo-org/shop/.github/workflows/ci.yml@refs/heads/main", "event_name": "push",
	}
	splitClaims = map[string]any{"iss": "https://split.example", "team": "pay", "job": "billing"}
)

// with returns base with aud, exp and changes; nil removes a claim.
func with(t *testing.T, base, changes map[string]any) string {
	t.Helper()
	all := map[string]any{"aud": aud, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, base)
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// kinds are tokens that the presets' issuers did sign, or could be made to.
func (c *corpus) kinds(t *testing.T, s signer) {
	inKube := func(changes map[string]any) map[string]any {
		own, ok := kubeClaims["kubernetes.io"].(map[string]any)
		if !ok {
			t.Fatal("no claim kubernetes.io")
		}
		own = maps.Clone(own)
		maps.Copy(own, changes)
		return map[string]any{"kubernetes.io": own}
	}
	for kind, of := range map[string]struct {
		base    map[string]any
		hostile map[string]map[string]any
	}{
		"kubernetes": {kubeClaims, map[string]map[string]any{
			"no kubernetes.io":                    {"kubernetes.io": nil},
			"kubernetes.io is text":               {"kubernetes.io": "pay"},
			"another namespace":                   inKube(map[string]any{"namespace": "kube-system"}),
			"no namespace":                        inKube(map[string]any{"namespace": ""}),
			"namespace is a list":                 inKube(map[string]any{"namespace": []string{"pay"}}),
			"another service account":             inKube(map[string]any{"serviceaccount": map[string]any{"name": "admin"}}),
			"no service account":                  inKube(map[string]any{"serviceaccount": nil}),
			"pod's name is a number":              inKube(map[string]any{"pod": map[string]any{"name": 7}}),
			"sub of another":                      {"sub": "system:serviceaccount:pay:admin"},
			"sub of a user":                       {"sub": "kubernetes-admin"},
			"sub and namespace with a colon more": also(inKube(map[string]any{"namespace": "pay:x"}), "sub", "system:serviceaccount:pay:x:billing"),
			"for the cluster itself":              {"aud": []string{"https://kubernetes.default.svc.cluster.local"}},
			"does not end":                        {"exp": nil},
		}},
		"entra, version 2": {entraV2, map[string]map[string]any{
			"a foreign tenant":                {"tid": other},
			"no tenant":                       {"tid": nil},
			"a foreign tenant's iss":          {"iss": "https://login.microsoftonline.com/" + other + "/v2.0"},
			"iss of all tenants":              {"iss": "https://login.microsoftonline.com/common/v2.0"},
			"iss of a tenant to be filled in": {"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"},
			"says version 1":                  {"ver": "1.0"},
			"no version":                      {"ver": nil},
			"an ID token":                     {"azp": nil},
			"the client as version 1 has it":  {"azp": nil, "appid": client},
			"two clients":                     {"appid": other},
			"no oid":                          {"oid": nil},
			"no sub":                          {"sub": nil},
			"oid is a list":                   {"oid": []string{user}},
			"groups left out":                 {"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/x"}}},
			"groups left out, by source":      {"_claim_sources": map[string]any{}},
			"groups left out, implicit":       {"hasgroups": true},
			"groups are a number":             {"groups": 7},
			"a group named like a role":       {"groups": []string{"roles/admin"}},
			"roles are an object":             {"roles": map[string]any{"admin": true}},
			"for another application":         {"aud": "api://other"},
		}},
		"entra, version 1": {entraV1, map[string]map[string]any{
			"a foreign tenant":               {"tid": other},
			"a foreign tenant's iss":         {"iss": "https://sts.windows.net/" + other + "/"},
			"iss without its slash":          {"iss": "https://sts.windows.net/" + tenant},
			"says version 2":                 {"ver": "2.0"},
			"the client as version 2 has it": {"appid": nil, "azp": client},
			"groups left out":                {"hasgroups": "true"},
		}},
		"entra, of a user": {entraUser, map[string]map[string]any{
			"no oid":          {"oid": nil},
			"an ID token":     {"azp": nil, "scp": nil},
			"groups left out": {"hasgroups": true},
		}},
		"github": {gitHubClaims, map[string]map[string]any{
			"a foreign owner":                {"repository_owner": "mallory", "repository": "mallory/shop"},
			"a foreign owner's repository":   {"repository": "mallory/shop"},
			"a foreign owner of our name":    {"repository_owner": "octo-org2", "repository": "octo-org2/shop"},
			"an owner beyond ASCII":          {"repository_owner": "\u017fky-org", "repository": "\u017fky-org/shop"},
			"no owner":                       {"repository_owner": nil},
			"owner is a list":                {"repository_owner": []string{"octo-org"}},
			"no repository":                  {"repository": nil},
			"a repository without a name":    {"repository": "octo-org/"},
			"environment is a list":          {"environment": []string{"prod"}},
			"sub of ours, a foreign owner":   {"repository_owner": "mallory", "repository": "mallory/x"},
			"the audience that GitHub makes": {"aud": "https://github.com/octo-org"},
			"iss of another enterprise":      {"iss": "https://token.actions.githubusercontent.com/mallory"},
		}},
		"template": {splitClaims, map[string]map[string]any{
			"a claim is missing":         {"job": nil},
			"a claim is empty":           {"team": ""},
			"a claim is a number":        {"job": 1},
			"the separator within":       {"team": "pay/x"},
			"more than 512 bytes in all": {"job": strings.Repeat("j", 512)},
		}},
	} {
		c.good[kind] = s.sign(t, "RS256", rs256, with(t, of.base, nil))
		for name, changes := range of.hostile {
			c.add(t, kind+": "+name, s.sign(t, "RS256", rs256, with(t, of.base, changes)))
		}
	}
	c.add(t, "entra: ES256, which it does not use", s.sign(t, "ES256", es256, with(t, entraV2, nil)))
	c.add(t, "github: ES256, which it does not use", s.sign(t, "ES256", es256, with(t, gitHubClaims, nil)))
	c.add(t, "kubernetes: in the name of another preset", s.sign(t, "RS256", rs256, with(t, kubeClaims, map[string]any{"iss": entraV2["iss"]})))
}

// also sets one more claim.
func also(m map[string]any, key string, v any) map[string]any {
	m[key] = v
	return m
}

// selfSigned is a certificate of s's, as it stands in x5c.
func selfSigned(t *testing.T, s signer) string {
	t.Helper()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &s.ec.PublicKey, s.ec)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}
