package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// azureKeys is a run of the scenario of keys; each step builds on those before.
type azureKeys struct {
	client        *azkeys.Client
	hsm           bool // a Managed HSM
	name          string
	first, second azkeys.KeyBundle // versions
	blob          []byte
}

// typed is a type of keys, as this kind of vault holds them best.
func (s *azureKeys) typed(kty azkeys.KeyType) *azkeys.KeyType {
	if s.hsm {
		return new(kty + "-HSM")
	}
	return &kty
}

// make creates a key.
func (s *azureKeys) make(t *testing.T, name string, p azkeys.CreateKeyParameters) azkeys.KeyBundle {
	t.Helper()
	got, err := s.client.CreateKey(t.Context(), name, p, nil)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return got.KeyBundle
}

// takeIn imports a key.
func (s *azureKeys) takeIn(t *testing.T, name string, key azkeys.JSONWebKey) azkeys.KeyBundle {
	t.Helper()
	got, err := s.client.ImportKey(t.Context(), name, azkeys.ImportKeyParameters{Key: &key}, nil)
	if err != nil {
		t.Fatalf("import %s: %v", name, err)
	}
	if k := got.Key; k.D != nil || k.P != nil || k.Q != nil || k.DP != nil || k.DQ != nil || k.QI != nil || k.K != nil {
		t.Errorf("import %s: the reply has a private member", name)
	}
	return got.KeyBundle
}

// wantVersion checks that a version, the latest for "", is the one that was made.
func (s *azureKeys) wantVersion(t *testing.T, version string, want azkeys.KeyBundle) azkeys.KeyBundle {
	t.Helper()
	got, err := s.client.GetKey(t.Context(), s.name, version, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *got.Key.KID != *want.Key.KID || !bytes.Equal(got.Key.X, want.Key.X) || !bytes.Equal(got.Key.Y, want.Key.Y) {
		t.Errorf("version %q is %s, want %s with the same public key", version, *got.Key.KID, *want.Key.KID)
	}
	return got.KeyBundle
}

func (s *azureKeys) sign(t *testing.T, name, version string, alg azkeys.SignatureAlgorithm, digest []byte) error {
	t.Helper()
	_, err := s.client.Sign(t.Context(), name, version, azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
	return err
}

func (s *azureKeys) create(t *testing.T) {
	for size, bytes := range map[int32]int{2048: 256, 3072: 384} {
		k := s.make(t, fmt.Sprint("go-rsa-", size), azkeys.CreateKeyParameters{
			Kty: s.typed(azkeys.KeyTypeRSA), KeySize: &size, PublicExponent: new(int32(65537)),
		}).Key
		if *k.Kty != *s.typed(azkeys.KeyTypeRSA) || len(k.N) != bytes || !slices.Equal(k.E, []byte{1, 0, 1}) || len(k.KeyOps) != 6 {
			t.Errorf("RSA of %d bits: %s, %d bytes, exponent %x, %d operations", size, *k.Kty, len(k.N), k.E, len(k.KeyOps))
		}
	}
	for curve, bytes := range map[azkeys.CurveName]int{
		azkeys.CurveNameP256: 32, azkeys.CurveNameP384: 48, azkeys.CurveNameP521: 66, azkeys.CurveNameP256K: 32,
	} {
		k := s.make(t, "go-"+string(curve), azkeys.CreateKeyParameters{Kty: s.typed(azkeys.KeyTypeEC), Curve: &curve}).Key
		if *k.Kty != *s.typed(azkeys.KeyTypeEC) || *k.Crv != curve || len(k.X) != bytes || len(k.Y) != bytes {
			t.Errorf("%s: %s on %s, %d and %d bytes", curve, *k.Kty, *k.Crv, len(k.X), len(k.Y))
		}
	}
	s.first = s.make(t, s.name, azkeys.CreateKeyParameters{
		Kty: s.typed(azkeys.KeyTypeEC), Tags: map[string]*string{"team": new("pay")},
		KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationSign), new(azkeys.KeyOperationVerify)},
	})
}

func (s *azureKeys) imports(t *testing.T) {
	k := must(newECKey("P-384"))
	got := s.takeIn(t, "go-imported", k.jwk(s.typed(azkeys.KeyTypeEC))).Key
	if !bytes.Equal(got.X, k.x) || !bytes.Equal(got.Y, k.y) || *got.Crv != azkeys.CurveNameP384 {
		t.Errorf("imported as %x, %x on %s", got.X, got.Y, *got.Crv)
	}
}

func (s *azureKeys) get(t *testing.T) {
	if got := s.wantVersion(t, "", s.first); !*got.Attributes.Enabled || *got.Attributes.RecoverableDays != 90 {
		t.Errorf("attributes %+v", got.Attributes)
	}
}

func (s *azureKeys) getVersion(t *testing.T) {
	got := s.wantVersion(t, s.first.Key.KID.Version(), s.first)
	if len(got.Tags) != 1 || *got.Tags["team"] != "pay" || len(got.Key.KeyOps) != 2 {
		t.Errorf("tags %v, %d operations", got.Tags, len(got.Key.KeyOps))
	}
}

func (s *azureKeys) update(t *testing.T) {
	version := s.first.Key.KID.Version()
	_, err := s.client.UpdateKey(t.Context(), s.name, version, azkeys.UpdateKeyParameters{
		KeyOps: []*azkeys.KeyOperation{new(azkeys.KeyOperationSign)}, Tags: map[string]*string{"team": new("ops")},
		KeyAttributes: &azkeys.KeyAttributes{Expires: &azureExpiry},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := s.wantVersion(t, version, s.first)
	if len(got.Tags) != 1 || *got.Tags["team"] != "ops" || !got.Attributes.Expires.Equal(azureExpiry) ||
		len(got.Key.KeyOps) != 1 || *got.Key.KeyOps[0] != azkeys.KeyOperationSign {
		t.Errorf("tags %v, operations %v, expires %v", got.Tags, got.Key.KeyOps, got.Attributes.Expires)
	}
}

func (s *azureKeys) rotate(t *testing.T) {
	got, err := s.client.RotateKey(t.Context(), s.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.second = got.KeyBundle
	if s.second.Key.KID.Version() == s.first.Key.KID.Version() || bytes.Equal(s.second.Key.X, s.first.Key.X) {
		t.Error("rotated to the same key")
	}
	s.wantVersion(t, "", s.second)
	s.wantVersion(t, s.first.Key.KID.Version(), s.first)
}

func (s *azureKeys) versions(t *testing.T) {
	want := []string{s.first.Key.KID.Version(), s.second.Key.KID.Version()}
	for range 25 {
		got, err := s.client.RotateKey(t.Context(), s.name, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.second = got.KeyBundle
		want = append(want, got.Key.KID.Version())
	}
	var got []string
	pages := 0
	for pager := s.client.NewListKeyPropertiesVersionsPager(s.name, nil); pager.More(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Value {
			got = append(got, v.KID.Version())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || pages < 2 {
		t.Errorf("%d pages of versions %v, want %v", pages, got, want)
	}
}

func (s *azureKeys) rotationPolicy(t *testing.T) {
	set, err := s.client.UpdateKeyRotationPolicy(t.Context(), s.name, azkeys.KeyRotationPolicy{
		Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: new("P90D")},
		LifetimeActions: []*azkeys.LifetimeAction{{
			Action:  &azkeys.LifetimeActionType{Type: new(azkeys.KeyRotationPolicyActionRotate)},
			Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: new("P30D")},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.client.GetKeyRotationPolicy(t.Context(), s.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, p := range map[string]azkeys.KeyRotationPolicy{"set": set.KeyRotationPolicy, "read": got.KeyRotationPolicy} {
		rotates := slices.ContainsFunc(p.LifetimeActions, func(a *azkeys.LifetimeAction) bool {
			return *a.Action.Type == azkeys.KeyRotationPolicyActionRotate && *a.Trigger.TimeAfterCreate == "P30D"
		})
		if *p.Attributes.ExpiryTime != "P90D" || p.Attributes.Created == nil || !rotates {
			t.Errorf("the policy as it was %s: %+v", what, p)
		}
	}
	rotated, err := s.client.RotateKey(t.Context(), s.name, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.second = rotated.KeyBundle
	if life := rotated.Attributes.Expires.Sub(*rotated.Attributes.Created); life != 90*24*time.Hour {
		t.Errorf("it expires after %v, want the policy's 90 days", life)
	}
}

func (s *azureKeys) list(t *testing.T) {
	missing := map[string]bool{}
	for i := range 30 {
		name := fmt.Sprint("go-many-", i)
		s.make(t, name, azkeys.CreateKeyParameters{Kty: s.typed(azkeys.KeyTypeEC)})
		missing[name] = true
	}
	pages := 0
	for pager := s.client.NewListKeyPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			delete(missing, p.KID.Name())
			if p.KID.Version() != "" {
				t.Errorf("listed %s", *p.KID)
			}
		}
	}
	if len(missing) > 0 || pages < 2 {
		t.Errorf("%d pages, and these were not listed: %v", pages, slices.Sorted(maps.Keys(missing)))
	}
}

func (s *azureKeys) disabled(t *testing.T) {
	s.make(t, "go-disabled", azkeys.CreateKeyParameters{
		Kty: s.typed(azkeys.KeyTypeEC), KeyAttributes: &azkeys.KeyAttributes{Enabled: new(false)},
	})
	forbidden(t, "KeyDisabled", s.sign(t, "go-disabled", "", azkeys.SignatureAlgorithmES256, make([]byte, 32)))
}

// forbidden checks that a use was refused, and for what.
func forbidden(t *testing.T, why string, err error) {
	t.Helper()
	refused(t, "use", "403 Forbidden", err)
	if !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("%v, want %s", err, why)
	}
}

func (s *azureKeys) notAllowed(t *testing.T) {
	_, err := s.client.Verify(t.Context(), s.name, s.first.Key.KID.Version(), azkeys.VerifyParameters{
		Algorithm: new(azkeys.SignatureAlgorithmES256), Digest: make([]byte, 32), Signature: make([]byte, 64),
	}, nil)
	forbidden(t, "KeyOperationForbidden", err)
}

func (s *azureKeys) notYet(t *testing.T) {
	s.make(t, "go-early", azkeys.CreateKeyParameters{
		Kty: s.typed(azkeys.KeyTypeEC), KeyAttributes: &azkeys.KeyAttributes{NotBefore: &azureExpiry},
	})
	forbidden(t, "KeyOperationForbidden", s.sign(t, "go-early", "", azkeys.SignatureAlgorithmES256, make([]byte, 32)))
}

func (s *azureKeys) missing(t *testing.T) {
	_, err := s.client.GetKey(t.Context(), "go-missing", "", nil)
	refused(t, "get", "404 KeyNotFound", err)
	refused(t, "sign", "404 KeyNotFound", s.sign(t, "go-missing", "", azkeys.SignatureAlgorithmES256, make([]byte, 32)))
}

func (s *azureKeys) badName(t *testing.T) {
	_, err := s.client.CreateKey(t.Context(), "go_bad", azkeys.CreateKeyParameters{Kty: s.typed(azkeys.KeyTypeEC)}, nil)
	refused(t, "create", "400 BadParameter", err)
}

func (s *azureKeys) badDigest(t *testing.T) {
	refused(t, "sign", "400 BadParameter", s.sign(t, s.name, "", azkeys.SignatureAlgorithmES256, make([]byte, 31)))
}
