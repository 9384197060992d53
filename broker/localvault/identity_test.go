package localvault_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

func TestManagedIdentityCredential(t *testing.T) {
	// The client remembers tokens by audience, for the whole process.
	audience := "https://" + strings.ToLower(rand.Text()) + ".example.org"
	s, server, log := serveSTS(t, audience)
	t.Setenv("IDENTITY_ENDPOINT", server.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", identityHeader)
	tests := map[string]struct {
		id azidentity.ManagedIDKind
		ok bool
	}{
		"system-assigned":        {nil, true},
		"by the client id":       {azidentity.ClientID(client), true},
		"by another client id":   {azidentity.ClientID("5f2a1c7e-0000-4000-8000-000000000009"), false},
		"by an unknown object":   {azidentity.ObjectID("5f2a1c7e-0000-4000-8000-000000000009"), false},
		"by an unknown Azure id": {azidentity.ResourceID("/subscriptions/none"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
				ClientOptions: clientOptions(server), ID: tt.id,
			})
			must(t, err)
			token, err := c.GetToken(t.Context(), tokenOptions(audience+"/.default"))
			if !tt.ok {
				if err == nil {
					t.Error("got a token")
				}
				return
			}
			must(t, err)
			if err := s.Verify(t.Context(), token.Token); err != nil {
				t.Errorf("the token is refused: %v", err)
			}
			if strings.Contains(log.String(), token.Token) || strings.Contains(log.String(), identityHeader) {
				t.Error("a credential was logged")
			}
		})
	}
}

func TestIdentityEndpoint(t *testing.T) {
	c := stsConfig(t, "https://127.0.0.1:7445")
	s := newSTS(t, c)
	c.IdentityHeader = broker.Value{}
	off := newSTS(t, c)
	const query = "?api-version=2019-08-01&resource=https://vault.azure.net"
	tests := map[string]struct {
		sts    *localvault.STS
		method string
		target string
		header string
		status int
	}{
		"good":                  {s, "GET", query, identityHeader, 200},
		"resource with a slash": {s, "GET", query + "/", identityHeader, 200},
		"no header":             {s, "GET", query, "", 401},
		"wrong header":          {s, "GET", query, identityHeader + "x", 401},
		"another resource":      {s, "GET", "?api-version=2019-08-01&resource=https://management.azure.com", identityHeader, 400},
		"no resource":           {s, "GET", "?api-version=2019-08-01", identityHeader, 400},
		"another api-version":   {s, "GET", "?api-version=2017-09-01&resource=https://vault.azure.net", identityHeader, 400},
		"another identity":      {s, "GET", query + "&client_id=other", identityHeader, 400},
		"POST":                  {s, "POST", query, identityHeader, 405},
		"turned off":            {off, "GET", query, identityHeader, 404},
		"turned off, no header": {off, "GET", query, "", 404},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, "/msi/token"+tt.target, http.NoBody)
			if tt.header != "" {
				r.Header.Set("X-Identity-Header", tt.header)
			}
			w := httptest.NewRecorder()
			tt.sts.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status != http.StatusOK {
				return
			}
			// Every value is text.
			var body map[string]string
			must(t, json.Unmarshal(w.Body.Bytes(), &body))
			if err := tt.sts.Verify(t.Context(), body["access_token"]); err != nil {
				t.Errorf("the token is refused: %v", err)
			}
			if body["expires_in"] != "3600" || body["resource"] != "https://vault.azure.net" || body["client_id"] != client {
				t.Errorf("answered %v", body["expires_in"])
			}
		})
	}
}

func TestIMDS(t *testing.T) {
	c := stsConfig(t, "https://127.0.0.1:7445")
	off := newSTS(t, c)
	c.IMDS = true
	s := newSTS(t, c)
	const path, query = "/metadata/identity/oauth2/token", "?api-version=2018-02-01&resource=https://vault.azure.net"
	metadata := map[string]string{"Metadata": "true"}
	tests := map[string]struct {
		sts            *localvault.STS
		method, target string
		header         map[string]string
		status         int
		code           string
	}{
		"good":                  {s, "GET", path + query, metadata, 200, ""},
		"with a slash":          {s, "GET", path + "/" + query, metadata, 200, ""},
		"resource with a slash": {s, "GET", path + query + "/", metadata, 200, ""},
		"by the client id":      {s, "GET", path + query + "&client_id=" + client, map[string]string{"Metadata": "True"}, 200, ""},
		"a probe":               {s, "GET", path + "?api-version=2018-02-01", nil, 400, "invalid_request"},
		"no header":             {s, "GET", path + query, nil, 400, "invalid_request"},
		"forwarded":             {s, "GET", path + query, map[string]string{"Metadata": "true", "X-Forwarded-For": "192.0.2.1"}, 400, "invalid_request"},
		"another api-version":   {s, "GET", path + "?api-version=2019-08-01&resource=https://vault.azure.net", metadata, 400, "invalid_request"},
		"no resource":           {s, "GET", path + "?api-version=2018-02-01", metadata, 400, "invalid_request"},
		"another resource":      {s, "GET", path + "?api-version=2018-02-01&resource=https://management.azure.com", metadata, 400, "invalid_resource"},
		"another identity":      {s, "GET", path + query + "&client_id=other", metadata, 400, "invalid_request"},
		"by an Azure id":        {s, "GET", path + query + "&msi_res_id=/subscriptions/x", metadata, 400, "invalid_request"},
		"POST":                  {s, "POST", path + query, metadata, 405, ""},
		"turned off":            {off, "GET", path + query, metadata, 404, "not_found"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.target, http.NoBody)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			tt.sts.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status == 405 {
				return
			}
			// Every value is text.
			var body map[string]string
			must(t, json.Unmarshal(w.Body.Bytes(), &body))
			if tt.status != 200 {
				if body["error"] != tt.code || body["error_description"] == "" || body["access_token"] != "" {
					t.Errorf("%v, want %s", body, tt.code)
				}
				return
			}
			if err := s.Verify(t.Context(), body["access_token"]); err != nil {
				t.Errorf("the token is refused: %v", err)
			}
			for _, field := range []string{"client_id", "expires_in", "expires_on", "ext_expires_in", "not_before", "resource", "token_type"} {
				if body[field] == "" {
					t.Errorf("no %s", field)
				}
			}
		})
	}
}
