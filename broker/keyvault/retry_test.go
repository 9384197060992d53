package keyvault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// exchange is a vault in this process, which virtual time can pass for.
type exchange func(r *http.Request) (*http.Response, error)

func (f exchange) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 2, Header: h,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1,
	}
}

// failing answers the first n requests with fail, and all others well.
func failing(n int, fail func() (*http.Response, error)) (exchange, *int) {
	var calls int
	return func(r *http.Request) (*http.Response, error) {
		calls++
		if calls <= n {
			return fail()
		}
		return answer(r), nil
	}, &calls
}

// answer is what a vault that has every secret answers.
func answer(r *http.Request) *http.Response {
	parts := strings.Split(r.URL.Path, "/")
	switch {
	case strings.HasSuffix(r.URL.Path, "/backup"):
		return respond(200, `{"value":"KUF6dXJl"}`)
	case r.Method == http.MethodGet && len(parts) == 2:
		return respond(200, page("null"))
	case r.Method == http.MethodDelete && parts[1] == "deletedsecrets":
		return respond(204, "")
	}
	return respond(200, bundle(parts[2]))
}

func status(code int, headers ...string) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return respond(code, `{"error":{"code":"x","message":"y"}}`, headers...), nil
	}
}

func reset() (*http.Response, error) { return nil, errors.New("connection reset by peer") }

func TestRetries(t *testing.T) {
	const always = 1000
	get := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.GetSecret(ctx, n)
		return err
	}
	set := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.SetSecret(ctx, n, broker.NewSecret{Value: broker.NewValue("v")})
		return err
	}
	del := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.DeleteSecret(ctx, n)
		return err
	}
	update := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.UpdateSecret(ctx, n, broker.SecretUpdate{Enabled: new(true)})
		return err
	}
	getDeleted := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.GetDeletedSecret(ctx, n)
		return err
	}
	listDeleted := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.ListDeletedSecrets(ctx, n.Vault(), broker.Page{})
		return err
	}
	undelete := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.RecoverSecret(ctx, n)
		return err
	}
	purge := func(ctx context.Context, c *keyvault.Client, n broker.Name) error { return c.PurgeSecret(ctx, n) }
	backup := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.BackupSecret(ctx, n)
		return err
	}
	restore := func(ctx context.Context, c *keyvault.Client, n broker.Name) error {
		_, err := c.RestoreSecret(ctx, n.Vault(), broker.NewValue("blob"))
		return err
	}
	tests := map[string]struct {
		act      func(context.Context, *keyvault.Client, broker.Name) error
		failures int
		fail     func() (*http.Response, error)
		deadline time.Duration // 0: 30 s
		calls    int
		code     broker.Code
		least    time.Duration // the virtual time it takes
		most     time.Duration
		retry    time.Duration // RetryAfter
	}{
		"a read after 503":             {act: get, failures: 2, fail: status(503), calls: 3, most: time.Second},
		"a read after 500":             {act: get, failures: 1, fail: status(500), calls: 2, most: time.Second},
		"a read after 408":             {act: get, failures: 1, fail: status(408), calls: 2, most: time.Second},
		"a read after a reset":         {act: get, failures: 2, fail: reset, calls: 3, most: time.Second},
		"a read, throttled":            {act: get, failures: 1, fail: status(429), calls: 2, least: time.Second / 2, most: time.Second},
		"a read, told when":            {act: get, failures: 1, fail: status(429, "Retry-After", "7"), calls: 2, least: 7 * time.Second, most: 7 * time.Second},
		"a read, told at once":         {act: get, failures: 1, fail: status(503, "Retry-After", "0"), calls: 2},
		"a read, told nonsense":        {act: get, failures: 1, fail: status(503, "Retry-After", "-5"), calls: 2},
		"a read, told too long":        {act: get, failures: 1, fail: status(429, "Retry-After", "86400"), calls: 1, code: broker.CodeVaultThrottled, retry: time.Minute},
		"a wait beyond the deadline":   {act: get, failures: 1, fail: status(429, "Retry-After", "7"), deadline: 5 * time.Second, calls: 1, code: broker.CodeVaultThrottled, retry: 7 * time.Second},
		"a vault that stays down":      {act: get, failures: always, fail: status(503), calls: 3, code: broker.CodeVaultUnavailable, most: 2 * time.Second, retry: time.Second},
		"a vault that stays throttled": {act: get, failures: always, fail: status(429), calls: 3, code: broker.CodeVaultThrottled, most: 4 * time.Second},
		"a read that is refused":       {act: get, failures: always, fail: status(403), calls: 1, code: broker.CodeVaultAuthentication},
		"a read after 501":             {act: get, failures: always, fail: status(501), calls: 1, code: broker.CodeVaultUnavailable},
		"a set after 503":              {act: set, failures: 1, fail: status(503), calls: 1, code: broker.CodeVaultUnavailable},
		"a set after 429":              {act: set, failures: 1, fail: status(429), calls: 1, code: broker.CodeVaultThrottled},
		"a set after a reset":          {act: set, failures: 1, fail: reset, calls: 1, code: broker.CodeVaultUnavailable},
		"a delete after 503":           {act: del, failures: 1, fail: status(503), calls: 1, code: broker.CodeVaultUnavailable},
		"a delete after a reset":       {act: del, failures: 1, fail: reset, calls: 1, code: broker.CodeVaultUnavailable},
		"a delete, throttled":          {act: del, failures: 1, fail: status(429), calls: 2, most: time.Second},
		"an update after 503":          {act: update, failures: 2, fail: status(503), calls: 3, most: time.Second},
		"an update after a reset":      {act: update, failures: 1, fail: reset, calls: 2, most: time.Second},
		"a deleted secret after 503":   {act: getDeleted, failures: 1, fail: status(503), calls: 2, most: time.Second},
		"a deleted list after a reset": {act: listDeleted, failures: 1, fail: reset, calls: 2, most: time.Second},
		"a recovery after 503":         {act: undelete, failures: 1, fail: status(503), calls: 1, code: broker.CodeVaultUnavailable},
		"a recovery after a reset":     {act: undelete, failures: 1, fail: reset, calls: 1, code: broker.CodeVaultUnavailable},
		"a recovery, throttled":        {act: undelete, failures: 1, fail: status(429), calls: 2, most: time.Second},
		"a purge after 503":            {act: purge, failures: 1, fail: status(503), calls: 1, code: broker.CodeVaultUnavailable},
		"a purge, throttled":           {act: purge, failures: 1, fail: status(429), calls: 2, most: time.Second},
		"a backup after 503":           {act: backup, failures: 1, fail: status(503), calls: 2, most: time.Second},
		"a backup, throttled":          {act: backup, failures: 1, fail: status(429), calls: 2, most: time.Second},
		"a restore after 503":          {act: restore, failures: 1, fail: status(503), calls: 1, code: broker.CodeVaultUnavailable},
		"a restore, throttled":         {act: restore, failures: 1, fail: status(429), calls: 1, code: broker.CodeVaultThrottled},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				vault, calls := failing(tt.failures, tt.fail)
				c := newClient(t, keyvault.Config{URL: "https://pay.vault.azure.net", Transport: vault})
				if tt.deadline == 0 {
					tt.deadline = 30 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				began := time.Now()
				err := tt.act(ctx, c, secretNamed(t, "db"))
				took := time.Since(began)
				wantCode(t, err, tt.code)
				if *calls != tt.calls {
					t.Errorf("%d calls, want %d", *calls, tt.calls)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("it took %v, want %v to %v", took, tt.least, tt.most)
				}
				if tt.retry != 0 && broker.AsError(err).RetryAfter != tt.retry {
					t.Errorf("retry after %v, want %v", broker.AsError(err).RetryAfter, tt.retry)
				}
			})
		})
	}
}

// A try has two seconds, its body included, however long the caller would wait.
func TestATryHasItsOwnTimeout(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	halfway := func(r *http.Request) (*http.Response, error) {
		resp := respond(200, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"value":`), readerFunc(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		})))
		return resp, nil
	}
	for label, vault := range map[string]exchange{"no reply": hang, "half a reply": halfway} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, keyvault.Config{URL: "https://pay.vault.azure.net", Transport: vault})
				began := time.Now()
				_, err := c.GetSecret(t.Context(), secretNamed(t, "db"))
				wantCode(t, err, broker.CodeVaultUnavailable)
				if took := time.Since(began); took < 6*time.Second || took > 7*time.Second {
					t.Errorf("three tries took %v", took)
				}
				began = time.Now()
				_, err = c.SetSecret(t.Context(), secretNamed(t, "db"), broker.NewSecret{Value: broker.NewValue("v")})
				wantCode(t, err, broker.CodeVaultUnavailable)
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("one try took %v", took)
				}
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
