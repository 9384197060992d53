package keyvault_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// What the vault says about permissions is there for who keeps the
// configuration, whatever the call, and for no client.
func TestRefusedError(t *testing.T) {
	for label, tt := range map[string]struct {
		status               int
		inner, message       string
		permission, complain string
	}{
		"a role": {
			403, "ForbiddenByRbac", "Caller is not authorized.\r\nAction: 'Microsoft.KeyVault/vaults/secrets/setSecret/action'\r\nResource: '" + canary + "'",
			"Microsoft.KeyVault/vaults/secrets/setSecret/action", "",
		},
		"an access policy":     {403, "AccessDenied", "The user 'appid=" + canary + "' does not have secrets set permission on key vault 'v'.", "secrets set", ""},
		"an action of its own": {403, "ForbiddenByRbac", "Action: '" + canary + "'", "", ""},
		"a policy of its own":  {403, "AccessDenied", "does not have secrets " + canary + " permission", "", ""},
		"a role on keys": {
			403, "ForbiddenByRbac", "Caller is not authorized.\r\nAction: 'Microsoft.KeyVault/vaults/keys/sign/action'\r\nResource: '" + canary + "'",
			"Microsoft.KeyVault/vaults/keys/sign/action", "",
		},
		"a role to read keys":      {403, "ForbiddenByRbac", "Action: 'Microsoft.KeyVault/vaults/keys/read'", "Microsoft.KeyVault/vaults/keys/read", ""},
		"a role on rotations":      {403, "ForbiddenByRbac", "Action: 'Microsoft.KeyVault/vaults/keyrotationpolicies/write'", "Microsoft.KeyVault/vaults/keyrotationpolicies/write", ""},
		"a Managed HSM's role":     {403, "", "Not authorized to access Microsoft.KeyVault/managedHsm/keys/read/action on /keys (Activity ID: " + canary + ")", "Microsoft.KeyVault/managedHsm/keys/read/action", ""},
		"… for deleted keys":       {403, "", "Not authorized to access Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete on /", "Microsoft.KeyVault/managedHsm/keys/deletedKeys/delete", ""},
		"an access policy of keys": {403, "AccessDenied", "The user 'appid=" + canary + "' does not have keys sign permission on key vault 'v'.", "keys sign", ""},
		"… in another case":        {403, "AccessDenied", "does not have keys wrapkey permission on key vault", "keys wrapkey", ""},
		"another tenant":           {401, "", "AKV10032: Invalid issuer. Expected " + canary, "", "AKV10032"},
		"an ended token":           {401, "", "IDX10223: " + canary, "", "IDX10223"},
		"a complaint elsewhere":    {401, "", canary + " AKV10032", "", ""},
	} {
		t.Run(label, func(t *testing.T) {
			body := map[string]any{"code": "Forbidden", "message": tt.message}
			if tt.inner != "" {
				body["innererror"] = map[string]string{"code": tt.inner}
			}
			text, err := json.Marshal(map[string]any{"error": body})
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, keyvault.Config{
				URL:       "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(tt.status, string(text)), nil }),
			})
			_, err = c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue(canary)})
			wantCode(t, err, broker.CodeVaultAuthentication)
			refused, ok := errors.AsType[*keyvault.RefusedError](err)
			if !ok || refused.Status != tt.status || refused.Code != "Forbidden" || refused.Inner != tt.inner ||
				refused.Permission != tt.permission || refused.Detail != tt.complain {
				t.Errorf("%+v", refused)
			}
			if strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), tt.permission) || broker.AsError(err).Message != "" {
				t.Errorf("the log: %v", err)
			}
		})
	}
}
