package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"software.sslmate.com/src/go-pkcs12"
)

// azureCertificates is a run of the scenario of certificates; each step builds on
// those before.
type azureCertificates struct {
	client        *azcertificates.Client
	secrets       *azsecrets.Client
	ca            *outsideCA
	name          string
	first, second azcertificates.Certificate // versions
	blob          []byte
}

func azurePolicy(issuer string) *azcertificates.CertificatePolicy {
	return &azcertificates.CertificatePolicy{
		IssuerParameters: &azcertificates.IssuerParameters{Name: &issuer},
		KeyProperties:    &azcertificates.KeyProperties{KeyType: new(azcertificates.KeyTypeEC), Curve: new(azcertificates.CurveNameP256)},
		X509CertificateProperties: &azcertificates.X509CertificateProperties{
			Subject: new("CN=" + azureHost), ValidityInMonths: new(int32(3)),
			SubjectAlternativeNames: &azcertificates.SubjectAlternativeNames{DNSNames: []*string{new(azureHost), new("www." + azureHost)}},
		},
	}
}

// make creates a certificate and polls until it is made.
func (s *azureCertificates) make(t *testing.T, name string, p azcertificates.CreateCertificateParameters) azcertificates.Certificate {
	t.Helper()
	p.CertificatePolicy = azurePolicy("Self")
	if _, err := s.client.CreateCertificate(t.Context(), name, p, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the certificate is made", func() bool {
		o, err := s.client.GetCertificateOperation(t.Context(), name, nil)
		return err == nil && *o.Status == "completed"
	})
	got, err := s.client.GetCertificate(t.Context(), name, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Certificate
}

func (s *azureCertificates) wantVersion(t *testing.T, version string, want azcertificates.Certificate) azcertificates.Certificate {
	t.Helper()
	got, err := s.client.GetCertificate(t.Context(), s.name, version, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.ID != *want.ID || !bytes.Equal(got.CER, want.CER) {
		t.Errorf("version %q is %s, want %s", version, *got.ID, *want.ID)
	}
	return got.Certificate
}

// wantSecretServed has the secret behind a certificate, a PFX, serve TLS.
func (s *azureCertificates) wantSecretServed(t *testing.T, name string, want []byte, root *x509.Certificate) {
	t.Helper()
	got, err := s.secrets.GetSecret(t.Context(), name, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Managed == nil || !*got.Managed || *got.ContentType != "application/x-pkcs12" {
		t.Fatalf("the secret is %v, managed %v", *got.ContentType, got.Managed)
	}
	pair := pairOfPFX(t, *got.Value)
	if !bytes.Equal(pair.Certificate[0], want) {
		t.Error("the secret holds another certificate")
	}
	if root == nil {
		if root, err = x509.ParseCertificate(want); err != nil {
			t.Fatal(err)
		}
	}
	wantServed(t, pair, root)
}

func wantAzure(t *testing.T, err error, want string) {
	t.Helper()
	if got := azureCode(err); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func (s *azureCertificates) create(t *testing.T) {
	s.first = s.make(t, s.name, azcertificates.CreateCertificateParameters{Tags: map[string]*string{"team": new("web")}})
	leaf, err := x509.ParseCertificate(s.first.CER)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(s.first.CER)
	if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil ||
		!slices.Equal(leaf.DNSNames, []string{azureHost, "www." + azureHost}) || !bytes.Equal(s.first.X509Thumbprint, sum[:]) {
		t.Errorf("made for %v, thumbprint %x", leaf.DNSNames, s.first.X509Thumbprint)
	}
}

func (s *azureCertificates) get(t *testing.T) {
	if got := s.wantVersion(t, "", s.first); *got.Tags["team"] != "web" || *got.Policy.KeyProperties.KeyType != azcertificates.KeyTypeEC {
		t.Errorf("got %v", got.Tags)
	}
}

func (s *azureCertificates) getVersion(t *testing.T) {
	s.wantVersion(t, s.first.ID.Version(), s.first)
}

func (s *azureCertificates) serve(t *testing.T) {
	s.wantSecretServed(t, s.name, s.first.CER, nil)
}

func (s *azureCertificates) importPFX(t *testing.T) {
	key := newServerKey(t)
	cert := s.ca.issue(t, azureHost, key.Public(), false)
	for name, password := range map[string]string{"go-pfx-open": "", "go-pfx-sealed": "battery staple"} {
		der, err := pkcs12.Modern2023.Encode(key, cert, []*x509.Certificate{s.ca.cert}, password)
		if err != nil {
			t.Fatal(err)
		}
		p := azcertificates.ImportCertificateParameters{Base64EncodedCertificate: new(base64.StdEncoding.EncodeToString(der)), Password: &password}
		got, err := s.client.ImportCertificate(t.Context(), name, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.CER, cert.Raw) {
			t.Error("another certificate was imported")
		}
		s.wantSecretServed(t, name, cert.Raw, s.ca.cert)
		p.Password = new("wrong")
		_, err = s.client.ImportCertificate(t.Context(), "go-wrong", p, nil)
		wantAzure(t, err, "400 BadParameter")
	}
}

func (s *azureCertificates) importPEM(t *testing.T) {
	key := newServerKey(t)
	cert := s.ca.issue(t, azureHost, key.Public(), false)
	got, err := s.client.ImportCertificate(t.Context(), "go-pem", azcertificates.ImportCertificateParameters{
		Base64EncodedCertificate: new(string(privatePEM(t, key)) + string(certificatePEM(cert))),
		CertificatePolicy:        &azcertificates.CertificatePolicy{SecretProperties: &azcertificates.SecretProperties{ContentType: new("application/x-pem-file")}},
	}, nil)
	if err != nil || !bytes.Equal(got.CER, cert.Raw) {
		t.Fatalf("imported %v, %v", got.ID, err)
	}
	secret, err := s.secrets.GetSecret(t.Context(), "go-pem", "", nil)
	if err != nil || *secret.ContentType != "application/x-pem-file" || !strings.Contains(*secret.Value, string(privatePEM(t, key))) {
		t.Errorf("the secret: %v", err)
	}
}

func (s *azureCertificates) merge(t *testing.T) {
	ctx := t.Context()
	if _, err := s.client.CreateCertificate(ctx, "go-signed", azcertificates.CreateCertificateParameters{CertificatePolicy: azurePolicy("Unknown")}, nil); err != nil {
		t.Fatal(err)
	}
	o, err := s.client.GetCertificateOperation(ctx, "go-signed", nil)
	if err != nil || *o.Status != "inProgress" {
		t.Fatalf("the operation: %v", err)
	}
	csr, err := x509.ParseCertificateRequest(o.CSR)
	if err != nil || csr.CheckSignature() != nil {
		t.Fatalf("the signing request: %v", err)
	}
	other := s.ca.issue(t, azureHost, newServerKey(t).Public(), false)
	_, err = s.client.MergeCertificate(ctx, "go-signed", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{other.Raw}}, nil)
	wantAzure(t, err, "400 BadParameter")
	cert := s.ca.issue(t, azureHost, csr.PublicKey, false)
	merged, err := s.client.MergeCertificate(ctx, "go-signed", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{cert.Raw, s.ca.cert.Raw}}, nil)
	if err != nil || !bytes.Equal(merged.CER, cert.Raw) {
		t.Fatalf("merged %v, %v", merged.ID, err)
	}
	s.wantSecretServed(t, "go-signed", cert.Raw, s.ca.cert)
}

func (s *azureCertificates) cancel(t *testing.T) {
	ctx := t.Context()
	if _, err := s.client.CreateCertificate(ctx, "go-cancelled", azcertificates.CreateCertificateParameters{CertificatePolicy: azurePolicy("Unknown")}, nil); err != nil {
		t.Fatal(err)
	}
	o, err := s.client.UpdateCertificateOperation(ctx, "go-cancelled", azcertificates.UpdateCertificateOperationParameter{CancellationRequested: new(true)}, nil)
	if err != nil || !*o.CancellationRequested {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := s.client.DeleteCertificateOperation(ctx, "go-cancelled", nil); err != nil {
		t.Error(err)
	}
	_, err = s.client.GetCertificateOperation(ctx, "go-cancelled", nil)
	wantAzure(t, err, "404 PendingCertificateNotFound")
}

func (s *azureCertificates) policies(t *testing.T) {
	p, err := s.client.GetCertificatePolicy(t.Context(), s.name, nil)
	if err != nil || *p.X509CertificateProperties.ValidityInMonths != 3 {
		t.Fatalf("policy: %v", err)
	}
	p.LifetimeActions = []*azcertificates.LifetimeAction{{
		Action:  &azcertificates.LifetimeActionType{ActionType: new(azcertificates.CertificatePolicyActionAutoRenew)},
		Trigger: &azcertificates.LifetimeActionTrigger{DaysBeforeExpiry: new(int32(20))},
	}}
	if _, err = s.client.UpdateCertificatePolicy(t.Context(), s.name, p.CertificatePolicy, nil); err != nil {
		t.Fatal(err)
	}
	p, err = s.client.GetCertificatePolicy(t.Context(), s.name, nil)
	if err != nil || *p.LifetimeActions[0].Trigger.DaysBeforeExpiry != 20 {
		t.Errorf("policy: %v", err)
	}
}

func (s *azureCertificates) update(t *testing.T) {
	version := s.first.ID.Version()
	if _, err := s.client.UpdateCertificate(t.Context(), s.name, version, azcertificates.UpdateCertificateParameters{Tags: map[string]*string{"team": new("ops")}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.wantVersion(t, version, s.first); *got.Tags["team"] != "ops" {
		t.Errorf("tags %v", got.Tags)
	}
}

func (s *azureCertificates) versions(t *testing.T) {
	s.second = s.make(t, s.name, azcertificates.CreateCertificateParameters{})
	var got []string
	for pager := s.client.NewListCertificatePropertiesVersionsPager(s.name, nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			got = append(got, p.ID.Version())
		}
	}
	want := []string{s.first.ID.Version(), s.second.ID.Version()}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) || bytes.Equal(s.first.CER, s.second.CER) {
		t.Errorf("versions %v, want %v", got, want)
	}
}

func (s *azureCertificates) list(t *testing.T) {
	var got []string
	for pager := s.client.NewListCertificatePropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			got = append(got, p.ID.Name())
		}
	}
	for _, want := range []string{s.name, "go-pem", "go-signed"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not listed in %v", want, got)
		}
	}
}

func (s *azureCertificates) disabled(t *testing.T) {
	got := s.make(t, "go-disabled", azcertificates.CreateCertificateParameters{CertificateAttributes: &azcertificates.CertificateAttributes{Enabled: new(false)}})
	if *got.Attributes.Enabled {
		t.Error("it is enabled")
	}
	_, err := s.secrets.GetSecret(t.Context(), "go-disabled", "", nil)
	wantAzure(t, err, "403 Forbidden")
}

func (s *azureCertificates) contacts(t *testing.T) {
	ctx := t.Context()
	if _, err := s.client.SetContacts(ctx, azcertificates.Contacts{ContactList: []*azcertificates.Contact{{Email: new("pki@example.org")}}}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.client.GetContacts(ctx, nil); err != nil || len(got.ContactList) != 1 || *got.ContactList[0].Email != "pki@example.org" {
		t.Errorf("contacts: %v", err)
	}
	if _, err := s.client.DeleteContacts(ctx, nil); err != nil {
		t.Error(err)
	}
}

func (s *azureCertificates) missing(t *testing.T) {
	_, err := s.client.GetCertificate(t.Context(), "go-missing", "", nil)
	wantAzure(t, err, "404 CertificateNotFound")
}

func (s *azureCertificates) badName(t *testing.T) {
	_, err := s.client.CreateCertificate(t.Context(), "go_bad", azcertificates.CreateCertificateParameters{CertificatePolicy: azurePolicy("Self")}, nil)
	wantAzure(t, err, "400 BadParameter")
}

func (s *azureCertificates) backup(t *testing.T) {
	got, err := s.client.BackupCertificate(t.Context(), s.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.blob = got.Value
	_, err = s.client.RestoreCertificate(t.Context(), azcertificates.RestoreCertificateParameters{CertificateBackup: s.blob}, nil)
	wantAzure(t, err, "409 Conflict")
}

func (s *azureCertificates) delete(t *testing.T) {
	got, err := s.client.DeleteCertificate(t.Context(), s.name, nil)
	if err != nil || got.RecoveryID == nil || !got.DeletedDate.Before(*got.ScheduledPurgeDate) {
		t.Fatalf("deleted: %v", err)
	}
	_, err = s.client.GetCertificate(t.Context(), s.name, "", nil)
	wantAzure(t, err, "404 CertificateNotFound")
	_, err = s.secrets.GetSecret(t.Context(), s.name, "", nil)
	wantAzure(t, err, "404 SecretNotFound")
}

func (s *azureCertificates) deletedGet(t *testing.T) {
	got, err := s.client.GetDeletedCertificate(t.Context(), s.name, nil)
	if err != nil || got.ID.Name() != s.name || got.RecoveryID == nil {
		t.Errorf("deleted: %v", err)
	}
}

func (s *azureCertificates) deletedList(t *testing.T) {
	for pager := s.client.NewListDeletedCertificatePropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			if p.ID.Name() == s.name {
				return
			}
		}
	}
	t.Error("not listed")
}

func (s *azureCertificates) recover(t *testing.T) {
	if _, err := s.client.RecoverDeletedCertificate(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	s.wantVersion(t, "", s.second)
}

func (s *azureCertificates) purge(t *testing.T) {
	if _, err := s.client.DeleteCertificate(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.PurgeDeletedCertificate(t.Context(), s.name, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.client.GetDeletedCertificate(t.Context(), s.name, nil)
	wantAzure(t, err, "404 CertificateNotFound")
}

func (s *azureCertificates) restore(t *testing.T) {
	if _, err := s.client.RestoreCertificate(t.Context(), azcertificates.RestoreCertificateParameters{CertificateBackup: s.blob}, nil); err != nil {
		t.Fatal(err)
	}
	s.wantVersion(t, s.first.ID.Version(), s.first)
	s.wantVersion(t, "", s.second)
	s.wantSecretServed(t, s.name, s.second.CER, nil)
}
