package keyvault_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// What Key Vault refuses of what is soft-deleted or backed up, in its words.
func TestErrorsByOperation(t *testing.T) {
	const (
		notFound  = `{"error":{"code":"SecretNotFound","message":"Deleted Secret not found: db"}}`
		protected = `{"error":{"code":"Forbidden","message":"Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.\r\nVault: pay;location=westeurope"}}`
		forbidden = `{"error":{"code":"Forbidden","message":"m","innererror":{"code":"ForbiddenByRbac"}}}`
		inUse     = `{"error":{"code":"Conflict","message":"There was a conflict restoring the secret 'https://pay.vault.azure.net/secrets/db/967256fb3ef148bcbffe0be75e934955'. This can happen if either: a second secret with the same name was created after the first secret was deleted; thus trying to restore a secret whose name is already in use."}}`
		deleted   = `{"error":{"code":"Conflict","message":"m","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}`
		deleting  = `{"error":{"code":"Conflict","message":"Secret is currently being deleted.","innererror":{"code":"ObjectIsBeingDeleted"}}}`
		recovered = `{"error":{"code":"Conflict","message":"m","innererror":{"code":"ObjectIsBeingRecovered"}}}`
		other     = `{"error":{"code":"Conflict","message":"m","innererror":{"code":"SomethingElse"}}}`
		malformed = `{"error":{"code":"Malformed backup blob","message":"Malformed backup blob"}}`
		hsm       = `{"error":{"code":"MalformedBackupBlob","message":"m"}}`
		parameter = `{"error":{"code":"BadParameter","message":"m"}}`
	)
	name := secretNamed(t, "db")
	getDeleted := func(c *keyvault.Client) error { _, err := c.GetDeletedSecret(t.Context(), name); return err }
	undelete := func(c *keyvault.Client) error { _, err := c.RecoverSecret(t.Context(), name); return err }
	purge := func(c *keyvault.Client) error { return c.PurgeSecret(t.Context(), name) }
	del := func(c *keyvault.Client) error { _, err := c.DeleteSecret(t.Context(), name); return err }
	restore := func(c *keyvault.Client) error {
		_, err := c.RestoreSecret(t.Context(), name.Vault(), broker.NewValue(canary))
		return err
	}
	update := func(c *keyvault.Client) error {
		_, err := c.UpdateSecret(t.Context(), name, broker.SecretUpdate{Tags: &map[string]string{"a": canary}})
		return err
	}
	tests := map[string]struct {
		act    func(*keyvault.Client) error
		status int
		body   string
		want   broker.Code
		field  string
		words  string
	}{
		"no such deleted secret":      {getDeleted, 404, notFound, broker.CodeSecretNotFound, "", ""},
		"a recovery of none":          {undelete, 404, notFound, broker.CodeSecretNotFound, "", ""},
		"a recovery while deleting":   {undelete, 409, deleting, broker.CodeSecretInTransition, "", ""},
		"a purge of none":             {purge, 404, notFound, broker.CodeSecretNotFound, "", ""},
		"a purge while recovering":    {purge, 409, recovered, broker.CodeSecretInTransition, "", ""},
		"a protected vault":           {purge, 403, protected, broker.CodeNotSupported, "", "protects deleted secrets"},
		"a purge without the role":    {purge, 403, forbidden, broker.CodeVaultAuthentication, "", ""},
		"a purge, 403 of a proxy":     {purge, 403, "<html>", broker.CodeVaultAuthentication, "", ""},
		"a delete, 403 without words": {del, 403, protected, broker.CodeVaultAuthentication, "", ""},
		"a restore over a live name":  {restore, 409, inUse, broker.CodeSecretExists, "", "try again"},
		"a restore over a deleted":    {restore, 409, deleted, broker.CodeSecretSoftDeleted, "", ""},
		"a restore while deleting":    {restore, 409, deleting, broker.CodeSecretInTransition, "", ""},
		"a restore, 409 unknown":      {restore, 409, other, broker.CodeVaultUnavailable, "", ""},
		"a delete, 409 without words": {del, 409, inUse, broker.CodeVaultUnavailable, "", ""},
		"no backup":                   {restore, 400, malformed, broker.CodeBadField, "blob", "no backup"},
		"no backup, Managed HSM":      {restore, 400, hsm, broker.CodeBadField, "blob", "no backup"},
		"a restore's parameter":       {restore, 400, parameter, broker.CodeBadField, "blob", "no backup"},
		"a restore, 400 of a proxy":   {restore, 400, "<html>", broker.CodeVaultUnavailable, "", ""},
		"an update's parameter":       {update, 400, parameter, broker.CodeBadField, "", "fields"},
		"an update of a disabled one": {update, 403, strings.Replace(forbidden, "ForbiddenByRbac", "SecretDisabled", 1), broker.CodeSecretDisabled, "", ""},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL:       "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body), nil }),
			})
			err := tt.act(c)
			wantCode(t, err, tt.want)
			e := broker.AsError(err)
			if e.Field != tt.field || !strings.Contains(e.Message, tt.words) || (e.Message == "") != (tt.words == "") {
				t.Errorf("field %q and words %q, want %q and %q", e.Field, e.Message, tt.field, tt.words)
			}
			if strings.Contains(e.Error(), canary) || strings.Contains(e.Error(), "https://") {
				t.Errorf("it says too much: %v", e)
			}
		})
	}
}

// A reply that names another secret, or none, is never taken for a result.
func TestForeignReplies(t *testing.T) {
	name := secretNamed(t, "db")
	tests := map[string]struct {
		act    func(*keyvault.Client) error
		status int
		body   string
	}{
		"a deleted other":            {func(c *keyvault.Client) error { _, err := c.GetDeletedSecret(t.Context(), name); return err }, 200, bundle("other")},
		"a deleted key":              {func(c *keyvault.Client) error { _, err := c.GetDeletedSecret(t.Context(), name); return err }, 200, strings.Replace(bundle("db"), "/secrets/", "/keys/", 1)},
		"another recovered":          {func(c *keyvault.Client) error { _, err := c.RecoverSecret(t.Context(), name); return err }, 200, bundle("other")},
		"a recovery without version": {func(c *keyvault.Client) error { _, err := c.RecoverSecret(t.Context(), name); return err }, 200, strings.Replace(bundle("db"), "/"+version, "", 1)},
		"another updated": {func(c *keyvault.Client) error {
			_, err := c.UpdateSecret(t.Context(), name, broker.SecretUpdate{Enabled: new(true)})
			return err
		}, 200, bundle("other")},
		"a purge with a body": {func(c *keyvault.Client) error { return c.PurgeSecret(t.Context(), name) }, 200, bundle("db")},
		"a recovery without":  {func(c *keyvault.Client) error { _, err := c.RecoverSecret(t.Context(), name); return err }, 204, ""},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL:       "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body), nil }),
			})
			wantCode(t, tt.act(c), broker.CodeVaultUnavailable)
		})
	}
}

// A recorded soft-deleted secret: the id has a version, the name has none.
func TestDeletedSecret(t *testing.T) {
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net",
		Transport: exchange(func(*http.Request) (*http.Response, error) {
			return respond(200, `{"recoveryId":"https://pay.vault.azure.net/deletedsecrets/db","deletedDate":1680047551,"scheduledPurgeDate":1680652351,`+
				strings.TrimPrefix(bundle("DB"), `{"value":"`+canary+`",`)), nil
		}),
	})
	got, err := c.GetDeletedSecret(t.Context(), secretNamed(t, "db"))
	if err != nil || got.Name != secretNamed(t, "db") || got.Deleted.Unix() != 1680047551 || got.Purges.Unix() != 1680652351 ||
		got.Created.Unix() != 1680047550 || !got.Enabled {
		t.Errorf("%+v, %v", got, err)
	}
}
