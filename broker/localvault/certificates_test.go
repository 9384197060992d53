package localvault_test

import (
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	"github.com/keyward/keyward/broker/localvault"
)

func stores(v *localvault.Vault) broker.Vault {
	return broker.Vault{Secrets: v.Secrets(), Keys: v.Keys(), Certificates: v.Certificates()}
}

func TestCertificateStore(t *testing.T) {
	brokertest.RunCertificateStore(t, func(t *testing.T) (broker.Vault, broker.Name) {
		t.Helper()
		return stores(open(t, config(t.TempDir()))), vaultName(t)
	})
}

// Keys that name an HSM are made as keys are, and not exported; P-256K is only
// written into a policy.
func TestCertificateKeyTypes(t *testing.T) {
	v := open(t, config(t.TempDir()))
	store, name := v.Certificates(), certificateName(t, "a")
	create := func(p broker.CertificatePolicy) error {
		p.Issuer, p.Subject = broker.IssuerSelf, "CN=a"
		_, err := store.CreateCertificate(t.Context(), name, broker.NewCertificate{Policy: &p, Enabled: true})
		return err
	}
	wantCode(t, "P-256K", create(broker.CertificatePolicy{KeyType: broker.KeyTypeEC, Curve: broker.CurveP256K}), broker.CodeBadField)
	wantCode(t, "an exportable key of an HSM", create(broker.CertificatePolicy{KeyType: broker.KeyTypeECHSM, Exportable: new(true)}), broker.CodeBadField)
	_, err := store.GetCertificate(t.Context(), name)
	wantCode(t, "GetCertificate", err, broker.CodeCertificateNotFound)
	must(t, create(broker.CertificatePolicy{KeyType: broker.KeyTypeECHSM}))
	k, err := v.Keys().GetKey(t.Context(), name.As(broker.KindKeys))
	must(t, err)
	s, err := v.Secrets().GetSecret(t.Context(), name.As(broker.KindSecrets))
	must(t, err)
	m, err := broker.ParseCertificateMaterial(s.ContentType, s.Value, broker.Value{})
	must(t, err)
	if k.JWK.Type != broker.KeyTypeECHSM || m.Key.Len() != 0 {
		t.Errorf("a key of type %s, in the secret %d bytes of it", k.JWK.Type, m.Key.Len())
	}
	p, err := store.UpdateCertificatePolicy(t.Context(), name, broker.CertificatePolicy{
		KeyType: broker.KeyTypeEC, Curve: broker.CurveP256K, KeySize: 256, Exportable: new(true),
	})
	must(t, err)
	if p.Curve != broker.CurveP256K || p.KeySize != 256 {
		t.Errorf("the policy is %+v", p)
	}
	_, err = store.CreateCertificate(t.Context(), name, broker.NewCertificate{Enabled: true})
	wantCode(t, "CreateCertificate by that policy", err, broker.CodeBadField)
}

func TestManagedHSMHasNoCertificates(t *testing.T) {
	c := config(t.TempDir())
	c.ManagedHSM = true
	if got := open(t, c).Certificates(); got != nil {
		t.Errorf("a Managed HSM has the certificates %v", got)
	}
}
