package brokertest

import (
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
)

func testRotateKey(f keyFixture) {
	for label, n := range map[string]broker.NewKey{
		"ec":     {Type: broker.KeyTypeEC, Curve: broker.CurveP384},
		"p-256k": {Type: broker.KeyTypeEC, Curve: broker.CurveP256K},
		"rsa":    {Type: broker.KeyTypeRSA, Size: 2048, Ops: []broker.KeyOp{broker.KeyOpSign}},
	} {
		name := f.name("rotate-" + label)
		n.Enabled = true
		first := f.create(name, n)
		second := f.rotate(name)
		if second.Name == first.Name || second.Name.Base() != name || sameKey(second.JWK, first.JWK) {
			f.Errorf("%s: a rotation of %v made %v, or the same key", label, first.Name, second.Name)
		}
		if second.JWK.Type != first.JWK.Type || second.JWK.Curve != first.JWK.Curve || len(second.JWK.N) != len(first.JWK.N) {
			f.Errorf("%s: a rotation made a key of another type", label)
		}
		f.wantAttributes("RotateKey", second, broker.NewKey{Enabled: true, Ops: first.Ops})
		f.wantSame("GetKey", f.get(name), second)
		f.wantSame("GetKey of the version before", f.get(first.Name), first)
	}
	name := f.name("rotate-expiry")
	f.create(name, broker.NewKey{Type: broker.KeyTypeEC, Enabled: true, Expires: time.Now().AddDate(0, 1, 0)})
	if _, err := f.store.UpdateRotationPolicy(f.Context(), name, broker.RotationPolicy{ExpiryTime: "P90D"}); err != nil {
		f.Fatalf("UpdateRotationPolicy: %v", err)
	}
	rotated := f.rotate(name)
	if want := rotated.Created.Add(90 * 24 * time.Hour); !rotated.Expires.Equal(want) {
		f.Errorf("a version made at %v expires %v, want %v", rotated.Created, rotated.Expires, want)
	}
}

func testRotationPolicy(f keyFixture) {
	name := f.name("policy")
	f.create(name, ecKey())
	before, err := f.store.GetRotationPolicy(f.Context(), name)
	if err != nil {
		f.Fatalf("GetRotationPolicy of a key without one: %v", err)
	}
	if slices.ContainsFunc(before.Actions, func(a broker.LifetimeAction) bool { return a.Type == broker.RotationRotate }) || before.ExpiryTime != "" {
		f.Errorf("a key that was given no policy rotates: %v", before)
	}
	tests := []struct {
		label string
		set   broker.RotationPolicy
		want  []broker.LifetimeAction // without the notice that a vault adds
	}{
		{
			"as recorded of Key Vault",
			broker.RotationPolicy{ExpiryTime: "P90D", Actions: []broker.LifetimeAction{{Type: "rotate", AfterCreate: "P30D"}}},
			[]broker.LifetimeAction{{Type: broker.RotationRotate, AfterCreate: "P30D"}},
		},
		{
			"before the expiry",
			broker.RotationPolicy{ExpiryTime: "P2Y", Actions: []broker.LifetimeAction{
				{Type: broker.RotationRotate, BeforeExpiry: "P30D"}, {Type: broker.RotationNotify, BeforeExpiry: "P60D"},
			}},
			[]broker.LifetimeAction{{Type: broker.RotationRotate, BeforeExpiry: "P30D"}, {Type: broker.RotationNotify, BeforeExpiry: "P60D"}},
		},
		{
			"without an expiry",
			broker.RotationPolicy{Actions: []broker.LifetimeAction{{Type: broker.RotationRotate, AfterCreate: "P18M"}}},
			[]broker.LifetimeAction{{Type: broker.RotationRotate, AfterCreate: "P18M"}},
		},
		{"an expiry alone", broker.RotationPolicy{ExpiryTime: "P1Y"}, nil},
	}
	for _, tt := range tests {
		set, err := f.store.UpdateRotationPolicy(f.Context(), name, tt.set)
		if err != nil {
			f.Errorf("%s: %v", tt.label, err)
			continue
		}
		got, err := f.store.GetRotationPolicy(f.Context(), name)
		if err != nil {
			f.Errorf("%s: GetRotationPolicy: %v", tt.label, err)
		}
		for what, p := range map[string]broker.RotationPolicy{"UpdateRotationPolicy": set, "GetRotationPolicy": got} {
			if p.ExpiryTime != tt.set.ExpiryTime || p.Created.IsZero() || p.Updated.Before(p.Created) {
				f.Errorf("%s: %s answers %v", tt.label, what, p)
			}
			// A vault gives notice where the policy asks for none.
			actions := slices.DeleteFunc(slices.Clone(p.Actions), func(a broker.LifetimeAction) bool {
				return a == broker.LifetimeAction{Type: broker.RotationNotify, BeforeExpiry: "P30D"}
			})
			if !slices.Equal(actions, tt.want) {
				f.Errorf("%s: %s answers %v, want %v", tt.label, what, p.Actions, tt.want)
			}
		}
	}
	if got := f.versions(name); len(got) != 1 {
		f.Errorf("%d versions; a policy that is not due made some", len(got))
	}
}

func testBadRotationPolicies(f keyFixture) {
	name := f.name("bad-policy")
	f.create(name, ecKey())
	rotate := func(after, before string) []broker.LifetimeAction {
		return []broker.LifetimeAction{{Type: broker.RotationRotate, AfterCreate: after, BeforeExpiry: before}}
	}
	tests := map[string]broker.RotationPolicy{
		"no duration":                  {ExpiryTime: "90 days"},
		"a number":                     {ExpiryTime: "90"},
		"an empty duration":            {ExpiryTime: "P"},
		"a life of 27 days":            {ExpiryTime: "P27D"},
		"a life of nothing":            {ExpiryTime: "P0D"},
		"a negative life":              {ExpiryTime: "-P90D"},
		"an action that is none":       {ExpiryTime: "P90D", Actions: []broker.LifetimeAction{{Type: "Delete", AfterCreate: "P30D"}}},
		"an action without a time":     {ExpiryTime: "P90D", Actions: rotate("", "")},
		"an action with two":           {ExpiryTime: "P90D", Actions: rotate("P30D", "P30D")},
		"an action with no duration":   {ExpiryTime: "P90D", Actions: rotate("soon", "")},
		"a rotation within a week":     {ExpiryTime: "P90D", Actions: rotate("P6D", "")},
		"a rotation after the expiry":  {ExpiryTime: "P90D", Actions: rotate("P91D", "")},
		"a rotation before it is made": {ExpiryTime: "P90D", Actions: rotate("", "P91D")},
		"before an expiry of never":    {Actions: rotate("", "P30D")},
		"two rotations":                {ExpiryTime: "P90D", Actions: append(rotate("P30D", ""), rotate("P40D", "")...)},
		"a notice after creation":      {ExpiryTime: "P90D", Actions: []broker.LifetimeAction{{Type: broker.RotationNotify, AfterCreate: "P30D"}}},
	}
	for label, p := range tests {
		_, err := f.store.UpdateRotationPolicy(f.Context(), name, p)
		f.wantBadField("UpdateRotationPolicy with "+label, err, "")
	}
	if p, err := f.store.GetRotationPolicy(f.Context(), name); err != nil || !p.Created.IsZero() && p.ExpiryTime != "" {
		f.Errorf("a refused policy was kept: %v, %v", p, err)
	}
}
