package keyvault_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// What goes over the wire about keys, exactly. The name's case is folded.
func TestKeyRequests(t *testing.T) {
	const at = "https://v.vault.azure.net/keys/k"
	const gone = "https://v.vault.azure.net/deletedkeys/k"
	const v = "?api-version=7.4"
	pinned := func(act func(ctx context.Context, c *keyvault.Client, n broker.Name) error) func(context.Context, *keyvault.Client, broker.Name) error {
		return func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			n, err := n.WithVersion(version)
			if err != nil {
				return err
			}
			return act(ctx, c, n)
		}
	}
	tests := map[string]struct {
		call string // of keyCalls
		act  func(ctx context.Context, c *keyvault.Client, n broker.Name) error
		line string
		body string
	}{
		"create": {call: "create", line: "POST " + at + "/create" + v, body: `{"kty":"EC","attributes":{"enabled":true}}`},
		"create all": {call: "create", act: func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.CreateKey(ctx, n, broker.NewKey{
				Type: broker.KeyTypeEC, Curve: broker.CurveP256, Ops: []broker.KeyOp{broker.KeyOpSign}, Tags: map[string]string{"a": "b"},
				NotBefore: time.Unix(1700000000, 0), Expires: time.Unix(1800000000, 999),
			})
			return err
		}, line: "POST " + at + "/create" + v, body: `{"kty":"EC","crv":"P-256","key_ops":["sign"],"attributes":{"enabled":false,"nbf":1700000000,"exp":1800000000},"tags":{"a":"b"}}`},
		"import": {call: "import", line: "PUT " + at + v, body: `{"key":` + ecPrivate + `,"attributes":{"enabled":false}}`},
		"import for an operation": {call: "import", act: func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.ImportKey(ctx, n, broker.KeyImport{
				Material: broker.NewValue(`{"kty":"EC","key_ops":["verify"],"d":"AA"}`), NewKey: broker.NewKey{Ops: []broker.KeyOp{broker.KeyOpSign}},
			})
			return err
		}, line: "PUT " + at + v, body: `{"key":{"key_ops":["sign"],"kty":"EC","d":"AA"},"attributes":{"enabled":false}}`},
		"get": {call: "get", line: "GET " + at + v},
		"get version": {call: "get", act: pinned(func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.GetKey(ctx, n)
			return err
		}), line: "GET " + at + "/" + version + v},
		"update": {call: "update", line: "PATCH " + at + v, body: `{"attributes":{"enabled":true}}`},
		"update to nothing": {call: "update", act: pinned(func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.UpdateKey(ctx, n, broker.KeyUpdate{Ops: new([]broker.KeyOp), Tags: new(map[string]string)})
			return err
		}), line: "PATCH " + at + "/" + version + v, body: `{"key_ops":[],"tags":{}}`}, // nulls would leave them
		"delete":        {call: "delete", line: "DELETE " + at + v},
		"get deleted":   {call: "get deleted", line: "GET " + gone + v},
		"recover":       {call: "recover", line: "POST " + gone + "/recover" + v},
		"purge":         {call: "purge", line: "DELETE " + gone + v},
		"backup":        {call: "backup", line: "POST " + at + "/backup" + v},
		"restore":       {call: "restore", line: "POST https://v.vault.azure.net/keys/restore" + v, body: `{"value":"YmxvYg"}`},
		"rotate":        {call: "rotate", line: "POST " + at + "/rotate" + v},
		"get policy":    {call: "get policy", line: "GET " + at + "/rotationpolicy" + v},
		"update policy": {call: "update policy", line: "PUT " + at + "/rotationpolicy" + v, body: `{"lifetimeActions":[],"attributes":{"expiryTime":"P90D"}}`},
		"sign":          {call: "sign", line: "POST " + at + "/sign" + v, body: `{"alg":"ES256","value":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`},
		"sign with a version": {call: "sign", act: pinned(func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.Sign(ctx, n, "ES256", make([]byte, 1))
			return err
		}), line: "POST " + at + "/" + version + "/sign" + v, body: `{"alg":"ES256","value":"AA"}`},
		"verify": {call: "verify", act: func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.Verify(ctx, n, "ES256", []byte{1}, []byte{2})
			return err
		}, line: "POST " + at + "/verify" + v, body: `{"alg":"ES256","value":"Ag","digest":"AQ"}`},
		"encrypt": {call: "encrypt", line: "POST " + at + "/encrypt" + v, body: `{"alg":"RSA-OAEP","value":"dg"}`},
		"wrap":    {call: "wrap", line: "POST " + at + "/wrapkey" + v, body: `{"alg":"RSA-OAEP","value":"dg"}`},
		"unwrap":  {call: "unwrap", line: "POST " + at + "/unwrapkey" + v, body: `{"alg":"RSA-OAEP","value":"dg"}`},
		"decrypt with GCM": {call: "decrypt", act: func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.Decrypt(ctx, n, "A256GCM", broker.Cipher{Data: broker.NewValue("v"), IV: []byte{1}, AAD: []byte{2}, Tag: []byte{3}})
			return err
		}, line: "POST " + at + "/decrypt" + v, body: `{"alg":"A256GCM","value":"dg","iv":"AQ","aad":"Ag","tag":"Aw"}`},
		"list":         {call: "list", line: "GET https://v.vault.azure.net/keys" + v + "&maxresults=25"},
		"list deleted": {call: "list deleted", line: "GET https://v.vault.azure.net/deletedkeys" + v + "&maxresults=25"},
		"versions":     {call: "versions", line: "GET " + at + "/versions" + v + "&maxresults=25"},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			call := keyCalls[tt.call]
			var line, body string
			c := newClient(t, keyvault.Config{
				URL: "https://v.vault.azure.net", APIVersion: "7.4",
				Transport: exchange(func(r *http.Request) (*http.Response, error) {
					line = r.Method + " " + r.URL.String()
					if r.Body != nil {
						text, err := io.ReadAll(r.Body)
						if err != nil {
							return nil, err
						}
						body = string(text)
					}
					if r.Header.Get("Authorization") != "Bearer "+testToken || (r.Header.Get("Content-Type") != "") != (body != "") {
						t.Errorf("headers %v", r.Header)
					}
					return respond(max(call.status, 200), call.reply), nil
				}),
			})
			act := tt.act
			if act == nil {
				act = func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
					_, err := call.act(ctx, c, n)
					return err
				}
			}
			if err := act(t.Context(), c, keyNamed(t, "K")); err != nil {
				t.Fatal(err)
			}
			if line != tt.line || body != tt.body {
				t.Errorf("%s\n%s\nwant %s\n%s", line, body, tt.line, tt.body)
			}
		})
	}
}
