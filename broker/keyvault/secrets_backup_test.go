package keyvault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// recordedBlob has a recorded backup's shape: a length, the kind, and bytes
// that only the vault can read.
const recordedBlob = ")AzureKeyVaultSecretBackupV1.microsoft.comeyJraWQiOiJm.\xff\xfb" + canary

// The bytes of a backup come out as they are, and go back as they came.
func TestBackupAndRestore(t *testing.T) {
	encoded := base64.RawURLEncoding.EncodeToString([]byte(recordedBlob))
	var log bytes.Buffer
	var restored string
	c := newClient(t, keyvault.Config{
		URL: "https://pay.vault.azure.net", Logger: debugLog(&log),
		Transport: exchange(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/backup") {
				return respond(200, `{"value":"`+encoded+`"}`), nil
			}
			body, err := io.ReadAll(r.Body)
			restored = string(body)
			return respond(200, strings.Replace(bundle("DB-Password"), `"value":"`+canary+`",`, "", 1)), err
		}),
	})
	blob, err := c.BackupSecret(t.Context(), secretNamed(t, "db-password"))
	if err != nil || blob.Reveal() != recordedBlob {
		t.Fatalf("a backup of %d bytes, %v; want %d", blob.Len(), err, len(recordedBlob))
	}
	s, err := c.RestoreSecret(t.Context(), vaultName(t), blob)
	if err != nil {
		t.Fatal(err)
	}
	if want := "vaults/pay/secrets/db-password/versions/" + version; s.Name.String() != want || !s.Enabled {
		t.Errorf("restored %v, want %s", s.Name, want)
	}
	if restored != `{"value":"`+encoded+`"}` {
		t.Error("the blob was not sent back as it came")
	}
	if strings.Contains(log.String(), canary) || strings.Contains(log.String(), encoded[:20]) {
		t.Error("the log holds the blob")
	}
}

func TestBackupsThatAreNone(t *testing.T) {
	for label, body := range map[string]string{
		"no blob": `{}`, "null": `{"value":null}`, "empty": `{"value":""}`, "a number": `{"value":12345678}`,
		"no base64": `{"value":"` + canary + `*"}`, "padded": `{"value":"KQ=="}`, "standard alphabet": `{"value":"++//"}`, "HTML": "<html>",
	} {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL:       "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) { return respond(200, body), nil }),
			})
			blob, err := c.BackupSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, broker.CodeVaultUnavailable)
			if blob.Len() != 0 || strings.Contains(err.Error(), canary) {
				t.Errorf("%d bytes, %v", blob.Len(), err)
			}
		})
	}
}

// The restored secret's name is the reply's, and must be one.
func TestRestoredNames(t *testing.T) {
	for label, id := range map[string]string{
		"a key":            "https://v.vault.azure.net/keys/db/" + version,
		"a deleted secret": "https://v.vault.azure.net/deletedsecrets/db/" + version,
		"no version":       "https://v.vault.azure.net/secrets/db",
		"no name":          "https://v.vault.azure.net/secrets//" + version,
		"a foreign name":   "https://v.vault.azure.net/secrets/a_b/" + version,
		"an escape":        "https://v.vault.azure.net/secrets/a%2db/" + version,
		"deeper":           "https://v.vault.azure.net/secrets/db/" + version + "/x",
		"none":             "",
	} {
		t.Run(label, func(t *testing.T) {
			c := newClient(t, keyvault.Config{
				URL: "https://pay.vault.azure.net",
				Transport: exchange(func(*http.Request) (*http.Response, error) {
					return respond(200, `{"id":"`+id+`","attributes":{"enabled":true}}`), nil
				}),
			})
			s, err := c.RestoreSecret(t.Context(), vaultName(t), broker.NewValue("blob"))
			wantCode(t, err, broker.CodeVaultUnavailable)
			if !s.Name.IsZero() {
				t.Errorf("restored %v", s.Name)
			}
		})
	}
}

// The largest backup that the broker takes comes whole. One that is larger is
// read no further than shows it, told of its length or not.
func TestBackupSizes(t *testing.T) {
	const keyVaultsMost = 16 << 20
	tests := map[string]struct {
		size, status int
		announced    bool
		want         broker.Code
	}{
		"the most":              {broker.MaxBackupLen, 200, false, ""},
		"a byte more":           {broker.MaxBackupLen + 1, 200, false, broker.CodeValueTooLarge},
		"Key Vault's most":      {keyVaultsMost, 200, false, broker.CodeValueTooLarge},
		"told to be that large": {keyVaultsMost, 200, true, broker.CodeValueTooLarge},
		"a huge error":          {keyVaultsMost, 403, false, broker.CodeVaultUnavailable},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			var sent atomic.Int64
			body := []byte(`{"value":"` + base64.RawURLEncoding.EncodeToString(make([]byte, tt.size)) + `"}`)
			url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.announced {
					w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				}
				w.WriteHeader(tt.status)
				for rest := body; len(rest) > 0; {
					n, err := w.Write(rest[:min(len(rest), 16<<10)])
					sent.Add(int64(n))
					if err != nil {
						return
					}
					rest = rest[n:]
				}
			}), true)
			c := newClient(t, keyvault.Config{URL: url, RootCAs: roots})
			blob, err := c.BackupSecret(t.Context(), secretNamed(t, "db"))
			wantCode(t, err, tt.want)
			if tt.want == "" && blob.Len() != tt.size || tt.want != "" && blob.Len() != 0 {
				t.Errorf("%d bytes", blob.Len())
			}
			if tt.want == broker.CodeValueTooLarge && !strings.Contains(broker.AsError(err).Message, "1 MiB") {
				t.Errorf("words %q", broker.AsError(err).Message)
			}
			// What is on its way when the client hangs up is a window's worth.
			if tt.size == keyVaultsMost && sent.Load() > keyVaultsMost/2 {
				t.Errorf("%d bytes were taken", sent.Load())
			}
		})
	}
}

// What is encoded decodes to the same, and what decodes encodes to the same.
func FuzzBlob(f *testing.F) {
	f.Add([]byte(recordedBlob), `"KUF6dXJl"`)
	f.Add([]byte{}, `"KQ=="`)
	f.Add([]byte{0xff}, `"KR"`)
	f.Add([]byte{0, 1}, `"K\u0051"`)
	f.Fuzz(func(t *testing.T, blob []byte, text string) {
		encoded, err := json.Marshal(keyvault.Blob{Value: broker.NewValue(string(blob))})
		if err != nil {
			t.Fatal(err)
		}
		var back keyvault.Blob
		if err := json.Unmarshal(encoded, &back); err != nil || back.Reveal() != string(blob) {
			t.Errorf("%q came back as %q, %v", blob, back.Reveal(), err)
		}
		var decoded keyvault.Blob
		if json.Unmarshal([]byte(text), &decoded) != nil {
			return
		}
		again, err := json.Marshal(decoded)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if json.Unmarshal([]byte(text), &want) != nil || json.Unmarshal(again, &got) != nil || got != want {
			t.Errorf("%s became %s", text, again)
		}
	})
}
