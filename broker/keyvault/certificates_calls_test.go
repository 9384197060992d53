package keyvault_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// certificateTimeout is longer than all tries of any call.
const certificateTimeout = 5 * time.Minute

// certificateRequest is a call of the client and what goes over the wire.
type certificateRequest struct {
	act   certificateCall
	line  string // method, path and query
	body  string
	reply string // "" is a whole certificate
	// done is the status of success; 0 is 200.
	done int
	// throttled and failed: it is tried again after that.
	throttled, failed bool
	// long: a try has thirty seconds, instead of two.
	long bool
}

func nothing(_ any, err error) (any, error) { return nil, err }

// certificateRequests are all calls of the client about certificates.
func certificateRequests() map[string]certificateRequest {
	const (
		c       = "/certificates/c"
		deleted = "/deletedcertificates/c"
	)
	type call = certificateCall
	return map[string]certificateRequest{
		"create": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.CreateCertificate(ctx, n, broker.NewCertificate{
					Policy: &broker.CertificatePolicy{
						Issuer: "Self", Subject: "CN=c", Names: broker.AlternativeNames{DNSNames: []string{"a"}, URIs: []string{"spiffe://a"}},
						KeyType: broker.KeyTypeEC, Curve: broker.CurveP384, Created: time.Unix(1, 0), KeyUsages: []string{},
						Actions: []broker.CertificateAction{{Type: broker.ActionTypeAutoRenew, DaysBeforeExpiry: 9}},
					},
					Enabled: true, Tags: map[string]string{"a": "b"}, PreserveOrder: new(true),
				})
			}),
			line: "POST " + c + "/create?api-version=2026-04-01",
			body: `{"policy":{"key_props":{"kty":"EC","key_size":384,"crv":"P-384"},"x509_props":{"subject":"CN=c","sans":{"dns_names":["a"],"uris":["spiffe://a"]},"key_usage":[]},` +
				`"lifetime_actions":[{"trigger":{"days_before_expiry":9},"action":{"action_type":"AutoRenew"}}],"issuer":{"name":"Self"}},` +
				`"attributes":{"enabled":true},"tags":{"a":"b"},"preserveCertOrder":true}`,
			reply: operationOfC, done: 202, long: true,
		},
		"create another": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.CreateCertificate(ctx, n, broker.NewCertificate{})
			}),
			line: "POST " + c + "/create?api-version=2026-04-01", body: `{"attributes":{"enabled":false}}`, reply: operationOfC, done: 202, long: true,
		},
		"import": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ImportCertificate(ctx, n, broker.CertificateImport{Material: broker.NewValue("AAEC"), Password: broker.NewValue("p"), Enabled: true})
			}),
			line: "POST " + c + "/import?api-version=2026-04-01", body: `{"value":"AAEC","pwd":"p","attributes":{"enabled":true}}`, long: true,
		},
		"import PEM": {
			// Key Vault takes what does not say what it is for a PFX.
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ImportCertificate(ctx, n, broker.CertificateImport{Material: broker.NewValue("-----BEGIN X-----\n")})
			}),
			line: "POST " + c + "/import?api-version=2026-04-01",
			body: `{"value":"-----BEGIN X-----\n","policy":{"secret_props":{"contentType":"application/x-pem-file"}},"attributes":{"enabled":false}}`, long: true,
		},
		"merge": {
			act:  bundleCalls["merge"].do,
			line: "POST " + c + "/pending/merge?api-version=2026-04-01", body: `{"x5c":["DER"],"attributes":{"enabled":false}}`, done: 201, long: true,
		},
		"get": {act: bundleCalls["get"].do, line: "GET " + c + "?api-version=2026-04-01", throttled: true, failed: true},
		"update": {
			act: bundleCalls["update"].do, line: "PATCH " + c + "?api-version=2026-04-01", body: `{"attributes":{"enabled":true}}`,
			throttled: true, failed: true,
		},
		"update to no tags": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.UpdateCertificate(ctx, n, broker.CertificateUpdate{Tags: new(map[string]string)})
			}),
			line: "PATCH " + c + "?api-version=2026-04-01", body: `{"tags":{}}`, throttled: true, failed: true,
		},
		"get policy": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.GetCertificatePolicy(ctx, n)
			}),
			line: "GET " + c + "/policy?api-version=2026-04-01", reply: policyOfC, throttled: true, failed: true,
		},
		"update policy": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.UpdateCertificatePolicy(ctx, n, broker.CertificatePolicy{ValidityMonths: 3, CA: new(false)})
			}),
			line:  "PATCH " + c + "/policy?api-version=2026-04-01",
			body:  `{"x509_props":{"validity_months":3,"basic_constraints":{"ca":false}}}`,
			reply: policyOfC, throttled: true, failed: true,
		},
		"get operation": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.GetCertificateOperation(ctx, n)
			}),
			line: "GET " + c + "/pending?api-version=2026-04-01", reply: operationOfC, throttled: true, failed: true,
		},
		"cancel": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.CancelCertificateOperation(ctx, n)
			}),
			line: "PATCH " + c + "/pending?api-version=2026-04-01", body: `{"cancellation_requested":true}`, reply: operationOfC, throttled: true,
		},
		"delete operation": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.DeleteCertificateOperation(ctx, n)
			}),
			line: "DELETE " + c + "/pending?api-version=2026-04-01", reply: operationOfC, throttled: true,
		},
		"list": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ListCertificates(ctx, n.Vault(), broker.Page{Size: 7})
			}),
			line: "GET /certificates?api-version=2026-04-01&maxresults=7", reply: `{"value":[],"nextLink":null}`, throttled: true, failed: true,
		},
		"versions": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ListCertificateVersions(ctx, n)
			}),
			line: "GET " + c + "/versions?api-version=2026-04-01&maxresults=25", throttled: true, failed: true,
			reply: `{"value":[{` + certificateID + `,"x5t":"` + strings.Repeat("A", 27) + `"}]}`,
		},
		"list deleted": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ListDeletedCertificates(ctx, n.Vault(), broker.Page{})
			}),
			line: "GET /deletedcertificates?api-version=2026-04-01&maxresults=25", reply: `{"value":[]}`, throttled: true, failed: true,
		},
		"delete":      {act: bundleCalls["delete"].do, line: "DELETE " + c + "?api-version=2026-04-01", throttled: true},
		"get deleted": {act: bundleCalls["get deleted"].do, line: "GET " + deleted + "?api-version=2026-04-01", throttled: true, failed: true},
		"recover":     {act: bundleCalls["recover"].do, line: "POST " + deleted + "/recover?api-version=2026-04-01", throttled: true},
		"purge": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return nil, c.PurgeCertificate(ctx, n)
			}),
			line: "DELETE " + deleted + "?api-version=2026-04-01", reply: " ", done: 204, throttled: true,
		},
		"backup": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return nothing(c.BackupCertificate(ctx, n))
			}),
			line: "POST " + c + "/backup?api-version=2026-04-01", reply: `{"value":"AAEC"}`, throttled: true, failed: true, long: true,
		},
		"restore": {
			act: bundleCalls["restore"].do, line: "POST /certificates/restore?api-version=2026-04-01", body: `{"value":"YmxvYg"}`, long: true,
		},
		"get contacts": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.GetCertificateContacts(ctx, n.Vault())
			}),
			line: "GET /certificates/contacts?api-version=2026-04-01", reply: `{"contacts":[]}`, throttled: true, failed: true,
		},
		"set contacts": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.SetCertificateContacts(ctx, n.Vault(), []broker.CertificateContact{{Email: "a@b"}})
			}),
			line: "PUT /certificates/contacts?api-version=2026-04-01", body: `{"contacts":[{"email":"a@b"}]}`, reply: `{"contacts":[]}`, throttled: true, failed: true,
		},
		"delete contacts": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.DeleteCertificateContacts(ctx, n.Vault())
			}),
			line: "DELETE /certificates/contacts?api-version=2026-04-01", reply: `{"contacts":[]}`, throttled: true,
		},
		"list issuers": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.ListCertificateIssuers(ctx, n.Vault(), broker.Page{})
			}),
			line: "GET /certificates/issuers?api-version=2026-04-01&maxresults=25", reply: `{"value":[]}`, throttled: true, failed: true,
		},
		"get issuer": {
			act: call(func(ctx context.Context, c *keyvault.Client, n broker.Name, _ []byte) (any, error) {
				return c.GetCertificateIssuer(ctx, n.As(broker.KindCertificateIssuers))
			}),
			line: "GET /certificates/issuers/c?api-version=2026-04-01", reply: `{"id":"https://v.vault.azure.net/certificates/issuers/c"}`, throttled: true, failed: true,
		},
	}
}

// eachCertificateRequest runs a test of each call, in virtual time, with what a
// vault answers it well.
func eachCertificateRequest(t *testing.T, test func(t *testing.T, r certificateRequest, der []byte, well func() *http.Response)) {
	t.Helper()
	der := aCertificate(t)
	for label, r := range certificateRequests() {
		if r.reply == "" {
			r.reply = certificateBody(der)
		}
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, r, der, func() *http.Response { return respond(max(r.done, 200), r.reply) })
			})
		})
	}
}

// Each call asks for what it should, and takes the answer.
func TestCertificateRequests(t *testing.T) {
	eachCertificateRequest(t, func(t *testing.T, r certificateRequest, der []byte, well func() *http.Response) {
		var line, body string
		c := newClient(t, keyvault.Config{
			URL: "https://v.vault.azure.net",
			Transport: exchange(func(req *http.Request) (*http.Response, error) {
				line = req.Method + " " + req.URL.RequestURI()
				if req.Body != nil {
					text, err := io.ReadAll(req.Body)
					if err != nil {
						return nil, err
					}
					body = string(text)
				}
				return well(), nil
			}),
		})
		if _, err := r.act(t.Context(), c, certificateNamed(t, "C"), der); err != nil {
			t.Error(err)
		}
		if want := strings.Replace(r.body, "DER", base64.StdEncoding.EncodeToString(der), 1); line != r.line || body != want {
			t.Errorf("%s\n%s\nwant %s\n%s", line, body, r.line, want)
		}
	})
}

// A call is tried again only where that cannot do more than once does.
func TestCertificateRetries(t *testing.T) {
	failures := map[string]struct {
		fail  func() (*http.Response, error)
		again func(certificateRequest) bool
		code  broker.Code
	}{
		"throttled": {status(429), func(r certificateRequest) bool { return r.throttled }, broker.CodeVaultThrottled},
		"failed":    {status(503), func(r certificateRequest) bool { return r.failed }, broker.CodeVaultUnavailable},
		"reset":     {reset, func(r certificateRequest) bool { return r.failed }, broker.CodeVaultUnavailable},
		"refused":   {status(403), func(certificateRequest) bool { return false }, broker.CodeVaultAuthentication},
	}
	for how, f := range failures {
		t.Run(how, func(t *testing.T) {
			eachCertificateRequest(t, func(t *testing.T, r certificateRequest, der []byte, well func() *http.Response) {
				calls := 0
				c := newClient(t, keyvault.Config{
					URL: "https://v.vault.azure.net",
					Transport: exchange(func(*http.Request) (*http.Response, error) {
						if calls++; calls == 1 {
							return f.fail()
						}
						return well(), nil
					}),
				})
				ctx, cancel := context.WithTimeout(t.Context(), certificateTimeout)
				defer cancel()
				_, err := r.act(ctx, c, certificateNamed(t, "c"), der)
				if f.again(r) {
					if err != nil || calls != 2 {
						t.Errorf("%v after %d calls, want none after 2", err, calls)
					}
					return
				}
				if wantCode(t, err, f.code); calls != 1 {
					t.Errorf("%d calls, want 1", calls)
				}
			})
		})
	}
}

// What makes a certificate, or packs all its versions, has thirty seconds; all else
// has two, for each try.
func TestCertificateTimeouts(t *testing.T) {
	eachCertificateRequest(t, func(t *testing.T, r certificateRequest, der []byte, _ func() *http.Response) {
		c := newClient(t, keyvault.Config{
			URL: "https://v.vault.azure.net",
			Transport: exchange(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}),
		})
		ctx, cancel := context.WithTimeout(t.Context(), certificateTimeout)
		defer cancel()
		began := time.Now()
		_, err := r.act(ctx, c, certificateNamed(t, "c"), der)
		wantCode(t, err, broker.CodeVaultUnavailable)
		tries, each := 1, 2*time.Second
		if r.failed {
			tries = 3
		}
		if r.long {
			each = 30 * time.Second
		}
		if took, least := time.Since(began), time.Duration(tries)*each; took < least || took > least+time.Second {
			t.Errorf("it took %v, want %d tries of %v", took, tries, each)
		}
	})
}

// No more of a reply is read than a legal one can have.
func TestHugeCertificateReplies(t *testing.T) {
	const most = 2 << 20 // a backup, in base64
	eachCertificateRequest(t, func(t *testing.T, r certificateRequest, der []byte, well func() *http.Response) {
		var read int
		c := newClient(t, keyvault.Config{
			URL: "https://v.vault.azure.net",
			Transport: exchange(func(*http.Request) (*http.Response, error) {
				resp := well()
				resp.Body = endless{&read}
				return resp, nil
			}),
		})
		got, err := r.act(t.Context(), c, certificateNamed(t, "c"), der)
		code := broker.CodeOf(err)
		if code != broker.CodeVaultUnavailable && code != broker.CodeValueTooLarge || read > most {
			t.Errorf("%v, %v after %d bytes", got, err, read)
		}
	})
}
