package vaulthttp_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
)

const (
	root       = "../../.."
	parityPage = root + "/docs/key-vault-parity.md"
)

// row is one of the page's tables: what Key Vault does, what is done here, what
// is to be said, and the tests that prove it.
type row struct{ subject, here, words, proof string }

func parityRows(t *testing.T) []row {
	t.Helper()
	page, err := os.ReadFile(parityPage)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 || cells[0] != "" || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[2]) == "Here" {
			continue
		}
		if len(cells) != 6 {
			t.Fatalf("a row of %d cells: %s", len(cells)-2, line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, row{cells[1], cells[2], cells[3], cells[4]})
	}
	if len(rows) < 50 {
		t.Fatalf("%d rows: the page was not read as it is written", len(rows))
	}
	return rows
}

var reference = regexp.MustCompile("`([a-z]+)\\.((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")

// Every row of the parity page names tests, and they exist.
func TestParityPage(t *testing.T) {
	tests := testsOfTheTree(t)
	for _, r := range parityRows(t) {
		if !slices.Contains([]string{"same", "different", "absent"}, r.here) {
			t.Errorf("%s: it is %q here; want same, different or absent", r.subject, r.here)
		}
		if r.here != "same" && r.words == "" {
			t.Errorf("%s: it is %s here, without a reason", r.subject, r.here)
		}
		named := reference.FindAllStringSubmatch(r.proof, -1)
		if len(named) == 0 {
			t.Errorf("%s: no test proves it", r.subject)
		}
		for _, m := range named {
			text, ok := tests[m[1]+"."+m[2]]
			if !ok || m[3] != "" && !strings.Contains(text, `"`+m[3]+`"`) {
				t.Errorf("%s: there is no test %s", r.subject, m[0])
			}
		}
	}
}

// testsOfTheTree returns the text of the file that each test is in, by the
// test's name after that of its folder.
func testsOfTheTree(t *testing.T) map[string]string {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	tests := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests[filepath.Base(filepath.Dir(path))+"."+m[1]] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// routesOf returns the requests that the router's documentation lists.
func routesOf(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(gotoken.NewFileSet(), "routes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	listed := regexp.MustCompile(`(?m)^\s+([A-Z]+)\s+(/\S+)`)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "match" {
			for _, m := range listed.FindAllStringSubmatch(fn.Doc.Text(), -1) {
				routes = append(routes, m[1]+" "+m[2])
			}
		}
	}
	return routes
}

// What is served has a row, and what is documented is served: of the documented
// paths these methods and no others.
func TestParityRoutes(t *testing.T) {
	routes := routesOf(t)
	if len(routes) < 14 {
		t.Fatalf("%d routes were found in the documentation of match", len(routes))
	}
	described := make(map[string]bool)
	for _, r := range parityRows(t) {
		if m := regexp.MustCompile("^`([A-Z]+ /[^`]*)`").FindStringSubmatch(r.subject); m != nil && r.here != "absent" {
			described[m[1]] = true
		}
	}
	for _, route := range routes {
		if !described[route] {
			t.Errorf("%s has no row", route)
		}
		_, path, _ := strings.Cut(route, " ")
		if path == "/secrets/restore" {
			continue // with other methods, a secret of that name
		}
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			v := newVault(t)
			target := strings.NewReplacer("{name}", "db", "{version}", v.set(t, "db", "v")).Replace(path)
			resp, got := v.do(t, method, target+"?api-version=7.4", `{"value":"v"}`)
			served := resp.StatusCode != http.StatusMethodNotAllowed && text(got, "error", "code") != "NotFound"
			if want := slices.Contains(routes, method+" "+path); served != want {
				t.Errorf("%s %s: served is %v, want %v (%d)", method, path, served, want, resp.StatusCode)
			}
		}
	}
}

// What the page calls absent is refused, or has no effect; and so has what the
// local vault does on request only.
func TestAbsent(t *testing.T) {
	t.Run("other kinds", func(t *testing.T) {
		v := newVault(t)
		for _, target := range []string{
			"GET /keys", "GET /keys/k", "POST /keys/k/create", "POST /keys/k/sign", "GET /keys/k/rotationpolicy", "GET /deletedkeys", "POST /rng",
			"GET /certificates", "POST /certificates/c/create", "GET /certificates/contacts", "GET /deletedcertificates",
		} {
			method, path, _ := strings.Cut(target, " ")
			resp, got := v.do(t, method, path+"?api-version=7.4", "{}")
			if resp.StatusCode != http.StatusNotFound || text(got, "error", "code") != "NotFound" {
				t.Errorf("%s: %d %v", target, resp.StatusCode, got)
			}
		}
	})
	t.Run("a Managed HSM's own", func(t *testing.T) {
		v := vaultOfKeys(t, vaulthttp.Config{ManagedHSM: true})
		for _, target := range []string{
			"GET /secrets", "PUT /secrets/db", "POST /rng", "GET /keys/providers/Microsoft.Authorization/roleAssignments",
			"GET /providers/Microsoft.Authorization/roleDefinitions", "POST /backup", "POST /securitydomain/download", "GET /settings",
		} {
			method, path, _ := strings.Cut(target, " ")
			resp, got := v.do(t, method, path+"?api-version=7.4", "{}")
			if resp.StatusCode/100 != 4 {
				t.Errorf("%s: %d %v", target, resp.StatusCode, got)
			}
		}
	})
	t.Run("fields of certificates", func(t *testing.T) {
		v := newVault(t)
		v.set(t, "db", "old")
		v.set(t, "db", canary)
		resp, got := v.do(t, "GET", "/secrets/db?api-version=2025-07-01&outContentType=application/x-pem-file", "")
		if resp.StatusCode != http.StatusOK || text(got, "value") != canary {
			t.Errorf("outContentType: %d %v", resp.StatusCode, got)
		}
		for _, name := range []string{"previousVersion", "kid", "managed"} {
			if _, ok := got[name]; ok {
				t.Errorf("%s is told of a plain secret", name)
			}
		}
	})
	t.Run("limits of how often", func(t *testing.T) {
		v := newVault(t)
		for i := range 400 {
			if resp, got := v.do(t, "PUT", fmt.Sprintf("/secrets/s%d?api-version=7.4", i), `{"value":"v"}`); resp.StatusCode != http.StatusOK {
				t.Fatalf("set %d: %d %v", i, resp.StatusCode, got)
			}
		}
	})
	t.Run("settling", func(t *testing.T) {
		v := newVault(t)
		v.set(t, "db", canary)
		for _, target := range []string{
			"DELETE /secrets/db", "GET /deletedsecrets/db", "POST /deletedsecrets/db/recover", "GET /secrets/db", "DELETE /secrets/db",
		} {
			method, path, _ := strings.Cut(target, " ")
			if resp, got := v.do(t, method, path+"?api-version=7.4", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %v", target, resp.StatusCode, got)
			}
		}
	})
	t.Run("the audience by its GUID", func(t *testing.T) {
		v := newReplayVault(t, false)
		got, err := v.askToken(t.Context(), "cfa8b339-82a2-471a-a3c9-0fc0be7a4093/.default")
		if err != nil || got.status != http.StatusBadRequest || text(got.body, "error") != "invalid_scope" {
			t.Errorf("%d %v, %v", got.status, got.body, err)
		}
	})
}
