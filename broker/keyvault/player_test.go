package keyvault_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// player is a client, and a vault that says what was recorded, under the host
// it was recorded at.
type player struct {
	client *keyvault.Client
	vault  broker.Name
	// next leads on from the last page that was listed.
	next string

	mu    sync.Mutex
	steps []recordings.Step // what the vault answers, the last one for ever
	asked int
	fault error // what the client asked otherwise than was recorded
}

func newPlayer(t *testing.T, s recordings.Scenario) *player {
	t.Helper()
	p := &player{vault: vaultName(t)}
	server, roots := serveTLS(t, p, true)
	recorded, err := url.Parse(s.Steps[0].Request.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, strings.TrimPrefix(server, "https://"))
		},
		// The name that httptest's certificate has.
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	p.client = newClient(t, keyvault.Config{URL: "https://" + recorded.Host, Transport: transport})
	return p
}

// group returns the steps at the beginning of steps that one call of the client
// makes: all pages of a list of versions, or a single step.
func (p *player) group(steps []recordings.Step) []recordings.Step {
	n := 1
	if op, name := operationOf(steps[0].Request); op == "versions" {
		for n < len(steps) {
			if o, m := operationOf(steps[n].Request); o != op || m != name {
				break
			}
			n++
		}
	}
	return steps[:n]
}

// play performs the call that was recorded, and compares.
func (p *player) play(ctx context.Context, group []recordings.Step, want result) error {
	p.mu.Lock()
	p.steps, p.asked, p.fault = group, 0, nil
	p.mu.Unlock()
	got, err := p.call(ctx, group[0].Request)
	if err != nil || group[0].Response.Status == http.StatusNoContent {
		got = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked < len(group) {
		return fmt.Errorf("%d requests reached the vault, want %d: %w", p.asked, len(group), err)
	}
	return errors.Join(p.fault, want.compare(got, err))
}

// call performs a recorded request with the client.
func (p *player) call(ctx context.Context, r recordings.Request) ([]facts, error) {
	op, object := operationOf(r)
	if object == "" {
		object = "unnamed" // the client cannot ask for none
	}
	name, err := p.vault.Object(broker.KindSecrets, object)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(r.URL); err == nil {
		if parts := strings.Split(strings.Trim(u.Path, "/"), "/"); len(parts) == 3 && versionSegment.MatchString(parts[2]) {
			if name, err = name.WithVersion(parts[2]); err != nil {
				return nil, err
			}
		}
	}
	one := func(s broker.Secret, err error) ([]facts, error) { return []facts{factsOf(s)}, err }
	oneDeleted := func(s broker.DeletedSecret, err error) ([]facts, error) { return []facts{factsOfDeleted(s)}, err }
	switch op {
	case "set":
		var body keyvault.SetSecretRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		s, err := p.client.SetSecret(ctx, name, body.NewSecret())
		f := factsOf(s)
		if body.Value != nil {
			f["value"] = body.Value.Reveal() // the vault repeats it, and the client has no use for that
		}
		return []facts{f}, err
	case "get":
		s, err := p.client.GetSecret(ctx, name)
		f := factsOf(s.Secret)
		f["value"] = s.Value.Reveal()
		return []facts{f}, err
	case "update":
		var body keyvault.UpdateSecretRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(p.client.UpdateSecret(ctx, name, body.SecretUpdate()))
	case "delete":
		return oneDeleted(p.client.DeleteSecret(ctx, name))
	case "get deleted":
		return oneDeleted(p.client.GetDeletedSecret(ctx, name))
	case "recover":
		return one(p.client.RecoverSecret(ctx, name))
	case "purge":
		return nil, p.client.PurgeSecret(ctx, name)
	case "backup":
		blob, err := p.client.BackupSecret(ctx, name)
		return []facts{{"blob": blob.Reveal()}}, err
	case "restore":
		var body keyvault.Backup
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(p.client.RestoreSecret(ctx, p.vault, body.Value.Value))
	}
	return p.callList(ctx, op, name, r)
}

func decodeBody(body json.RawMessage, into any) error {
	if body == nil {
		return nil // a client's first request, for the challenge
	}
	return json.Unmarshal(body, into)
}

// callList performs a recorded request for a page. It goes on where the client
// said that the page before ends.
func (p *player) callList(ctx context.Context, op string, name broker.Name, r recordings.Request) ([]facts, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	page := broker.Page{Size: 1}
	if u.Query().Has("$skiptoken") {
		page.Token = p.next
	}
	var all []facts
	switch op {
	case "list":
		l, err := p.client.ListSecrets(ctx, p.vault, page)
		if err != nil {
			return nil, err
		}
		p.next = l.Next
		for _, s := range l.Secrets {
			all = append(all, factsOf(s))
		}
	case "list deleted":
		l, err := p.client.ListDeletedSecrets(ctx, p.vault, page)
		if err != nil {
			return nil, err
		}
		p.next = l.Next
		for _, s := range l.Secrets {
			all = append(all, factsOfDeleted(s))
		}
	case "versions":
		l, err := p.client.ListSecretVersions(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, s := range l {
			all = append(all, factsOf(s))
		}
	default:
		return nil, fmt.Errorf("no operation of the client is %s %s", r.Method, u.Path)
	}
	return all, nil
}

// ServeHTTP implements http.Handler.
func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	step := p.steps[min(p.asked, len(p.steps)-1)]
	p.asked++
	p.fault = errors.Join(p.fault, sameRequest(step.Request, r))
	for name, v := range step.Response.Headers {
		w.Header().Set(name, v)
	}
	w.WriteHeader(step.Response.Status)
	_, _ = w.Write(step.Response.Body) // the client went away
}

// sameRequest checks that r is what was recorded, as far as a client has no
// choice: api-version and the size of a page are its own.
func sameRequest(recorded recordings.Request, r *http.Request) error {
	u, err := url.Parse(recorded.URL)
	if err != nil {
		return err
	}
	want, got := strings.TrimSuffix(u.Path, "/"), r.URL.Path
	if op, name := operationOf(recorded); op == "set" && name == "" {
		got = want // the client sent one
	}
	if r.Method != recorded.Method || !strings.EqualFold(got, want) || r.URL.Query().Get("$skiptoken") != u.Query().Get("$skiptoken") {
		return fmt.Errorf("the client asked for %s %s, want %s %s", r.Method, r.URL, recorded.Method, recorded.URL)
	}
	if recorded.Body == nil {
		return nil
	}
	var wanted, sent any
	if err := errors.Join(json.Unmarshal(recorded.Body, &wanted), json.NewDecoder(r.Body).Decode(&sent)); err != nil {
		return err
	}
	if !within(wanted, sent) {
		return fmt.Errorf("the client sent %v, want %v", sent, wanted)
	}
	return nil
}

// within reports whether whole has all that part has.
func within(part, whole any) bool {
	p, ok := part.(map[string]any)
	if !ok {
		return reflect.DeepEqual(part, whole)
	}
	w, ok := whole.(map[string]any)
	if !ok {
		return false
	}
	for key, v := range p {
		if !within(v, w[key]) {
			return false
		}
	}
	return true
}
