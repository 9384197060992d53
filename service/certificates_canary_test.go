package service_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// Private keys, PFX and their passwords, whatever is done with them and whatever goes
// wrong, are in no error, log line at debug level, span, metric or audit record.
func TestCertificateCanary(t *testing.T) {
	const password, wrong, broken = "c4nary-password", "c4nary-wrong", "c4naryInNoCertificate"
	const name = "vaults/dev/certificates/imported"
	w := newWorld(t)
	var f furnished
	furnishCertificates(w, &f)
	parsed, err := x509.ParsePKCS8PrivateKey([]byte(material().Key.Reveal()))
	w.must(err)
	private := parsed.(*ecdsa.PrivateKey)
	scalar, err := private.Bytes()
	w.must(err)
	sealed, err := material().PFX(broker.NewValue(password))
	w.must(err)
	pfx := []byte(sealed.Reveal())
	canaries := []string{password, wrong, broken, material().Key.Reveal()[:30], material().Key.Reveal()[40:], string(scalar), string(pfx[:60]), string(pfx[len(pfx)-60:])}

	var told bytes.Buffer
	sung := 0
	try := func(req proto.Message) {
		for _, id := range []identity{w.billing(), w.cert("/stranger")} {
			reply, err := w.call(id, req)
			fmt.Fprintln(&told, err, status.Convert(err).Proto())
			if d, ok := reply.(*keywardv1.DownloadCertificateResponse); ok && err == nil && len(d.GetPfx())+len(d.GetPrivateKeyPem()) > 0 {
				sung++
			}
			a := restOf(t, req)
			if r := w.rest(id, a.rest, a.body); r.status != 200 {
				told.Write(r.body)
			}
		}
	}
	imported := func(p []byte, text, password string) *keywardv1.ImportCertificateRequest {
		return &keywardv1.ImportCertificateRequest{Name: name, Pfx: p, Pem: text, Password: password}
	}
	for _, req := range []proto.Message{
		imported(pfx, "", wrong), imported(pfx, "", ""), imported(pfx[:len(pfx)/2], "", password), imported(append(slices.Clip(pfx), broken...), "", password),
		imported(pfx, materialPEM(), password), imported(nil, materialPEM(), password), imported([]byte(broken), "", wrong),
		imported(nil, broken, ""), imported(nil, material().KeyPEM().Reveal(), ""), imported(nil, materialPEM()+broken, ""), imported(nil, materialPEM()+materialPEM(), ""),
		imported(nil, strings.Repeat(broken, 5000), ""), imported(nil, strings.Repeat(broken, 20000), ""), imported(pfx, "", strings.Repeat(wrong, 100)),
		imported(nil, strings.ReplaceAll(materialPEM(), "PRIVATE", "EC PRIVATE"), ""),
		imported(pfx, "", password),
		&keywardv1.DownloadCertificateRequest{Name: name}, &keywardv1.DownloadCertificateRequest{Name: name, Password: password},
		&keywardv1.DownloadCertificateRequest{Name: name, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, Password: password},
		&keywardv1.DownloadCertificateRequest{Name: name, Format: keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, Password: strings.Repeat(wrong, 100)},
		&keywardv1.DownloadCertificateRequest{Name: name, Format: 7, Password: password},
		&keywardv1.RestoreCertificateRequest{Parent: "vaults/dev", Blob: append(f.certificateBlob[:len(f.certificateBlob)/2:len(f.certificateBlob)/2], broken...)},
		&keywardv1.MergeCertificateRequest{Name: "vaults/dev/certificates/csr", X509Certificates: [][]byte{[]byte(broken), []byte(material().Key.Reveal())}},
	} {
		try(req)
	}
	for _, body := range []string{`{"pem":"` + broken, `{"pem":{"key":"` + broken + `"}}`, `{"pfx":"` + broken + `!"}`, `{"key":"` + broken + `"}`, `{"password":["` + password + `"]}`} {
		told.Write(w.rest(w.billing(), "POST /v1/"+name+":import", body).body)
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
	for place, text := range map[string]string{
		"errors": told.String(), "log": w.logs.String(), "spans": spans.String(), "metrics": string(measured),
		"audit": string(recorded) + fmt.Sprintf("%+v", w.audit.Events()),
	} {
		if len(text) < 500 {
			t.Errorf("%s: too little to look at: %s", place, text)
		}
		for i, canary := range canaries {
			for _, form := range append(forms([]byte(canary)), []byte(strings.Trim(fmt.Sprintf("%q", canary), `"`)), []byte(strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]"))) {
				if strings.Contains(text, string(form)) {
					t.Errorf("%s has the canary %d, as %.20q…", place, i, form)
				}
			}
		}
	}
}
