package keyvault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// makers are the calls whose reply is a key.
var makers = []string{"create", "import", "rotate", "restore", "delete", "recover", "get", "update", "get deleted"}

// Half a key is none, whatever call it answers: neither the caller nor a cache
// gets any of it.
func TestHalfAKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	n, short := b64(rsaKey.N.Bytes()), b64(rsaKey.N.Bytes()[:128])
	rsaPublic := func(n, e string) string { return `"kty":"RSA","n":"` + n + `","e":"` + e + `"` }
	zeros, x384 := b64(make([]byte, 32)), b64(make([]byte, 48))
	x, y, _ := strings.Cut(strings.TrimPrefix(ecPublic, `"kty":"EC","crv":"P-256","x":`), `,"y":`)
	// Each of these stands in the place of ecPublic.
	keys := map[string]string{
		"nothing":                   `"a":1`,
		"no kty":                    strings.Replace(ecPublic, `"kty":"EC",`, "", 1),
		"null for kty":              strings.Replace(ecPublic, `"EC"`, "null", 1),
		"a kty of its own":          strings.Replace(ecPublic, `"EC"`, `"DSA"`, 1),
		"a number for kty":          strings.Replace(ecPublic, `"EC"`, "7", 1),
		"kty and nothing else":      `"kty":"EC"`,
		"no curve":                  strings.Replace(ecPublic, `"crv":"P-256",`, "", 1),
		"another curve":             strings.Replace(ecPublic, "P-256", "P-384", 1),
		"secp256k1 for P-256":       strings.Replace(ecPublic, "P-256", "P-256K", 1),
		"a curve of its own":        strings.Replace(ecPublic, "P-256", "P-257", 1),
		"no x":                      strings.Replace(ecPublic, `"x":`+x+`,`, "", 1),
		"no y":                      strings.Replace(ecPublic, `,"y":`+y, "", 1),
		"an empty y":                strings.Replace(ecPublic, y, `""`, 1),
		"a short x":                 strings.Replace(ecPublic, x, `"AAEC"`, 1),
		"a long x":                  strings.Replace(ecPublic, x, `"`+x384+`"`, 1),
		"zeros for x":               strings.Replace(ecPublic, x, `"`+zeros+`"`, 1),
		"x and y exchanged":         `"kty":"EC","crv":"P-256","x":` + y + `,"y":` + x,
		"x in padded base64":        strings.Replace(ecPublic, strings.Trim(x, `"`), strings.Trim(x, `"`)+"=", 1),
		"an array for x":            strings.Replace(ecPublic, x, "[1,2]", 1),
		"a modulus as well":         ecPublic + `,"n":"` + n + `"`,
		"no n":                      `"kty":"RSA","e":"AQAB"`,
		"no e":                      `"kty":"RSA","n":"` + n + `"`,
		"an even e":                 rsaPublic(n, "AQAC"),
		"an e of 1":                 rsaPublic(n, "AQ"),
		"an n of 1024 bits":         rsaPublic(short, "AQAB"),
		"zeros for n":               rsaPublic(b64(make([]byte, 256)), "AQAB"),
		"a coordinate of RSA":       rsaPublic(n, "AQAB") + `,"x":` + x,
		"RSA with a curve":          rsaPublic(n, "AQAB") + `,"crv":"P-256"`,
		"the private half of EC":    ecPublic + `,"d":"` + ecScalar + `"`,
		"… whatever its case":       ecPublic + `,"D":"` + ecScalar + `"`,
		"… whatever it is":          ecPublic + `,"d":7`,
		"a factor of RSA":           rsaPublic(n, "AQAB") + `,"p":"` + ecScalar + `"`,
		"an exponent of RSA":        rsaPublic(n, "AQAB") + `,"dp":"` + ecScalar + `"`,
		"more factors of RSA":       rsaPublic(n, "AQAB") + `,"oth":[]`,
		"a wrapped key":             rsaPublic(n, "AQAB") + `,"key_hsm":"` + ecScalar + `"`,
		"a symmetric key, told":     `"kty":"oct","k":"` + ecScalar + `"`,
		"an HSM's, told":            `"kty":"oct-HSM","k":"` + ecScalar + `"`,
		"a symmetric key with n":    `"kty":"oct-HSM","n":"` + n + `"`,
		"a symmetric key's curve":   `"kty":"oct-HSM","crv":"P-256"`,
		"operations that are none":  ecPublic + `,"key_ops":"sign"`,
		"the key of another vault":  strings.Replace(ecPublic, `"kty"`, `"kid":"https://w.vault.azure.net/keys/k/`+version+`","kty"`, 1),
		"another key":               strings.Replace(ecPublic, `"kty"`, `"kid":"https://v.vault.azure.net/keys/l/`+version+`","kty"`, 1),
		"a secret":                  strings.Replace(ecPublic, `"kty"`, `"kid":"https://v.vault.azure.net/secrets/k/`+version+`","kty"`, 1),
		"a kid that is no URL":      strings.Replace(ecPublic, `"kty"`, `"kid":"%","kty"`, 1),
		"a kid without a transport": strings.Replace(ecPublic, `"kty"`, `"kid":"http://v.vault.azure.net/keys/k/`+version+`","kty"`, 1),
	}
	for label, key := range keys {
		for _, name := range makers {
			if label == "another key" && name == "restore" {
				continue // the blob hides the name
			}
			t.Run(label+"/"+name, func(t *testing.T) {
				call := keyCalls[name]
				kept := `"kid":"` + kid + `",`
				if strings.Contains(key, `"kid"`) {
					kept = ""
				}
				refuseReply(t, call, strings.Replace(call.reply, `"kid":"`+kid+`",`+ecPublic, kept+key, 1))
			})
		}
	}
}

// refuseReply wants call to fail on a body, and to tell nothing of it.
func refuseReply(t *testing.T, call keyCall, body string) {
	t.Helper()
	if body == call.reply {
		t.Fatal("the reply is a good one")
	}
	var log bytes.Buffer
	c := newClient(t, keyvault.Config{
		URL: "https://v.vault.azure.net", Logger: debugLog(&log),
		Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(max(call.status, 200), body), nil }),
	})
	got, err := call.act(t.Context(), c, keyNamed(t, "k"))
	wantCode(t, err, broker.CodeVaultUnavailable)
	if got != nil && !reflect.ValueOf(got).IsZero() {
		t.Errorf("there is a result: %+v", got)
	}
	if e := broker.AsError(err); e.Message != "" || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 200 {
		t.Errorf("message %q for the client, %v for the log", e.Message, err)
	}
	for _, said := range []string{err.Error(), log.String()} {
		if strings.Contains(said, ecScalar) || strings.Contains(said, canary) || strings.Contains(said, testToken) || strings.Contains(said, "://") {
			t.Errorf("it says too much: %s", said)
		}
	}
}

// A public key of every type is taken as it is.
func TestWholeKeys(t *testing.T) {
	for label, key := range map[string]string{
		"EC":                           ecPublic,
		"EC in an HSM":                 strings.Replace(ecPublic, `"EC"`, `"EC-HSM"`, 1),
		"symmetric":                    `"kty":"oct-HSM"`,
		"nulls for what it has not":    ecPublic + `,"d":null,"k":null,"n":null`,
		"members that nobody knows":    ecPublic + `,"alg":"ES256","x5t":[{}]`,
		"secp256k1 (RFC 8812's curve)": `"kty":"EC","crv":"P-256K","x":"eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g","y":"SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg"`,
	} {
		c := newClient(t, keyvault.Config{
			URL: "https://v.vault.azure.net",
			Transport: exchange(func(*http.Request) (*http.Response, error) {
				return respond(200, strings.Replace(ecBundle, ecPublic, key, 1)), nil
			}),
		})
		k, err := c.GetKey(t.Context(), keyNamed(t, "k"))
		if err != nil || k.Name.Version() != version || !strings.Contains(key, string(k.JWK.Type)) || len(k.Ops) != 2 {
			t.Errorf("%s: %+v, %v", label, k, err)
		}
	}
}

// What was made is what was asked for, or the caller is told that nobody knows.
func TestAnotherKeyThanAsked(t *testing.T) {
	create := func(n broker.NewKey) func(context.Context, *keyvault.Client, broker.Name) (any, error) {
		return func(ctx context.Context, c *keyvault.Client, name broker.Name) (any, error) {
			return c.CreateKey(ctx, name, n)
		}
	}
	imported := func(material string, hsm bool) func(context.Context, *keyvault.Client, broker.Name) (any, error) {
		return func(ctx context.Context, c *keyvault.Client, name broker.Name) (any, error) {
			return c.ImportKey(ctx, name, broker.KeyImport{Material: broker.NewValue(material), HSM: hsm})
		}
	}
	inHSM := strings.Replace(ecBundle, `"EC"`, `"EC-HSM"`, 1)
	for label, tt := range map[string]struct {
		act   func(context.Context, *keyvault.Client, broker.Name) (any, error)
		reply string
		ok    bool
	}{
		"what was asked":          {create(broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP256}), ecBundle, true},
		"hardware for software":   {create(broker.NewKey{Type: broker.KeyTypeEC}), inHSM, true},
		"software for hardware":   {create(broker.NewKey{Type: broker.KeyTypeECHSM}), ecBundle, false},
		"another curve":           {create(broker.NewKey{Type: broker.KeyTypeEC, Curve: broker.CurveP384}), ecBundle, false},
		"another type":            {create(broker.NewKey{Type: broker.KeyTypeRSA, Size: 2048}), ecBundle, false},
		"the imported one":        {imported(ecPrivate, false), ecBundle, true},
		"… in hardware":           {imported(ecPrivate, true), inHSM, true},
		"… in software":           {imported(ecPrivate, true), ecBundle, false},
		"another than imported":   {imported(strings.Replace(ecPrivate, `"MKB`, `"NKB`, 1), false), ecBundle, false},
		"zeros before the number": {imported(strings.Replace(ecPrivate, `"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"`, `"y":"AOBLZekkVtmIi1Kzeb371R7oae8fD8ZbZllpW2zOCBcj"`, 1), false), ecBundle, true},
	} {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL:       "https://v.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(200, tt.reply), nil }),
			})
			want := broker.CodeVaultUnavailable
			if tt.ok {
				want = ""
			}
			_, err := tt.act(t.Context(), c, keyNamed(t, "k"))
			wantCode(t, err, want)
		})
	}
}

// Half a result of a use is none: a ciphertext that lost its tag is lost.
func TestHalfAResult(t *testing.T) {
	other := strings.Replace(kid, "/k/", "/l/", 1)
	without := func(s, part string) string { return strings.Replace(s, part, "", 1) }
	for _, name := range []string{"encrypt", "decrypt", "wrap", "unwrap", "sign", "encrypt with GCM"} {
		call := keyCalls[name]
		for label, body := range map[string]string{
			"no kid":               strings.Replace(call.reply, `"kid"`, `"id"`, 1),
			"another key":          strings.Replace(call.reply, kid, other, 1),
			"no version":           strings.Replace(call.reply, "/"+version, "", 1),
			"no value":             strings.Replace(call.reply, `"value"`, `"v"`, 1),
			"a number for a value": strings.Replace(call.reply, `"value":"`, `"value":7,"v":"`, 1),
			"another algorithm":    strings.Replace(strings.Replace(call.reply, `{`, `{"alg":"RS512",`, 1), `"alg":"A256GCM",`, "", 1),
		} {
			t.Run(name+"/"+label, func(t *testing.T) { refuseReply(t, call, body) })
		}
	}
	gcm := keyCalls["encrypt with GCM"]
	for label, tt := range map[string]struct {
		call keyCall
		body string
	}{
		"a ciphertext without its IV":    {gcm, without(gcm.reply, `,"iv":"AAEC"`)},
		"a ciphertext without its tag":   {gcm, without(gcm.reply, `,"tag":"AAEC"`)},
		"a ciphertext with an empty tag": {gcm, strings.Replace(gcm.reply, `"tag":"AAEC"`, `"tag":""`, 1)},
		"an empty ciphertext":            {keyCalls["encrypt"], strings.Replace(keyUsed, "AAECAwQFBgc", "", 1)},
		"an empty wrapped key":           {keyCalls["wrap"], strings.Replace(keyUsed, "AAECAwQFBgc", "", 1)},
		"an empty unwrapped key":         {keyCalls["unwrap"], strings.Replace(keyUsed, "AAECAwQFBgc", "", 1)},
		"an empty signature":             {keyCalls["sign"], strings.Replace(keyUsed, "AAECAwQFBgc", "", 1)},
		"a short signature":              {keyCalls["sign"], keyUsed},
		"no verdict":                     {keyCalls["verify"], `{}`},
		"null for a verdict":             {keyCalls["verify"], `{"value":null}`},
		"a text for a verdict":           {keyCalls["verify"], `{"value":"true"}`},
		"a verdict on another key":       {keyCalls["verify"], `{"value":true,"kid":"` + other + `"}`},
		"a verdict by another algorithm": {keyCalls["verify"], `{"value":true,"alg":"RS256"}`},
		"a policy that says nothing":     {keyCalls["get policy"], `{}`},
		"an action without a type":       {keyCalls["get policy"], strings.Replace(policyOf, `"Notify"`, `""`, 1)},
		"an action without a trigger":    {keyCalls["update policy"], strings.Replace(policyOf, `"timeBeforeExpiry":"P30D"`, "", 1)},
		"an action with two triggers":    {keyCalls["get policy"], strings.Replace(policyOf, `"timeBeforeExpiry"`, `"timeAfterCreate":"P1D","timeBeforeExpiry"`, 1)},
		"a backup without its blob":      {keyCalls["backup"], `{"value":""}`},
		"a list without its items":       {keyCalls["list"], `{"nextLink":null}`},
		"an item without its id":         {keyCalls["list"], `{"value":[{"id":"` + kid + `"}]}`},
		"an item of another vault":       {keyCalls["list"], strings.Replace(keyList, "//v.", "//w.", 1)},
		"a version of another key":       {keyCalls["versions"], strings.Replace(keyList, kid, other, 1)},
		"a version without its version":  {keyCalls["versions"], strings.Replace(keyList, "/"+version, "", 1)},
		"a deleted item of secrets":      {keyCalls["list deleted"], strings.Replace(keyList, "/keys/", "/secrets/", 1)},
	} {
		t.Run(label, func(t *testing.T) { refuseReply(t, tt.call, tt.body) })
	}
}
