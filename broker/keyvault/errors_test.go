package keyvault_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func TestErrors(t *testing.T) {
	body := func(code, inner, message string) string {
		b := `{"error":{"code":"` + code + `","message":"` + message + `"`
		if inner != "" {
			b += `,"innererror":{"code":"` + inner + `"}`
		}
		return b + `}}`
	}
	tests := map[string]struct {
		status int
		body   string
		want   broker.Code
		retry  bool
	}{
		"disabled":         {403, body("Forbidden", "SecretDisabled", "m"), broker.CodeSecretDisabled, false},
		"no role":          {403, body("Forbidden", "ForbiddenByRbac", "m"), broker.CodeVaultAuthentication, true},
		"no access policy": {403, body("Forbidden", "AccessDenied", "m"), broker.CodeVaultAuthentication, true},
		"firewall":         {403, body("Forbidden", "ForbiddenByFirewall", "m"), broker.CodeVaultAuthentication, true},
		"403 of a proxy":   {403, "<html>", broker.CodeVaultAuthentication, true},
		"401":              {401, body("Unauthorized", "", "AKV10022"), broker.CodeVaultAuthentication, true},
		"401, empty":       {401, "", broker.CodeVaultAuthentication, true},
		"missing":          {404, body("SecretNotFound", "", "m"), broker.CodeSecretNotFound, false},
		"404, other":       {404, body("KeyNotFound", "", "m"), broker.CodeVaultUnavailable, true},
		"soft-deleted":     {409, body("Conflict", "ObjectIsDeletedButRecoverable", "m"), broker.CodeSecretSoftDeleted, false},
		"being deleted":    {409, body("Conflict", "ObjectIsBeingDeleted", "m"), broker.CodeSecretInTransition, true},
		"being recovered":  {409, body("Conflict", "ObjectIsBeingRecovered", "m"), broker.CodeSecretInTransition, true},
		"409, other":       {409, body("Conflict", "", "m"), broker.CodeVaultUnavailable, true},
		"throttled":        {429, body("Throttled", "", "m"), broker.CodeVaultThrottled, true},
		"bad parameter":    {400, body("BadParameter", "", "m"), broker.CodeBadField, false},
		"400, other":       {400, "<html>Bad Request</html>", broker.CodeVaultUnavailable, true},
		"500":              {500, "", broker.CodeVaultUnavailable, true},
		"503, not JSON":    {503, `{"error":`, broker.CodeVaultUnavailable, true},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL:       "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body), nil }),
			})
			// A delete is tried once.
			_, err := c.DeleteSecret(t.Context(), secretNamed(t, "db"))
			if tt.status == 429 {
				_, err = c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue("v")})
			}
			wantCode(t, err, tt.want)
			if got := broker.AsError(err).RetryAfter; (got > 0) != tt.retry || got > time.Minute {
				t.Errorf("retry after %v, want one: %v", got, tt.retry)
			}
		})
	}
}

// The log gets status, codes and the request's id. The vault's words are
// bounded, and left out where they may repeat a value; the client gets none.
func TestErrorTexts(t *testing.T) {
	const words = `\r\nCaller: appid=1\r\nVault: https://pay.vault.azure.net/secrets/db `
	long := strings.Repeat("word ", 1000)
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net",
		Transport: exchange(func(*http.Request) (*http.Response, error) {
			return respond(403, `{"error":{"code":"Forbidden","message":"no role`+words+long+`","innererror":{"code":"ForbiddenByRbac"}},"value":"`+canary+`"}`,
				"X-Ms-Request-Id", "4f1c"), nil
		}),
	})
	_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
	e := broker.AsError(err)
	for _, want := range []string{"403", "Forbidden/ForbiddenByRbac", "4f1c", "no role"} {
		if !strings.Contains(e.Error(), want) {
			t.Errorf("the log's text lacks %q: %v", want, e)
		}
	}
	if e.Message != "" || len(e.Error()) > 600 || strings.ContainsAny(e.Error(), "\r\n") ||
		strings.Contains(e.Error(), "https://") || strings.Contains(e.Error(), canary) {
		t.Errorf("message %q, and for the log: %v", e.Message, e)
	}
	_, err = c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue("v")})
	if strings.Contains(err.Error(), "no role") || !strings.Contains(err.Error(), "ForbiddenByRbac") {
		t.Errorf("after a set: %v; want the codes without the words", err)
	}
}
