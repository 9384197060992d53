package vaulthttp_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

func TestSimulateSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := simulated(t, vaulthttp.Simulation{Settle: 3 * time.Second})
		const value = `{"value":"v"}`
		v.expect(t, "PUT", "/secrets/db", value, 200, "")
		v.expect(t, "PUT", "/secrets/other", value, 200, "")
		v.expect(t, "DELETE", "/secrets/db", "", 200, "")

		time.Sleep(3*time.Second - time.Millisecond)
		v.expect(t, "GET", "/secrets/db", "", 404, "SecretNotFound")
		got := v.expect(t, "GET", "/deletedsecrets/DB", "", 404, "SecretNotFound")
		if text(got, "error", "message") != "Deleted Secret not found: db" {
			t.Errorf("%v", got)
		}
		v.expect(t, "PUT", "/secrets/db", value, 409, "Conflict/ObjectIsBeingDeleted")
		v.expect(t, "POST", "/deletedsecrets/db/recover", "", 409, "Conflict/ObjectIsBeingDeleted")
		v.expect(t, "DELETE", "/deletedsecrets/db", "", 409, "Conflict/ObjectIsBeingDeleted")
		if all := ids(t, v.expect(t, "GET", "/deletedsecrets", "", 200, "")); len(all) != 0 {
			t.Errorf("listed before it settled: %v", all)
		}
		v.expect(t, "GET", "/secrets/other", "", 200, "")

		time.Sleep(time.Millisecond)
		v.expect(t, "GET", "/deletedsecrets/db", "", 200, "")
		v.expect(t, "PUT", "/secrets/db", value, 409, "Conflict/ObjectIsDeletedButRecoverable")
		if all := ids(t, v.expect(t, "GET", "/deletedsecrets", "", 200, "")); len(all) != 1 {
			t.Errorf("listed once it settled: %v", all)
		}
		v.expect(t, "POST", "/deletedsecrets/db/recover", "", 200, "")

		for _, target := range []string{"GET /secrets/db", "GET /secrets/db/versions", "PATCH /secrets/db", "DELETE /secrets/db", "POST /secrets/db/backup", "GET /deletedsecrets/db"} {
			method, path, _ := strings.Cut(target, " ")
			v.expect(t, method, path, "{}", 404, "SecretNotFound")
		}
		v.expect(t, "PUT", "/secrets/db", value, 409, "Conflict/ObjectIsBeingRecovered")
		if all := ids(t, v.expect(t, "GET", "/secrets", "", 200, "")); len(all) != 1 {
			t.Errorf("listed before it settled: %v", all)
		}

		time.Sleep(3 * time.Second)
		v.expect(t, "GET", "/secrets/db", "", 200, "")
		v.expect(t, "GET", "/secrets/db/versions", "", 200, "")
		v.expect(t, "POST", "/secrets/db/backup", "", 200, "")
		v.expect(t, "PUT", "/secrets/db", value, 200, "")
		v.expect(t, "DELETE", "/secrets/db", "", 200, "")
		time.Sleep(3 * time.Second)
		v.expect(t, "DELETE", "/deletedsecrets/db", "", 204, "")
		v.expect(t, "PUT", "/secrets/db", value, 409, "Conflict/ObjectIsBeingDeleted")
		time.Sleep(3 * time.Second)
		v.expect(t, "PUT", "/secrets/db", value, 200, "")
	})
}

// The id of a settling delete has its version all the same.
func TestSimulateSettleID(t *testing.T) {
	v := newLocalVault(t, localvault.Config{}, vaulthttp.Config{Simulate: vaulthttp.Simulation{Settle: time.Hour}})
	version := v.set(t, "db", "v")
	if got := v.expect(t, "DELETE", "/secrets/db", "", 200, ""); !strings.HasSuffix(text(got, "id"), "/"+version) {
		t.Errorf("%v", got)
	}
}
