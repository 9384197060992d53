package keyvault_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// What is no reply to any call about a key.
func TestKeyRepliesThatAreNone(t *testing.T) {
	for name, call := range keyCalls {
		if name == "purge" {
			continue // its reply has nothing to read
		}
		for label, body := range map[string]string{
			"HTML":             "<html>" + canary + "</html>",
			"nothing":          "",
			"null":             "null",
			"an empty object":  "{}",
			"an array":         "[" + call.reply + "]",
			"a string":         `"` + canary + `"`,
			"truncated":        call.reply[:len(call.reply)-1],
			"two documents":    call.reply + call.reply,
			"bytes, not UTF-8": strings.Replace(call.reply, `{"`, "{\"\xff\xfe\":1,\"", 1),
			"deep nesting":     strings.Repeat(`{"key":`, 20_000) + "1" + strings.Repeat("}", 20_000),
		} {
			t.Run(name+"/"+label, func(t *testing.T) { refuseReply(t, call, body) })
		}
	}
	for name, call := range keyCalls {
		for label, status := range map[string]int{"201": 201, "202": 202, "204": 204, "206": 206} {
			if status == call.status {
				continue
			}
			t.Run(name+"/"+label, func(t *testing.T) {
				answered := call
				answered.status = status
				refuseReply(t, answered, call.reply+" ")
			})
		}
	}
}

// A reply without end is cut at its bound, whatever the call.
func TestHugeKeyReplies(t *testing.T) {
	for name, call := range keyCalls {
		t.Run(name, func(t *testing.T) {
			read := 0
			c := newClient(t, keyvault.Config{
				URL: "https://v.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) {
					resp := respond(max(call.status, 200), "")
					resp.Body = endless{read: &read}
					return resp, nil
				}),
			})
			_, err := call.act(t.Context(), c, keyNamed(t, "k"))
			want := broker.CodeVaultUnavailable
			if name == "backup" {
				want = broker.CodeValueTooLarge
			}
			wantCode(t, err, want)
			if most := 2 << 20; read > most {
				t.Errorf("%d bytes were read, want %d at most", read, most)
			}
		})
	}
}

// endless is a body of spaces.
type endless struct{ read *int }

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	*e.read += len(p)
	return len(p), nil
}

func (endless) Close() error { return nil }

// A private key that is imported, or a digest that is signed, goes to no one but
// the vault that was asked.
func TestKeyRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int64
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+r.URL.Path, status)
		}), true)
		roots.AddCert(other.Certificate())
		c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
		for name, call := range keyCalls {
			if _, err := call.act(t.Context(), c, keyNamed(t, "k")); broker.CodeOf(err) != broker.CodeVaultUnavailable {
				t.Errorf("%d, %s: %v", status, name, err)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests went to another host", n)
	}
}

// A vault that repeats what it was sent, in an error or in a reply, does not bring
// it into an error, the log, a span or a metric.
func TestKeyCanary(t *testing.T) {
	for status, echo := range map[int]string{
		200: `{"key":%s}`,
		400: `{"error":{"code":"BadParameter","message":%q}}`,
		403: `{"error":{"code":"Forbidden","message":%q,"innererror":{"code":"ForbiddenByRbac"}}}`,
		409: `{"error":{"code":"Conflict","message":%q}}`,
		500: `{"error":{"code":"InternalServerError","message":%q}}`,
		502: `<html>%s</html>`,
	} {
		for name, call := range keyCalls {
			t.Run(strconv.Itoa(status)+"/"+name, func(t *testing.T) {
				spans := tracetest.NewSpanRecorder()
				tp := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
				reader := metric.NewManualReader()
				var log bytes.Buffer
				c := newClient(t, keyvault.Config{
					URL: "https://v.vault.azure.net", Logger: debugLog(&log), TracerProvider: tp,
					MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)),
					Transport: exchange(func(*http.Request) (*http.Response, error) {
						return respond(status, fmt.Sprintf(echo, ecPrivate), "Retry-After", "0"), nil
					}),
				})
				got, err := call.act(t.Context(), c, keyNamed(t, "k-canary"))
				if err == nil {
					t.Fatalf("it is a success: %v", got)
				}
				e := broker.AsError(err)
				told := fmt.Sprintf("%v %+v %#v %s %s %+v", err, err, e.Message, e.Field, log.String(), collect(t, reader))
				for _, s := range spans.Ended() {
					told += s.Name() + fmt.Sprint(s.Attributes(), s.Events(), s.Status())
				}
				// A call without a body may log the vault's words: it sent nothing.
				sent := name != "get" && name != "delete" && name != "recover" && name != "purge" && name != "rotate" && name != "backup" &&
					name != "get deleted" && name != "get policy" && name != "list" && name != "versions" && name != "list deleted"
				if sent && strings.Contains(told, ecScalar) {
					t.Errorf("the private key is told: %s", told)
				}
				if strings.Contains(told, testToken) || strings.Contains(told, "k-canary") || strings.Contains(e.Message, ecScalar) {
					t.Errorf("it says too much: %s", told)
				}
			})
		}
	}
}

// What a refusal means, for calls about keys.
func TestKeyErrors(t *testing.T) {
	body := func(code, inner string) string {
		b := `{"error":{"code":"` + code + `","message":"m"`
		if inner != "" {
			b += `,"innererror":{"code":"` + inner + `"}`
		}
		return b + `}}`
	}
	for label, tt := range map[string]struct {
		status int
		body   string
		want   broker.Code
		// calls: for these alone; nil is all.
		calls []string
		field string
		retry bool
	}{
		"401":                        {status: 401, body: body("Unauthorized", ""), want: broker.CodeVaultAuthentication, retry: true},
		"a Managed HSM's 401":        {status: 401, want: broker.CodeVaultAuthentication, retry: true},
		"no role":                    {status: 403, body: body("Forbidden", "ForbiddenByRbac"), want: broker.CodeVaultAuthentication, retry: true},
		"no access policy":           {status: 403, body: body("Forbidden", "AccessDenied"), want: broker.CodeVaultAuthentication, retry: true},
		"the firewall":               {status: 403, body: body("Forbidden", "ForbiddenByFirewall"), want: broker.CodeVaultAuthentication, retry: true},
		"a Managed HSM without role": {status: 403, body: body("Forbidden", "NoPermission"), want: broker.CodeVaultAuthentication, retry: true, calls: []string{"get", "sign", "create"}},
		"disabled":                   {status: 403, body: body("Forbidden", "KeyDisabled"), want: broker.CodeKeyDisabled},
		"not for this, or not now":   {status: 403, body: body("Forbidden", "KeyOperationForbidden"), want: broker.CodeKeyOperationForbidden},
		"… as a Managed HSM says it": {status: 403, body: body("KeyOperationForbidden", ""), want: broker.CodeKeyOperationForbidden},
		"purge protection":           {status: 403, body: body("Forbidden", ""), want: broker.CodeNotSupported, calls: []string{"purge"}},
		"missing":                    {status: 404, body: body("KeyNotFound", ""), want: broker.CodeKeyNotFound},
		"404 of a proxy":             {status: 404, body: "<html>", want: broker.CodeVaultUnavailable, retry: true},
		"soft-deleted":               {status: 409, body: body("Conflict", "ObjectIsDeletedButRecoverable"), want: broker.CodeKeySoftDeleted},
		"being deleted":              {status: 409, body: body("Conflict", "ObjectIsBeingDeleted"), want: broker.CodeKeyInTransition, retry: true},
		"being recovered":            {status: 409, body: body("Conflict", "ObjectIsBeingRecovered"), want: broker.CodeKeyInTransition, retry: true},
		"a name in use":              {status: 409, body: body("Conflict", ""), want: broker.CodeKeyExists, calls: []string{"restore"}},
		"no backup":                  {status: 400, body: body("Malformed backup blob", ""), want: broker.CodeBadField, calls: []string{"restore"}, field: "blob"},
		"no backup of a Managed HSM": {status: 400, body: body("MalformedBackupBlob", ""), want: broker.CodeBadField, calls: []string{"restore"}, field: "blob"},
		"an unfit input":             {status: 400, body: body("BadParameter", ""), want: broker.CodeBadField, calls: []string{"encrypt", "decrypt", "wrap", "unwrap", "sign", "verify"}, field: "value"},
		"a key that is not taken":    {status: 400, body: body("BadParameter", ""), want: broker.CodeBadField, calls: []string{"import"}, field: "jwk"},
		"a policy that is not taken": {status: 400, body: body("BadParameter", ""), want: broker.CodeBadField, calls: []string{"update policy"}, field: "rotation_policy"},
		"a type that is not there":   {status: 400, body: body("NotSupported", ""), want: broker.CodeNotSupported},
		"throttled":                  {status: 429, body: body("Throttled", ""), want: broker.CodeVaultThrottled, retry: true, calls: []string{"create", "import", "rotate", "restore"}},
		"a failure":                  {status: 500, body: body("InternalServerError", ""), want: broker.CodeVaultUnavailable, retry: true, calls: []string{"create", "delete", "purge"}},
		"a conflict of another kind": {status: 409, body: body("Conflict", ""), want: broker.CodeVaultUnavailable, retry: true, calls: []string{"create", "rotate"}},
		"an unknown inner code":      {status: 403, body: body("Forbidden", "SomethingNew"), want: broker.CodeVaultAuthentication, retry: true, calls: []string{"purge", "sign"}},
	} {
		for name, call := range keyCalls {
			if tt.calls != nil && !slices.Contains(tt.calls, name) {
				continue
			}
			t.Run(label+"/"+name, func(t *testing.T) {
				c := newClient(t, keyvault.Config{
					URL:       "https://v.vault.azure.net",
					Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(tt.status, tt.body), nil }),
				})
				_, err := call.act(t.Context(), c, keyNamed(t, "k"))
				wantCode(t, err, tt.want)
				e := broker.AsError(err)
				if (e.RetryAfter > 0) != tt.retry || (tt.field != "" && e.Field != tt.field) {
					t.Errorf("retry after %v, field %q; want %v, %q", e.RetryAfter, e.Field, tt.retry, tt.field)
				}
			})
		}
	}
}
