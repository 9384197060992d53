package keyvault_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// sides is a vault that has every secret among the live ones, among the
// soft-deleted ones or, while a move settles, on neither side.
type sides struct{ live, deleted bool }

func (s *sides) RoundTrip(r *http.Request) (*http.Response, error) {
	there := s.live || r.Method == http.MethodPut || r.URL.Path == "/secrets/restore"
	if strings.HasPrefix(r.URL.Path, "/deletedsecrets/") {
		there = s.deleted
	}
	switch {
	case !there:
		return respond(404, `{"error":{"code":"SecretNotFound","message":"not found"}}`), nil
	case r.URL.Path == "/secrets/restore":
		return respond(200, bundle("db")), nil
	case strings.HasSuffix(r.URL.Path, "/versions"):
		return respond(200, page("null", item("db/"+version, 1))), nil
	}
	return answer(r), nil
}

type operation func(context.Context, *keyvault.Client, broker.Name) error

// What one asks of a secret, by the side where it must be.
var (
	ofLive = map[string]operation{
		"get": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.GetSecret(ctx, n)
			return err
		},
		"versions": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.ListSecretVersions(ctx, n)
			return err
		},
		"backup": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.BackupSecret(ctx, n)
			return err
		},
		"delete": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.DeleteSecret(ctx, n)
			return err
		},
		"update": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.UpdateSecret(ctx, n, broker.SecretUpdate{Enabled: new(true)})
			return err
		},
	}
	ofDeleted = map[string]operation{
		"get deleted": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.GetDeletedSecret(ctx, n)
			return err
		},
		"recover": func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
			_, err := c.RecoverSecret(ctx, n)
			return err
		},
		"purge": func(ctx context.Context, c *keyvault.Client, n broker.Name) error { return c.PurgeSecret(ctx, n) },
	}
)

// While a move settles, whoever looks where the secret was moved to is told to
// wait, and whoever looks where it was, or for another, that there is nothing.
func TestSettling(t *testing.T) {
	tests := map[string]struct {
		before, after sides
		move          operation
		from, to      map[string]operation
	}{
		"a delete":   {sides{live: true}, sides{deleted: true}, ofLive["delete"], ofLive, ofDeleted},
		"a recovery": {sides{deleted: true}, sides{live: true}, ofDeleted["recover"], ofDeleted, ofLive},
	}
	for label, tt := range tests {
		for asked, ask := range tt.to {
			t.Run(label+", then "+asked, func(t *testing.T) {
				vault := tt.before
				c := newClient(t, keyvault.Config{URL: "https://v.vault.azure.net", Transport: &vault})
				ctx, name := t.Context(), secretNamed(t, "db")
				wantCode(t, ask(ctx, c, name), broker.CodeSecretNotFound)
				if err := tt.move(ctx, c, name); err != nil {
					t.Fatal(err)
				}
				vault = sides{}
				for range 2 {
					err := ask(ctx, c, name)
					wantCode(t, err, broker.CodeSecretInTransition)
					if e := broker.AsError(err); e.RetryAfter != 2*time.Second || e.Err == nil {
						t.Errorf("retry after %v because of %v", e.RetryAfter, e.Err)
					}
					wantCode(t, ask(ctx, c, secretNamed(t, "other")), broker.CodeSecretNotFound)
					for label, ask := range tt.from {
						if err := ask(ctx, c, name); broker.CodeOf(err) != broker.CodeSecretNotFound {
							t.Errorf("%s, where it was: %v", label, err)
						}
					}
				}
				vault = tt.after
				if err := ask(ctx, c, name); err != nil {
					t.Errorf("once it has settled: %v", err)
				}
			})
		}
	}
}

// A secret that was found where it was moved to, or has been put elsewhere
// since, is not there when it is not found.
func TestSettled(t *testing.T) {
	del, undelete := ofLive["delete"], ofDeleted["recover"]
	set := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue("v")})
		return err
	}
	restore := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.RestoreSecret(ctx, n.Vault(), broker.NewValue("blob"))
		return err
	}
	wait := func(d time.Duration) operation {
		return func(context.Context, *keyvault.Client, broker.Name) error { time.Sleep(d); return nil }
	}
	getPinned := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		pinned, err := n.WithVersion(version)
		if err != nil {
			return err
		}
		_, err = c.GetSecret(ctx, pinned)
		return err
	}
	get, getDeleted, purge := ofLive["get"], ofDeleted["get deleted"], ofDeleted["purge"]
	tests := map[string]struct {
		move, then, ask operation
		want            broker.Code
	}{
		"deleted a while ago":         {del, wait(2*time.Minute - time.Second), getDeleted, broker.CodeSecretInTransition},
		"deleted long ago":            {del, wait(2*time.Minute + time.Second), getDeleted, broker.CodeSecretNotFound},
		"deleted and seen":            {del, getDeleted, getDeleted, broker.CodeSecretNotFound},
		"deleted and looked for":      {del, get, getDeleted, broker.CodeSecretInTransition},
		"deleted and purged":          {del, purge, getDeleted, broker.CodeSecretNotFound},
		"deleted and recovered":       {del, undelete, getDeleted, broker.CodeSecretNotFound},
		"deleted and set":             {del, set, getDeleted, broker.CodeSecretNotFound},
		"deleted and restored":        {del, restore, getDeleted, broker.CodeSecretNotFound},
		"recovered a while ago":       {undelete, wait(2*time.Minute - time.Second), get, broker.CodeSecretInTransition},
		"recovered long ago":          {undelete, wait(2*time.Minute + time.Second), get, broker.CodeSecretNotFound},
		"recovered and seen":          {undelete, get, get, broker.CodeSecretNotFound},
		"recovered, and one was seen": {undelete, getPinned, get, broker.CodeSecretNotFound},
		"recovered and set":           {undelete, set, get, broker.CodeSecretNotFound},
		"recovered and deleted":       {undelete, del, get, broker.CodeSecretNotFound},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vault := sides{live: true, deleted: true}
				c := newClient(t, keyvault.Config{URL: "https://v.vault.azure.net", Transport: &vault})
				ctx, name := t.Context(), secretNamed(t, "db")
				for _, act := range []operation{tt.move, tt.then} {
					if err := act(ctx, c, name); err != nil {
						t.Fatal(err)
					}
				}
				vault = sides{}
				wantCode(t, tt.ask(ctx, c, name), tt.want)
			})
		})
	}
}

// A disabled secret is there.
func TestSettledAndDisabled(t *testing.T) {
	replies := []*http.Response{
		respond(200, bundle("db")),
		respond(403, `{"error":{"code":"Forbidden","message":"m","innererror":{"code":"SecretDisabled"}}}`),
		respond(404, `{"error":{"code":"SecretNotFound","message":"m"}}`),
	}
	c := newClient(t, keyvault.Config{
		URL: "https://v.vault.azure.net",
		Transport: exchange(func(*http.Request) (*http.Response, error) {
			r := replies[0]
			replies = replies[1:]
			return r, nil
		}),
	})
	name := secretNamed(t, "db")
	if _, err := c.RecoverSecret(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	for _, want := range []broker.Code{broker.CodeSecretDisabled, broker.CodeSecretNotFound} {
		_, err := c.GetSecret(t.Context(), name)
		wantCode(t, err, want)
	}
}
