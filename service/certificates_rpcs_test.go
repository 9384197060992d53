package service_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// material is a certificate that was made elsewhere, signed by itself.
var material = sync.OnceValue(func() broker.CertificateMaterial {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "elsewhere.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return broker.CertificateMaterial{Chain: [][]byte{der}, Key: broker.NewValue(string(private))}
})

func (w *world) certificateName(object string) broker.Name {
	w.Helper()
	n, err := broker.ParseName(broker.KindCertificates, "vaults/dev/certificates/"+object)
	w.must(err)
	return n
}

// makeCertificate makes a certificate behind the server's back, or begins to.
func (w *world) makeCertificate(object, issuer string) broker.CertificateOperation {
	w.Helper()
	op, err := w.certificates.CreateCertificate(w.Context(), w.certificateName(object), broker.NewCertificate{
		Policy: &broker.CertificatePolicy{Issuer: issuer, Subject: "CN=" + object, KeyType: broker.KeyTypeEC}, Enabled: true,
	})
	w.must(err)
	return op
}

// furnishCertificates is what furnish does for certificates. Of "csr" there is a
// signing request alone.
func furnishCertificates(w *world, f *furnished) {
	w.Helper()
	ctx := w.Context()
	remove := func(n broker.Name) {
		_, err := w.certificates.DeleteCertificate(ctx, n)
		w.must(err)
	}
	old := w.certificateName("old")
	w.makeCertificate("old", broker.IssuerSelf)
	backup, err := w.certificates.BackupCertificate(ctx, old)
	w.must(err)
	remove(old)
	w.must(w.certificates.PurgeCertificate(ctx, old))
	w.makeCertificate("gone", broker.IssuerSelf)
	remove(w.certificateName("gone"))
	w.makeCertificate("db", broker.IssuerSelf)
	f.certificateBlob, f.signed = []byte(backup.Reveal()), w.sign(w.makeCertificate("csr", broker.IssuerUnknown).CSR)
	_, err = w.certificates.SetCertificateContacts(ctx, old.Vault(), []broker.CertificateContact{{Email: "a@example.org", Name: "A"}})
	w.must(err)
}

// sign is what a CA makes of a signing request.
func (w *world) sign(csr []byte) []byte {
	w.Helper()
	request, err := x509.ParseCertificateRequest(csr)
	w.must(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(8), Subject: request.Subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, w.ca.cert, request.PublicKey, w.ca.key)
	w.must(err)
	return der
}

// clearCertificates takes what furnishCertificates and the requests of
// certificateRPCs left.
func clearCertificates(w *world) {
	w.Helper()
	for _, object := range []string{"db", "gone", "old", "nothing", "csr"} {
		n := w.certificateName(object)
		_, _ = w.certificates.DeleteCertificateOperation(w.Context(), n)
		_, _ = w.certificates.DeleteCertificate(w.Context(), n)
		_ = w.certificates.PurgeCertificate(w.Context(), n)
	}
}

func certificateRPCs(f furnished) map[string]rpc {
	const vault, db, gone, csr = "vaults/dev", "vaults/dev/certificates/db", "vaults/dev/deletedCertificates/gone", "vaults/dev/certificates/csr"
	is := func(c *keywardv1.Certificate, name, subject string) bool {
		version := "/versions/" + c.GetVersion()
		parsed, err := x509.ParseCertificate(c.GetX509Der())
		return err == nil && parsed.Subject.String() == subject && c.GetName() == name && len(c.GetVersion()) == 32 && c.GetEnabled() && c.GetEtag() != "" &&
			strings.HasPrefix(c.GetX509Pem(), "-----BEGIN CERTIFICATE-----\n") && len(c.GetX5T()) == 27 && c.GetSubject() == subject &&
			c.GetExpireTime().AsTime().Equal(parsed.NotAfter) && c.GetNotBeforeTime() != nil &&
			c.GetKeyVersion() == strings.Replace(name, "certificates", "keys", 1)+version && c.GetSecretVersion() == strings.Replace(name, "certificates", "secrets", 1)+version
	}
	whole := func(name, subject string) func(proto.Message) bool {
		return func(m proto.Message) bool {
			c := m.(*keywardv1.Certificate)
			return is(c, name, subject) && c.GetPolicy().GetContentType() == broker.ContentTypePKCS12
		}
	}
	item := func(c *keywardv1.Certificate) bool {
		return c.GetName() == db && c.GetX509Der() == nil && c.GetX509Pem() == "" && c.GetPolicy() == nil && len(c.GetX5T()) == 27 && c.GetExpireTime() != nil
	}
	operation := func(status string, done bool) func(proto.Message) bool {
		return func(m proto.Message) bool {
			o := m.(*keywardv1.CertificateOperation)
			_, err := x509.ParseCertificateRequest(o.GetCsrDer())
			return err == nil && strings.HasPrefix(o.GetCsrPem(), "-----BEGIN CERTIFICATE REQUEST-----\n") && o.GetName() == db && o.GetStatus() == status && o.GetDone() == done &&
				o.GetIssuerName() == "Self" && o.GetRequestId() != "" && (o.GetTarget() == db) == done
		}
	}
	policyIs := func(months int32) func(proto.Message) bool {
		return func(m proto.Message) bool {
			p := m.(*keywardv1.CertificatePolicy)
			return p.GetIssuerName() == "Self" && p.GetSubject() == "CN=db" && p.GetKty() == "EC" && p.GetCrv() == "P-256" && p.GetValidityMonths() == months &&
				p.GetExportable() && p.ReuseKey != nil && len(p.GetKeyUsages()) == 2 && len(p.GetExtendedKeyUsages()) == 2 &&
				p.GetLifetimeActions()[0].GetType() == "AutoRenew" && p.GetLifetimeActions()[0].GetLifetimePercentage() == 80 && p.GetUpdateTime() != nil
		}
	}
	contacts := func(email string) func(proto.Message) bool {
		return func(m proto.Message) bool {
			c := m.(*keywardv1.CertificateContacts)
			return c.GetName() == vault && len(c.GetContacts()) == 1 && c.GetContacts()[0].GetEmail() == email && c.GetContacts()[0].GetDisplayName() == "A"
		}
	}
	issuer := func(i *keywardv1.CertificateIssuer) bool {
		return i.GetName() == "vaults/dev/certificateIssuers/digicert" && i.GetProvider() == "DigiCert" && i.GetEnabled()
	}
	body := func(m proto.Message) string { return jsonOf(m) }
	self := &keywardv1.CertificatePolicy{IssuerName: "Self", Subject: "CN=db", Kty: "EC"}
	somebody := &keywardv1.CertificateContacts{Contacts: []*keywardv1.CertificateContact{{Email: "b@example.org", DisplayName: "A"}}}
	pfx, err := material().PFX(broker.NewValue("p"))
	if err != nil {
		panic(err)
	}
	return map[string]rpc{
		"CreateCertificate": {
			&keywardv1.CreateCertificateRequest{Name: db, Policy: self}, "PUT /v1/" + db,
			body(&keywardv1.CreateCertificateRequest{Policy: self}), operation("inProgress", false),
		},
		"GetCertificateOperation":    {&keywardv1.GetCertificateOperationRequest{Name: db}, "GET /v1/" + db + "/operation", "", operation("completed", true)},
		"CancelCertificateOperation": {&keywardv1.CancelCertificateOperationRequest{Name: db}, "POST /v1/" + db + "/operation:cancel", "{}", operation("completed", true)},
		"DeleteCertificateOperation": {&keywardv1.DeleteCertificateOperationRequest{Name: db}, "DELETE /v1/" + db + "/operation", "", operation("completed", true)},
		"MergeCertificate": {
			&keywardv1.MergeCertificateRequest{Name: csr, X509Certificates: [][]byte{f.signed}}, "POST /v1/" + csr + ":merge",
			body(&keywardv1.MergeCertificateRequest{X509Certificates: [][]byte{f.signed}}), whole(csr, "CN=csr"),
		},
		"ImportCertificate": {
			&keywardv1.ImportCertificateRequest{Name: db, Pfx: []byte(pfx.Reveal()), Password: "p"}, "POST /v1/" + db + ":import",
			body(&keywardv1.ImportCertificateRequest{Pfx: []byte(pfx.Reveal()), Password: "p"}), whole(db, "CN=elsewhere.example.org"),
		},
		"GetCertificate": {&keywardv1.GetCertificateRequest{Name: db}, "GET /v1/" + db, "", whole(db, "CN=db")},
		"DownloadCertificate": {&keywardv1.DownloadCertificateRequest{Name: db}, "POST /v1/" + db + ":download", "{}", func(m proto.Message) bool {
			d := m.(*keywardv1.DownloadCertificateResponse)
			pair, err := tls.X509KeyPair([]byte(d.GetCertificateChainPem()), []byte(d.GetPrivateKeyPem()))
			return err == nil && is(d.GetCertificate(), db, "CN=db") && d.GetCertificate().GetPolicy() == nil &&
				bytes.Equal(pair.Certificate[0], d.GetCertificate().GetX509Der()) && len(d.GetPfx()) == 0
		}},
		"ListCertificates": {&keywardv1.ListCertificatesRequest{Parent: vault}, "GET /v1/vaults/dev/certificates", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListCertificatesResponse).GetCertificates()
			return len(l) == 1 && item(l[0]) && l[0].GetVersion() == "" && l[0].GetEtag() == ""
		}},
		"ListCertificateVersions": {&keywardv1.ListCertificateVersionsRequest{Parent: db}, "GET /v1/" + db + "/versions", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListCertificateVersionsResponse).GetCertificates()
			return len(l) == 1 && item(l[0]) && l[0].GetVersion() != "" && l[0].GetEtag() != ""
		}},
		"UpdateCertificate": {
			&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: db, Tags: map[string]string{"a": "b"}}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"tags"}}},
			"PATCH /v1/" + db + "?updateMask=tags", `{"tags":{"a":"b"}}`,
			func(m proto.Message) bool {
				c := m.(*keywardv1.Certificate)
				return is(c, db, "CN=db") && c.GetTags()["a"] == "b"
			},
		},
		"GetCertificatePolicy": {&keywardv1.GetCertificatePolicyRequest{Name: db}, "GET /v1/" + db + "/policy", "", policyIs(12)},
		"UpdateCertificatePolicy": {
			&keywardv1.UpdateCertificatePolicyRequest{Name: db, Policy: &keywardv1.CertificatePolicy{ValidityMonths: 24}},
			"PATCH /v1/" + db + "/policy", `{"validityMonths":24}`, policyIs(24),
		},
		"DeleteCertificate": {&keywardv1.DeleteCertificateRequest{Name: db}, "DELETE /v1/" + db, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedCertificate)
			return d.GetName() == "vaults/dev/deletedCertificates/db" && d.GetCertificate().GetName() == db && d.GetDeleteTime() != nil && d.GetPurgeTime() != nil
		}},
		"GetDeletedCertificate": {&keywardv1.GetDeletedCertificateRequest{Name: gone}, "GET /v1/" + gone, "", func(m proto.Message) bool {
			d := m.(*keywardv1.DeletedCertificate)
			return d.GetName() == gone && d.GetCertificate().GetName() == "vaults/dev/certificates/gone"
		}},
		"ListDeletedCertificates": {&keywardv1.ListDeletedCertificatesRequest{Parent: vault}, "GET /v1/vaults/dev/deletedCertificates", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListDeletedCertificatesResponse).GetDeletedCertificates()
			return len(l) == 1 && l[0].GetName() == gone
		}},
		"UndeleteCertificate": {&keywardv1.UndeleteCertificateRequest{Name: gone}, "POST /v1/" + gone + ":undelete", "", whole("vaults/dev/certificates/gone", "CN=gone")},
		"PurgeCertificate":    {&keywardv1.PurgeCertificateRequest{Name: gone}, "DELETE /v1/" + gone, "", func(proto.Message) bool { return true }},
		"BackupCertificate": {&keywardv1.BackupCertificateRequest{Name: db}, "POST /v1/" + db + ":backup", "{}", func(m proto.Message) bool {
			return len(m.(*keywardv1.BackupCertificateResponse).GetBlob()) > 0
		}},
		"RestoreCertificate": {
			&keywardv1.RestoreCertificateRequest{Parent: vault, Blob: f.certificateBlob},
			"POST /v1/vaults/dev/certificates:restore", body(&keywardv1.RestoreCertificateRequest{Blob: f.certificateBlob}), whole("vaults/dev/certificates/old", "CN=old"),
		},
		"GetCertificateContacts": {&keywardv1.GetCertificateContactsRequest{Name: vault}, "GET /v1/vaults/dev/certificateContacts", "", contacts("a@example.org")},
		"UpdateCertificateContacts": {
			&keywardv1.UpdateCertificateContactsRequest{Name: vault, CertificateContacts: somebody},
			"PUT /v1/vaults/dev/certificateContacts", body(somebody), contacts("b@example.org"),
		},
		"DeleteCertificateContacts": {&keywardv1.DeleteCertificateContactsRequest{Name: vault}, "DELETE /v1/vaults/dev/certificateContacts", "", contacts("a@example.org")},
		"ListCertificateIssuers": {&keywardv1.ListCertificateIssuersRequest{Parent: vault}, "GET /v1/vaults/dev/certificateIssuers", "", func(m proto.Message) bool {
			l := m.(*keywardv1.ListCertificateIssuersResponse).GetCertificateIssuers()
			return len(l) == 1 && issuer(l[0])
		}},
		"GetCertificateIssuer": {
			&keywardv1.GetCertificateIssuerRequest{Name: "vaults/dev/certificateIssuers/digicert"}, "GET /v1/vaults/dev/certificateIssuers/digicert", "",
			func(m proto.Message) bool { return issuer(m.(*keywardv1.CertificateIssuer)) },
		},
	}
}

func materialPEM() string { return material().KeyPEM().Reveal() + material().ChainPEM() }
