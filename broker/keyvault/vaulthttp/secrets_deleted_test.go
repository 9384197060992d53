package vaulthttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// Clients send a body, an empty one or none where nothing is to be said.
func TestDeletedSecret(t *testing.T) {
	for label, body := range map[string]string{"no body": "", "an empty object": "{}", "not JSON": "x"} {
		t.Run(label, func(t *testing.T) {
			v := newVault(t)
			version := v.set(t, "db", canary)
			id := "https://dev.vault.example/secrets/db"
			_, gone := v.do(t, "DELETE", "/secrets/db?api-version=7.4", "")
			for _, target := range []string{"/deletedsecrets/db", "/deletedsecrets/DB/"} {
				resp, got := v.do(t, "GET", target+"?api-version=7.4", "")
				if resp.StatusCode != 200 || fmt.Sprint(got) != fmt.Sprint(gone) || text(got, "recoveryId") != "https://dev.vault.example/deletedsecrets/db" ||
					!strings.HasPrefix(text(got, "id"), id) || at(got, "deletedDate") == nil || at(got, "scheduledPurgeDate") == nil || at(got, "value") != nil {
					t.Errorf("GET %s: %d %v, want %v", target, resp.StatusCode, got, gone)
				}
			}

			resp, got := v.do(t, "POST", "/deletedsecrets/db/recover?api-version=7.4", body)
			if resp.StatusCode != 200 || text(got, "id") != id+"/"+version || at(got, "value") != nil || at(got, "recoveryId") != nil {
				t.Errorf("recover: %d %v", resp.StatusCode, got)
			}
			if resp, got := v.do(t, "GET", "/secrets/db?api-version=7.4", ""); resp.StatusCode != 200 || text(got, "value") != canary {
				t.Errorf("once recovered: %d", resp.StatusCode)
			}

			v.do(t, "DELETE", "/secrets/db?api-version=7.4", "")
			resp, _ = v.do(t, "DELETE", "/deletedsecrets/db?api-version=7.4", body)
			if resp.StatusCode != 204 || resp.Header.Get("Content-Type") != "" || resp.Header.Get("X-Ms-Request-Id") == "" {
				t.Errorf("purge: %d %v", resp.StatusCode, resp.Header)
			}
			if resp, got := v.do(t, "GET", "/deletedsecrets/db?api-version=7.4", ""); resp.StatusCode != 404 {
				t.Errorf("once purged: %d %v", resp.StatusCode, got)
			}
		})
	}
}

func TestDeletedPaging(t *testing.T) {
	v := newVault(t)
	var want []string
	for i := range 5 {
		name := fmt.Sprint("s", i)
		v.set(t, name, canary)
		v.do(t, "DELETE", "/secrets/"+name+"?api-version=7.4", "")
		want = append(want, "https://dev.vault.example/secrets/"+name)
	}
	v.set(t, "live", "v")
	var got []string
	target := "/deletedsecrets?api-version=7.4&maxresults=2"
	for range 5 {
		resp, page := v.do(t, "GET", target, "")
		items, ok := page["value"].([]any)
		if resp.StatusCode != 200 || !ok || len(items) > 2 {
			t.Fatalf("%d %v", resp.StatusCode, page)
		}
		for _, item := range items {
			got = append(got, text(item, "id"))
			if text(item, "recoveryId") != strings.Replace(text(item, "id"), "/secrets/", "/deletedsecrets/", 1) || at(item, "value") != nil {
				t.Errorf("%v", item)
			}
			for _, field := range []string{"deletedDate", "scheduledPurgeDate"} {
				if at(item, field) == nil {
					t.Errorf("an item without its %s: %v", field, item)
				}
			}
			for _, field := range []string{"enabled", "created", "updated", "recoveryLevel", "recoverableDays"} {
				if at(item, "attributes", field) == nil {
					t.Errorf("an item without its %s: %v", field, item)
				}
			}
		}
		if page["nextLink"] == nil {
			break
		}
		if !strings.HasPrefix(text(page, "nextLink"), "https://dev.vault.example:443/deletedsecrets?api-version=7.4&$skiptoken=") {
			t.Fatalf("nextLink %v", page["nextLink"])
		}
		u, err := url.Parse(text(page, "nextLink"))
		if err != nil {
			t.Fatal(err)
		}
		target = u.RequestURI()
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What a store cannot do, in the words of a vault that may not.
func TestDeletedStoreErrors(t *testing.T) {
	tests := map[string]struct {
		code           broker.Code
		method, target string
		status         int
		want, words    string
	}{
		"a protected vault":   {broker.CodeNotSupported, "DELETE", "/deletedsecrets/db", 403, "Forbidden", `Operation "purge" is not allowed because purge protection`},
		"a backup too large":  {broker.CodeValueTooLarge, "POST", "/secrets/db/backup", 400, "BackupTooLarge", "1 MiB"},
		"a settling delete":   {broker.CodeSecretInTransition, "GET", "/deletedsecrets/db", 409, "Conflict", ""},
		"a backup, throttled": {broker.CodeVaultThrottled, "POST", "/secrets/db/backup", 429, "Throttled", ""},
		"a list's token":      {broker.CodeBadPageToken, "GET", "/deletedsecrets", 400, "BadParameter", "skiptoken"},
		"no backups":          {broker.CodeNotSupported, "POST", "/secrets/db/backup", 501, "NotSupported", ""},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			v := newVault(t)
			v.store.SetHook(func(context.Context, string, broker.Name) error {
				return &broker.Error{Code: tt.code, Err: errors.New(canary)}
			})
			resp, got := v.do(t, tt.method, tt.target+"?api-version=7.4", "")
			if resp.StatusCode != tt.status || text(got, "error", "code") != tt.want || !strings.Contains(text(got, "error", "message"), tt.words) {
				t.Errorf("%d %v, want %d %s", resp.StatusCode, got, tt.status, tt.want)
			}
			if tt.status == 403 && at(got, "error", "innererror") != nil {
				t.Error("purge protection has an inner code")
			}
			if strings.Contains(fmt.Sprint(got), canary) {
				t.Error("the client is told the cause")
			}
		})
	}
}
