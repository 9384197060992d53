package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/keyward/keyward/broker/localvault"
)

// The vault's address, and its one tenant and application, as its vault.env has
// them.
var vaultEnv = regexp.MustCompile(`(?m)^(VAULT_URL|AZURE_TENANT_ID|AZURE_CLIENT_ID)='?([^'\n]*)'?$`)

// vaultAccess is how the vault and its tokens are reached.
type vaultAccess struct{ url, tenant, client, secretFile string }

func (r *rig) vaultAccess() (vaultAccess, error) {
	text, err := os.ReadFile(filepath.Join(r.dir, "vault.env"))
	if err != nil {
		return vaultAccess{}, err
	}
	env := make(map[string]string)
	for _, m := range vaultEnv.FindAllStringSubmatch(string(text), -1) {
		env[m[1]] = m[2]
	}
	return vaultAccess{
		url: env["VAULT_URL"], tenant: env["AZURE_TENANT_ID"], client: env["AZURE_CLIENT_ID"],
		secretFile: filepath.Join(r.dir, "vault-client-secret"),
	}, nil
}

func (v vaultAccess) token(ctx context.Context, client *http.Client) (string, error) {
	secret, err := os.ReadFile(v.secretFile)
	if err != nil {
		return "", err
	}
	form := url.Values{
		"grant_type":    {"client_credentials"},
		"client_id":     {v.client},
		"client_secret": {strings.TrimSpace(string(secret))},
		"scope":         {localvault.DefaultAudience + "/.default"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+"/"+v.tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var b bytes.Buffer
	if _, err := answer(client, req, &b); err != nil {
		return "", err
	}
	var reply struct {
		Token string `json:"access_token"`
	}
	err = json.Unmarshal(b.Bytes(), &reply)
	return reply.Token, err
}
