package vaulthttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// The one application that the token service knows.
const (
	replayTenant = "tenant-1"
	replayApp    = "app-1"
	replaySecret = "secret-2b81"
)

// replayVault is a local vault over HTTPS, and what its replies have in place
// of the recorded ones: versions, the tokens of pages, backups.
type replayVault struct {
	url      string
	client   *http.Client
	token    string
	store    *pacedStore
	paced    bool
	versions map[string]string
	pages    map[string]string
	backups  map[string]string
	csr      string // the local vault's last one
}

func newReplayVault(t *testing.T, paced bool) *replayVault {
	t.Helper()
	return newReplayVaultOf(t, paced, false)
}

func newReplayVaultOf(t *testing.T, paced, managedHSM bool) *replayVault {
	t.Helper()
	dir := t.TempDir()
	// Seven days, as the recorded vaults have.
	store, err := localvault.Open(localvault.Config{
		Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), RetentionDays: 7, ManagedHSM: managedHSM,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	var sts *localvault.STS
	var vault http.Handler
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sts.Owns(r.URL.Path) {
			sts.ServeHTTP(w, r)
			return
		}
		vault.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	sts, err = localvault.NewSTS(localvault.STSConfig{
		Authority: s.URL, TenantID: replayTenant, ClientID: replayApp, ClientSecret: broker.NewValue(replaySecret),
	})
	if err != nil {
		t.Fatal(err)
	}
	at := &pace{}
	v := &replayVault{
		url: s.URL, client: s.Client(), store: &pacedStore{SecretStore: store.Secrets(), pace: at}, paced: paced,
		versions: make(map[string]string), pages: make(map[string]string), backups: make(map[string]string),
	}
	vault = vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: v.store, Keys: &pacedKeys{KeyStore: store.Keys(), pace: at},
		Certificates: &pacedCertificates{CertificateStore: store.Certificates(), pace: at},
		ManagedHSM:   managedHSM, Tokens: sts, Authority: s.URL + "/" + replayTenant, Resource: localvault.DefaultAudience,
	})
	got, err := v.askToken(t.Context(), localvault.DefaultAudience+"/.default")
	if v.token = text(got.body, "access_token"); err != nil || v.token == "" {
		t.Fatalf("no token: %d, %v", got.status, err)
	}
	return v
}

// askToken asks the token service beside the vault.
func (v *replayVault) askToken(ctx context.Context, scope string) (reply, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {replayApp}, "client_secret": {replaySecret}, "scope": {scope},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+"/"+replayTenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.do(r)
}

func (v *replayVault) do(r *http.Request) (reply, error) {
	resp, err := v.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	got := reply{status: resp.StatusCode, headers: resp.Header}
	if err != nil || len(body) == 0 {
		return got, err
	}
	return got, json.Unmarshal(body, &got.body)
}

// seed sets what the scenario's lists have and the scenario does not set: it
// was there before.
func (v *replayVault) seed(t *testing.T, s recordings.Scenario) {
	t.Helper()
	var set, listed []string
	for _, step := range s.Steps {
		u, err := url.Parse(step.Request.URL)
		if err != nil {
			t.Fatal(err)
		}
		if step.Request.Method == http.MethodPut {
			set = append(set, strings.TrimPrefix(u.Path, "/secrets/"))
		}
		want, err := recordedReply(step.Response)
		if err != nil {
			t.Fatal(err)
		}
		items, _ := want.body["value"].([]any)
		for _, item := range items {
			if id, err := url.Parse(text(item, "id")); err == nil {
				listed = append(listed, strings.Split(id.Path, "/")[2])
			}
		}
	}
	for _, name := range listed {
		if !slices.Contains(set, name) {
			step := recordings.Step{Request: recordings.Request{
				Method: http.MethodPut, URL: "https://pay.vault.azure.net/secrets/" + name + "?api-version=7.4",
				Authorized: true, Body: json.RawMessage(`{"value":"v"}`),
			}}
			if got, err := v.send(t.Context(), step.Request); err != nil || got.status != http.StatusOK {
				t.Fatalf("%s was not set: %d, %v", name, got.status, err)
			}
		}
	}
}

// repeat sends a recorded request, and says what is otherwise in the reply.
func (v *replayVault) repeat(t *testing.T, step recordings.Step) error {
	t.Helper()
	want, err := recordedReply(step.Response)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.send(t.Context(), step.Request)
	if err != nil {
		return err
	}
	v.learn(want.body, got.body)
	return want.differs(got)
}

var errNoPage = errors.New("the local vault has named no such page")

// send sends a recorded request with what the local vault has in place of the
// recorded.
func (v *replayVault) send(ctx context.Context, recorded recordings.Request) (reply, error) {
	u, err := url.Parse(recorded.URL)
	if err != nil {
		return reply{}, err
	}
	target := u.Path
	for recordedVersion, ours := range v.versions {
		target = strings.Replace(target, "/"+recordedVersion, "/"+ours, 1)
	}
	query := u.Query()
	if page := query.Get("$skiptoken"); page != "" {
		ours, ok := v.pages[page]
		if !ok {
			return reply{}, errNoPage
		}
		query.Set("$skiptoken", ours)
	}
	body := []byte(recorded.Body)
	for recordedBlob, ours := range v.backups {
		body = bytes.Replace(body, []byte(recordedBlob), []byte(ours), 1)
	}
	if strings.HasSuffix(target, "/pending/merge") {
		// What was recorded is of the recorded key.
		if body, err = signedRequest(v.csr); err != nil {
			return reply{}, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, recorded.Method, v.url+target+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if recorded.Authorized {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	return v.do(r)
}

// learn notes what stands in place of what.
func (v *replayVault) learn(recorded, ours map[string]any) {
	if from, to := strings.Split(text(recorded, "id"), "/"), strings.Split(text(ours, "id"), "/"); len(from) == 6 && len(to) == 6 {
		v.versions[from[5]] = to[5]
	}
	kid := func(body map[string]any) string { return text(body, "kid") + text(body, "key", "kid") }
	if from, to := strings.Split(kid(recorded), "/"), strings.Split(kid(ours), "/"); len(from) == 6 && len(to) == 6 {
		v.versions[from[5]] = to[5]
	}
	if csr := text(ours, "csr"); csr != "" {
		v.csr = csr
	}
	if text(recorded, "id") == "" && text(recorded, "value") != "" {
		v.backups[text(recorded, "value")] = text(ours, "value")
	}
	from, err := url.Parse(text(recorded, "nextLink"))
	if err != nil {
		return
	}
	to, err := url.Parse(text(ours, "nextLink"))
	if err == nil && from.Query().Has("$skiptoken") && to.Query().Has("$skiptoken") {
		v.pages[from.Query().Get("$skiptoken")] = to.Query().Get("$skiptoken")
	}
}

// follow sets the store's pace to that of a recorded step: whether the vault
// was settling, which it was if the client asked the very same again and got
// another answer; and how its page was filled.
func (v *replayVault) follow(steps []recordings.Step, i int) {
	if !v.paced {
		return
	}
	v.store.settling = i+1 < len(steps) && fmt.Sprint(steps[i].Request) == fmt.Sprint(steps[i+1].Request) &&
		steps[i].Response.Status != steps[i+1].Response.Status
	v.store.empty, v.store.more, v.store.making = false, false, false
	if want, err := recordedReply(steps[i].Response); err == nil {
		v.store.making = text(want.body, "status") == broker.OperationInProgress
		items, isList := want.body["value"].([]any)
		v.store.empty = isList && len(items) == 0
		v.store.more = text(want.body, "nextLink") != ""
	}
}
