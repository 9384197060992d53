package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// encodings of a text in which it must not be found either.
func encodings(s string) map[string][]byte {
	js, _ := json.Marshal(s) //nolint:errchkjson // a string
	return map[string][]byte{
		"plain":     []byte(s),
		"json":      bytes.Trim(js, `"`),
		"quoted":    []byte(strings.Trim(fmt.Sprintf("%q", s), `"`)),
		"url":       []byte(url.QueryEscape(s)),
		"hex":       []byte(hex.EncodeToString([]byte(s))),
		"base64":    []byte(strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "=")),
		"base64url": []byte(base64.RawURLEncoding.EncodeToString([]byte(s))),
		"bytes":     bytes.Trim(fmt.Append(nil, []byte(s)), "[]"), // as %v prints bytes
	}
}

// accessToken is what every token of the vault's token service begins with: its
// header and the first claims. The broker holds such a one.
func accessToken(t *testing.T, env map[string]string) string {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(read(t, env["SSL_CERT_FILE"]))) {
		t.Fatal("no CA")
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: patience}
	defer hc.CloseIdleConnections()
	var tokens [2]string
	for i := range tokens {
		resp, err := hc.PostForm(env["AZURE_AUTHORITY_HOST"]+"/"+env["AZURE_TENANT_ID"]+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"client_credentials"}, "scope": {"https://vault.azure.net/.default"},
			"client_id": {env["AZURE_CLIENT_ID"]}, "client_secret": {env["AZURE_CLIENT_SECRET"]},
		})
		if err != nil {
			t.Fatal(err)
		}
		var reply struct {
			Token string `json:"access_token"`
		}
		err = json.NewDecoder(resp.Body).Decode(&reply)
		resp.Body.Close()
		if err != nil || strings.Count(reply.Token, ".") != 2 {
			t.Fatalf("no access token: %d, %v", resp.StatusCode, err)
		}
		tokens[i] = reply.Token
	}
	n := 0
	for n < len(tokens[0]) && tokens[0][n] == tokens[1][n] {
		n++
	}
	if n < 100 {
		t.Fatalf("two access tokens have only %d bytes in common", n)
	}
	return tokens[0][:100]
}

// A value, whatever is done with it and whatever goes wrong, is found nowhere
// but in replies to those who may read it: in no log line at debug level, no
// error, span, metric or audit record, and not in the vault's file. Nor are the
// tokens and keys that the broker holds.
func TestCanary(t *testing.T) {
	const canary = `c4nary/"5f1d"+wxyz`
	const bigCanary = "c4naryInATooLargeValue"
	otlp := startCollector(t)
	p := startDev(t, filepath.Join(t.TempDir(), "data"), otlp.env()...)
	c := p.secrets()
	ctx := t.Context()
	name := "vaults/dev/secrets/canary"
	token := p.token("billing")
	var errs []string
	note := func(err error) {
		if err != nil {
			errs = append(errs, err.Error())
		}
	}
	rest := func(method, path, token, body string) {
		status, reply := p.rest(method, path, token, body)
		if status != http.StatusOK {
			errs = append(errs, reply)
		}
	}

	// What works.
	for range 2 {
		note(set(ctx, c, "canary", canary))
		got, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: name})
		if err != nil || got.GetValue() != canary {
			t.Fatalf("the canary does not sing: %v", err)
		}
	}
	list, err := c.ListSecrets(ctx, &keywardv1.ListSecretsRequest{Parent: "vaults/dev"})
	note(err)
	versions, err := c.ListSecretVersions(ctx, &keywardv1.ListSecretVersionsRequest{Parent: name})
	note(err)
	generated, err := c.GenerateSecret(ctx, &keywardv1.GenerateSecretRequest{Name: "vaults/dev/secrets/generated"})
	note(err)
	made, err := c.GetSecret(ctx, &keywardv1.GetSecretRequest{Name: generated.GetName()})
	if err != nil || len(made.GetValue()) < 16 {
		t.Fatalf("what was generated cannot be read: %v", err)
	}
	updated, err := c.UpdateSecret(ctx, &keywardv1.UpdateSecretRequest{
		Secret: &keywardv1.Secret{Name: name, ContentType: "text/plain"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type"}},
	})
	note(err)
	batch, err := c.BatchGetSecrets(ctx, &keywardv1.BatchGetSecretsRequest{Parent: "vaults/dev", Names: []string{name, "vaults/dev/secrets/none"}})
	if err != nil || batch.GetResults()[0].GetResponse().GetValue() != canary {
		t.Fatalf("the canary does not sing in a batch: %v", err)
	}
	backup, err := c.BackupSecret(ctx, &keywardv1.BackupSecretRequest{Name: name})
	if err != nil || len(backup.GetBlob()) < 100 {
		t.Fatalf("no backup: %v", err)
	}
	if len(errs) > 0 {
		t.Fatalf("what should work does not: %q", errs)
	}
	replies := fmt.Sprint(list, versions, generated, updated)
	// What does not: denied, too large, not UTF-8, malformed, of bad fields and
	// names, with bad tokens.
	body, err := json.Marshal(map[string]string{"value": canary})
	if err != nil {
		t.Fatal(err)
	}
	rest("PUT", "/v1/"+name, token, string(body))
	rest("PUT", "/v1/"+name, token, string(body[:len(body)-1]))
	rest("PUT", "/v1/"+name, token, strings.Replace(string(body), "value", "valeu", 1))
	rest("PUT", "/v1/"+name, token, `{"value": [`+string(body)+`]}`)
	rest("PUT", "/v1/"+name, token+"x", string(body))
	rest("PUT", "/v1/vaults/dev/secrets/a_b", token, string(body))
	rest("GET", "/v1/"+name, token, "")
	note(set(ctx, c, "canary", strings.Repeat(bigCanary, 2000)))
	note(set(ctx, c, "canary", canary+"\x00"))
	note(set(ctx, c, "a_b", canary))
	bad := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token+"x")
	note(set(bad, c, "canary", canary))
	rest("PATCH", "/v1/"+name, token, string(body))
	rest("POST", "/v1/"+name+":generate", token, string(body))
	rest("POST", "/v1/vaults/dev/secrets:batchGet", token, `{"names":[`+string(body)+`]}`)
	rest("POST", "/v1/vaults/dev/secrets:restore", token, string(body))
	_, err = c.RestoreSecret(ctx, &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: backup.GetBlob()}) // it exists
	note(err)
	_, err = c.RestoreSecret(ctx, &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: []byte(canary)})
	note(err)
	_, err = c.UpdateSecret(ctx, &keywardv1.UpdateSecretRequest{
		Secret: &keywardv1.Secret{Name: name, ContentType: strings.Repeat(canary, 20)}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type"}},
	})
	note(err)
	_, err = c.DeleteSecret(ctx, &keywardv1.DeleteSecretRequest{Name: name})
	note(err)
	note(set(ctx, c, "canary", canary)) // soft-deleted
	if len(errs) < 18 {
		t.Fatalf("only %d calls failed, the test does not provoke what it should: %q", len(errs), errs)
	}

	env := vaultEnv(t, p)
	access := accessToken(t, env)
	metrics := p.metrics()
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	places := map[string][]byte{
		"the log":         []byte(p.err.String()),
		"standard output": []byte(p.out.String()),
		"errors":          []byte(strings.Join(errs, "\n")),
		"lists":           []byte(replies),
		"metrics":         []byte(metrics),
	}
	otlp.mu.Lock()
	places["exported telemetry"] = otlp.raw.Bytes()
	otlp.mu.Unlock()
	err = filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			places[d.Name()], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"vault.db", "audit.jsonl", "the log", "exported telemetry", "metrics"} {
		if len(places[must]) < 100 {
			t.Errorf("%s is nearly empty: the search proves nothing", must)
		}
	}
	if !strings.Contains(string(places["the log"]), "level=DEBUG") {
		t.Error("the log has no debug lines: the search proves nothing")
	}
	// What must be nowhere, and what may be in the one file that is for it.
	hidden := map[string][]string{
		"the value":           {canary},
		"the too large value": {bigCanary},
		"a caller's token":    {token, strings.Split(token, ".")[2]},
		"a generated value":   {made.GetValue()},
		// What all of the blob's encodings share, but for its first bytes.
		"a backup": {string(backup.GetBlob()[60:])},
		// Of the broker's own token too, whose times and signature are others.
		"an access token":     {access},
		"the client secret":   {env["AZURE_CLIENT_SECRET"], "vault.env", "vault-client-secret"},
		"the identity header": {env["IDENTITY_HEADER"], "vault.env", "vault-identity-header"},
		"the master key":      {strings.TrimSpace(string(places["vault.key"])), "vault.key"},
	}
	for what, h := range hidden {
		for place, text := range places {
			if strings.HasPrefix(place, "vault") && len(h) > 1 && (h[1] == place || len(h) > 2 && h[2] == place) {
				continue
			}
			for how, enc := range encodings(h[0]) {
				if bytes.Contains(text, enc) {
					t.Errorf("%s is in %s (%s)", what, place, how)
				}
			}
		}
	}
}
