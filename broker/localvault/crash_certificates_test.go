package localvault_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

// TestCertificateCrashWriter is the process that TestKilledCertificates ends: it
// makes, deletes and purges certificates, and says what it was told.
func TestCertificateCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestKilledCertificates")
	}
	v := open(t, config(dir))
	for i := 0; ; i++ {
		kept := certify(t, v, fmt.Sprint("kept-", i%3), &broker.CertificatePolicy{Issuer: broker.IssuerSelf})
		_, _ = fmt.Fprintln(os.Stdout, "made", kept.Name, hex.EncodeToString(kept.Thumbprint))
		gone := certificateName(t, fmt.Sprint("gone-", i))
		certify(t, v, gone.ObjectName(), &broker.CertificatePolicy{Issuer: broker.IssuerSelf})
		_, err := v.Certificates().DeleteCertificate(t.Context(), gone)
		must(t, err)
		must(t, v.Certificates().PurgeCertificate(t.Context(), gone))
		_, _ = fmt.Fprintln(os.Stdout, "purged", gone, "-")
	}
}

// Whenever a writer is killed, every version that it was told of is there, whole:
// the certificate, its key and its secret. What it purged is gone, and nothing is
// there by half.
func TestKilledCertificates(t *testing.T) {
	dir := t.TempDir()
	made, purged := make(map[broker.Name]string), make(map[broker.Name]bool)
	for _, enough := range []int{1, 6, 30} {
		// Names begin anew with each writer.
		clear(purged)
		for _, line := range runAndKill(t, "TestCertificateCrashWriter", dir, enough) {
			parts := strings.Fields(line)
			if len(parts) != 3 {
				t.Fatalf("the writer said %q", line)
			}
			name, err := broker.ParseName(broker.KindCertificates, parts[1])
			must(t, err)
			if parts[0] == "made" {
				made[name] = parts[2]
			} else {
				purged[name] = true
			}
		}
		v := open(t, config(dir))
		checkCertificates(t, v, made)
		for name := range purged {
			_, err := v.Certificates().GetDeletedCertificate(t.Context(), name)
			wantCode(t, "GetDeletedCertificate", err, broker.CodeCertificateNotFound)
		}
		removeUnfinished(t, v)
		must(t, v.Close())
		for object, count := range rows(t, config(dir)) {
			if count%6 != 3 { // three heads, and six rows a version
				t.Errorf("%d rows of %s", count, object)
			}
		}
	}
}

func checkCertificates(t *testing.T, v *localvault.Vault, made map[broker.Name]string) {
	t.Helper()
	listed := make(map[broker.Name]bool)
	for i := range 3 {
		all, err := v.Certificates().ListCertificateVersions(t.Context(), certificateName(t, fmt.Sprint("kept-", i)))
		if err != nil && broker.CodeOf(err) != broker.CodeCertificateNotFound {
			t.Fatal(err)
		}
		for _, item := range all {
			listed[item.Name] = true
			c, err := v.Certificates().GetCertificate(t.Context(), item.Name)
			must(t, err)
			if sum := sha1.Sum(c.DER); !bytes.Equal(sum[:], c.Thumbprint) {
				t.Errorf("%v is another certificate", c.Name)
			}
			_, err = v.Keys().Sign(t.Context(), c.Key, "ES256", make([]byte, 32))
			must(t, err)
			_, err = v.Secrets().GetSecret(t.Context(), c.Secret)
			must(t, err)
		}
	}
	for name, thumbprint := range made {
		c, err := v.Certificates().GetCertificate(t.Context(), name)
		must(t, err)
		if hex.EncodeToString(c.Thumbprint) != thumbprint || !listed[name] {
			t.Errorf("%v, listed %v: another certificate than was acknowledged", name, listed[name])
		}
	}
}

// removeUnfinished ends what the writer was about to purge.
func removeUnfinished(t *testing.T, v *localvault.Vault) {
	t.Helper()
	page, err := v.Certificates().ListCertificates(t.Context(), vaultName(t), broker.Page{})
	must(t, err)
	for _, c := range page.Certificates {
		if strings.HasPrefix(c.Name.ObjectName(), "gone-") {
			_, err := v.Certificates().DeleteCertificate(t.Context(), c.Name)
			must(t, err)
		}
	}
	deleted, err := v.Certificates().ListDeletedCertificates(t.Context(), vaultName(t), broker.Page{})
	must(t, err)
	for _, c := range deleted.Certificates {
		must(t, v.Certificates().PurgeCertificate(t.Context(), c.Name))
	}
}
