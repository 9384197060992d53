package keyvault_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func keyItem(id string, created int) string {
	return fmt.Sprintf(`{"kid":"https://v.vault.azure.net/keys/%s","attributes":{"enabled":true,"created":%d,"updated":%d}}`, id, created, created)
}

// Pages of keys, live and deleted, as both kinds of vaults give them: the port in
// the link, an empty page that goes on, null or nothing at the end, and the links
// of a Managed HSM, which name no version.
func TestListKeysPages(t *testing.T) {
	for _, path := range []string{"/keys", "/deletedkeys"} {
		t.Run(path, func(t *testing.T) {
			link := `"https://v.vault.azure.net:443` + path + `?api-version=7.4&$skiptoken=eyJ%s&maxresults=2"`
			c, asked := pages(t, path, map[string]string{
				"api-version=7.4&maxresults=2":                 page(fmt.Sprintf(link, "A"), keyItem("Alpha", 1), keyItem("beta", 2)),
				"api-version=7.4&$skiptoken=eyJA&maxresults=2": page(fmt.Sprintf(link, "B")),
				"api-version=7.4&$skiptoken=eyJB&maxresults=2": page(`"https://v.vault.azure.net`+path+`?$skiptoken=eyJC"`, keyItem("gamma", 3)),
				"api-version=7.4&$skiptoken=eyJC&maxresults=2": `{"value":[` + keyItem("delta/"+version, 4) + `]}`,
			})
			var names []string
			for p := (broker.Page{Size: 2}); ; {
				var next string
				if path == "/keys" {
					got, err := c.ListKeys(t.Context(), vaultName(t), p)
					if err != nil {
						t.Fatal(err)
					}
					for _, k := range got.Keys {
						names = append(names, k.Name.String())
					}
					next = got.Next
				} else {
					got, err := c.ListDeletedKeys(t.Context(), vaultName(t), p)
					if err != nil {
						t.Fatal(err)
					}
					for _, k := range got.Keys {
						names = append(names, k.Name.String())
					}
					next = got.Next
				}
				if strings.Contains(next, "v.vault") || strings.Contains(next, "api-version") {
					t.Errorf("the page's token %q holds more than it needs", next)
				}
				if p.Token = next; next == "" || len(*asked) > 10 {
					break
				}
			}
			want := []string{"vaults/pay/keys/alpha", "vaults/pay/keys/beta", "vaults/pay/keys/gamma", "vaults/pay/keys/delta"}
			if !slices.Equal(names, want) || len(*asked) != 4 {
				t.Errorf("%v of %v, want %v of 4 pages", names, *asked, want)
			}
		})
	}
}

// A version list is walked to its end, through empty pages, and sorted by time.
func TestKeyVersionsAreSortedByTime(t *testing.T) {
	const path = "/keys/k/versions"
	ids := []string{"k/4fdaaf1456c7478babf4a28ddef5bdab", "k/a7102c8bfdfb4c5a9a0daf0d72c5ad8f", "k/b5126faf4e694c4c9adfdc32aa00aea0"}
	c, asked := pages(t, path, map[string]string{
		"api-version=7.4&maxresults=25":              page(`"https://v.vault.azure.net`+path+`?$skiptoken=x"`, keyItem(ids[0], 2), keyItem(ids[1], 3)),
		"api-version=7.4&$skiptoken=x&maxresults=25": page(`"https://v.vault.azure.net:443` + path + `?api-version=7.4&$skiptoken=y&maxresults=25"`),
		"api-version=7.4&$skiptoken=y&maxresults=25": `{"value":[` + keyItem(ids[2], 1) + `]}`,
	})
	all, err := c.ListKeyVersions(t.Context(), keyNamed(t, "k"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range all {
		got = append(got, "k/"+k.Name.Version())
	}
	if want := []string{ids[1], ids[0], ids[2]}; !slices.Equal(got, want) || len(*asked) != 3 {
		t.Errorf("%v in %d pages, want %v in 3", got, len(*asked), want)
	}
	c, _ = pages(t, path, map[string]string{"api-version=7.4&maxresults=25": page("null")})
	_, err = c.ListKeyVersions(t.Context(), keyNamed(t, "k"))
	wantCode(t, err, broker.CodeKeyNotFound)
}

// The token goes where it was configured to go, and nowhere that a link leads to.
func TestHostileLinksOfKeys(t *testing.T) {
	for _, link := range []string{
		"https://evil.example/keys?$skiptoken=x", "http://v.vault.azure.net/keys?$skiptoken=x", "https://v.vault.azure.net:8443/keys?$skiptoken=x",
		"https://v.vault.azure.net/secrets?$skiptoken=x", "https://v.vault.azure.net/keys/k/versions?$skiptoken=x",
		"https://u:p@v.vault.azure.net/keys?$skiptoken=x", "https://v.vault.azure.net/keys", "//evil.example/keys?$skiptoken=x", "?$skiptoken=x",
	} {
		c, asked := pages(t, "/keys", map[string]string{"api-version=7.4&maxresults=25": page(`"`+link+`"`, keyItem("k", 1))})
		got, err := c.ListKeys(t.Context(), vaultName(t), broker.Page{})
		if broker.CodeOf(err) != broker.CodeVaultUnavailable || got.Next != "" || len(got.Keys) != 0 || len(*asked) != 1 {
			t.Errorf("%s: %v, %+v", link, err, got)
		}
	}
	c, _ := pages(t, "/keys", nil)
	for _, token := range []string{"a b", "$skiptoken=x#y", "%zz", strings.Repeat("a", 5000), "unknown=1"} {
		_, err := c.ListKeys(t.Context(), vaultName(t), broker.Page{Token: token})
		wantCode(t, err, broker.CodeBadPageToken)
		_, err = c.ListDeletedKeys(t.Context(), vaultName(t), broker.Page{Token: token})
		if code := broker.CodeOf(err); code != broker.CodeBadPageToken {
			t.Errorf("%.20q: %s", token, code)
		}
	}
}
