package keyvault_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// A delete and a recovery of a key settle after their replies: until then, what
// this client moved is in transition where it is looked for, and gone where it was.
func TestSettlingOfKeys(t *testing.T) {
	deletedSide := []string{"get deleted", "recover", "purge"}
	none := []string{"list", "list deleted", "create", "import", "restore"} // ask for no key that must be there
	for label, move := range map[string]string{"a delete": "delete", "a recovery": "recover"} {
		for name, call := range keyCalls {
			if slices.Contains(none, name) {
				continue
			}
			t.Run(label+", then "+name, func(t *testing.T) {
				moved := false
				c := newClient(t, keyvault.Config{
					URL: "https://v.vault.azure.net",
					Transport: exchange(func(*http.Request) (*http.Response, error) {
						if !moved {
							return respond(200, keyCalls[move].reply), nil
						}
						return respond(404, `{"error":{"code":"KeyNotFound","message":"m"}}`), nil
					}),
				})
				if _, err := keyCalls[move].act(t.Context(), c, keyNamed(t, "k")); err != nil {
					t.Fatal(err)
				}
				moved = true
				want := broker.CodeKeyNotFound
				if slices.Contains(deletedSide, name) == (move == "delete") {
					want = broker.CodeKeyInTransition
				}
				_, err := call.act(t.Context(), c, keyNamed(t, "k"))
				if wantCode(t, err, want); want == broker.CodeKeyInTransition && broker.AsError(err).RetryAfter <= 0 {
					t.Error("it does not say when to come back")
				}
				_, err = call.act(t.Context(), c, keyNamed(t, "other"))
				wantCode(t, err, broker.CodeKeyNotFound)
			})
		}
	}
}
