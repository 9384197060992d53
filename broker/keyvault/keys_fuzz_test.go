package keyvault_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// Whatever a vault answers to a call about a key, it is all or nothing: an error
// that tells nothing, or a result that is whole, is of the key that was asked for
// and, written again, is read as the same.
func FuzzKeyReplies(f *testing.F) {
	names := slices.Sorted(maps.Keys(keyCalls))
	for i, name := range names {
		f.Add(uint8(i), []byte(keyCalls[name].reply))
		f.Add(uint8(i), []byte(strings.Replace(keyCalls[name].reply, `"kty"`, `"d":"AAEC","kty"`, 1)))
		f.Add(uint8(i), []byte(strings.Replace(keyCalls[name].reply, `"EC"`, `"oct-HSM"`, 1)))
		f.Add(uint8(i), []byte("null"))
	}
	var body []byte
	c, err := keyvault.New(keyvault.Config{
		URL: "https://v.vault.azure.net", Tokens: &tokens{},
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			resp := respond(200, string(body))
			if r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, "/deletedkeys/") {
				resp.StatusCode = http.StatusNoContent
			}
			return resp, nil
		}),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	name := keyNamed(f, "k")
	f.Fuzz(func(t *testing.T, n uint8, reply []byte) {
		call := keyCalls[names[int(n)%len(names)]]
		body = reply
		got, err := call.act(t.Context(), c, name)
		if err != nil {
			switch e := broker.AsError(err); e.Code {
			case broker.CodeVaultUnavailable, broker.CodeKeyNotFound, broker.CodeKeyInTransition, broker.CodeValueTooLarge:
				if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 200 {
					t.Errorf("unfit for the log: %q", err)
				}
			default:
				t.Errorf("%v", err)
			}
			if got != nil && !reflect.ValueOf(got).IsZero() {
				t.Errorf("%+v beside %v", got, err)
			}
			return
		}
		switch got := got.(type) {
		case broker.Key:
			wholeKey(t, name, got, reply)
			sameAgain(t, &body, got, func() (broker.Key, error) { return c.GetKey(t.Context(), got.Name) })
		case broker.DeletedKey:
			got.Name = named(t, name, version)
			wholeKey(t, name, got.Key, reply)
		case broker.KeyPage:
			for _, k := range got.Keys {
				if k.Name.Vault() != name.Vault() || k.Name.Kind() != broker.KindKeys || k.Name.Version() != "" {
					t.Errorf("an item %v", k.Name)
				}
			}
		case []broker.Key:
			for _, k := range got {
				if k.Name.Base() != name || k.Name.Version() == "" {
					t.Errorf("a version %v", k.Name)
				}
			}
		case broker.CipherResult:
			if got.Key.Base() != name || got.Key.Version() == "" {
				t.Errorf("by %v", got.Key)
			}
		case broker.Signature:
			if got.Key.Base() != name || got.Key.Version() == "" || len(got.Value) != 64 {
				t.Errorf("%d bytes by %v", len(got.Value), got.Key)
			}
		case broker.Verdict:
			if got.Key.Base() != name {
				t.Errorf("by %v", got.Key)
			}
		case broker.RotationPolicy:
			for _, a := range got.Actions {
				if a.Type == "" || (a.AfterCreate == "") == (a.BeforeExpiry == "") {
					t.Errorf("an action %+v", a)
				}
			}
		}
	})
}

func named(t *testing.T, n broker.Name, version string) broker.Name {
	t.Helper()
	n, err := n.WithVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wholeKey wants k to be a version of name with all of a public half, and the
// reply to have nothing of a private one.
func wholeKey(t *testing.T, name broker.Name, k broker.Key, reply []byte) {
	t.Helper()
	if k.Name.Base() != name || k.Name.Version() == "" {
		t.Errorf("the key of %v", k.Name)
	}
	if k.JWK.Type.Software() == broker.KeyTypeOct {
		if len(k.JWK.N)+len(k.JWK.E)+len(k.JWK.X)+len(k.JWK.Y) > 0 || k.JWK.Curve != "" {
			t.Errorf("a symmetric key of %+v", k.JWK)
		}
	} else if _, err := broker.NewPublicKey(k.JWK); err != nil {
		t.Errorf("half a key: %+v, %v", k.JWK, err)
	}
	var w struct {
		Key map[string]json.RawMessage `json:"key"`
	}
	if json.Unmarshal(reply, &w) != nil {
		return // members that stand twice, of types that do not mix
	}
	for member, v := range w.Key {
		if slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_hsm"}, strings.ToLower(member)) && string(v) != "null" {
			t.Errorf("a key with %q", member)
		}
	}
}

// sameAgain writes a key as a vault would, and wants it to be read as it was.
func sameAgain(t *testing.T, body *[]byte, k broker.Key, get func() (broker.Key, error)) {
	t.Helper()
	// A time that JSON can hold and Go's type cannot print is as good as it was.
	for _, at := range []time.Time{k.NotBefore, k.Expires, k.Created, k.Updated} {
		if y := at.Year(); y < 1970 || y > 9999 {
			return
		}
	}
	id := "https://v.vault.azure.net/keys/" + k.Name.ObjectName() + "/" + k.Name.Version()
	text, err := json.Marshal(keyvault.FromKey(id, k))
	if err != nil {
		t.Fatal(err)
	}
	*body = text
	again, err := get()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if again.ETag() != k.ETag() || !reflect.DeepEqual(again.JWK, k.JWK) || again.Name != k.Name ||
		again.Enabled != k.Enabled || again.RecoverableDays != k.RecoverableDays {
		t.Errorf("%+v became %+v", k, again)
	}
}
