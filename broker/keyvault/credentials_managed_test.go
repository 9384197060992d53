package keyvault_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// noPlatform makes this host one without a platform's endpoint but IMDS.
func noPlatform(t *testing.T) {
	t.Helper()
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"} {
		t.Setenv(name, "")
	}
}

// platform is a managed identity endpoint on loopback, reached under any
// address, and the requests that it saw.
type platform struct {
	*httptest.Server
	seen []*http.Request
}

func newPlatform(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *platform {
	t.Helper()
	p := &platform{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.seen = append(p.seen, r)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// transport dials the endpoint whatever the URL says: IMDS has a fixed address.
func (p *platform) transport() http.RoundTripper {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, p.Listener.Addr().String())
		},
	}
}

// platformToken is a reply as IMDS and App Service give it: its numbers are
// text.
func platformToken(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, `{"access_token":"mi-token","client_id":"app-1","expires_in":"86399","expires_on":"%d",`+
		`"ext_expires_in":"86399","not_before":"%d","resource":%q,"token_type":"Bearer"}`,
		time.Now().Add(24*time.Hour).Unix(), time.Now().Unix(), r.URL.Query().Get("resource"))
}

// Each identity is asked for as each endpoint wants it.
func TestManagedIdentity(t *testing.T) {
	const resourceID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pay"
	identities := map[string]struct {
		config                 func(id string) keyvault.ManagedIdentityConfig
		onMachines, onServices string // the parameter's name
	}{
		"system-assigned": {func(string) keyvault.ManagedIdentityConfig { return keyvault.ManagedIdentityConfig{} }, "", ""},
		"by client id": {func(id string) keyvault.ManagedIdentityConfig {
			return keyvault.ManagedIdentityConfig{ClientID: id}
		}, "client_id", "client_id"},
		"by object id": {func(id string) keyvault.ManagedIdentityConfig {
			return keyvault.ManagedIdentityConfig{ObjectID: id}
		}, "object_id", "object_id"},
		"by resource id": {func(id string) keyvault.ManagedIdentityConfig {
			return keyvault.ManagedIdentityConfig{ResourceID: resourceID + id}
		}, "msi_res_id", "mi_res_id"},
	}
	for label, tt := range identities {
		for _, place := range []string{"machine", "App Service"} {
			t.Run(label+" on a "+place, func(t *testing.T) {
				noPlatform(t)
				p := newPlatform(t, platformToken)
				// azidentity keeps the tokens of managed identities for the process:
				// names of its own for each run.
				id, resource := rand.Text(), "https://"+strings.ToLower(rand.Text())+".example"
				want := url.Values{"resource": {resource}, "api-version": {"2018-02-01"}}
				param, path, header := tt.onMachines, "/metadata/identity/oauth2/token", "Metadata"
				if place == "App Service" {
					t.Setenv("IDENTITY_ENDPOINT", p.URL+"/msi/token")
					t.Setenv("IDENTITY_HEADER", "true")
					want.Set("api-version", "2019-08-01")
					param, path, header = tt.onServices, "/msi/token", "X-Identity-Header"
				}
				if param != "" {
					want.Set(param, id)
					if strings.HasSuffix(param, "res_id") {
						want.Set(param, resourceID+id)
					}
				}
				c := tt.config(id)
				c.Transport = p.transport()
				src, err := keyvault.ManagedIdentity(c)
				if err != nil {
					t.Fatal(err)
				}
				got, err := src.Token(t.Context(), resource+"/.default", "")
				if err != nil {
					t.Fatal(err)
				}
				if life := time.Until(got.Expires); got.Value.Reveal() != "mi-token" || life < 23*time.Hour || life > 25*time.Hour {
					t.Errorf("a token for %v", life)
				}
				r := p.seen[len(p.seen)-1]
				if r.Method != http.MethodGet || r.URL.Path != path || r.URL.Query().Encode() != want.Encode() || r.Header.Get(header) != "true" {
					t.Errorf("%s %s with %s %q, want %s?%s", r.Method, r.URL, header, r.Header.Get(header), path, want.Encode())
				}
				if place == "machine" && r.Host != "169.254.169.254" {
					t.Errorf("asked at %s", r.Host)
				}
			})
		}
	}
	if _, err := keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{ClientID: "a", ObjectID: "b"}); err == nil {
		t.Error("an identity with two names")
	}
}

// What the endpoints refuse with becomes one line that says what to do, once a
// minute, without their words.
func TestManagedIdentityRefused(t *testing.T) {
	for label, tt := range map[string]struct {
		status      int
		body        string
		user        bool
		appService  bool
		want        string
		wantRefused bool
	}{
		"a machine without an identity": {status: 400, body: `{"error":"invalid_request","error_description":"Identity not found ` + canary + `"}`, want: "switch it on", wantRefused: true},
		"not this machine's identity":   {status: 400, body: `{"error":"invalid_request","error_description":"Identity not found ` + canary + `"}`, user: true, want: "not assigned to this host", wantRefused: true},
		"a service without an identity": {status: 400, body: `{"statusCode":400,"message":"Unable to load the proper Managed Identity. ` + canary + `"}`, appService: true, want: "switch it on", wantRefused: true},
		"not this service's identity": {
			status: 400, body: `{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId. ` + canary + `"}`,
			user: true, appService: true, want: "not assigned to this host", wantRefused: true,
		},
		"another's header": {status: 401, body: `{"statusCode":401,"message":"` + canary + `"}`, appService: true, want: "IDENTITY_HEADER", wantRefused: true},
		"of the directory": {status: 400, body: `{"error":"unauthorized_client","error_description":"AADSTS700016: Application with identifier ` + canary + `"}`, user: true, want: "AADSTS700016; the tenant does not know", wantRefused: true},
		"no JSON":          {status: 403, body: `<html>` + canary, want: "assigned to this host", wantRefused: true},
	} {
		t.Run(label, func(t *testing.T) {
			noPlatform(t)
			p := newPlatform(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			if tt.appService {
				t.Setenv("IDENTITY_ENDPOINT", p.URL+"/msi/token")
				t.Setenv("IDENTITY_HEADER", "header-1")
			}
			c := keyvault.ManagedIdentityConfig{Transport: p.transport()}
			if tt.user {
				c.ClientID = rand.Text()
			}
			src, err := keyvault.ManagedIdentity(c)
			if err != nil {
				t.Fatal(err)
			}
			_, err = src.Token(t.Context(), "https://"+rand.Text()+".example/.default", "")
			wantCode(t, err, broker.CodeVaultAuthentication)
			e := broker.AsError(err)
			if !strings.Contains(err.Error(), tt.want) || e.Message != "" || strings.Contains(err.Error(), canary) {
				t.Errorf("the log: %v; want %q", err, tt.want)
			}
			if tt.wantRefused != (e.RetryAfter == time.Minute) {
				t.Errorf("to be asked again after %v", e.RetryAfter)
			}
		})
	}
}

// IMDS answers 404 and 410 while it is being updated: asked again, it gives a
// token.
func TestMachineIsBeingUpdated(t *testing.T) {
	noPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		src, err := keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{
			ClientID: rand.Text(),
			Transport: exchange(func(*http.Request) (*http.Response, error) {
				asked++
				switch asked {
				case 1:
					return respond(http.StatusGone, ""), nil
				case 2:
					return respond(http.StatusNotFound, "<html>"), nil
				}
				return respond(http.StatusOK, fmt.Sprintf(`{"access_token":"mi-token","expires_on":"%d"}`, time.Now().Add(time.Hour).Unix())), nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // that of a TokenCache
		defer cancel()
		if got, err := src.Token(ctx, scope, ""); err != nil || got.Value.Reveal() != "mi-token" {
			t.Errorf("after %d requests: %v", asked, err)
		}
	})
}
