package service_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

var update = flag.Bool("update", false, "write the generated documents")

// checkOneself is the row of CheckAccess about the caller; that of its own name is
// about another.
const checkOneself = "CheckAccess of getSecret, oneself"

// roles are who asks in docs/who-sees-what.md, with the policies that make them
// what they are.
var roles = []struct{ name, what, policies string }{
	{"nobody", "no credentials", ""},
	{"stranger", "a workload without rights", ""},
	{"elsewhere", "all rights in another vault", `
permit (principal == Workload::"spiffe://example.org/elsewhere", action, resource is Secret in Vault::"other");
permit (principal == Workload::"spiffe://example.org/elsewhere", action, resource is Key in Vault::"other");
permit (principal == Workload::"spiffe://example.org/elsewhere", action, resource is Certificate in Vault::"other");
permit (principal == Workload::"spiffe://example.org/elsewhere", action, resource == Vault::"other");`},
	{"lister", "may list", `
permit (principal == Workload::"spiffe://example.org/lister", action in [Action::"listSecrets", Action::"listSecretVersions", Action::"listDeletedSecrets"], resource is Secret in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/lister", action in [Action::"listKeys", Action::"listKeyVersions", Action::"listDeletedKeys"], resource is Key in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/lister", action in [Action::"listCertificates", Action::"listCertificateVersions", Action::"listDeletedCertificates"], resource is Certificate in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/lister", action == Action::"listCertificateIssuers", resource == Vault::"dev");`},
	{"db-reader", "`getSecret` on `db`", `
permit (principal == Workload::"spiffe://example.org/db-reader", action == Action::"getSecret", resource == Secret::"vaults/dev/secrets/db");`},
	{"reader", "`readSecrets`, `readKeys`, `readCertificates`", `
permit (principal == Workload::"spiffe://example.org/reader", action in Action::"readSecrets", resource is Secret in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/reader", action in Action::"readKeys", resource is Key in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/reader", action in Action::"readCertificates", resource is Certificate in Vault::"dev");`},
	{"writer", "`writeSecrets`, `writeKeys`, `writeCertificates`", `
permit (principal == Workload::"spiffe://example.org/writer", action in Action::"writeSecrets", resource is Secret in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/writer", action in Action::"writeKeys", resource is Key in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/writer", action in Action::"writeCertificates", resource is Certificate in Vault::"dev");`},
	{"manager", "`manageSecrets`", `
permit (principal == Workload::"spiffe://example.org/manager", action in Action::"manageSecrets", resource is Secret in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/manager", action == Action::"restoreSecret", resource == Vault::"dev");`},
	{"user", "`useKeys`", `
permit (principal == Workload::"spiffe://example.org/user", action in Action::"useKeys", resource is Key in Vault::"dev");`},
	{"key-manager", "`manageKeys`", `
permit (principal == Workload::"spiffe://example.org/key-manager", action in Action::"manageKeys", resource is Key in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/key-manager", action == Action::"restoreKey", resource == Vault::"dev");`},
	{"certificate-manager", "`manageCertificates`", `
permit (principal == Workload::"spiffe://example.org/certificate-manager", action in Action::"manageCertificates", resource is Certificate in Vault::"dev");
permit (principal == Workload::"spiffe://example.org/certificate-manager", action in Action::"manageCertificates", resource == Vault::"dev");`},
	{"server", "`downloadCertificate` on `db`", `
permit (principal == Workload::"spiffe://example.org/server", action == Action::"downloadCertificate", resource == Certificate::"vaults/dev/certificates/db");`},
	{"explainer", "`explainAccess`", `
permit (principal == Workload::"spiffe://example.org/explainer", action == Action::"explainAccess", resource == Vault::"dev");`},
	{"admin", "all rights", `
permit (principal == Workload::"spiffe://example.org/admin", action, resource);`},
}

// TestWhoSeesWhat makes docs/who-sees-what.md of real calls: each method, by each
// role, on a secret, key or certificate that is there, one that is not, and one that
// is deleted.
func TestWhoSeesWhat(t *testing.T) {
	takesLong(t)
	var policies strings.Builder
	for _, r := range roles {
		policies.WriteString(r.policies)
	}
	w := newWorld(t, withPolicies(t, policies.String()))
	ids := map[string]identity{}
	for _, r := range roles[1:] {
		ids[r.name] = w.cert("/" + r.name)
	}
	var doc strings.Builder
	doc.WriteString(whoSeesWhatPreamble)
	for _, r := range roles {
		fmt.Fprintf(&doc, "| %s | %s |\n", r.name, r.what)
	}
	doc.WriteString("\n## The table\n\n| |")
	for _, r := range roles {
		fmt.Fprintf(&doc, " %s |", r.name)
	}
	doc.WriteString("\n|---|" + strings.Repeat("---|", len(roles)) + "\n")
	table := refurnish(w)
	var rows []string
	for _, m := range methods() {
		rows = append(rows, string(m.Name()))
	}
	for _, name := range append(rows, checkOneself) {
		fmt.Fprintf(&doc, "| %s |", name)
		for _, r := range roles {
			var cells []string
			for _, state := range []string{"there", "absent", "deleted"} {
				cell, answered := w.seen(ids[r.name], table[name], state)
				cells = append(cells, cell)
				if answered && changing.MatchString(name) { // as it was, whatever the call did
					table = refurnish(w)
				}
			}
			if len(slices.Compact(slices.Clone(cells))) == 1 {
				cells = cells[:1]
			}
			fmt.Fprintf(&doc, " %s |", strings.Join(cells, " / "))
		}
		doc.WriteString("\n")
	}
	const path = "../docs/who-sees-what.md"
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != doc.String() {
		t.Errorf("%s is not current; run: go test ./service -run TestWhoSeesWhat -update\n%s", path, doc.String())
	}
}

// changing are the methods after which a vault is another.
var changing = regexp.MustCompile(`^(Set|Generate|Create|Import|Merge|Update|Delete|Undelete|Purge|Restore|Rotate)`)

// refurnish clears the vault and furnishes it again.
func refurnish(w *world) map[string]rpc {
	w.Helper()
	for _, object := range []string{"db", "gone", "old", "nothing"} {
		n, err := broker.ParseName(broker.KindSecrets, "vaults/dev/secrets/"+object)
		w.must(err)
		_, _ = w.store.DeleteSecret(w.Context(), n)
		_ = w.store.PurgeSecret(w.Context(), n)
	}
	clearKeys(w)
	clearCertificates(w)
	table := rpcs(furnish(w))
	table[checkOneself] = rpc{request: &keywardv1.CheckAccessRequest{Action: "getSecret", Resource: "vaults/dev/secrets/db"}}
	return table
}

// seen is how a call ends for who makes it, and whether it was answered.
func (w *world) seen(id identity, c rpc, state string) (ends string, answered bool) {
	w.Helper()
	a := asked{request: c.request}
	switch state {
	case "absent":
		a = a.renamed(w.T, "db", "nothing").renamed(w.T, "gone", "nothing").renamed(w.T, "csr", "nothing").renamed(w.T, "digicert", "nothing")
	case "deleted":
		a = a.renamed(w.T, "db", "gone").renamed(w.T, "csr", "gone")
	default: // of what takes a deleted one, one that is not
		a = a.renamed(w.T, "gone", "db")
	}
	reply, err := w.call(id, a.request)
	switch v := itemVerdict(reply, err); v.reason {
	case "":
		if err != nil {
			return err.Error(), false
		}
		return "ok" + shown(reply), true
	case "POLICY_DENIED":
		return "denied", false
	case "NO_CREDENTIALS":
		return "who?", false
	case "SECRET_NOT_FOUND", "KEY_NOT_FOUND", "CERTIFICATE_NOT_FOUND", "OPERATION_NOT_FOUND", "ISSUER_NOT_FOUND":
		return "not found", false
	case "SECRET_SOFT_DELETED", "KEY_SOFT_DELETED", "CERTIFICATE_SOFT_DELETED":
		return "soft-deleted", false
	default:
		return v.reason, false
	}
}

// shown is what a list shows, or a question answers.
func shown(reply proto.Message) string {
	var names []string
	switch r := reply.(type) {
	case *keywardv1.ListSecretsResponse:
		for _, s := range r.GetSecrets() {
			names = append(names, s.GetName())
		}
	case *keywardv1.ListDeletedSecretsResponse:
		for _, s := range r.GetDeletedSecrets() {
			names = append(names, s.GetName())
		}
	case *keywardv1.CheckAccessResponse:
		if r.GetAllowed() {
			return ": yes"
		}
		return ": no"
	case *keywardv1.ListKeysResponse:
		for _, k := range r.GetKeys() {
			names = append(names, k.GetName())
		}
	case *keywardv1.ListDeletedKeysResponse:
		for _, k := range r.GetDeletedKeys() {
			names = append(names, k.GetName())
		}
	case *keywardv1.ListCertificatesResponse:
		for _, c := range r.GetCertificates() {
			names = append(names, c.GetName())
		}
	case *keywardv1.ListDeletedCertificatesResponse:
		for _, c := range r.GetDeletedCertificates() {
			names = append(names, c.GetName())
		}
	case *keywardv1.ListCertificateIssuersResponse:
		for _, i := range r.GetCertificateIssuers() {
			names = append(names, i.GetName())
		}
	default:
		return ""
	}
	for i, n := range names {
		names[i] = n[strings.LastIndex(n, "/")+1:]
	}
	return ": " + strings.Join(names, ", ")
}

const whoSeesWhatPreamble = `# Who sees what

Made of real calls by a test (` + "`go test ./service -run TestWhoSeesWhat -update`" + `), and checked by it.

Each row is a method, each column who calls it. The vault ` + "`dev`" + ` has a secret, a key and a certificate ` + "`db`" + `, deleted ones ` + "`gone`" + `, and none
called ` + "`nothing`" + `. A cell is how the call ends on one that is there, one that is absent, and one that is deleted: "a / b / c", or once if
they are the same. "denied" is POLICY_DENIED, "who?" is NO_CREDENTIALS. Methods of a whole vault have one answer; BatchGetSecrets is
that of its one item. CheckAccess has two rows: about a workload that may do nothing, and about oneself.

What to look for: whoever is denied is told the same whether or not there is such a secret, key or certificate, or such a vault (a test holds the
replies equal to the byte). Only who may do something with a name learns whether it is there: ` + "`db-reader`" + ` of ` + "`db`" + ` alone. And
asking whether one may tells what the policies say, never what there is.

## The roles

| role | rights |
|---|---|
`
