package main

import (
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault"
)

func TestConfiguredVaultLimits(t *testing.T) {
	const azure = `url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}`
	const hsm = `kind: managedHsm, url: "https://pay.managedhsm.azure.net", credential: {managedIdentity: {}}`
	tests := map[string]struct {
		vault, limits string
		want          keyvault.Budget
		bad           string
	}{
		"none":               {vault: azure},
		"none in it":         {vault: azure, limits: "{}", want: keyvault.Budget{Share: 0.8}},
		"a share":            {vault: azure, limits: "{share: 0.5}", want: keyvault.Budget{Share: 0.5}},
		"replicas":           {vault: azure, limits: "{replicas: 3}", want: keyvault.Budget{Share: 0.8, Replicas: 3}},
		"all":                {vault: azure, limits: "{share: 1, replicas: 2}", want: keyvault.Budget{Share: 1, Replicas: 2}},
		"no share":           {vault: azure, limits: "{share: 0}", bad: "vaults.pay.limits.share: want a part"},
		"more than all":      {vault: azure, limits: "{share: 80}", bad: "vaults.pay.limits.share: want a part"},
		"no number":          {vault: azure, limits: "{share: .nan}", bad: "vaults.pay.limits.share: want a part"},
		"no replica":         {vault: azure, limits: "{replicas: 0}", bad: "vaults.pay.limits.replicas: want how many"},
		"half a replica":     {vault: azure, limits: "{replicas: 1.5}", bad: "vaults.pay.limits.replicas: want how many"},
		"too many":           {vault: azure, limits: "{replicas: 1001}", bad: "vaults.pay.limits.replicas: want how many"},
		"another key":        {vault: azure, limits: "{rate: 1}", bad: `unknown key "rate"`},
		"of a local vault":   {vault: "local: {path: v.db, keyFile: v.key}", limits: "{share: 1}", bad: "vaults.pay.limits: leave it out"},
		"of a Managed HSM":   {vault: hsm, limits: "{share: 1}", bad: "vaults.pay.limits: leave it out"},
		"a local vault, not": {vault: "local: {path: v.db, keyFile: v.key}"},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			vault := tt.vault
			if tt.limits != "" {
				vault += ", limits: " + tt.limits
			}
			text := strings.Replace(string(leastConfig("")), `url: "https://pay.vault.azure.net", credential: {managedIdentity: {}}`, vault, 1)
			c, _, err := parseConfig("k.yaml", []byte(text))
			if tt.bad != "" {
				if err == nil || !strings.Contains(err.Error(), "k.yaml:5:") || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("got %v\nwant %s", err, tt.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Vaults["pay"].Limits.budget(); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}
