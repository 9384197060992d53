package keyvault

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

// Whatever a vault answers about a certificate, what is taken of it is whole, and
// leads nowhere else.
func FuzzCertificateReplies(f *testing.F) {
	const version = "4fdaaf1456c7478babf4a28ddef5bdab"
	der := []byte{0x30, 0x03, 0x02, 0x01, 0x00} // one sequence is enough here
	sum := sha1.Sum(der)
	bundle := `{"id":"https://v.vault.azure.net/certificates/c/` + version + `","kid":"https://v.vault.azure.net/keys/c/` + version +
		`","sid":"https://v.vault.azure.net/secrets/c/` + version + `","x5t":"` + base64.RawURLEncoding.EncodeToString(sum[:]) + `","cer":"` +
		base64.StdEncoding.EncodeToString(der) + `","attributes":{"enabled":true,"nbf":1},"recoveryId":"x","deletedDate":2,"policy":`
	policy := `{"id":"https://v.vault.azure.net/certificates/c/policy","issuer":{"name":"Self","cert_transparency":false},"key_props":{"kty":"EC","key_size":256,"crv":"P-256K"},` +
		`"x509_props":{"subject":"CN=c","ekus":[],"sans":{"dns_names":["a"]}},"lifetime_actions":[{"trigger":{"lifetime_percentage":80},"action":{"action_type":"AutoRenew"}}]}`
	f.Add(bundle + policy + `}`)
	f.Add(policy)
	f.Add(`{"id":"https://v.vault.azure.net/certificates/c/pending","status":"Completed","csr":"MAMCAQA=","target":"https://v.vault.azure.net/certificates/C","error":{"code":"a\nb"}}`)
	f.Add(`{"id":"https://v.vault.azure.net/certificates/c/` + version + `","pending":{"id":""}}`)
	f.Add(`{"id":"https://v.vault.azure.net/certificates/issuers/c","contacts":[{"email":"a"}]}`)
	vault, err := broker.VaultName("pay")
	if err != nil {
		f.Fatal(err)
	}
	name, err := vault.Object(broker.KindCertificates, "c")
	if err != nil {
		f.Fatal(err)
	}
	c := &Client{origin: url.URL{Scheme: "https", Host: "v.vault.azure.net"}}
	wantWhole := func(t *testing.T, got broker.Certificate) {
		if sum := sha1.Sum(got.DER); len(got.DER) > 0 && !bytes.Equal(sum[:], got.Thumbprint) {
			t.Errorf("half a certificate: %+v", got)
		}
		if len(got.DER) == 0 && len(got.Thumbprint) > 0 {
			t.Errorf("a thumbprint of nothing: %+v", got)
		}
		for _, n := range []broker.Name{got.Name, got.Key, got.Secret} {
			if !n.IsZero() && (n.Vault() != vault || n.ObjectName() != "c") {
				t.Errorf("it leads to %v", n)
			}
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		var b DeletedCertificateBundle
		if json.Unmarshal([]byte(body), &b) == nil {
			if got, err := c.certificateOf(name, b.CertificateBundle); err == nil {
				if wantWhole(t, got); got.Name.Version() == "" {
					t.Errorf("no version: %+v", got)
				}
			}
			if got, err := c.deletedCertificateOf(name, b); err == nil {
				if wantWhole(t, got.Certificate); got.Name != name {
					t.Errorf("deleted: %v", got.Name)
				}
			}
		}
		var p CertificatePolicy
		if json.Unmarshal([]byte(body), &p) == nil && c.wholePolicyOf(name, p) == nil {
			// What is read is written as it was read.
			once := p.As()
			if again := FromCertificatePolicy("", once).As(); !reflect.DeepEqual(once, again) {
				t.Errorf("%+v became %+v", once, again)
			}
		}
		var o CertificateOperation
		if json.Unmarshal([]byte(body), &o) == nil {
			if got, err := c.operationReply(name, o); err == nil {
				if got.Name != name || !got.Target.IsZero() && got.Target.Base() != name || got.Status == "" ||
					strings.ContainsAny(got.StatusDetails+got.ErrorMessage+got.ErrorCode+got.RequestID, "\r\n") {
					t.Errorf("%+v", got)
				}
			}
		}
		var i Issuer
		if json.Unmarshal([]byte(body), &i) == nil {
			if n, err := c.issuerName(vault, i.ID); err == nil && (n.Vault() != vault || n.Kind() != broker.KindCertificateIssuers) {
				t.Errorf("an issuer of %v", n)
			}
		}
	})
}

// What a client asks for, the server reads as it was asked: a request that is read
// and written again says the same.
func FuzzCertificateRequests(f *testing.F) {
	f.Add(`{"policy":{"issuer":{"name":"self"},"x509_props":{"subject":"CN=c","key_usage":[]}},"attributes":{"enabled":false},"tags":{"a":"b"},"preserveCertOrder":true}`)
	f.Add(`{"value":"AAEC","pwd":"p","policy":{"secret_props":{"contentType":"application/x-pem-file"}}}`)
	f.Add(`{"value":"-----BEGIN X-----"}`)
	f.Add(`{"x5c":["MAMCAQA=",""],"attributes":{}}`)
	f.Add(`{"tags":{},"attributes":{"exp":1893459661}}`)
	f.Add(`{"contacts":[{"email":"a@b","name":"A","phone":"1"},{}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		again(t, body, CreateCertificateRequest.NewCertificate, FromNewCertificate)
		again(t, body, MergeCertificateRequest.CertificateMerge, FromCertificateMerge)
		again(t, body, UpdateCertificateRequest.CertificateUpdate, FromCertificateUpdate)
		again(t, body, Contacts.As, func(all []broker.CertificateContact) Contacts { return FromContacts("", all) })
		again(t, body, ImportCertificateRequest.CertificateImport, func(i broker.CertificateImport) ImportCertificateRequest {
			r, _ := FromCertificateImport(i) // none of what cannot be converted
			return r
		})
	})
}

// again checks that what was read of a body is read again of what is written of it.
func again[W, B any](t *testing.T, body string, read func(W) B, write func(B) W) {
	t.Helper()
	var w W
	if json.Unmarshal([]byte(body), &w) != nil {
		return
	}
	once := read(w)
	text, err := json.Marshal(write(once))
	if err != nil {
		t.Fatal(err)
	}
	var second W
	if err := json.Unmarshal(text, &second); err != nil {
		t.Fatal(err)
	}
	first, err := json.Marshal(write(once))
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(write(read(second)))
	if err != nil || !bytes.Equal(first, twice) {
		t.Errorf("%s became %s, %v", first, twice, err)
	}
}
