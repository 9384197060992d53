package broker_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

// overCertificates is a Broker over a local vault's stores, as change makes them.
func overCertificates(t *testing.T, change func(*broker.Vault)) (*broker.Broker, *brokertest.Auditor) {
	t.Helper()
	dir := t.TempDir()
	local, err := localvault.Open(localvault.Config{Path: filepath.Join(dir, "vault.db"), KeyFile: filepath.Join(dir, "vault.key")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	v := broker.Vault{Secrets: local.Secrets(), Keys: local.Keys(), Certificates: local.Certificates()}
	change(&v)
	audit := &brokertest.Auditor{}
	b, err := broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": v}, Authorizer: brokertest.AllowAll{}, Auditor: audit})
	if err != nil {
		t.Fatal(err)
	}
	return b, audit
}

func certificateName(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := broker.ParseName(broker.KindCertificates, "vaults/pay/certificates/"+object)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func selfSigned(subject string) broker.NewCertificate {
	return broker.NewCertificate{Enabled: true, Policy: &broker.CertificatePolicy{Issuer: broker.IssuerSelf, Subject: subject, KeyType: broker.KeyTypeEC}}
}

// unmanaged is a store whose secrets are nobody's but their owner's.
type unmanaged struct{ broker.SecretStore }

func (u unmanaged) GetSecret(ctx context.Context, n broker.Name) (broker.SecretValue, error) {
	v, err := u.SecretStore.GetSecret(ctx, n)
	v.Managed = false
	return v, err
}

// A secret that is no certificate's takes getSecret: downloadCertificate does not
// read it, whatever a vault says of the certificate.
func TestADownloadReadsNoSecretOfItsOwner(t *testing.T) {
	b, audit := overCertificates(t, func(v *broker.Vault) { v.Secrets = unmanaged{v.Secrets} })
	name := certificateName(t, "www")
	if _, err := b.CreateCertificate(t.Context(), broker.Caller{}, name, selfSigned("CN=www"), ""); err != nil {
		t.Fatal(err)
	}
	d, err := b.DownloadCertificate(t.Context(), broker.Caller{}, name, broker.DownloadOptions{})
	if broker.CodeOf(err) != broker.CodeCertificateNotFound || d.Key.Len() != 0 {
		t.Errorf("got %v, %v", d.Key, err)
	}
	events := audit.Events()
	if last := events[len(events)-1]; last.Action != broker.ActionDownloadCertificate || last.Outcome != "CERTIFICATE_NOT_FOUND" {
		t.Errorf("recorded %+v", last)
	}
}

// What cannot be recorded is not downloaded.
func TestADownloadIsRecordedFirst(t *testing.T) {
	b, audit := overCertificates(t, func(*broker.Vault) {})
	name := certificateName(t, "www")
	if _, err := b.CreateCertificate(t.Context(), broker.Caller{}, name, selfSigned("CN=www"), ""); err != nil {
		t.Fatal(err)
	}
	audit.Refuse(func(broker.Event) error { return context.DeadlineExceeded })
	d, err := b.DownloadCertificate(t.Context(), broker.Caller{}, name, broker.DownloadOptions{PFX: true})
	if broker.CodeOf(err) != broker.CodeAuditUnavailable || d.Key.Len() != 0 || d.PFX.Len() != 0 || d.Chain != "" {
		t.Errorf("got %v, %v", d, err)
	}
}

// A change of a certificate is one of its key and secret: no cache answers with what
// was before, to any read that begins after it.
func TestAChangeOfACertificateIsSeenInItsPair(t *testing.T) {
	b, _ := overCertificates(t, func(v *broker.Vault) {
		v.Secrets = broker.NewSecretCache(v.Secrets, broker.SecretCacheConfig{TTL: time.Hour})
		v.Keys = broker.NewKeyCache(v.Keys, broker.KeyCacheConfig{TTL: time.Hour, PublicKeys: true})
	})
	ctx, c, name := t.Context(), broker.Caller{}, certificateName(t, "www")
	secret, key := name.As(broker.KindSecrets), name.As(broker.KindKeys)
	// pair is what is seen: the versions of the secret and the key, and how many
	// there are in lists.
	pair := func() (seen [2]string, listed [4]int) {
		t.Helper()
		s, err := b.GetSecret(ctx, c, secret, broker.GetSecretOptions{})
		seen[0] = string(broker.CodeOf(err)) + s.Name.Version()
		k, err := b.GetKey(ctx, c, key)
		seen[1] = string(broker.CodeOf(err)) + k.Name.Version()
		secrets, err1 := b.ListSecrets(ctx, c, secret.Vault(), broker.Page{})
		deleted, err2 := b.ListDeletedSecrets(ctx, c, secret.Vault(), broker.Page{})
		keys, err3 := b.ListKeys(ctx, c, secret.Vault(), broker.Page{})
		versions, err4 := b.ListKeyVersions(ctx, c, key, broker.Page{})
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
		listed = [4]int{len(secrets.Secrets), len(deleted.Secrets), len(keys.Keys), len(versions.Keys)}
		if err4 != nil && broker.CodeOf(err4) != broker.CodeKeyNotFound {
			t.Fatal(err4)
		}
		return seen, listed
	}
	latest := func() [2]string {
		t.Helper()
		got, err := b.GetCertificate(ctx, c, name)
		if err != nil {
			t.Fatal(err)
		}
		return [2]string{got.Name.Version(), got.Name.Version()}
	}
	blob := broker.Value{}
	absent := [2]string{"SECRET_NOT_FOUND", "KEY_NOT_FOUND"}
	for _, step := range []struct {
		name   string
		do     func() error
		gone   bool
		listed [4]int
	}{
		{"created", func() error { _, err := b.CreateCertificate(ctx, c, name, selfSigned("CN=www"), ""); return err }, false, [4]int{1, 0, 1, 1}},
		{"again", func() error { _, err := b.CreateCertificate(ctx, c, name, selfSigned("CN=www"), ""); return err }, false, [4]int{1, 0, 1, 2}},
		{"backed up", func() (err error) { blob, err = b.BackupCertificate(ctx, c, name); return err }, false, [4]int{1, 0, 1, 2}},
		{"deleted", func() error { _, err := b.DeleteCertificate(ctx, c, name, ""); return err }, true, [4]int{0, 0, 0, 0}},
		{"undeleted", func() error { _, err := b.UndeleteCertificate(ctx, c, name); return err }, false, [4]int{1, 0, 1, 2}},
		{"deleted again", func() error { _, err := b.DeleteCertificate(ctx, c, name, ""); return err }, true, [4]int{0, 0, 0, 0}},
		{"purged", func() error { return b.PurgeCertificate(ctx, c, name) }, true, [4]int{0, 0, 0, 0}},
		{"restored", func() error { _, err := b.RestoreCertificate(ctx, c, name.Vault(), blob); return err }, false, [4]int{1, 0, 1, 2}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		want := absent
		if !step.gone {
			want = latest()
		}
		if seen, listed := pair(); seen != want || listed != step.listed {
			t.Errorf("%s: got %v %v, want %v %v", step.name, seen, listed, want, step.listed)
		}
	}
	if _, err := b.UpdateCertificate(ctx, c, name, broker.CertificateUpdate{Enabled: new(false)}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetSecret(ctx, c, secret, broker.GetSecretOptions{}); broker.CodeOf(err) != broker.CodeSecretDisabled {
		t.Errorf("disabled: %v", err)
	}
}

// Of a hundred writers with one etag, one wins.
func TestCertificateETag(t *testing.T) {
	b, _ := overCertificates(t, func(*broker.Vault) {})
	ctx, c, name := t.Context(), broker.Caller{}, certificateName(t, "www")
	if _, err := b.CreateCertificate(ctx, c, name, selfSigned("CN=www"), ""); err != nil {
		t.Fatal(err)
	}
	now, err := b.GetCertificate(ctx, c, name)
	if err != nil {
		t.Fatal(err)
	}
	const writers = 100
	done := make(chan error, writers)
	for i := range writers {
		tags := map[string]string{"writer": string(rune('A' + i))}
		go func() {
			_, err := b.UpdateCertificate(ctx, c, name, broker.CertificateUpdate{Tags: &tags}, now.ETag())
			done <- err
		}()
	}
	won := 0
	for range writers {
		switch err := <-done; broker.CodeOf(err) {
		case "":
			won++
		case broker.CodeETagMismatch:
		default:
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

// Issuers are pages of the vault's list by name, and recorded.
func TestCertificateIssuers(t *testing.T) {
	var issuers []broker.CertificateIssuer
	for _, object := range []string{"c", "a", "b"} {
		n, err := broker.ParseName(broker.KindCertificateIssuers, "vaults/pay/certificateIssuers/"+object)
		if err != nil {
			t.Fatal(err)
		}
		issuers = append(issuers, broker.CertificateIssuer{Name: n, Provider: "Test"})
	}
	b, audit := overCertificates(t, func(v *broker.Vault) { v.Certificates = brokertest.NewCertificateStore(v.Certificates, issuers...) })
	vault := certificateName(t, "x").Vault()
	var got string
	for p := (broker.Page{Size: 2}); ; {
		page, err := b.ListCertificateIssuers(t.Context(), broker.Caller{}, vault, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Issuers {
			got += i.Name.ObjectName()
		}
		got += "|"
		if p.Token = page.Next; p.Token == "" {
			break
		}
	}
	if got != "ab|c|" {
		t.Errorf("got %s", got)
	}
	if e := audit.Events()[0]; e.Resource != vault || len(e.Items) != 2 || e.Items[1].Resource.ObjectName() != "b" {
		t.Errorf("recorded %+v", e)
	}
}
