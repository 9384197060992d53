package vaulthttp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// What is otherwise with keys.
const (
	noRelease = "keys are not exportable here; a release is for enclaves that Azure attests"
	noRandom  = "the local vault gives no random bytes: a caller has its own"
	restored  = "the recorded HSM calls a restored key exportable, which it was not before; the local vault's is as it was"
	asAsked   = "the recorded HSM writes an action as it was asked, here in lower case; the local vault writes it as Key Vault does"
	unordered = "the recorded list has an order of its own; the local vault's is that of names"
)

// differentKeys lists the steps on keys whose replies differ at the recorded
// pace, by scenario and number; differentKeysAtOnce those that differ as the local
// vault does all at once.
var (
	differentKeys = map[string]string{
		"TestBackupRestore/MHSM, step 7":    restored,
		"TestBackupRestore/MHSM, step 8":    restored,
		"TestBackupRestore/MHSM, step 9":    restored,
		"TestRotateKey/MHSM, step 3":        asAsked,
		"TestRotateKey/MHSM, step 4":        asAsked,
		"TestGetRandomBytes, step 2":        noRandom,
		"TestListDeletedKeys/MHSM, step 14": unordered,
		"TestListDeletedKeys/MHSM, step 15": unordered,
		"TestListDeletedKeys/MHSM, step 18": unordered,
		"TestListDeletedKeys/MHSM, step 19": unordered,
		"TestReleaseKey/KV, step 2":         noRelease,
		"TestReleaseKey/KV, step 3":         noRelease,
		"TestReleaseKey/KV, step 4":         noRelease,
		"TestReleaseKey/MHSM, step 2":       noRelease,
		"TestReleaseKey/MHSM, step 3":       noRelease,
		"TestReleaseKey/MHSM, step 4":       noRelease,
	}
	differentKeysAtOnce = map[string]string{
		"TestBackupRestore/MHSM, step 7":    restored,
		"TestBackupRestore/MHSM, step 8":    restored,
		"TestBackupRestore/MHSM, step 9":    restored,
		"TestRotateKey/MHSM, step 3":        asAsked,
		"TestRotateKey/MHSM, step 4":        asAsked,
		"TestBackupRestore/KV, step 5":      settles,
		"TestBackupRestore/KV, step 8":      settles,
		"TestBackupRestore/KV, step 9":      settles,
		"TestCRUD/EC, step 6":               settles,
		"TestCRUD/RSA, step 6":              settles,
		"TestGetRandomBytes, step 2":        noRandom,
		"TestListDeletedKeys/KV, step 12":   settles,
		"TestListDeletedKeys/KV, step 15":   emptyPage,
		"TestListDeletedKeys/KV, step 16":   emptyPage,
		"TestListDeletedKeys/KV, step 18":   emptyPage,
		"TestListDeletedKeys/KV, step 19":   emptyPage,
		"TestListDeletedKeys/KV, step 20":   emptyPage,
		"TestListDeletedKeys/KV, step 21":   ended,
		"TestListDeletedKeys/KV, step 22":   ended,
		"TestListDeletedKeys/KV, step 23":   ended,
		"TestListDeletedKeys/KV, step 24":   ended,
		"TestListDeletedKeys/KV, step 25":   ended,
		"TestListDeletedKeys/KV, step 26":   ended,
		"TestListDeletedKeys/KV, step 27":   ended,
		"TestListDeletedKeys/KV, step 28":   ended,
		"TestListDeletedKeys/KV, step 29":   ended,
		"TestListDeletedKeys/MHSM, step 14": unordered,
		"TestListDeletedKeys/MHSM, step 15": unordered,
		"TestListDeletedKeys/MHSM, step 18": unordered,
		"TestListDeletedKeys/MHSM, step 19": unordered,
		"TestListKeys/KV, step 7":           emptyPage,
		"TestListKeys/KV, step 8":           emptyPage,
		"TestListKeys/KV, step 9":           emptyPage,
		"TestListKeys/KV, step 10":          emptyPage,
		"TestListKeys/KV, step 11":          ended,
		"TestListKeys/KV, step 12":          ended,
		"TestListKeys/KV, step 13":          ended,
		"TestListKeys/KV, step 14":          ended,
		"TestListKeys/KV, step 15":          ended,
		"TestListKeys/KV, step 16":          ended,
		"TestListKeys/KV, step 17":          ended,
		"TestRecoverDeletedKey/KV, step 4":  settles,
		"TestRecoverDeletedKey/KV, step 7":  settles,
		"TestReleaseKey/KV, step 2":         noRelease,
		"TestReleaseKey/KV, step 3":         noRelease,
		"TestReleaseKey/KV, step 4":         noRelease,
		"TestReleaseKey/MHSM, step 2":       noRelease,
		"TestReleaseKey/MHSM, step 3":       noRelease,
		"TestReleaseKey/MHSM, step 4":       noRelease,
	}
)

// The recorded requests about keys get the recorded status, error code, headers
// and fields, with the values that do not depend on time or chance, but for those
// listed; of a vault's, nine in ten do.
func TestReplayKeys(t *testing.T) {
	set, err := recordings.OthersOfKeys()
	if errors.Is(err, recordings.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Run("at once", func(t *testing.T) { replayKeys(t, set, false, 0, maps.Clone(differentKeysAtOnce)) })
	t.Run("at the recorded pace", func(t *testing.T) { replayKeys(t, set, true, 90, maps.Clone(differentKeys)) })
}

// replayKeys sends all of set, and wants the listed steps and no others to differ,
// and at least the given percentage of those to a vault to be the same.
func replayKeys(t *testing.T, set recordings.Set, pace bool, least float64, listed map[string]string) {
	t.Helper()
	requests, same := make(map[bool]int), make(map[bool]int)
	stale := maps.Clone(listed)
	for _, s := range set.Scenarios {
		hsm := strings.Contains(s.Steps[0].Request.URL, "mhsm")
		v := newReplayVaultOf(t, pace, hsm)
		v.seedKeys(t, s)
		for i, step := range s.Steps {
			label := fmt.Sprintf("%s, step %d", s.Name, i+1)
			delete(stale, label)
			v.follow(s.Steps, i)
			for range step.Times() {
				requests[hsm]++
				err := v.repeat(t, step)
				if err == nil {
					same[hsm]++
				}
				switch why, ok := listed[label]; {
				case err != nil && !ok:
					t.Errorf("%s, %s %s: %v", label, step.Request.Method, step.Request.URL, err)
				case err == nil && ok:
					t.Errorf("%s is as recorded now, and is listed still: %s", label, why)
				}
			}
		}
	}
	for label := range stale {
		t.Errorf("%s is listed, and was not recorded", label)
	}
	for hsm, label := range map[bool]string{false: "a vault", true: "a Managed HSM"} {
		share := 100 * float64(same[hsm]) / float64(requests[hsm])
		t.Logf("%d of %d recorded requests to %s (%.1f %%) get the recorded status, fields and code", same[hsm], requests[hsm], label, share)
		if !hsm && share < least {
			t.Errorf("want %.0f %% at least", least)
		}
	}
}

// seedKeys makes what the scenario's lists have and the scenario does not make.
func (v *replayVault) seedKeys(t *testing.T, s recordings.Scenario) {
	t.Helper()
	made := make(map[string]bool)
	type item struct {
		tags    any
		deleted bool
	}
	listed := make(map[string]item)
	for _, step := range s.Steps {
		u, err := url.Parse(step.Request.URL)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(u.Path, "/")
		if step.Request.Method == http.MethodPut || strings.HasSuffix(u.Path, "/create") {
			made[parts[2]] = true
		}
		want, err := recordedReply(step.Response)
		if err != nil {
			t.Fatal(err)
		}
		items, _ := want.body["value"].([]any)
		for _, one := range items {
			if id, err := url.Parse(text(one, "kid")); err == nil {
				fields, _ := one.(map[string]any)
				listed[strings.Split(id.Path, "/")[2]] = item{tags: fields["tags"], deleted: parts[1] == "deletedkeys"}
			}
		}
	}
	send := func(method, path string, body map[string]any) {
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.send(t.Context(), recordings.Request{
			Method: method, URL: "https://pay.vault.azure.net" + path + "?api-version=7.4", Authorized: true, Body: encoded,
		})
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("%s %s: %d, %v", method, path, got.status, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if made[name] {
			continue
		}
		send(http.MethodPost, "/keys/"+name+"/create", map[string]any{"kty": "EC", "tags": listed[name].tags})
		if listed[name].deleted {
			send(http.MethodDelete, "/keys/"+name, nil)
		}
	}
}
