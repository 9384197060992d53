package keyvault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// recordedMeanings is what the caller must be told, by what the vault said:
// the first row that fits. It is written from Key Vault's documentation, and
// owes nothing to the client's own table.
var recordedMeanings = []struct {
	status      int
	code, inner string
	operation   string // "" is any
	means       broker.Code
}{
	{400, "BadParameter", "", "", broker.CodeBadField},
	{400, "Malformed backup blob", "", "restore", broker.CodeBadField},
	{401, "Unauthorized", "", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "SecretDisabled", "", broker.CodeSecretDisabled},
	{403, "Forbidden", "ForbiddenByRbac", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "AccessDenied", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "ForbiddenByPolicy", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "ForbiddenByFirewall", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "KeyOperationForbidden", "", broker.CodeVaultAuthentication},
	{403, "Forbidden", "", "purge", broker.CodeNotSupported},
	{403, "Forbidden", "", "", broker.CodeVaultAuthentication},
	{404, "SecretNotFound", "", "", broker.CodeSecretNotFound},
	// The client never asks so; a vault that refuses a method is no vault.
	{405, "MethodNotAllowed", "", "", broker.CodeVaultUnavailable},
	{409, "Conflict", "ObjectIsDeletedButRecoverable", "", broker.CodeSecretSoftDeleted},
	{409, "Conflict", "ObjectIsBeingDeleted", "", broker.CodeSecretInTransition},
	{409, "Conflict", "", "restore", broker.CodeSecretExists},
	{429, "Throttled", "", "", broker.CodeVaultThrottled},
}

// Every reply that was recorded comes out of the client as what it says.
func TestRecordedReplies(t *testing.T) {
	for label, load := range map[string]func() (recordings.Set, error){"ours": recordings.Ours, "others": recordings.Others} {
		t.Run(label, func(t *testing.T) {
			set, err := load()
			if errors.Is(err, recordings.ErrNone) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			replies, wrong := 0, 0
			for _, s := range set.Scenarios {
				n, bad := playScenario(t, s)
				replies, wrong = replies+n, wrong+bad
			}
			t.Logf("%d of %d recorded replies parse as they should", replies-wrong, replies)
			refused, wrong := playErrors(t, set.Errors)
			t.Logf("%d of %d answers to reported errors are as they should be, of %d errors", refused-wrong, refused, len(set.Errors))
		})
	}
}

// playScenario has a client ask what was asked, and answers as was answered.
func playScenario(t *testing.T, s recordings.Scenario) (replies, wrong int) {
	t.Helper()
	p := newPlayer(t, s)
	moved := make(map[string]string) // a name to where it went: the client knows its own moves
	for i := 0; i < len(s.Steps); {
		group := p.group(s.Steps[i:])
		step := s.Steps[i]
		for range step.Times() {
			want, err := wanted(group, moved)
			if err == nil {
				err = p.play(t.Context(), group, want)
			}
			if err != nil {
				wrong += len(group)
				t.Errorf("%s, step %d, %s %s: %v", s.Name, i+1, step.Request.Method, step.Request.URL, err)
			}
			replies += len(group)
		}
		i += len(group)
	}
	return replies, wrong
}

// playErrors answers different operations with each error. A throttled set is
// not repeated; others would wait.
func playErrors(t *testing.T, reported []recordings.Reported) (answers, wrong int) {
	t.Helper()
	for _, e := range reported {
		lines := []string{"PUT /secrets/db", "GET /secrets/db", "PATCH /secrets/db", "DELETE /secrets/db", "DELETE /deletedsecrets/db"}
		if e.Status == 429 {
			lines = lines[:1]
		}
		for _, line := range lines {
			method, path, _ := strings.Cut(line, " ")
			s := recordings.Step{
				Request:  recordings.Request{Method: method, URL: "https://pay.vault.azure.net" + path},
				Response: recordings.Response{Status: e.Status, Body: e.Body},
			}
			p := newPlayer(t, recordings.Scenario{Steps: []recordings.Step{s}})
			want, err := wanted([]recordings.Step{s}, nil)
			if err == nil {
				err = p.play(t.Context(), []recordings.Step{s}, want)
			}
			if err != nil {
				wrong++
				t.Errorf("%s, %s: %v", e.Case, line, err)
			}
			answers++
		}
	}
	return answers, wrong
}

// wanted returns what the group's replies say.
func wanted(group []recordings.Step, moved map[string]string) (result, error) {
	op, name := operationOf(group[0].Request)
	if status := group[0].Response.Status; status >= 300 {
		code, err := meaning(op, group[0].Response)
		if code == broker.CodeSecretNotFound && moved[name] == side(op) {
			code = broker.CodeSecretInTransition
		}
		return result{code: code}, err
	}
	switch op {
	case "delete":
		moved[name] = "deleted"
	case "recover":
		moved[name] = "live"
	default:
		delete(moved, name)
	}
	var r result
	for _, s := range group {
		if len(s.Response.Body) == 0 {
			continue
		}
		var body map[string]any
		if err := json.Unmarshal(s.Response.Body, &body); err != nil {
			return result{}, err
		}
		items, isList := body["value"].([]any)
		if !isList {
			items = []any{body}
		}
		for _, item := range items {
			f, err := recordedFacts(op, item)
			if err != nil {
				return result{}, err
			}
			r.facts = append(r.facts, f)
		}
	}
	return r, nil
}

func meaning(op string, r recordings.Response) (broker.Code, error) {
	var body struct {
		Error struct {
			Code  string `json:"code"`
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return "", err
	}
	for _, m := range recordedMeanings {
		if m.status == r.Status && m.code == body.Error.Code && m.inner == body.Error.Inner.Code && (m.operation == "" || m.operation == op) {
			return m.means, nil
		}
	}
	return "", fmt.Errorf("no row of recordedMeanings fits %d %s/%s", r.Status, body.Error.Code, body.Error.Inner.Code)
}

// side is where an operation looks for its secret.
func side(op string) string {
	switch op {
	case "get deleted", "recover", "purge":
		return "deleted"
	}
	return "live"
}

var versionSegment = regexp.MustCompile(`^[0-9a-f]{32}$`)

// operationOf returns which operation a request is, and the secret's name as it
// was written.
func operationOf(r recordings.Request) (op, name string) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return "", ""
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) > 1 {
		name = parts[1]
	}
	if len(parts) > 2 && versionSegment.MatchString(parts[2]) {
		parts[2] = "{version}"
	}
	if len(parts) > 1 && parts[1] != "restore" {
		parts[1] = "{name}"
	}
	return map[string]string{
		"PUT secrets":                        "set", // with an empty name
		"PUT secrets/{name}":                 "set",
		"GET secrets/{name}":                 "get",
		"GET secrets/{name}/{version}":       "get",
		"PATCH secrets/{name}":               "update",
		"PATCH secrets/{name}/{version}":     "update",
		"DELETE secrets/{name}":              "delete",
		"GET secrets":                        "list",
		"GET secrets/{name}/versions":        "versions",
		"GET deletedsecrets":                 "list deleted",
		"GET deletedsecrets/{name}":          "get deleted",
		"DELETE deletedsecrets/{name}":       "purge",
		"POST deletedsecrets/{name}/recover": "recover",
		"POST secrets/{name}/backup":         "backup",
		"POST secrets/restore":               "restore",
	}[r.Method+" "+strings.Join(parts, "/")], name
}
