package keyvault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// aCertificate returns a self-signed certificate, DER.
func aCertificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}, NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(1800000000, 0),
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

const (
	certificateID   = `"id":"https://v.vault.azure.net/certificates/c/` + version + `"`
	certificatePair = `"kid":"https://v.vault.azure.net/keys/c/` + version + `","sid":"https://v.vault.azure.net/secrets/c/` + version + `"`
	policyOfC       = `{"id":"https://v.vault.azure.net/certificates/c/policy","issuer":{"name":"Self"},"key_props":{"kty":"RSA"},"x509_props":{"subject":"CN=c"},` +
		`"lifetime_actions":[{"trigger":{"lifetime_percentage":80},"action":{"action_type":"AutoRenew"}}]}`
	pendingOfC   = `{"id":"https://v.vault.azure.net/certificates/c/pending"}`
	operationOfC = `{"id":"https://v.vault.azure.net/certificates/c/pending","issuer":{"name":"Self"},"status":"completed","cancellation_requested":false,` +
		`"target":"https://v.vault.azure.net/certificates/c","request_id":"r"}`
)

// certificateBody returns what a vault writes of der.
func certificateBody(der []byte) string {
	sum := sha1.Sum(der)
	return `{` + certificateID + `,` + certificatePair + `,"x5t":"` + base64URL(string(sum[:])) + `","cer":"` + base64.StdEncoding.EncodeToString(der) +
		`","attributes":{"enabled":true},"policy":` + policyOfC + `,"pending":` + pendingOfC + `}`
}

// certificateCall is one call of the client about certificate c.
type certificateCall func(ctx context.Context, c *keyvault.Client, name broker.Name, der []byte) (any, error)

// bundleCalls are those that are answered with a certificate, and their status.
var bundleCalls = map[string]struct {
	do     certificateCall
	status int
}{
	"get": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.GetCertificate(ctx, n)
	}, 200},
	"update": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.UpdateCertificate(ctx, n, broker.CertificateUpdate{Enabled: new(true)})
	}, 200},
	"import": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.ImportCertificate(ctx, n, broker.CertificateImport{Material: broker.NewValue(canary)})
	}, 200},
	"merge": {func(ctx context.Context, c *keyvault.Client, n broker.Name, der []byte) (any, error) {
		return c.MergeCertificate(ctx, n, broker.CertificateMerge{Chain: [][]byte{der}})
	}, 201},
	"delete": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.DeleteCertificate(ctx, n)
	}, 200},
	"get deleted": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.GetDeletedCertificate(ctx, n)
	}, 200},
	"recover": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.RecoverCertificate(ctx, n)
	}, 200},
	"restore": {func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.RestoreCertificate(ctx, n.Vault(), broker.NewValue("blob"))
	}, 200},
}

// certificateVault answers all that is asked of it.
func certificateVault(t *testing.T, status int, body string) *keyvault.Client {
	t.Helper()
	return newClient(t, keyvault.Config{
		URL:       "https://v.vault.azure.net",
		Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(status, body), nil }),
	})
}

func certificateNamed(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := vaultName(t).Object(broker.KindCertificates, object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantNothing checks that a reply was taken for none, and that the error does not
// repeat it.
func wantNothing(t *testing.T, got any, err error) {
	t.Helper()
	wantCode(t, err, broker.CodeVaultUnavailable)
	if !reflect.ValueOf(got).IsZero() {
		t.Errorf("it is told: %+v", got)
	}
	if err != nil && (strings.Contains(err.Error(), "https://") || strings.Contains(err.Error(), canary)) {
		t.Errorf("the error says too much: %v", err)
	}
}

// Half a certificate is none, whatever call it answers; nor is one that leads to
// something else.
func TestHalfACertificate(t *testing.T) {
	der := aCertificate(t)
	whole := certificateBody(der)
	sum := sha1.Sum(der)
	x5t, cer := base64URL(string(sum[:])), base64.StdEncoding.EncodeToString(der)
	other := aCertificate(t)
	otherSum := sha1.Sum(other)
	trailing := append(slices.Clip(der), 0)
	trailingSum := sha1.Sum(trailing)
	garbage := sha1.Sum([]byte("garbage"))
	replace := func(from, to string) string {
		s := strings.Replace(whole, from, to, 1)
		if s == whole {
			t.Fatalf("%q is not in it", from)
		}
		return s
	}
	bodies := map[string]string{
		"nothing":                  `{}`,
		"no id":                    replace(certificateID+`,`, ""),
		"no cer":                   replace(`,"cer":"`+cer+`"`, ""),
		"no x5t":                   replace(`"x5t":"`+x5t+`",`, ""),
		"neither, and yet a pair":  strings.Replace(replace(`,"cer":"`+cer+`"`, ""), `"x5t":"`+x5t+`",`, "", 1),
		"the x5t of another":       replace(x5t, base64URL(string(otherSum[:]))),
		"the cer of another":       replace(cer, base64.StdEncoding.EncodeToString(other)),
		"a cer that is none":       strings.Replace(replace(cer, base64.StdEncoding.EncodeToString([]byte("garbage"))), x5t, base64URL(string(garbage[:])), 1),
		"something behind the cer": strings.Replace(replace(cer, base64.StdEncoding.EncodeToString(trailing)), x5t, base64URL(string(trailingSum[:])), 1),
		"a cer in base64url":       replace(cer, base64URL(string(der))),
		"a number for cer":         replace(`"`+cer+`"`, "7"),
		"another vault":            replace("v.vault.azure.net/certificates/c/"+version, "w.vault.azure.net/certificates/c/"+version),
		"no TLS":                   replace(`"id":"https:`, `"id":"http:`),
		"somebody's id":            replace(`"id":"https://v.`, `"id":"https://a@v.`),
		"a secret":                 replace("/certificates/c/"+version, "/secrets/c/"+version),
		"a short version":          replace("/certificates/c/"+version, "/certificates/c/"+version[1:]),
		"a long version":           replace("/certificates/c/"+version, "/certificates/c/"+version+"0"),
		"a key of another":         replace("/keys/c/", "/keys/d/"),
		"a secret of another":      replace("/secrets/c/", "/secrets/d/"),
		"a secret of no version":   replace("/secrets/c/"+version, "/secrets/c"),
		"a secret elsewhere":       replace("v.vault.azure.net/secrets/", "w.vault.azure.net/secrets/"),
		"a key for a secret":       replace("/secrets/c/", "/keys/c/"),
		"a policy of another":      replace("/certificates/c/policy", "/certificates/d/policy"),
		"a policy of no issuer":    replace(`"issuer":{"name":"Self"},`, ""),
		"an action of no time":     replace(`{"lifetime_percentage":80}`, `{}`),
		"an action of two times":   replace(`{"lifetime_percentage":80}`, `{"lifetime_percentage":80,"days_before_expiry":9}`),
	}
	for call, tt := range bundleCalls {
		t.Run(call, func(t *testing.T) {
			if got, err := tt.do(t.Context(), certificateVault(t, tt.status, whole), certificateNamed(t, "c"), der); err != nil || reflect.ValueOf(got).IsZero() {
				t.Fatalf("a whole one: %v", err)
			}
			for label, body := range bodies {
				t.Run(label, func(t *testing.T) {
					got, err := tt.do(t.Context(), certificateVault(t, tt.status, body), certificateNamed(t, "c"), der)
					wantNothing(t, got, err)
				})
			}
			if call == "restore" { // whose name is in the blob
				return
			}
			got, err := tt.do(t.Context(), certificateVault(t, tt.status, strings.ReplaceAll(whole, "/c/", "/d/")), certificateNamed(t, "c"), der)
			wantNothing(t, got, err)
		})
	}
	t.Run("another version", func(t *testing.T) {
		pinned, err := certificateNamed(t, "c").WithVersion(strings.Repeat("0", 32))
		if err != nil {
			t.Fatal(err)
		}
		got, err := certificateVault(t, 200, whole).GetCertificate(t.Context(), pinned)
		wantNothing(t, got, err)
	})
	t.Run("merged with another", func(t *testing.T) {
		got, err := bundleCalls["merge"].do(t.Context(), certificateVault(t, 201, whole), certificateNamed(t, "c"), other)
		wantNothing(t, got, err)
	})
}

// Key Vault's contract does not promise a key and a secret to show.
func TestCertificateWithoutItsPair(t *testing.T) {
	got, err := certificateVault(t, 200, strings.Replace(certificateBody(aCertificate(t)), certificatePair+",", "", 1)).
		GetCertificate(t.Context(), certificateNamed(t, "c"))
	if err != nil || got.DER == nil || !got.Key.IsZero() || !got.Secret.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is being made has a policy, and nothing else; what an import or a merge has
// made, all.
func TestCertificateInTheMaking(t *testing.T) {
	body := `{` + certificateID + `,"attributes":{"enabled":false},"policy":` + policyOfC + `,"pending":` + pendingOfC + `}`
	for call, tt := range bundleCalls {
		t.Run(call, func(t *testing.T) {
			got, err := tt.do(t.Context(), certificateVault(t, tt.status, body), certificateNamed(t, "c"), []byte{1})
			if call == "import" || call == "merge" {
				wantNothing(t, got, err)
				return
			}
			c, ok := got.(broker.Certificate)
			if d, deleted := got.(broker.DeletedCertificate); deleted {
				c, ok = d.Certificate, true
			}
			if err != nil || !ok || c.DER != nil || c.Thumbprint != nil || !c.Key.IsZero() || c.Policy == nil || c.Policy.Issuer != "Self" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// Operations, policies, contacts, issuers and lists that are none.
func TestCertificateRepliesThatAreNone(t *testing.T) {
	operation := map[string]certificateCall{
		"create": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.CreateCertificate(ctx, n, broker.NewCertificate{})
		},
		"get": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.GetCertificateOperation(ctx, n)
		},
		"cancel": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.CancelCertificateOperation(ctx, n)
		},
		"delete": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.DeleteCertificateOperation(ctx, n)
		},
	}
	policy := map[string]certificateCall{
		"get policy": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.GetCertificatePolicy(ctx, n)
		},
		"update policy": func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
			return c.UpdateCertificatePolicy(ctx, n, broker.CertificatePolicy{})
		},
	}
	one := func(label string, do certificateCall) map[string]certificateCall {
		return map[string]certificateCall{label: do}
	}
	versions := one("versions", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.ListCertificateVersions(ctx, n)
	})
	lists := one("list", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.ListCertificates(ctx, n.Vault(), broker.Page{})
	})
	deletedLists := one("list deleted", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.ListDeletedCertificates(ctx, n.Vault(), broker.Page{})
	})
	issuer := one("get issuer", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.GetCertificateIssuer(ctx, n.As(broker.KindCertificateIssuers))
	})
	contacts := one("contacts", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.GetCertificateContacts(ctx, n.Vault())
	})
	backup := one("backup", func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
		return c.BackupCertificate(ctx, n)
	})
	swap := func(in, from, to string) string {
		s := strings.Replace(in, from, to, 1)
		if s == in {
			t.Fatalf("%q is not in it", from)
		}
		return s
	}
	item := `{"value":[{` + certificateID + `,"x5t":"AAEC"}],"nextLink":null}`
	tests := map[string]struct {
		calls map[string]certificateCall
		body  string
	}{
		"an operation of another":          {operation, swap(operationOfC, "/c/pending", "/d/pending")},
		"an operation elsewhere":           {operation, swap(operationOfC, "v.vault", "w.vault")},
		"an operation of no id":            {operation, `{"status":"completed"}`},
		"no status":                        {operation, swap(operationOfC, `"completed"`, `""`)},
		"a status of its own":              {operation, swap(operationOfC, "completed", "done")},
		"another target":                   {operation, swap(operationOfC, `certificates/c",`, `certificates/d",`)},
		"a target elsewhere":               {operation, swap(operationOfC, `"target":"https://v.`, `"target":"https://w.`)},
		"a key for a target":               {operation, swap(operationOfC, `"target":"https://v.vault.azure.net/certificates`, `"target":"https://v.vault.azure.net/keys`)},
		"a request that is none":           {operation, swap(operationOfC, `"status"`, `"csr":"AAEC","status"`)},
		"a policy of another":              {policy, swap(policyOfC, "/c/policy", "/d/policy")},
		"a policy elsewhere":               {policy, swap(policyOfC, "v.vault", "w.vault")},
		"a policy of no key":               {policy, swap(policyOfC, `"key_props":{"kty":"RSA"},`, "")},
		"nothing of a policy":              {policy, `{}`},
		"an item with a short x5t":         {lists, item},
		"a version with a short x5t":       {versions, item},
		"a deleted item with a short x5t":  {deletedLists, item},
		"an item elsewhere":                {lists, `{"value":[{"id":"https://w.vault.azure.net/certificates/c"}]}`},
		"a version of another":             {versions, `{"value":[{"id":"https://v.vault.azure.net/certificates/d/` + version + `"}]}`},
		"a deleted item of another kind":   {deletedLists, `{"value":[{"id":"https://v.vault.azure.net/secrets/c"}]}`},
		"another issuer":                   {issuer, `{"id":"https://v.vault.azure.net/certificates/issuers/d","provider":"x"}`},
		"an issuer elsewhere":              {issuer, `{"id":"https://w.vault.azure.net/certificates/issuers/c","provider":"x"}`},
		"a certificate for an issuer":      {issuer, `{"id":"https://v.vault.azure.net/certificates/c","provider":"x"}`},
		"contacts that say nothing":        {contacts, `{}`},
		"contacts elsewhere":               {contacts, `{"id":"https://w.vault.azure.net/certificates/contacts","contacts":[]}`},
		"a backup without its blob":        {backup, `{"value":""}`},
		"a backup in base64, not its kind": {backup, `{"value":"a+/="}`},
	}
	for label, tt := range tests {
		for name, do := range tt.calls {
			t.Run(label+", "+name, func(t *testing.T) {
				status := 200
				if name == "create" {
					status = 202
				}
				got, err := do(t.Context(), certificateVault(t, status, tt.body), certificateNamed(t, "c"), nil)
				wantNothing(t, got, err)
			})
		}
	}
}

// A create, a merge and a purge have statuses of their own: another one is no
// success.
func TestCertificateStatuses(t *testing.T) {
	der := aCertificate(t)
	name := certificateNamed(t, "c")
	_, err := certificateVault(t, 200, operationOfC).CreateCertificate(t.Context(), name, broker.NewCertificate{})
	wantCode(t, err, broker.CodeVaultUnavailable)
	_, err = certificateVault(t, 200, certificateBody(der)).MergeCertificate(t.Context(), name, broker.CertificateMerge{Chain: [][]byte{der}})
	wantCode(t, err, broker.CodeVaultUnavailable)
	wantCode(t, certificateVault(t, 200, "").PurgeCertificate(t.Context(), name), broker.CodeVaultUnavailable)
}

// What a vault says of its operation is one line, without addresses.
func TestOperationWordsAreClipped(t *testing.T) {
	body := strings.Replace(operationOfC, `"completed"`, `"Canceled","status_details":"see\r\nhttps://ca.example/order `+strings.Repeat("x", 9000)+
		`","error":{"code":"Denied","message":"no\nhttps://ca.example"}`, 1)
	o, err := certificateVault(t, 200, body).GetCertificateOperation(t.Context(), certificateNamed(t, "c"))
	if err != nil || o.Status != broker.OperationCancelled || o.ErrorCode != "Denied" {
		t.Fatalf("%+v, %v", o, err)
	}
	for _, words := range []string{o.StatusDetails, o.ErrorMessage} {
		if len(words) > 400 || strings.ContainsAny(words, "\r\n") || strings.Contains(words, "://") {
			t.Errorf("%q", words)
		}
	}
}

// A Managed HSM has no certificates, and is not asked.
func TestManagedHSMHasNoCertificates(t *testing.T) {
	c := newClient(t, keyvault.Config{
		URL: "https://v.managedhsm.azure.net", ManagedHSM: true,
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			t.Errorf("it is asked for %s", r.URL.Path)
			return nil, io.EOF
		}),
	})
	n, vault, ctx := certificateNamed(t, "c"), vaultName(t), t.Context()
	calls := map[string]error{}
	for label, tt := range bundleCalls {
		_, calls[label] = tt.do(ctx, c, n, nil)
	}
	_, calls["create"] = c.CreateCertificate(ctx, n, broker.NewCertificate{})
	_, calls["operation"] = c.GetCertificateOperation(ctx, n)
	_, calls["cancel"] = c.CancelCertificateOperation(ctx, n)
	_, calls["delete operation"] = c.DeleteCertificateOperation(ctx, n)
	_, calls["policy"] = c.GetCertificatePolicy(ctx, n)
	_, calls["update policy"] = c.UpdateCertificatePolicy(ctx, n, broker.CertificatePolicy{})
	_, calls["list"] = c.ListCertificates(ctx, vault, broker.Page{})
	_, calls["versions"] = c.ListCertificateVersions(ctx, n)
	_, calls["list deleted"] = c.ListDeletedCertificates(ctx, vault, broker.Page{})
	calls["purge"] = c.PurgeCertificate(ctx, n)
	_, calls["backup"] = c.BackupCertificate(ctx, n)
	_, calls["contacts"] = c.GetCertificateContacts(ctx, vault)
	_, calls["set contacts"] = c.SetCertificateContacts(ctx, vault, nil)
	_, calls["delete contacts"] = c.DeleteCertificateContacts(ctx, vault)
	_, calls["issuers"] = c.ListCertificateIssuers(ctx, vault, broker.Page{})
	_, calls["issuer"] = c.GetCertificateIssuer(ctx, n.As(broker.KindCertificateIssuers))
	if len(calls) != 24 {
		t.Fatalf("%d calls", len(calls))
	}
	for label, err := range calls {
		e, ok := errors.AsType[*broker.Error](err)
		if !ok || e.Code != broker.CodeNotSupported || e.Message == "" {
			t.Errorf("%s: %v", label, err)
		}
	}
}
