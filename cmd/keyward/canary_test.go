package main

import (
	"bytes"
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
	replies := fmt.Sprint(list, versions)
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
	_, err = c.DeleteSecret(ctx, &keywardv1.DeleteSecretRequest{Name: name})
	note(err)
	note(set(ctx, c, "canary", canary)) // soft-deleted
	if len(errs) < 10 {
		t.Fatalf("only %d calls failed, the test does not provoke what it should: %q", len(errs), errs)
	}

	env := vaultEnv(t, p)
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
