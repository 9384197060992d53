package vaulthttp_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

func TestBackup(t *testing.T) {
	for label, body := range map[string]string{"no body": "", "an empty object": "{}"} {
		t.Run(label, func(t *testing.T) {
			v := newVault(t)
			first, second := v.set(t, "db", "first"), v.set(t, "db", canary)
			resp, got := v.do(t, "POST", "/secrets/db/backup?api-version=7.4", body)
			blob := text(got, "value")
			if _, err := base64.RawURLEncoding.Strict().DecodeString(blob); resp.StatusCode != 200 || blob == "" || len(got) != 1 || err != nil {
				t.Fatalf("backup: %d, %v", resp.StatusCode, err)
			}
			backup := fmt.Sprintf(`{"value":%q}`, blob)

			resp, got = v.do(t, "POST", "/secrets/restore?api-version=7.4", backup)
			if resp.StatusCode != 409 || text(got, "error", "code") != "Conflict" || at(got, "error", "innererror") != nil {
				t.Errorf("over a live name: %d %v", resp.StatusCode, got)
			}
			v.do(t, "DELETE", "/secrets/db?api-version=7.4", "")
			resp, got = v.do(t, "POST", "/secrets/restore?api-version=7.4", backup)
			if resp.StatusCode != 409 || text(got, "error", "innererror", "code") != "ObjectIsDeletedButRecoverable" ||
				!strings.HasPrefix(text(got, "error", "message"), "Secret of the backup is") {
				t.Errorf("over a deleted name: %d %v", resp.StatusCode, got)
			}
			v.do(t, "DELETE", "/deletedsecrets/db?api-version=7.4", "")
			resp, got = v.do(t, "POST", "/secrets/restore/?api-version=7.4", backup)
			if resp.StatusCode != 200 || text(got, "id") != "https://dev.vault.example/secrets/db/"+second || at(got, "value") != nil {
				t.Errorf("restore: %d %v", resp.StatusCode, got)
			}
			for version, want := range map[string]string{first: "first", second: canary} {
				if resp, got := v.do(t, "GET", "/secrets/db/"+version+"?api-version=7.4", ""); resp.StatusCode != 200 || text(got, "value") != want {
					t.Errorf("a restored version: %d", resp.StatusCode)
				}
			}
			if strings.Contains(v.log.String(), blob[:20]) || strings.Contains(v.log.String(), canary) {
				t.Error("the log holds a blob or a value")
			}
		})
	}
}

// A backup of the broker's most bytes goes through, and its blob is refused by
// the store that gets it.
func TestLargestBackup(t *testing.T) {
	v := newVault(t)
	blob := base64.RawURLEncoding.EncodeToString(make([]byte, broker.MaxBackupLen))
	resp, got := v.do(t, "POST", "/secrets/restore?api-version=7.4", `{"value":"`+blob+`"}`)
	if resp.StatusCode != 400 || text(got, "error", "code") != "Malformed backup blob" || v.store.Calls(brokertest.RestoreSecret) != 1 {
		t.Errorf("%d %v, and %d calls", resp.StatusCode, got, v.store.Calls(brokertest.RestoreSecret))
	}
}
