package service_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// Private halves, plaintexts and wrapped keys, whatever is done with them and
// whatever goes wrong, are in no error, log line at debug level, span, metric or
// audit record.
func TestKeyCanary(t *testing.T) {
	const plain, wrapped, broken = "c4nary-plaintext", "c4nary-symmetric", "c4naryInNoKey"
	w := newWorld(t)
	f := furnish(w)
	billing, stranger := w.billing(), w.cert("/stranger")
	const db = "vaults/dev/keys/db"
	var private map[string]string
	w.must(json.Unmarshal([]byte(rsaJWK()), &private))
	var told bytes.Buffer
	sung := 0
	try := func(req proto.Message, rest string) {
		for _, id := range []identity{billing, stranger} {
			reply, err := w.call(id, req)
			fmt.Fprintln(&told, err, status.Convert(err).Proto())
			switch r := reply.(type) {
			case *keywardv1.DecryptResponse:
				if string(r.GetPlaintext()) == plain {
					sung++
				}
			case *keywardv1.UnwrapKeyResponse:
				if string(r.GetKey()) == wrapped {
					sung++
				}
			}
			if r := w.rest(id, rest, jsonOf(req)); r.status != 200 {
				told.Write(r.body)
			}
		}
	}
	data := func(d string) []byte { return []byte(d) }
	encrypted, err := w.call(billing, &keywardv1.EncryptRequest{Name: db, Algorithm: "RSA-OAEP", Plaintext: data(plain)})
	w.must(err)
	sealed, err := w.call(billing, &keywardv1.WrapKeyRequest{Name: db, Algorithm: "RSA-OAEP", Key: data(wrapped)})
	w.must(err)
	ciphertext, wrappedKey := encrypted.(*keywardv1.EncryptResponse).GetCiphertext(), sealed.(*keywardv1.WrapKeyResponse).GetWrappedKey()
	for _, algorithm := range []string{"RSA-OAEP", "RSA-OAEP-256", "RS256", "none", ""} {
		try(&keywardv1.EncryptRequest{Name: db, Algorithm: algorithm, Plaintext: data(plain)}, "POST /v1/"+db+":encrypt")
		try(&keywardv1.DecryptRequest{Name: db, Algorithm: algorithm, Ciphertext: ciphertext}, "POST /v1/"+db+":decrypt")
		try(&keywardv1.WrapKeyRequest{Name: db, Algorithm: algorithm, Key: data(wrapped)}, "POST /v1/"+db+":wrapKey")
		try(&keywardv1.UnwrapKeyRequest{Name: db, Algorithm: algorithm, WrappedKey: wrappedKey}, "POST /v1/"+db+":unwrapKey")
	}
	try(&keywardv1.EncryptRequest{Name: db, Algorithm: "RSA-OAEP", Plaintext: data(strings.Repeat(plain, 2000))}, "POST /v1/"+db+":encrypt")
	try(&keywardv1.DecryptRequest{Name: db, Algorithm: "RSA-OAEP", Ciphertext: data(broken)}, "POST /v1/"+db+":decrypt")
	for _, jwk := range []string{
		rsaJWK(), broken, `{"kty":"oct","k":"` + broken + `"}`, `{"kty":"EC","crv":"P-256","d":"` + broken + `"}`,
		strings.Replace(rsaJWK(), `"n"`, `"x"`, 1), rsaJWK() + broken, rsaJWK()[:1000], strings.Repeat(broken, 2000), strings.Repeat(broken, 8000),
	} {
		try(&keywardv1.ImportKeyRequest{Name: "vaults/dev/keys/imported", Jwk: jwk}, "POST /v1/vaults/dev/keys/imported:import")
	}
	try(&keywardv1.RestoreKeyRequest{Parent: "vaults/dev", Blob: append(f.keyBlob[:len(f.keyBlob)/2:len(f.keyBlob)/2], broken...)}, "POST /v1/vaults/dev/keys:restore")
	for _, body := range []string{`{"jwk":"` + broken, `{"jwk":{"d":"` + broken + `"}}`, `{"key":"` + broken + `"}`} {
		told.Write(w.rest(billing, "POST /v1/vaults/dev/keys/imported:import", body).body)
	}
	if sung != 2 {
		t.Fatalf("the canaries sang %d times, want 2", sung)
	}
	w.stop()
	receive(t, w.served, "the end of Serve")
	close(w.served)

	var spans strings.Builder
	for _, s := range w.spans.Ended() {
		fmt.Fprintln(&spans, s.Name(), s.Attributes(), s.Events(), s.Status())
	}
	var metrics metricdata.ResourceMetrics
	w.must(w.meters.Collect(t.Context(), &metrics))
	measured, err := json.Marshal(metrics)
	w.must(err)
	recorded, err := json.Marshal(w.audit.Events())
	w.must(err)
	places := map[string]string{
		"errors": told.String(), "log": w.logs.String(), "spans": spans.String(), "metrics": string(measured),
		"audit": string(recorded) + fmt.Sprintf("%+v", w.audit.Events()),
	}
	secrets := []string{plain, wrapped, broken}
	for _, field := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		if len(private[field]) < 100 {
			t.Fatalf("no private half: %s", field)
		}
		raw, err := base64.RawURLEncoding.DecodeString(private[field])
		w.must(err)
		secrets = append(secrets, private[field][:40], string(raw[:32]))
	}
	for place, text := range places {
		if !strings.Contains(text, "imported") && place != "spans" && place != "metrics" && place != "errors" || len(text) < 500 {
			t.Errorf("%s: too little to look at: %s", place, text)
		}
		for i, s := range secrets {
			for form, coded := range map[string]string{
				"plain": s, "quoted": strings.Trim(fmt.Sprintf("%q", s), `"`), "hex": hex.EncodeToString([]byte(s)),
				"base64": base64.StdEncoding.EncodeToString([]byte(s[:len(s)/3*3])), "base64url": base64.RawURLEncoding.EncodeToString([]byte(s[:len(s)/3*3])),
				"bytes": strings.Trim(fmt.Sprintf("%d", []byte(s)), "[]"),
			} {
				if strings.Contains(text, coded) {
					t.Errorf("%s has the secret %d, %s", place, i, form)
				}
			}
		}
	}
}
