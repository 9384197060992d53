package keyvault_test

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// acquisition is how a credential got a token once, or did not.
type acquisition struct {
	Name  string `json:"scenario"`
	Steps []struct {
		Request  struct{ Method, URL string }
		Response struct {
			Status int
			Body   json.RawMessage
		}
	}
}

// recordedReply is any of the last replies.
type recordedReply struct {
	AccessToken string      `json:"access_token"`
	ExpiresIn   json.Number `json:"expires_in"`
	ExpiresOn   json.Number `json:"expires_on"` // where it is given, it counts
	Error       string
	Description string `json:"error_description"`
	Codes       []int  `json:"error_codes"`
}

// Each recorded acquisition comes out as the token that was given, or as its
// codes and what to do. Ours are always there.
func TestRecordedAcquisitions(t *testing.T) {
	t.Run("ours", func(t *testing.T) { replayAcquisitions(t, "testdata") })
	t.Run("others", func(t *testing.T) {
		folder := os.Getenv(recordings.Folder)
		if folder == "" {
			t.Skip(recordings.ErrNone)
		}
		replayAcquisitions(t, folder)
	})
}

func replayAcquisitions(t *testing.T, folder string) {
	t.Helper()
	noPlatform(t)
	files, err := filepath.Glob(filepath.Join(folder, "auth*.scenarios.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no auth*.scenarios.json in %s: %v", folder, err)
	}
	right, all := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Scenarios []acquisition }
		if err := json.Unmarshal(text, &set); err != nil {
			t.Fatal(err)
		}
		for _, a := range set.Scenarios {
			all++
			if err := a.replay(t); err != nil {
				t.Errorf("%s: %v", a.Name, err)
				continue
			}
			right++
		}
	}
	t.Logf("%d of %d recorded acquisitions come out as they should", right, all)
}

// replay has the same kind of credential ask, of a transport that answers as was
// answered, and nothing else.
func (a acquisition) replay(t *testing.T) error {
	t.Helper()
	last := a.Steps[len(a.Steps)-1]
	var want recordedReply
	if err := json.Unmarshal(last.Response.Body, &want); err != nil {
		return err
	}
	var asked *http.Request
	src, err := a.source(t, last.Request.URL, exchange(func(r *http.Request) (*http.Response, error) {
		asked = r
		for _, s := range a.Steps {
			u, err := url.Parse(s.Request.URL)
			if err == nil && s.Request.Method == r.Method && u.Host == r.URL.Host && u.Path == r.URL.Path {
				return respond(s.Response.Status, string(s.Response.Body), "Content-Type", "application/json; charset=utf-8"), nil
			}
		}
		return nil, fmt.Errorf("%s was not recorded", r.URL.Path)
	}))
	if err != nil {
		return err
	}
	// A resource of its own: azidentity keeps a machine's tokens.
	got, err := src.Token(t.Context(), "https://"+rand.Text()+".example/.default", "")
	if u, perr := url.Parse(last.Request.URL); perr != nil || asked == nil || asked.URL.Path != u.Path {
		return errors.New("the last request is not the recorded one")
	}
	if want.AccessToken == "" {
		return want.isIn(err)
	}
	if err != nil {
		return err
	}
	expires := time.Now().Add(time.Duration(number(want.ExpiresIn)) * time.Second)
	if want.ExpiresOn != "" {
		expires = time.Unix(number(want.ExpiresOn), 0)
	}
	if d := got.Expires.Sub(expires).Abs(); got.Value.Reveal() != want.AccessToken || d > time.Minute {
		return fmt.Errorf("a token until %v, want one until %v", got.Expires, expires)
	}
	return nil
}

func number(n json.Number) int64 {
	i, _ := n.Int64() // 0 fits no reply
	return i
}

// isIn reports what err lacks of a recorded refusal, or has of its words.
func (r recordedReply) isIn(err error) error {
	if broker.CodeOf(err) != broker.CodeVaultAuthentication {
		return fmt.Errorf("%w, want VAULT_AUTHENTICATION_FAILED", err)
	}
	refused, ok := errors.AsType[*keyvault.TokenError](err)
	switch {
	case !ok || refused.Advice == "" || refused.Status == 0:
		return fmt.Errorf("no advice: %w", err)
	case !strings.Contains(refused.Reason, r.Error):
		return fmt.Errorf("the reason is %q, want %q", refused.Reason, r.Error)
	}
	for _, code := range r.Codes {
		if !strings.Contains(err.Error(), fmt.Sprint("AADSTS", code)) {
			return fmt.Errorf("the log does not have the code %d: %w", code, err)
		}
	}
	for word := range strings.FieldsSeq(r.Description) {
		if strings.HasPrefix(word, "'") && strings.Contains(err.Error(), strings.Trim(word, "'.,")) || strings.Contains(err.Error(), "Trace") {
			return fmt.Errorf("the log has %s of the reply: %w", word, err)
		}
	}
	return nil
}

// source returns a credential of the kind that was recorded, by what it asked
// for and by its name.
func (a acquisition) source(t *testing.T, asked string, transport http.RoundTripper) (keyvault.TokenSource, error) {
	t.Helper()
	u, err := url.Parse(asked)
	if err != nil {
		return nil, err
	}
	if q := u.Query(); u.Scheme == "http" {
		return keyvault.ManagedIdentity(keyvault.ManagedIdentityConfig{
			ClientID: q.Get("client_id"), ObjectID: q.Get("object_id"), ResourceID: cmp.Or(q.Get("msi_res_id"), q.Get("mi_res_id")), Transport: transport,
		})
	}
	authority := "https://" + u.Host
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	switch name := strings.ToLower(a.Name); {
	case strings.Contains(name, "certificate"):
		return keyvault.ClientCertificate(keyvault.ClientCertificateConfig{
			TenantID: tenant, ClientID: "app-1", CertificateFile: "testdata/certificate.pfx", Password: broker.NewValue(pfxPassword),
			Authority: authority, Transport: transport,
		})
	case strings.Contains(name, "federated"):
		return keyvault.WorkloadIdentity(keyvault.WorkloadIdentityConfig{
			TenantID: tenant, ClientID: "app-1", TokenFile: writeFile(t, filepath.Join(t.TempDir(), "token"), []byte("federated")),
			Authority: authority, Transport: transport,
		})
	}
	return keyvault.ClientSecret(keyvault.ClientSecretConfig{
		TenantID: tenant, ClientID: "app-1", Secret: broker.NewValue(clientSecret), Authority: authority, Transport: transport,
	})
}
