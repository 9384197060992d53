package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
)

const firstGrant = leastPrivilegeDir + "/first-grant"

// The log that the documentation tightens by is what a broker writes. With
// -update it is written.
func TestFirstGrantLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	secrets := map[string][]string{"pay": {"db-password", "ledger-key", "psp-token", "root-key", "shared-logo-key"}}
	makePast(t, firstGrant, log, 1, secrets, func(m *month) {
		for day := range 28 {
			begin := time.Now()
			m.firstGrantDay(day)
			time.Sleep(time.Until(begin.Add(24 * time.Hour)))
		}
	})
	got, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(firstGrant, "audit.jsonl")
	if *updateScripts {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what a broker writes: run the test with -update, and look at what the documentation shows: %v", path, err)
	}
}

// firstGrantDay: the api reads, the rotator rotates each week, the dashboard
// lists, and one night there was an emergency.
func (m *month) firstGrantDay(day int) {
	ctx := m.t.Context()
	read := func(who broker.Caller, secret string, code broker.Code) {
		_, err := m.GetSecret(ctx, who, secretName(m.t, "pay", secret), broker.GetSecretOptions{})
		m.want(secret, err, code)
	}
	read(workload("pay/api"), "psp-token", "")
	if day%7 == 0 {
		read(workload("pay/api"), "db-password", "")
		read(workload("pay/rotator"), "db-password", "")
		_, err := m.SetSecret(ctx, workload("pay/rotator"), secretName(m.t, "pay", "db-password"), broker.NewSecret{Value: broker.NewValue("w"), Enabled: true}, broker.SetSecretOptions{})
		m.want("set", err, "")
		v, err := broker.VaultName("pay")
		if err != nil {
			m.t.Fatal(err)
		}
		_, err = m.ListSecrets(ctx, workload("dashboard"), v, broker.Page{})
		m.want("list", err, "")
		read(workload("dashboard"), "root-key", broker.CodePolicyDenied)
	}
	if day == 16 {
		ann := person("6d1b0c9e", "entra/on-call")
		ann.Reason = "INC-4711: payments are down"
		read(ann, "db-password", "")
	}
}
