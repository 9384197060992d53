package localvault_test

import (
	"bytes"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

func certificateName(t *testing.T, object string) broker.Name {
	t.Helper()
	n, err := vaultName(t).Object(broker.KindCertificates, object)
	must(t, err)
	return n
}

// certify makes a version of a certificate, and returns it.
func certify(t *testing.T, v *localvault.Vault, object string, p *broker.CertificatePolicy) broker.Certificate {
	t.Helper()
	if p != nil {
		p.Subject, p.KeyType = "CN=example.org", broker.KeyTypeEC
	}
	_, err := v.Certificates().CreateCertificate(t.Context(), certificateName(t, object), broker.NewCertificate{
		Policy: p, Enabled: true, Tags: map[string]string{"a": "b"},
	})
	must(t, err)
	c, err := v.Certificates().GetCertificate(t.Context(), certificateName(t, object))
	must(t, err)
	return c
}

func countCertificates(t *testing.T, v *localvault.Vault, object string) int {
	t.Helper()
	all, err := v.Certificates().ListCertificateVersions(t.Context(), certificateName(t, object))
	must(t, err)
	return len(all)
}

func renewAt(a broker.CertificateAction, months int32) *broker.CertificatePolicy {
	return &broker.CertificatePolicy{Issuer: broker.IssuerSelf, ValidityMonths: months, Actions: []broker.CertificateAction{a}}
}

func TestRenewalOnTime(t *testing.T) {
	type steps = []struct {
		wait time.Duration
		want int
	}
	const backdated = 10 * time.Minute
	renew := func(percentage, days int32) broker.CertificateAction {
		return broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: percentage, DaysBeforeExpiry: days}
	}
	tests := map[string]struct {
		policy *broker.CertificatePolicy
		steps  steps
	}{
		// From 2000-01-01 on, a month of 31 days, which begins 10 minutes before.
		"half of its life": {renewAt(renew(50, 0), 1), steps{
			{(31*day+backdated)/2 - backdated - time.Second, 1},
			{time.Second, 2},
			{(31*day + backdated) / 4, 2},
			{31 * day, 4},
		}},
		"days before its end": {renewAt(renew(0, 10), 2), steps{{50*day - time.Second, 1}, {time.Second, 2}, {40 * day, 2}, {20 * day, 3}}},
		"by default":          {&broker.CertificatePolicy{Issuer: broker.IssuerSelf}, steps{{290 * day, 1}, {4 * day, 2}}},
		"a notice only": {
			renewAt(broker.CertificateAction{Type: broker.ActionTypeEmailContacts, LifetimePercentage: 50}, 1), steps{{100 * day, 1}},
		},
		"no action": {&broker.CertificatePolicy{Issuer: broker.IssuerSelf, Actions: []broker.CertificateAction{}}, steps{{400 * day, 1}}},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := open(t, config(t.TempDir()))
				certify(t, v, "a", tt.policy)
				for i, s := range tt.steps {
					time.Sleep(s.wait)
					synctest.Wait()
					if got := countCertificates(t, v, "a"); got != s.want {
						t.Errorf("step %d: %d versions, want %d", i, got, s.want)
					}
				}
				must(t, v.Close())
			})
		})
	}
}

// A renewed version is like the one before, with its own pair, and a key of its own
// unless the policy says otherwise.
func TestRenewedVersion(t *testing.T) {
	for label, reuse := range map[string]bool{"a new key": false, "the same key": true} {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := open(t, config(t.TempDir()))
				p := renewAt(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 80}, 3)
				p.ReuseKey, p.ContentType = &reuse, broker.ContentTypePEM
				first := certify(t, v, "a", p)
				time.Sleep(75 * day)
				synctest.Wait()
				got, err := v.Certificates().GetCertificate(t.Context(), certificateName(t, "a"))
				must(t, err)
				if got.Name == first.Name || !got.Enabled || got.Tags["a"] != "b" || got.ContentType != broker.ContentTypePEM || !got.Expires.After(first.Expires) {
					t.Errorf("a renewal made %v", got)
				}
				one, err := x509.ParseCertificate(first.DER)
				must(t, err)
				two, err := x509.ParseCertificate(got.DER)
				must(t, err)
				if same := bytes.Equal(one.RawSubjectPublicKeyInfo, two.RawSubjectPublicKeyInfo); same != reuse || !bytes.Equal(one.RawSubject, two.RawSubject) {
					t.Errorf("the same key: %v, subject %v", same, two.Subject)
				}
				s, err := v.Secrets().GetSecret(t.Context(), got.Secret)
				must(t, err)
				m, err := broker.ParseCertificateMaterial(s.ContentType, s.Value, broker.Value{})
				must(t, err)
				if !bytes.Equal(m.Chain[0], got.DER) {
					t.Error("the secret is of another version")
				}
				_, err = v.Keys().Sign(t.Context(), got.Key, "ES256", make([]byte, 32))
				must(t, err)
				op, err := v.Certificates().GetCertificateOperation(t.Context(), certificateName(t, "a"))
				must(t, err)
				if op.Status != broker.OperationCompleted {
					t.Errorf("the operation is %q", op.Status)
				}
				must(t, v.Close())
			})
		})
	}
}

// What fell due while the vault was closed is made up for once it is opened: by one
// version.
func TestRenewalAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		v := open(t, c)
		certify(t, v, "a", renewAt(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 80}, 1))
		must(t, v.Close())
		time.Sleep(200 * day)
		v = open(t, c)
		synctest.Wait()
		if got := countCertificates(t, v, "a"); got != 2 {
			t.Errorf("%d versions, want 2", got)
		}
		must(t, v.Close())
	})
}

// Whatever changes when a certificate is due is heeded at once.
func TestRenewalFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, config(t.TempDir()))
		store, name := v.Certificates(), certificateName(t, "a")
		action := func(percentage int32) broker.CertificatePolicy {
			return broker.CertificatePolicy{Actions: []broker.CertificateAction{{Type: broker.ActionTypeAutoRenew, LifetimePercentage: percentage}}}
		}
		step := func(what string, change func() error, wait time.Duration, want int) {
			t.Helper()
			must(t, change())
			time.Sleep(wait)
			synctest.Wait()
			if got := countCertificates(t, v, "a"); got != want {
				t.Errorf("%s: %d versions, want %d", what, got, want)
			}
		}
		policy := func(p broker.CertificatePolicy) func() error {
			return func() error { _, err := store.UpdateCertificatePolicy(t.Context(), name, p); return err }
		}
		enabled := func(on bool) func() error {
			return func() error {
				_, err := store.UpdateCertificate(t.Context(), name, broker.CertificateUpdate{Enabled: &on})
				return err
			}
		}
		nothing := func() error { return nil }
		certify(t, v, "a", renewAt(broker.CertificateAction{Type: broker.ActionTypeAutoRenew, LifetimePercentage: 90}, 12))
		step("90 % are long", nothing, 40*day, 1)
		step("a shorter time that is over", policy(action(10)), 0, 2)
		step("none while disabled", enabled(false), 50*day, 2)
		step("at once when enabled", enabled(true), 0, 3)
		step("none while others sign", policy(broker.CertificatePolicy{Issuer: broker.IssuerUnknown}), 50*day, 3)
		step("nor while one is signed", func() error {
			_, err := store.CreateCertificate(t.Context(), name, broker.NewCertificate{Enabled: true})
			must(t, err)
			return policy(broker.CertificatePolicy{Issuer: broker.IssuerSelf})()
		}, 50*day, 3)
		step("once that is over", func() error {
			_, err := store.DeleteCertificateOperation(t.Context(), name)
			return err
		}, 0, 4)
		step("none with a curve that the vault does not certify", policy(broker.CertificatePolicy{Curve: broker.CurveP256K}), 50*day, 4)
		step("with one that it does", policy(broker.CertificatePolicy{Curve: broker.CurveP384}), 0, 5)
		_, err := store.DeleteCertificate(t.Context(), name)
		must(t, err)
		time.Sleep(50 * day)
		step("once when recovered", func() error { _, err := store.RecoverCertificate(t.Context(), name); return err }, 0, 6)
		must(t, v.Close())
	})
}

// A deleted certificate that is past its retention leaves the file with its pair, and
// makes room for whatever takes the name.
func TestExpiredCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		c.RetentionDays = 7
		v := open(t, c)
		for _, object := range []string{"gone", "kept", "secret", "key", "anew"} {
			certify(t, v, object, &broker.CertificatePolicy{Issuer: broker.IssuerSelf})
			if object != "kept" {
				_, err := v.Certificates().DeleteCertificate(t.Context(), certificateName(t, object))
				must(t, err)
			}
		}
		time.Sleep(8 * day)
		set(t, v, "secret", "plain")
		_, err := v.Keys().CreateKey(t.Context(), keyName(t, "key"), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		must(t, err)
		certify(t, v, "anew", &broker.CertificatePolicy{Issuer: broker.IssuerSelf})
		if got := countCertificates(t, v, "anew"); got != 1 {
			t.Errorf("%d versions over one that is past its retention, want 1", got)
		}
		must(t, v.Close())
		before := rows(t, c)
		must(t, open(t, c).Close())
		after := rows(t, c)
		if before["gone"] != 9 || after["gone"] != 0 || after["kept"] != 9 || after["secret"] != 3 || after["key"] != 3 || after["anew"] != 9 {
			t.Errorf("rows before %v, after %v", before, after)
		}
	})
}
