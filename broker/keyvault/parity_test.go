package keyvault_test

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// A vault with an older TLS is none, whatever its certificate.
func TestTLSVersions(t *testing.T) {
	tests := map[string]struct {
		version uint16
		want    broker.Code
	}{
		"1.3": {tls.VersionTLS13, ""}, "1.2": {tls.VersionTLS12, ""}, "1.1": {tls.VersionTLS11, broker.CodeVaultUnavailable},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprint(w, bundle("db"))
			}))
			s.TLS = &tls.Config{MinVersion: tt.version, MaxVersion: tt.version}
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			s.StartTLS()
			t.Cleanup(s.Close)
			c := newClient(t, keyvault.Config{URL: s.URL, RootCAs: rootsOf(s)})
			// A delete is tried once.
			_, err := c.DeleteSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, tt.want)
		})
	}
}
