package vaulthttp_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault/vaulthttp"
	"github.com/keyward/keyward/broker/localvault"
)

// certificateSDK is Azure's own clients of one local vault.
type certificateSDK struct {
	*azcertificates.Client
	secrets *azsecrets.Client
	keys    *azkeys.Client
	log     *bytes.Buffer
}

func newCertificateSDK(t *testing.T) certificateSDK {
	t.Helper()
	dir := t.TempDir()
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	store, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key"), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	name, err := broker.VaultName("dev")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(vaulthttp.New(vaulthttp.Config{
		Vault: name, Secrets: store.Secrets(), Keys: store.Keys(), Certificates: store.Certificates(), Tokens: verifier(token),
		Authority: "https://login.example/tenant-1", Resource: "https://vault.azure.net", Logger: logger,
	}))
	t.Cleanup(s.Close)
	options := azcore.ClientOptions{Transport: s.Client()}
	certificates, err := azcertificates.NewClient(s.URL, &credential{}, &azcertificates.ClientOptions{ClientOptions: options, DisableChallengeResourceVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := azsecrets.NewClient(s.URL, &credential{}, &azsecrets.ClientOptions{ClientOptions: options, DisableChallengeResourceVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := azkeys.NewClient(s.URL, &credential{}, &azkeys.ClientOptions{ClientOptions: options, DisableChallengeResourceVerification: true})
	if err != nil {
		t.Fatal(err)
	}
	return certificateSDK{Client: certificates, secrets: secrets, keys: keys, log: log}
}

// create begins a certificate and polls until it is made, or waits for somebody.
func (c certificateSDK) create(t *testing.T, name string, p azcertificates.CertificatePolicy) azcertificates.CertificateOperation {
	t.Helper()
	_, err := c.CreateCertificate(t.Context(), name, azcertificates.CreateCertificateParameters{
		CertificatePolicy: &p, Tags: map[string]*string{"a": new("b")},
	}, nil)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	o, err := c.GetCertificateOperation(t.Context(), name, nil)
	if err != nil || *o.Status == "failed" {
		t.Fatalf("the operation of %s: %+v, %v", name, o.Error, err)
	}
	return o.CertificateOperation
}

func policyOf(issuer string, dnsNames ...string) azcertificates.CertificatePolicy {
	p := azcertificates.CertificatePolicy{
		IssuerParameters:          &azcertificates.IssuerParameters{Name: &issuer},
		X509CertificateProperties: &azcertificates.X509CertificateProperties{Subject: new("CN=" + dnsNames[0]), SubjectAlternativeNames: &azcertificates.SubjectAlternativeNames{}},
		KeyProperties:             &azcertificates.KeyProperties{KeyType: new(azcertificates.KeyTypeEC), Curve: new(azcertificates.CurveNameP256)},
	}
	for _, n := range dnsNames {
		p.X509CertificateProperties.SubjectAlternativeNames.DNSNames = append(p.X509CertificateProperties.SubjectAlternativeNames.DNSNames, &n)
	}
	return p
}

// secret returns what the secret of a certificate holds, read as its content type
// says.
func (c certificateSDK) secret(t *testing.T, name string, options *azsecrets.GetSecretOptions) (contentType string, pair tls.Certificate) {
	t.Helper()
	s, err := c.secrets.GetSecret(t.Context(), name, "", options)
	if err != nil {
		t.Fatalf("the secret of %s: %v", name, err)
	}
	if s.Managed == nil || !*s.Managed || s.KID == nil {
		t.Errorf("the secret of %s says nothing of its certificate: %v", name, s.KID)
	}
	m, err := broker.ParseCertificateMaterial(*s.ContentType, broker.NewValue(*s.Value), broker.Value{})
	if err != nil {
		t.Fatalf("the secret of %s: %v", name, err)
	}
	pair, err = tls.X509KeyPair([]byte(m.ChainPEM()), []byte(m.KeyPEM().Reveal()))
	if err != nil {
		t.Fatalf("the secret of %s: %v", name, err)
	}
	return *s.ContentType, pair
}

// serves runs a TLS server with pair, and a client that trusts root.
func serves(t *testing.T, pair tls.Certificate, root []byte, host string) error {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	defer s.Close()
	ca, err := x509.ParseCertificate(root)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		return err
	}
	return conn.Close()
}

// wantSDKError checks what Azure's own client says of a refusal.
func wantSDKError(t *testing.T, err error, status int, code string) {
	t.Helper()
	e, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || e.StatusCode != status || e.ErrorCode != code {
		t.Errorf("%v, want %d %s", err, status, code)
	}
}

// Azure's own client makes a certificate, whose secret serves TLS; and a second
// version of it.
func TestAzureSDKCertificate(t *testing.T) {
	c := newCertificateSDK(t)
	ctx := t.Context()
	p := policyOf("Self", "web.example", "www.example")
	p.X509CertificateProperties.SubjectAlternativeNames.URIs = []*string{new("spiffe://example/web")}
	p.X509CertificateProperties.SubjectAlternativeNames.IPAddresses = []*string{new("127.0.0.1")}
	o := c.create(t, "Web", p)
	if *o.Status != "completed" || o.Target == nil || len(o.CSR) == 0 || *o.IssuerParameters.Name != "Self" || *o.PreserveCertOrder {
		t.Errorf("the operation: %+v", o)
	}
	got, err := c.GetCertificate(ctx, "web", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(got.CER)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha1.Sum(got.CER); !bytes.Equal(sum[:], got.X509Thumbprint) || len(leaf.URIs) != 1 || len(leaf.IPAddresses) != 1 ||
		!slices.Equal(leaf.DNSNames, []string{"web.example", "www.example"}) || *got.Tags["a"] != "b" || got.Attributes.Expires.Unix() != leaf.NotAfter.Unix() {
		t.Errorf("the certificate: %+v", leaf)
	}
	if got.ID.Version() == "" || got.KID.Version() != got.ID.Version() || got.SID.Version() != got.ID.Version() || got.KID.Name() != "web" {
		t.Errorf("ids: %v %v %v", *got.ID, *got.KID, *got.SID)
	}
	contentType, pair := c.secret(t, "web", nil)
	if contentType != broker.ContentTypePKCS12 {
		t.Errorf("the secret is %s", contentType)
	}
	if err := serves(t, pair, got.CER, "www.example"); err != nil {
		t.Error(err)
	}
	if serves(t, pair, got.CER, "other.example") == nil {
		t.Error("it serves another host")
	}
	if key, err := c.keys.GetKey(ctx, "web", got.KID.Version(), nil); err != nil || !*key.Managed {
		t.Errorf("its key: %v", err)
	}

	// PEM, from the PFX.
	if contentType, _ := c.secret(t, "web", &azsecrets.GetSecretOptions{OutContentType: new(azsecrets.ContentTypePEM)}); contentType != broker.ContentTypePEM {
		t.Errorf("converted to %s", contentType)
	}
	_, err = c.secrets.GetSecret(ctx, "web", "", &azsecrets.GetSecretOptions{OutContentType: new(azsecrets.ContentType("text/plain"))})
	wantSDKError(t, err, 400, "BadParameter")

	// The pair goes with the certificate only.
	_, err = c.secrets.SetSecret(ctx, "web", azsecrets.SetSecretParameters{Value: new("v")}, nil)
	wantSDKError(t, err, 403, "Forbidden")
	_, err = c.secrets.DeleteSecret(ctx, "web", nil)
	wantSDKError(t, err, 403, "Forbidden")
	_, err = c.keys.DeleteKey(ctx, "web", nil)
	wantSDKError(t, err, 403, "Forbidden")

	// The dates are the certificate's own.
	updated, err := c.UpdateCertificate(ctx, "web", "", azcertificates.UpdateCertificateParameters{
		CertificateAttributes: &azcertificates.CertificateAttributes{Expires: new(leaf.NotAfter.AddDate(9, 0, 0))}, Tags: map[string]*string{"c": new("d")},
	}, nil)
	if err != nil || !updated.Attributes.Expires.Equal(leaf.NotAfter) || len(updated.Tags) != 1 || *updated.Tags["c"] != "d" {
		t.Errorf("updated: %v, %v", updated.Tags, err)
	}

	policy, err := c.UpdateCertificatePolicy(ctx, "web", azcertificates.CertificatePolicy{
		X509CertificateProperties: &azcertificates.X509CertificateProperties{ValidityInMonths: new(int32(3))},
	}, nil)
	if err != nil || *policy.X509CertificateProperties.ValidityInMonths != 3 || *policy.X509CertificateProperties.Subject != "CN=web.example" ||
		*policy.KeyProperties.KeySize != 256 || *policy.LifetimeActions[0].Trigger.LifetimePercentage != 80 {
		t.Errorf("policy: %+v, %v", policy, err)
	}
	c.create(t, "web", policy.CertificatePolicy)
	versions := 0
	for pager := c.NewListCertificatePropertiesVersionsPager("web", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions, want 2", versions)
	}
	if old, err := c.GetCertificate(ctx, "web", got.ID.Version(), nil); err != nil || !bytes.Equal(old.CER, got.CER) {
		t.Errorf("the old version: %v", err)
	}
	if strings.Contains(c.log.String(), "PRIVATE KEY") || strings.Contains(c.log.String(), token) {
		t.Error("the log holds a key or a token")
	}
}

// Azure's own client imports what was made elsewhere.
func TestAzureSDKImportsCertificates(t *testing.T) {
	c := newCertificateSDK(t)
	ctx := t.Context()
	c.create(t, "made", policyOf("Self", "web.example"))
	_, made := c.secret(t, "made", nil)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	material := broker.CertificateMaterial{Chain: made.Certificate, Key: broker.NewValue(string(pkcs8))}
	pfx, err := material.PFX(broker.NewValue(canary))
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(pfx.Reveal()))
	imported, err := c.ImportCertificate(ctx, "pfx", azcertificates.ImportCertificateParameters{
		Base64EncodedCertificate: &encoded, Password: new(canary), CertificateAttributes: &azcertificates.CertificateAttributes{Enabled: new(true)},
	}, nil)
	if err != nil || !bytes.Equal(imported.CER, made.Certificate[0]) || *imported.Policy.IssuerParameters.Name != "Unknown" {
		t.Fatalf("a PFX: %v", err)
	}
	_, err = c.ImportCertificate(ctx, "wrong", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: &encoded, Password: new("another")}, nil)
	wantSDKError(t, err, 400, "BadParameter")
	_, err = c.ImportCertificate(ctx, "none", azcertificates.ImportCertificateParameters{Base64EncodedCertificate: new("")}, nil)
	wantSDKError(t, err, 400, "BadParameter")

	text := material.ChainPEM() + material.KeyPEM().Reveal()
	_, err = c.ImportCertificate(ctx, "pem", azcertificates.ImportCertificateParameters{
		Base64EncodedCertificate: &text,
		CertificatePolicy:        &azcertificates.CertificatePolicy{SecretProperties: &azcertificates.SecretProperties{ContentType: new(broker.ContentTypePEM)}},
		PreserveCertOrder:        new(true),
	}, nil)
	if err != nil {
		t.Fatalf("PEM: %v", err)
	}
	for name, want := range map[string]string{"pfx": broker.ContentTypePKCS12, "pem": broker.ContentTypePEM} {
		contentType, pair := c.secret(t, name, nil)
		if contentType != want {
			t.Errorf("%s became %s", name, contentType)
		}
		if err := serves(t, pair, made.Certificate[0], "web.example"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if log := c.log.String(); strings.Contains(log, canary) || strings.Contains(log, encoded[:100]) {
		t.Error("the log holds the password or the PFX")
	}
}

// Azure's own client has a request signed by an outside authority.
func TestAzureSDKMergesCertificate(t *testing.T) {
	c := newCertificateSDK(t)
	ctx := t.Context()
	o := c.create(t, "merged", policyOf("Unknown", "web.example"))
	if *o.Status != "inProgress" || o.Target != nil {
		t.Errorf("the operation: %+v", o)
	}
	half, err := c.GetCertificate(ctx, "merged", "", nil)
	if err != nil || half.CER != nil || half.Policy == nil {
		t.Errorf("half a certificate: %v", err)
	}
	_, err = c.CreateCertificate(ctx, "merged", azcertificates.CreateCertificateParameters{CertificatePolicy: new(policyOf("Unknown", "web.example"))}, nil)
	wantSDKError(t, err, 409, "Conflict")
	leaf, authority, err := signRequest(o.CSR)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.MergeCertificate(ctx, "merged", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{authority}}, nil)
	wantSDKError(t, err, 400, "BadParameter")
	merged, err := c.MergeCertificate(ctx, "merged", azcertificates.MergeCertificateParameters{X509Certificates: [][]byte{leaf, authority}}, nil)
	if err != nil || !bytes.Equal(merged.CER, leaf) {
		t.Fatalf("merge: %v", err)
	}
	_, pair := c.secret(t, "merged", nil)
	if err := serves(t, pair, authority, "web.example"); err != nil {
		t.Error(err)
	}
	done, err := c.GetCertificateOperation(ctx, "merged", nil)
	if err != nil || *done.Status != "completed" {
		t.Errorf("the operation: %v", err)
	}
	_, err = c.UpdateCertificateOperation(ctx, "merged", azcertificates.UpdateCertificateOperationParameter{CancellationRequested: new(true)}, nil)
	wantSDKError(t, err, 403, "Forbidden")
	if _, err := c.DeleteCertificateOperation(ctx, "merged", nil); err != nil {
		t.Error(err)
	}
	_, err = c.GetCertificateOperation(ctx, "merged", nil)
	wantSDKError(t, err, 404, "PendingCertificateNotFound")
}

// The end of certificates, through Azure's own client: with their pairs.
func TestAzureSDKDeletedCertificates(t *testing.T) {
	c := newCertificateSDK(t)
	ctx := t.Context()
	c.create(t, "gone", policyOf("Self", "web.example"))
	backup, err := c.BackupCertificate(ctx, "gone", nil)
	if err != nil || len(backup.Value) == 0 {
		t.Fatalf("backup: %v", err)
	}
	listed := func(of func(context.Context) (int, error)) int {
		n, err := of(ctx)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	live := func(ctx context.Context) (n int, err error) {
		for pager := c.NewListCertificatePropertiesPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return n, err
			}
			for _, one := range page.Value {
				if one.Attributes.RecoveryLevel != nil || len(one.X509Thumbprint) != sha1.Size {
					return n, errors.New("an item has a recovery level, or no thumbprint")
				}
				n++
			}
		}
		return n, nil
	}
	deleted := func(ctx context.Context) (n int, err error) {
		for pager := c.NewListDeletedCertificatePropertiesPager(nil); pager.More(); {
			page, err := pager.NextPage(ctx)
			if err != nil {
				return n, err
			}
			for _, one := range page.Value {
				if one.Attributes.RecoveryLevel == nil || one.DeletedDate == nil {
					return n, errors.New("a deleted item has no recovery level, or no date")
				}
				n++
			}
		}
		return n, nil
	}
	want := func(when string, wantLive, wantDeleted int) {
		t.Helper()
		if l, d := listed(live), listed(deleted); l != wantLive || d != wantDeleted {
			t.Errorf("%s: %d live and %d deleted, want %d and %d", when, l, d, wantLive, wantDeleted)
		}
	}
	want("made", 1, 0)
	if d, err := c.DeleteCertificate(ctx, "gone", nil); err != nil || d.ID.Version() == "" || d.RecoveryID == nil {
		t.Fatalf("delete: %v", err)
	}
	want("deleted", 0, 1)
	_, err = c.secrets.GetSecret(ctx, "gone", "", nil)
	wantSDKError(t, err, 404, "SecretNotFound")
	if d, err := c.GetDeletedCertificate(ctx, "gone", nil); err != nil || len(d.CER) == 0 || d.Policy == nil {
		t.Errorf("deleted: %v", err)
	}
	_, err = c.CreateCertificate(ctx, "gone", azcertificates.CreateCertificateParameters{CertificatePolicy: new(policyOf("Self", "web.example"))}, nil)
	wantSDKError(t, err, 409, "Conflict")
	if _, err := c.RecoverDeletedCertificate(ctx, "gone", nil); err != nil {
		t.Error(err)
	}
	want("recovered", 1, 0)
	_, before := c.secret(t, "gone", nil)
	_, err = c.RestoreCertificate(ctx, azcertificates.RestoreCertificateParameters{CertificateBackup: backup.Value}, nil)
	wantSDKError(t, err, 409, "Conflict")
	if _, err := c.DeleteCertificate(ctx, "gone", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.PurgeDeletedCertificate(ctx, "gone", nil); err != nil {
		t.Error(err)
	}
	want("purged", 0, 0)
	_, err = c.GetDeletedCertificate(ctx, "gone", nil)
	wantSDKError(t, err, 404, "CertificateNotFound")
	_, err = c.GetCertificate(ctx, "gone", "", nil)
	wantSDKError(t, err, 404, "CertificateNotFound")
	_, err = c.RestoreCertificate(ctx, azcertificates.RestoreCertificateParameters{CertificateBackup: []byte("none")}, nil)
	wantSDKError(t, err, 400, "Malformed backup blob")
	if _, err := c.RestoreCertificate(ctx, azcertificates.RestoreCertificateParameters{CertificateBackup: backup.Value}, nil); err != nil {
		t.Fatal(err)
	}
	want("restored", 1, 0)
	_, after := c.secret(t, "gone", nil)
	if !bytes.Equal(before.Certificate[0], after.Certificate[0]) {
		t.Error("another certificate was restored")
	}
	if err := serves(t, after, after.Certificate[0], "web.example"); err != nil {
		t.Error(err)
	}
}

func TestAzureSDKContactsAndIssuers(t *testing.T) {
	c := newCertificateSDK(t)
	ctx := t.Context()
	if none, err := c.GetContacts(ctx, nil); err != nil || len(none.ContactList) != 0 {
		t.Errorf("no contacts: %v", err)
	}
	set, err := c.SetContacts(ctx, azcertificates.Contacts{ContactList: []*azcertificates.Contact{{Email: new("a@example.org"), Name: new("A"), Phone: new("1")}}}, nil)
	if err != nil || len(set.ContactList) != 1 || *set.ContactList[0].Email != "a@example.org" {
		t.Errorf("set: %v", err)
	}
	if got, err := c.GetContacts(ctx, nil); err != nil || len(got.ContactList) != 1 || *got.ContactList[0].Phone != "1" {
		t.Errorf("get: %v", err)
	}
	if gone, err := c.DeleteContacts(ctx, nil); err != nil || len(gone.ContactList) != 1 {
		t.Errorf("delete: %v", err)
	}
	page, err := c.NewListIssuerPropertiesPager(nil).NextPage(ctx)
	if err != nil || len(page.Value) != 0 {
		t.Errorf("issuers: %v", err)
	}
	_, err = c.GetIssuer(ctx, "ca", nil)
	wantSDKError(t, err, 404, "CertificateIssuerNotFound")
	_, err = c.SetIssuer(ctx, "ca", azcertificates.SetIssuerParameters{Provider: new("Test")}, nil)
	wantSDKError(t, err, 501, "NotSupported")
	_, err = c.UpdateIssuer(ctx, "ca", azcertificates.UpdateIssuerParameters{Provider: new("Test")}, nil)
	wantSDKError(t, err, 501, "NotSupported")
	_, err = c.DeleteIssuer(ctx, "ca", nil)
	wantSDKError(t, err, 501, "NotSupported")
	_, err = c.CreateCertificate(ctx, "web", azcertificates.CreateCertificateParameters{CertificatePolicy: new(policyOf("ca", "web.example"))}, nil)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != 404 && e.StatusCode != 400 {
		t.Errorf("a certificate of an unknown issuer: %v", err)
	}
}
