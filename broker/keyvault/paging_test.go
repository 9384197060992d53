package keyvault_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func item(id string, created int) string {
	return fmt.Sprintf(`{"id":"https://v.vault.azure.net/secrets/%s","attributes":{"enabled":true,"created":%d,"updated":%d}}`, id, created, created)
}

func page(nextLink string, items ...string) string {
	return `{"value":[` + strings.Join(items, ",") + `],"nextLink":` + nextLink + `}`
}

// pages is a vault that answers each query with its page.
func pages(t *testing.T, path string, byQuery map[string]string) (*keyvault.Client, *[]string) {
	t.Helper()
	var asked []string
	c := newClient(t, keyvault.Config{
		URL: "https://v.vault.azure.net", APIVersion: "7.4",
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.RawQuery)
			body, ok := byQuery[r.URL.RawQuery]
			if !ok || r.URL.Path != path || r.URL.Host != "v.vault.azure.net" {
				return respond(400, `{"error":{"code":"BadParameter","message":"what?"}}`), nil
			}
			return respond(200, body), nil
		}),
	})
	return c, &asked
}

// Pages as Key Vault gives them: the port in the link, an empty page that goes
// on, null at the end.
func TestListSecretsPages(t *testing.T) {
	const link = `"https://v.vault.azure.net:443/secrets?api-version=7.4&$skiptoken=eyJ%s&maxresults=2"`
	c, asked := pages(t, "/secrets", map[string]string{
		"api-version=7.4&maxresults=2":                 page(fmt.Sprintf(link, "A"), item("Alpha", 1), item("beta", 2)),
		"api-version=7.4&$skiptoken=eyJA&maxresults=2": page(fmt.Sprintf(link, "B")),
		// Managed HSM's: neither api-version nor, at the end, a nextLink.
		"api-version=7.4&$skiptoken=eyJB&maxresults=2": page(`"https://v.vault.azure.net/secrets?$skiptoken=eyJC"`, item("gamma", 3)),
		"api-version=7.4&$skiptoken=eyJC&maxresults=2": `{"value":[` + item("delta", 4) + `]}`,
	})
	var names []string
	p := broker.Page{Size: 2}
	for range 10 {
		got, err := c.ListSecrets(t.Context(), vaultName(t), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.Secrets {
			names = append(names, s.Name.String())
		}
		if strings.Contains(got.Next, "v.vault") || strings.Contains(got.Next, "api-version") {
			t.Errorf("the page's token %q holds more than it needs", got.Next)
		}
		if p.Token = got.Next; p.Token == "" {
			break
		}
	}
	want := []string{"vaults/pay/secrets/alpha", "vaults/pay/secrets/beta", "vaults/pay/secrets/gamma", "vaults/pay/secrets/delta"}
	if !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if len(*asked) != 4 {
		t.Errorf("asked %v, want 4 pages", *asked)
	}
}

// Key Vault lists versions by id, which is random: newest first is our doing.
func TestVersionsAreSortedByTime(t *testing.T) {
	ids := []string{
		"db/4fdaaf1456c7478babf4a28ddef5bdab", "db/a7102c8bfdfb4c5a9a0daf0d72c5ad8f",
		"db/b5126faf4e694c4c9adfdc32aa00aea0", "db/c5126faf4e694c4c9adfdc32aa00aea0",
	}
	c, _ := pages(t, "/secrets/db/versions", map[string]string{
		"api-version=7.4&maxresults=25": page(`"https://v.vault.azure.net:443/secrets/db/versions?api-version=7.4&$skiptoken=x&maxresults=25"`,
			item(ids[0], 1680047602), item(ids[1], 1680047603)),
		"api-version=7.4&$skiptoken=x&maxresults=25": page("null", item(ids[2], 1680047601), item(ids[3], 1680047601)),
	})
	all, err := c.ListSecretVersions(t.Context(), secretNamed(t, "db"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, "db/"+s.Name.Version())
	}
	if want := []string{ids[1], ids[0], ids[3], ids[2]}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNoVersionsIsNoSecret(t *testing.T) {
	c, _ := pages(t, "/secrets/db/versions", map[string]string{"api-version=7.4&maxresults=25": page("null")})
	_, err := c.ListSecretVersions(t.Context(), secretNamed(t, "db"))
	wantCode(t, err, broker.CodeSecretNotFound)
}

// A recorded list of soft-deleted secrets, with a page that is empty and goes
// on. A link into the list of live ones is not followed.
func TestListDeletedSecretsPages(t *testing.T) {
	const link = `"https://v.vault.azure.net:443/%s?api-version=7.4&$skiptoken=eyJ%s&maxresults=1"`
	item := func(name string) string {
		return `{"recoveryId":"https://v.vault.azure.net/deletedsecrets/` + name + `","deletedDate":1680047585,"scheduledPurgeDate":1680652385,` +
			`"id":"https://v.vault.azure.net/secrets/` + name + `","attributes":{"enabled":true,"created":1680047585,"updated":1680047585,` +
			`"recoveryLevel":"CustomizedRecoverable+Purgeable","recoverableDays":7}}`
	}
	c, asked := pages(t, "/deletedsecrets", map[string]string{
		"api-version=7.4&maxresults=1":                 page(fmt.Sprintf(link, "deletedsecrets", "A"), item("One")),
		"api-version=7.4&$skiptoken=eyJA&maxresults=1": page(fmt.Sprintf(link, "deletedsecrets", "B")),
		"api-version=7.4&$skiptoken=eyJB&maxresults=1": page("null", item("two")),
		"api-version=7.4&maxresults=2":                 page(fmt.Sprintf(link, "secrets", "A"), item("one")),
	})
	var names []string
	p := broker.Page{Size: 1}
	for range 5 {
		got, err := c.ListDeletedSecrets(t.Context(), vaultName(t), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.Secrets {
			names = append(names, s.Name.String())
			if s.Deleted.Unix() != 1680047585 || s.Purges.Unix() != 1680652385 || s.RecoverableDays != 7 {
				t.Errorf("%+v", s)
			}
		}
		if p.Token = got.Next; p.Token == "" {
			break
		}
	}
	if want := []string{"vaults/pay/secrets/one", "vaults/pay/secrets/two"}; !slices.Equal(names, want) || len(*asked) != 3 {
		t.Errorf("%v after asking %v, want %v", names, *asked, want)
	}
	_, err := c.ListDeletedSecrets(t.Context(), vaultName(t), broker.Page{Size: 2})
	wantCode(t, err, broker.CodeVaultUnavailable)
	_, err = c.ListDeletedSecrets(t.Context(), vaultName(t), broker.Page{Size: 2, Token: "$skiptoken=unknown"})
	wantCode(t, err, broker.CodeBadPageToken)
}

func TestHostileLinks(t *testing.T) {
	for label, link := range map[string]string{
		"another host":        "https://evil.example/secrets?$skiptoken=x",
		"another port":        "https://v.vault.azure.net:8443/secrets?$skiptoken=x",
		"in the clear":        "http://v.vault.azure.net:443/secrets?$skiptoken=x",
		"a host by user":      "https://v.vault.azure.net@evil.example/secrets?$skiptoken=x",
		"a user":              "https://u@v.vault.azure.net/secrets?$skiptoken=x",
		"another path":        "https://v.vault.azure.net/keys?$skiptoken=x",
		"a secret's path":     "https://v.vault.azure.net/secrets/db?$skiptoken=x",
		"no host":             "/secrets?$skiptoken=x",
		"no token":            "https://v.vault.azure.net/secrets?api-version=7.4",
		"a malformed escape":  "https://v.vault.azure.net/secrets?%zz=x",
		"a token without end": "https://v.vault.azure.net/secrets?$skiptoken=" + strings.Repeat("x", 5000),
		"no URL":              "https://v.vault.azure.net:x/",
	} {
		t.Run(label, func(t *testing.T) {
			c, asked := pages(t, "/secrets", map[string]string{"api-version=7.4&maxresults=25": page(`"`+link+`"`, item("a", 1))})
			got, err := c.ListSecrets(t.Context(), vaultName(t), broker.Page{})
			wantCode(t, err, broker.CodeVaultUnavailable)
			if len(got.Secrets) != 0 || len(*asked) != 1 {
				t.Errorf("%d items, asked %v", len(got.Secrets), *asked)
			}
		})
	}
}

func TestListsWithoutEnd(t *testing.T) {
	const self = `"https://v.vault.azure.net/secrets/db/versions?$skiptoken=x"`
	c, asked := pages(t, "/secrets/db/versions", map[string]string{
		"api-version=7.4&maxresults=25":              page(self),
		"api-version=7.4&$skiptoken=x&maxresults=25": page(self),
	})
	_, err := c.ListSecretVersions(t.Context(), secretNamed(t, "db"))
	wantCode(t, err, broker.CodeVaultUnavailable)
	if len(*asked) != 2 {
		t.Errorf("%d pages were asked for", len(*asked))
	}
}

func TestListRepliesThatAreNone(t *testing.T) {
	for label, body := range map[string]string{
		"no items":       `{"nextLink":null}`,
		"an item's id":   page("null", `{"id":"nonsense"}`),
		"a foreign name": page("null", item("a_b", 1)),
		"too many":       page("null", slices.Repeat([]string{item("a", 1)}, 26)...),
	} {
		t.Run(label, func(t *testing.T) {
			c, _ := pages(t, "/secrets", map[string]string{"api-version=7.4&maxresults=25": body})
			_, err := c.ListSecrets(t.Context(), vaultName(t), broker.Page{Size: 1000})
			wantCode(t, err, broker.CodeVaultUnavailable)
		})
	}
}

func TestBadPageTokens(t *testing.T) {
	for label, token := range map[string]string{
		"unknown to the vault": "$skiptoken=unknown",
		"a way out":            "$skiptoken=x#",
		"a line break":         "$skiptoken=x\r\nX: y",
		"a malformed escape":   "%zz=1",
	} {
		t.Run(label, func(t *testing.T) {
			c, _ := pages(t, "/secrets", nil)
			_, err := c.ListSecrets(t.Context(), vaultName(t), broker.Page{Token: token})
			wantCode(t, err, broker.CodeBadPageToken)
		})
	}
}
