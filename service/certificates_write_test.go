package service_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// What is wrong with a request is said of its own field, in words for certificates.
func TestCertificateRequestsThatAreWrong(t *testing.T) {
	const db, version = "vaults/dev/certificates/db", "/versions/00000000000000000000000000000000"
	w := newWorld(t)
	var f furnished
	furnishCertificates(w, &f)
	create := func(change func(*keywardv1.CertificatePolicy)) proto.Message {
		p := &keywardv1.CertificatePolicy{IssuerName: "Self", Subject: "CN=new", Kty: "EC"}
		change(p)
		return &keywardv1.CreateCertificateRequest{Name: "vaults/dev/certificates/new", Policy: p}
	}
	action := func(a *keywardv1.CertificateLifetimeAction) proto.Message {
		return create(func(p *keywardv1.CertificatePolicy) { p.LifetimeActions = []*keywardv1.CertificateLifetimeAction{a} })
	}
	named := func(n *keywardv1.SubjectAlternativeNames) proto.Message {
		return create(func(p *keywardv1.CertificatePolicy) { p.SubjectAlternativeNames = n })
	}
	imported := func(pfx []byte, text, password string) proto.Message {
		return &keywardv1.ImportCertificateRequest{Name: db, Pfx: pfx, Pem: text, Password: password}
	}
	merged := func(chain ...[]byte) proto.Message {
		return &keywardv1.MergeCertificateRequest{Name: "vaults/dev/certificates/csr", X509Certificates: chain}
	}
	policies := map[string]func(*keywardv1.CertificatePolicy){
		"issuer_name":         func(p *keywardv1.CertificatePolicy) { p.IssuerName = "a/b" },
		"certificate_type":    func(p *keywardv1.CertificatePolicy) { p.CertificateType = strings.Repeat("x", 257) },
		"subject":             func(p *keywardv1.CertificatePolicy) { p.Subject = "example.org" },
		"validity_months":     func(p *keywardv1.CertificatePolicy) { p.ValidityMonths = 1201 },
		"content_type":        func(p *keywardv1.CertificatePolicy) { p.ContentType = "text/plain" },
		"extended_key_usages": func(p *keywardv1.CertificatePolicy) { p.ExtendedKeyUsages = []string{"server"} },
		"key_usages":          func(p *keywardv1.CertificatePolicy) { p.KeyUsages = []string{"dance"} },
		"kty":                 func(p *keywardv1.CertificatePolicy) { p.Kty = "oct" },
		"key_size":            func(p *keywardv1.CertificatePolicy) { p.Kty, p.KeySize = "RSA", 1024 },
		"crv":                 func(p *keywardv1.CertificatePolicy) { p.Crv = "P-224" },
		"exportable":          func(p *keywardv1.CertificatePolicy) { p.Kty, p.Exportable = "EC-HSM", new(true) },
	}
	type wrong struct {
		req           proto.Message
		reason, field string
		words         string
	}
	cases := map[string]wrong{
		"a secret's name":            {&keywardv1.GetCertificateRequest{Name: "vaults/dev/secrets/db"}, "BAD_NAME", "name", "certificates/{name}"},
		"a live one to purge":        {&keywardv1.PurgeCertificateRequest{Name: db}, "BAD_NAME", "name", "deletedCertificates/{name}"},
		"a deleted version":          {&keywardv1.GetDeletedCertificateRequest{Name: "vaults/dev/deletedCertificates/db" + version}, "BAD_NAME", "name", "deleted certificate"},
		"a list of a certificate":    {&keywardv1.ListCertificatesRequest{Parent: db}, "BAD_NAME", "parent", "vaults/{vault}"},
		"versions of a version":      {&keywardv1.ListCertificateVersionsRequest{Parent: db + version}, "BAD_NAME", "parent", ""},
		"an operation of a version":  {&keywardv1.GetCertificateOperationRequest{Name: db + version}, "BAD_NAME", "name", ""},
		"a policy of a version":      {&keywardv1.GetCertificatePolicyRequest{Name: db + version}, "BAD_NAME", "name", ""},
		"a version to create":        {&keywardv1.CreateCertificateRequest{Name: db + version}, "BAD_NAME", "name", ""},
		"a version of an issuer":     {&keywardv1.GetCertificateIssuerRequest{Name: "vaults/dev/certificateIssuers/a" + version}, "BAD_NAME", "name", ""},
		"contacts of a certificate":  {&keywardv1.GetCertificateContactsRequest{Name: db}, "BAD_NAME", "name", "vaults/{vault}"},
		"a page of another list":     {&keywardv1.ListCertificatesRequest{Parent: "vaults/dev", PageToken: "x"}, "BAD_PAGE_TOKEN", "page_token", ""},
		"a page of another, issuers": {&keywardv1.ListCertificateIssuersRequest{Parent: "vaults/dev", PageToken: "x"}, "BAD_PAGE_TOKEN", "page_token", ""},

		"neither subject nor names": {create(func(p *keywardv1.CertificatePolicy) { p.Subject = "" }), "BAD_FIELD", "policy.subject", "subject_alternative_names"},
		"a new one without policy":  {&keywardv1.CreateCertificateRequest{Name: "vaults/dev/certificates/new"}, "BAD_FIELD", "policy", ""},
		"an issuer that is not":     {create(func(p *keywardv1.CertificatePolicy) { p.IssuerName = "nobody" }), "ISSUER_NOT_FOUND", "", ""},
		"sixteen tags":              {&keywardv1.CreateCertificateRequest{Name: db, Tags: manyTags(16)}, "BAD_FIELD", "tags", "15"},
		"an etag that was":          {&keywardv1.CreateCertificateRequest{Name: db, Etag: `"x"`}, "ETAG_MISMATCH", "", "the certificate has changed"},
		"an etag of none":           {&keywardv1.CreateCertificateRequest{Name: "vaults/dev/certificates/new", Etag: `"x"`, Policy: &keywardv1.CertificatePolicy{Subject: "CN=a"}}, "ETAG_MISMATCH", "", ""},
		"a size of EC":              {create(func(p *keywardv1.CertificatePolicy) { p.KeySize = 2048 }), "BAD_FIELD", "policy.key_size", "crv"},
		"a curve of RSA":            {create(func(p *keywardv1.CertificatePolicy) { p.Kty, p.Crv = "RSA", "P-256" }), "BAD_FIELD", "policy.crv", "EC"},
		"negative validity":         {create(func(p *keywardv1.CertificatePolicy) { p.ValidityMonths = -1 }), "BAD_FIELD", "policy.validity_months", "1 to 1200"},

		"an action of both":     {action(&keywardv1.CertificateLifetimeAction{Type: "AutoRenew", LifetimePercentage: 80, DaysBeforeExpiry: 10}), "BAD_FIELD", "policy.lifetime_actions", "exactly one"},
		"an action of neither":  {action(&keywardv1.CertificateLifetimeAction{Type: "AutoRenew"}), "BAD_FIELD", "policy.lifetime_actions", "exactly one"},
		"an action to no end":   {action(&keywardv1.CertificateLifetimeAction{Type: "Dance", LifetimePercentage: 80}), "BAD_FIELD", "policy.lifetime_actions", "EmailContacts"},
		"after all of its life": {action(&keywardv1.CertificateLifetimeAction{Type: "AutoRenew", LifetimePercentage: 100}), "BAD_FIELD", "policy.lifetime_actions", "1 to 99"},
		"after its end":         {action(&keywardv1.CertificateLifetimeAction{Type: "AutoRenew", DaysBeforeExpiry: -1}), "BAD_FIELD", "policy.lifetime_actions", "1 or more"},

		"a DNS name with a blank": {named(&keywardv1.SubjectAlternativeNames{DnsNames: []string{"a b"}}), "BAD_FIELD", "policy.subject_alternative_names.dns_names", ""},
		"a star in the middle":    {named(&keywardv1.SubjectAlternativeNames{DnsNames: []string{"a.*.org"}}), "BAD_FIELD", "policy.subject_alternative_names.dns_names", ""},
		"an email to nowhere":     {named(&keywardv1.SubjectAlternativeNames{Emails: []string{"a@"}}), "BAD_FIELD", "policy.subject_alternative_names.emails", ""},
		"an empty UPN":            {named(&keywardv1.SubjectAlternativeNames{Upns: []string{""}}), "BAD_FIELD", "policy.subject_alternative_names.upns", ""},
		"a path for a URI":        {named(&keywardv1.SubjectAlternativeNames{Uris: []string{"/a"}}), "BAD_FIELD", "policy.subject_alternative_names.uris", ""},
		"a network for an IP":     {named(&keywardv1.SubjectAlternativeNames{IpAddresses: []string{"10.0.0.0/8"}}), "BAD_FIELD", "policy.subject_alternative_names.ip_addresses", ""},
		"101 names":               {named(&keywardv1.SubjectAlternativeNames{DnsNames: slicesOf("a.org", 101)}), "BAD_FIELD", "policy.subject_alternative_names", "100"},

		"nothing to import":      {imported(nil, "", ""), "BAD_FIELD", "pfx", "one of pfx and pem"},
		"both to import":         {imported([]byte{1}, "x", ""), "BAD_FIELD", "pem", "not both"},
		"no PFX":                 {imported([]byte{1}, "", ""), "BAD_FIELD", "pfx", "cannot be imported"},
		"no PEM":                 {imported(nil, "x", ""), "BAD_FIELD", "pem", "cannot be imported"},
		"PEM with a password":    {imported(nil, materialPEM(), "p"), "BAD_FIELD", "password", "PFX"},
		"a password of 257":      {imported([]byte{1}, "", strings.Repeat("ü", 257)), "BAD_FIELD", "password", "256"},
		"70 KiB of PFX":          {imported(make([]byte, 70<<10), "", ""), "VALUE_TOO_LARGE", "pfx", "64 KiB"},
		"70 KiB of PEM":          {imported(nil, strings.Repeat("x", 70<<10), ""), "VALUE_TOO_LARGE", "pem", "64 KiB"},
		"300 KiB":                {imported(make([]byte, 300<<10), "", ""), "VALUE_TOO_LARGE", "", "256 KiB"},
		"64 KiB of no PFX":       {imported(make([]byte, 64<<10), "", ""), "BAD_FIELD", "pfx", "cannot be imported"},
		"an import's policy":     {&keywardv1.ImportCertificateRequest{Name: db, Pem: materialPEM(), Policy: &keywardv1.CertificatePolicy{ContentType: "x"}}, "BAD_FIELD", "policy.content_type", ""},
		"nothing to merge":       {merged(), "BAD_FIELD", "x509_certificates", "1 to 10"},
		"eleven to merge":        {merged(bytes.Split(make([]byte, 11), nil)...), "BAD_FIELD", "x509_certificates", "1 to 10"},
		"an empty one to merge":  {merged(f.signed, nil), "BAD_FIELD", "x509_certificates", "1 to 10"},
		"70 KiB to merge":        {merged(make([]byte, 70<<10)), "VALUE_TOO_LARGE", "x509_certificates", "64 KiB"},
		"another's to merge":     {merged(material().Chain[0]), "BAD_FIELD", "x509_certificates", ""},
		"a merge of what is":     {&keywardv1.MergeCertificateRequest{Name: db, X509Certificates: [][]byte{f.signed}}, "OPERATION_NOT_FOUND", "", ""},
		"a second operation":     {&keywardv1.CreateCertificateRequest{Name: "vaults/dev/certificates/csr"}, "OPERATION_IN_PROGRESS", "", "operation"},
		"an unfinished download": {&keywardv1.DownloadCertificateRequest{Name: "vaults/dev/certificates/csr"}, "OPERATION_IN_PROGRESS", "", "no version yet"},

		"an update of nothing":       {&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: db}}, "BAD_FIELD", "update_mask", "nothing to change"},
		"an update of its subject":   {&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: db}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"subject"}}}, "BAD_FIELD", "update_mask", "tags and enabled"},
		"an update of many tags":     {&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: db, Tags: manyTags(16)}}, "BAD_FIELD", "certificate.tags", ""},
		"an update's etag":           {&keywardv1.UpdateCertificateRequest{Certificate: &keywardv1.Certificate{Name: db, Enabled: true, Etag: `"x"`}}, "ETAG_MISMATCH", "", ""},
		"a delete's etag":            {&keywardv1.DeleteCertificateRequest{Name: db, Etag: `"x"`}, "ETAG_MISMATCH", "", ""},
		"a policy of nothing":        {&keywardv1.UpdateCertificatePolicyRequest{Name: db, Policy: &keywardv1.CertificatePolicy{}}, "BAD_FIELD", "policy", "nothing to change"},
		"a format that is none":      {&keywardv1.DownloadCertificateRequest{Name: db, Format: 9}, "BAD_FIELD", "format", ""},
		"PEM under a password":       {&keywardv1.DownloadCertificateRequest{Name: db, Password: "p"}, "BAD_FIELD", "password", "PFX"},
		"a long password":            {&keywardv1.DownloadCertificateRequest{Name: db, Format: 2, Password: strings.Repeat("p", 257)}, "BAD_FIELD", "password", "256"},
		"no contacts":                {&keywardv1.UpdateCertificateContactsRequest{Name: "vaults/dev"}, "BAD_FIELD", "certificate_contacts.contacts", "DeleteCertificateContacts"},
		"a contact of no email":      {&keywardv1.UpdateCertificateContactsRequest{Name: "vaults/dev", CertificateContacts: &keywardv1.CertificateContacts{Contacts: []*keywardv1.CertificateContact{{DisplayName: "A"}}}}, "BAD_FIELD", "certificate_contacts.contacts", "email"},
		"contacts of another vault":  {&keywardv1.UpdateCertificateContactsRequest{Name: "vaults/dev", CertificateContacts: &keywardv1.CertificateContacts{Name: "vaults/other"}}, "BAD_NAME", "certificate_contacts.name", ""},
		"a blob of 1.5 MiB":          {&keywardv1.RestoreCertificateRequest{Parent: "vaults/dev", Blob: make([]byte, 3<<19)}, "VALUE_TOO_LARGE", "blob", ""},
		"a certificate's own backup": {&keywardv1.RestoreCertificateRequest{Parent: "vaults/dev", Blob: []byte("x")}, "BAD_FIELD", "blob", ""},
	}
	for field, change := range policies {
		cases["policy: "+field] = wrong{create(change), "BAD_FIELD", "policy." + field, field}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := w.in(t).call(w.billing(), c.req)
			if got := grpcVerdict(err).reason; got != c.reason || fieldAtFault(err) != c.field || !strings.Contains(status.Convert(err).Message(), c.words) {
				t.Errorf("%s of %q, %v", got, fieldAtFault(err), err)
			}
		})
	}
}

func manyTags(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[strings.Repeat("k", i+1)] = "v"
	}
	return tags
}

func slicesOf(s string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = s
	}
	return all
}

// Each format is read back to the key that was imported, and a key that stays in its
// vault is told from one that is not there.
func TestDownloadCertificate(t *testing.T) {
	const name = "vaults/dev/certificates/imported"
	w := newWorld(t)
	billing := w.billing()
	imports := func(exportable bool) *keywardv1.Certificate {
		reply, err := w.call(billing, &keywardv1.ImportCertificateRequest{
			Name: name, Pem: materialPEM(), Policy: &keywardv1.CertificatePolicy{Exportable: new(exportable)},
		})
		w.must(err)
		return reply.(*keywardv1.Certificate)
	}
	first := imports(true)
	for what, c := range map[string]struct {
		format   keywardv1.CertificateFormat
		password string
	}{
		"PEM":                     {keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PEM, ""},
		"not said":                {0, ""},
		"PFX":                     {keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, ""},
		"PFX, under a password":   {keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, "pass word, ü"},
		"PFX, 256 at the longest": {keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX, strings.Repeat("p", 256)},
	} {
		t.Run(what, func(t *testing.T) {
			reply, err := w.in(t).call(billing, &keywardv1.DownloadCertificateRequest{Name: name + "/versions/" + first.GetVersion(), Format: c.format, Password: c.password})
			if err != nil {
				t.Fatal(err)
			}
			d := reply.(*keywardv1.DownloadCertificateResponse)
			text := d.GetPrivateKeyPem() + d.GetCertificateChainPem()
			if c.format == keywardv1.CertificateFormat_CERTIFICATE_FORMAT_PFX {
				if text != "" {
					t.Error("PEM beside a PFX")
				}
				text = base64.StdEncoding.EncodeToString(d.GetPfx())
			}
			got, err := broker.ParseCertificateMaterial("", broker.NewValue(text), broker.NewValue(c.password))
			if err != nil || got.Key != material().Key || !bytes.Equal(got.Chain[0], material().Chain[0]) {
				t.Errorf("another than was imported: %v", err)
			}
			if c.password != "" {
				if _, err := broker.ParseCertificateMaterial("", broker.NewValue(text), broker.Value{}); err == nil {
					t.Error("it opens without the password")
				}
			}
		})
	}
	imports(false)
	if _, err := w.call(billing, &keywardv1.DownloadCertificateRequest{Name: name}); grpcVerdict(err) != (verdict{"FailedPrecondition", "KEY_NOT_EXPORTABLE"}) {
		t.Errorf("of a key that stays: %v", err)
	}
	if _, err := w.call(billing, &keywardv1.DownloadCertificateRequest{Name: name + "/versions/" + first.GetVersion()}); err != nil {
		t.Errorf("the version before it: %v", err)
	}
	_, err := w.call(billing, &keywardv1.UpdateCertificateRequest{
		Certificate: &keywardv1.Certificate{Name: name + "/versions/" + first.GetVersion()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}},
	})
	w.must(err)
	if _, err := w.call(billing, &keywardv1.DownloadCertificateRequest{Name: name + "/versions/" + first.GetVersion()}); grpcVerdict(err).reason != "CERTIFICATE_DISABLED" {
		t.Errorf("of one that is disabled: %v", err)
	}
	if _, err := w.call(billing, &keywardv1.DownloadCertificateRequest{Name: name + "/versions/00000000000000000000000000000000"}); grpcVerdict(err).reason != "CERTIFICATE_NOT_FOUND" {
		t.Errorf("of none: %v", err)
	}
	for _, e := range w.audit.Events() {
		if e.Action == broker.ActionDownloadCertificate && (e.Resource.Base() != w.certificateName("imported") || !e.Decision.Allowed || e.Outcome == "") {
			t.Errorf("recorded %+v", e)
		}
	}
}

// As large a certificate as there may be fits into a request, over both transports.
func TestTheLargestImportFits(t *testing.T) {
	w := newWorld(t)
	text := materialPEM()
	filler := string(pem.EncodeToMemory(&pem.Block{Type: "COMMENT", Bytes: make([]byte, 45<<10)}))
	text += filler + strings.Repeat("\n", broker.MaxCertificateMaterial-len(text)-len(filler))
	req := &keywardv1.ImportCertificateRequest{Name: "vaults/dev/certificates/large", Pem: text, Tags: manyTags(15)}
	if _, err := w.call(w.billing(), req); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if r := w.rest(w.billing(), "POST /v1/vaults/dev/certificates/large:import", jsonOf(req)); r.status != 200 {
		t.Errorf("REST: %d %s", r.status, r.body)
	}
	// Longer, as JSON may write the same.
	escaped := `{"pem":"` + strings.ReplaceAll(text, "\n", `\u000a`) + `"}`
	if r := w.rest(w.billing(), "POST /v1/vaults/dev/certificates/large:import", escaped); r.status != 200 {
		t.Errorf("REST, in escapes: %d %s", r.status, r.body)
	}
}
