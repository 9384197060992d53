package authn_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/service/authn"
)

// What the issuers of each kind sign is who it says, to be read by policies.
func TestPrincipalsOfPresets(t *testing.T) {
	s := newSigner(t)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, s.jwks(t), 0o600); err != nil {
		t.Fatal(err)
	}
	all := func(changes authn.Issuer) authn.Issuer {
		changes.Name, changes.Audiences, changes.JWKSFile = "x", []string{"other", aud}, file
		return changes
	}
	kube := all(authn.Issuer{Preset: authn.PresetKubernetes, Issuer: "https://kube.example"})
	entra := all(authn.Issuer{Preset: authn.PresetEntra, TenantID: tenant})
	gitHub := all(authn.Issuer{Preset: authn.PresetGitHub, Owners: []string{"OCTO-ORG"}})
	plain := func(subject, groups string) authn.Issuer {
		return all(authn.Issuer{Issuer: "https://split.example", Subject: subject, GroupsClaim: groups})
	}
	nested := map[string]any{"iss": "https://split.example", "sub": "s", "a/b": map[string]any{"c~d": "deep", "list": []string{"g"}}, "https://x.example/team": "pay"}
	attributes := func(pairs ...string) map[string]string {
		m := map[string]string{"issuer": "x"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	tests := map[string]struct {
		issuer        authn.Issuer
		base, changes map[string]any
		want          broker.Principal
	}{
		"kubernetes": {kube, kubeClaims, nil, broker.Principal{
			ID:         "x/system:serviceaccount:pay:billing",
			Groups:     []string{"x/system:serviceaccounts", "x/system:serviceaccounts:pay"},
			Attributes: attributes("namespace", "pay", "serviceAccount", "billing", "pod", "billing-7d9f"),
		}},
		"kubernetes, no pod": {
			kube, kubeClaims,
			map[string]any{"kubernetes.io": map[string]any{"namespace": "pay", "serviceaccount": map[string]any{"name": "billing"}}},
			broker.Principal{
				ID:         "x/system:serviceaccount:pay:billing",
				Groups:     []string{"x/system:serviceaccounts", "x/system:serviceaccounts:pay"},
				Attributes: attributes("namespace", "pay", "serviceAccount", "billing"),
			},
		},
		"entra, an application": {entra, entraV2, map[string]any{"roles": []string{"Reader"}}, broker.Principal{
			ID: "x/" + client, Groups: []string{"x/roles/Reader"}, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"entra, one that says so": {entra, entraV2, map[string]any{"idtyp": "app"}, broker.Principal{
			ID: "x/" + client, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"entra, one of version 1 is the same": {entra, entraV1, map[string]any{"groups": []string{"g-1"}}, broker.Principal{
			ID: "x/" + client, Groups: []string{"x/g-1"}, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"entra, a user": {entra, entraUser, map[string]any{"groups": []string{"g-1", "g-2"}, "roles": []string{"Admin"}}, broker.Principal{
			ID: "x/" + user, Groups: []string{"x/g-1", "x/g-2", "x/roles/Admin"}, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"entra, a user whose sub is the oid": {entra, entraUser, map[string]any{"sub": user}, broker.Principal{
			ID: "x/" + user, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"entra, a user by idtyp": {entra, entraUser, map[string]any{"sub": user, "scp": nil, "idtyp": "user"}, broker.Principal{
			ID: "x/" + user, Attributes: attributes("tenantId", tenant, "appId", client),
		}},
		"github": {gitHub, gitHubClaims, nil, broker.Principal{
			ID: "x/repo:octo-org/shop:environment:prod",
			Attributes: attributes("repository", "octo-org/shop", "repositoryOwner", "octo-org", "ref", "refs/heads/main", "environment", "prod",
				"workflow", "octo-org/flows/.github/workflows/deploy.yml@refs/tags/v1", "event", "push"),
		}},
		"github, the workflow's own file": {gitHub, gitHubClaims, map[string]any{"job_workflow_ref": nil, "environment": nil, "sub": "repo:octo-org/shop:ref:refs/heads/main"}, broker.Principal{
			ID: "x/repo:octo-org/shop:ref:refs/heads/main",
			Attributes: attributes("repository", "octo-org/shop", "repositoryOwner", "octo-org", "ref", "refs/heads/main",
				"workflow", "octo-org/shop/.github/workflows/ci.yml@refs/heads/main", "event", "push"),
		}},
		"a template":             {plain("{team}/{job}", ""), splitClaims, nil, broker.Principal{ID: "x/pay/billing", Attributes: attributes()}},
		"text around":            {plain("job={job}, all right", ""), splitClaims, nil, broker.Principal{ID: "x/job=billing, all right", Attributes: attributes()}},
		"a claim within another": {plain("{/a~1b/c~0d}", "/a~1b/list"), nested, nil, broker.Principal{ID: "x/deep", Groups: []string{"x/g"}, Attributes: attributes()}},
		"a claim that is a URL":  {plain("{https://x.example/team}", "https://x.example/team"), nested, nil, broker.Principal{ID: "x/pay", Groups: []string{"x/pay"}, Attributes: attributes()}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{tt.issuer}})
			if err != nil {
				t.Fatal(err)
			}
			token := s.sign(t, "RS256", rs256, with(t, tt.base, tt.changes))
			for range 2 { // verified, and then remembered
				got, err := a.Authenticate(t.Context(), bearer(token))
				if err != nil || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got  %+v, %v\nwant %+v", got, err, tt.want)
				}
			}
		})
	}
}

// Two lists of claims never make one subject.
func TestSubjectsAreUnambiguous(t *testing.T) {
	s := newSigner(t)
	a := fromFile(t, s, func(i *authn.Issuer) { i.Subject = "{a}--{b}" })
	seen := map[string]string{}
	values := []string{"x", "-", "--", "x-", "-x", "x--", "x--y", "-y", "y", "---"}
	for _, one := range values {
		for _, two := range values {
			p, err := a.Authenticate(t.Context(), bearer(s.sign(t, "ES256", es256, claims(t, map[string]any{"a": one, "b": two}))))
			if err != nil {
				continue
			}
			if was, ok := seen[p.ID]; ok {
				t.Errorf("%s and %s, %s are all %s", was, one, two, p.ID)
			}
			seen[p.ID] = one + ", " + two
		}
	}
	if len(seen) < 3*len(values) { // x, -x and y end where they should
		t.Errorf("only %d are accepted", len(seen))
	}
}

// tokenService is an issuer on loopback: its documents, its keys, and what it
// was asked for.
type tokenService struct {
	*httptest.Server

	mu    sync.Mutex
	paths []string // each with its Authorization
}

func newTokenService(t *testing.T, s signer, documents map[string]string) *tokenService {
	t.Helper()
	a := &tokenService{}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.paths = append(a.paths, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Authorization")))
		a.mu.Unlock()
		switch doc, ok := documents[r.URL.Path]; {
		case ok:
			fmt.Fprint(w, strings.ReplaceAll(doc, "$URL", a.URL))
		case strings.HasSuffix(r.URL.Path, "/keys"):
			_, _ = w.Write(s.jwks(t))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *tokenService) asked() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.paths, "\n")
}

// Each version has its document; both are of one principal.
func TestEntraFindsTheKeysOfBothVersions(t *testing.T) {
	s := newSigner(t)
	v1, v2 := "/"+tenant+"/.well-known/openid-configuration", "/"+tenant+"/v2.0/.well-known/openid-configuration"
	a := newTokenService(t, s, map[string]string{
		v1: `{"issuer":"https://sts.windows.net/` + tenant + `/","jwks_uri":"$URL/common/discovery/keys"}`,
		v2: `{"issuer":"$URL/` + tenant + `/v2.0","jwks_uri":"$URL/` + tenant + `/discovery/v2.0/keys"}`,
	})
	j, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{{
		Name: "azure", Preset: authn.PresetEntra, TenantID: tenant, Authority: a.URL + "/", Audiences: []string{aud},
		RootCAs: (&provider{Server: a.Server}).roots(),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for name, text := range map[string]string{
			"version 1": with(t, entraV1, nil),
			"version 2": with(t, entraV2, map[string]any{"iss": a.URL + "/" + tenant + "/v2.0"}),
		} {
			p, err := j.Authenticate(t.Context(), bearer(s.sign(t, "RS256", rs256, text)))
			if err != nil || p.ID != "azure/"+client {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	}
	got := a.asked()
	for _, path := range []string{v1, v2, "/common/discovery/keys", "/" + tenant + "/discovery/v2.0/keys"} {
		if strings.Count(got+"\n", path+"\n") != 1 {
			t.Errorf("%s is not asked for once:\n%s", path, got)
		}
	}
}

// The cluster's own token opens its discovery, is read anew each time, and is
// for nobody else.
func TestKubernetesTokenFile(t *testing.T) {
	s := newSigner(t)
	elsewhere := newTokenService(t, s, nil)
	const path = "/.well-known/openid-configuration"
	for name, tt := range map[string]struct{ jwksURI, token, home, elsewhere string }{
		"keys at the issuer": {"$URL/keys", "tok.en", path + " Bearer tok.en\n/keys Bearer tok.en", ""},
		"keys elsewhere":     {elsewhere.URL + "/keys", "tok.en", path + " Bearer tok.en\n/keys Bearer tok.en", ""},
		"no token":           {"$URL/keys", "", "", ""},
		"no token at all":    {"$URL/keys", "to ken\nmore", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			home := newTokenService(t, s, map[string]string{path: `{"issuer":"$URL","jwks_uri":"` + tt.jwksURI + `"}`})
			file := filepath.Join(t.TempDir(), "token")
			j, err := authn.NewJWT(authn.JWTConfig{Issuers: []authn.Issuer{{
				Name: "kube", Preset: authn.PresetKubernetes, Issuer: home.URL, TokenFile: file, Audiences: []string{aud},
				RootCAs: (&provider{Server: home.Server}).roots(),
			}}})
			if err != nil {
				t.Fatal(err)
			}
			// The file need not be there before it is needed.
			if err := os.WriteFile(file, []byte(tt.token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = j.Authenticate(t.Context(), bearer(s.sign(t, "RS256", rs256, with(t, kubeClaims, map[string]any{"iss": home.URL}))))
			if (err == nil) != (tt.home != "") {
				t.Errorf("Authenticate: %v", err)
			}
			if err != nil && strings.Contains(fmt.Sprintf("%+v", broker.AsError(err)), "to ken") {
				t.Errorf("the error has the token: %v", err)
			}
			if got := home.asked(); got != tt.home {
				t.Errorf("the issuer was asked\n%s\nwant\n%s", got, tt.home)
			}
			if got := elsewhere.asked(); got != tt.elsewhere {
				t.Errorf("elsewhere was asked\n%s\nwant\n%s", got, tt.elsewhere)
			}
		})
	}
}
