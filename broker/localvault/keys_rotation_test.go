package localvault_test

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

const day = 24 * time.Hour

// rotating makes a key with a rotation policy.
func rotating(t *testing.T, v *localvault.Vault, object string, n broker.NewKey, p broker.RotationPolicy) broker.Key {
	t.Helper()
	n.Type = broker.KeyTypeEC
	k, err := v.Keys().CreateKey(t.Context(), keyName(t, object), n)
	must(t, err)
	_, err = v.Keys().UpdateRotationPolicy(t.Context(), keyName(t, object), p)
	must(t, err)
	return k
}

func rotateAfter(duration, expiry string) broker.RotationPolicy {
	return broker.RotationPolicy{ExpiryTime: expiry, Actions: []broker.LifetimeAction{{Type: broker.RotationRotate, AfterCreate: duration}}}
}

func rotateBefore(duration, expiry string) broker.RotationPolicy {
	return broker.RotationPolicy{ExpiryTime: expiry, Actions: []broker.LifetimeAction{{Type: broker.RotationRotate, BeforeExpiry: duration}}}
}

func countVersions(t *testing.T, v *localvault.Vault, object string) int {
	t.Helper()
	all, err := v.Keys().ListKeyVersions(t.Context(), keyName(t, object))
	must(t, err)
	return len(all)
}

// wantRotations waits from time to time, and counts versions.
func wantRotations(t *testing.T, v *localvault.Vault, object string, steps []struct {
	wait time.Duration
	want int
},
) {
	t.Helper()
	for i, s := range steps {
		time.Sleep(s.wait)
		synctest.Wait()
		if got := countVersions(t, v, object); got != s.want {
			t.Errorf("step %d: %d versions, want %d", i, got, s.want)
		}
	}
}

func TestRotationOnTime(t *testing.T) {
	type steps = []struct {
		wait time.Duration
		want int
	}
	tests := map[string]struct {
		key    broker.NewKey
		policy broker.RotationPolicy
		steps  steps
	}{
		"after a time": {
			broker.NewKey{Enabled: true},
			rotateAfter("P30D", "P90D"),
			steps{{30*day - time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {30*day - 2*time.Second, 2}, {time.Second, 3}, {60 * day, 5}},
		},
		"without an expiry": {
			broker.NewKey{Enabled: true},
			rotateAfter("P7D", ""),
			steps{{7*day - time.Second, 1}, {time.Second, 2}, {70 * day, 12}},
		},
		"before the expiry": {
			broker.NewKey{Enabled: true, Expires: time.Date(2000, 3, 1, 0, 0, 0, 0, time.UTC)},
			rotateBefore("P10D", "P30D"),
			// From 2000-01-01 on, February having 29 days.
			steps{{50*day - time.Second, 1}, {time.Second, 2}, {20*day - time.Second, 2}, {time.Second, 3}},
		},
		"before an expiry that it has not": {
			broker.NewKey{Enabled: true}, rotateBefore("P10D", "P30D"), steps{{400 * day, 1}},
		},
		"while disabled": {
			broker.NewKey{}, rotateAfter("P30D", ""), steps{{100 * day, 1}},
		},
		"with a notice only": {
			broker.NewKey{Enabled: true}, broker.RotationPolicy{ExpiryTime: "P30D"}, steps{{100 * day, 1}},
		},
		"by the calendar": {
			broker.NewKey{Enabled: true},
			rotateAfter("P1M", ""),
			steps{{31*day - time.Second, 1}, {time.Second, 2}, {29*day - time.Second, 2}, {time.Second, 3}},
		},
	}
	for label, tt := range tests {
		t.Run(label, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := open(t, config(t.TempDir()))
				rotating(t, v, "a", tt.key, tt.policy)
				wantRotations(t, v, "a", tt.steps)
				must(t, v.Close())
			})
		})
	}
}

// A rotated version is like the one before, and expires as the policy says.
func TestRotatedVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, config(t.TempDir()))
		first := rotating(t, v, "a", broker.NewKey{
			Enabled: true, Curve: broker.CurveP384, Ops: []broker.KeyOp{broker.KeyOpSign}, Tags: map[string]string{"a": "b"},
		}, rotateAfter("P30D", "P90D"))
		time.Sleep(31 * day)
		synctest.Wait()
		got, err := v.Keys().GetKey(t.Context(), keyName(t, "a"))
		must(t, err)
		if got.Name == first.Name || got.JWK.Curve != broker.CurveP384 || len(got.Ops) != 1 || got.Tags["a"] != "b" || !got.Enabled {
			t.Errorf("a rotation made %v, curve %s, operations %v, tags %v", got.Name, got.JWK.Curve, got.Ops, got.Tags)
		}
		if want := first.Created.Add(30 * day); !got.Created.Equal(want) || !got.Expires.Equal(want.Add(90*day)) {
			t.Errorf("made %v, expires %v; want %v and 90 days later", got.Created, got.Expires, want)
		}
		must(t, v.Close())
	})
}

// What fell due while the vault was closed is made up for once it is opened: by
// one version.
func TestRotationAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config(t.TempDir())
		v := open(t, c)
		rotating(t, v, "late", broker.NewKey{Enabled: true}, rotateAfter("P30D", ""))
		rotating(t, v, "early", broker.NewKey{Enabled: true}, rotateAfter("P1Y", ""))
		must(t, v.Close())
		time.Sleep(200 * day)
		v = open(t, c)
		synctest.Wait()
		if late, early := countVersions(t, v, "late"), countVersions(t, v, "early"); late != 2 || early != 1 {
			t.Errorf("%d and %d versions, want 2 and 1", late, early)
		}
		wantRotations(t, v, "late", []struct {
			wait time.Duration
			want int
		}{{30*day - time.Second, 2}, {time.Second, 3}})
		must(t, v.Close())
	})
}

// Whatever changes when a key is due is heeded at once.
func TestRotationFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, config(t.TempDir()))
		store, name := v.Keys(), keyName(t, "a")
		rotating(t, v, "a", broker.NewKey{Enabled: true}, rotateAfter("P1Y", ""))
		step := func(what string, change func() error, wait time.Duration, want int) {
			t.Helper()
			must(t, change())
			time.Sleep(wait)
			synctest.Wait()
			if got := countVersions(t, v, "a"); got != want {
				t.Errorf("%s: %d versions, want %d", what, got, want)
			}
		}
		policy := func(p broker.RotationPolicy) func() error {
			return func() error { _, err := store.UpdateRotationPolicy(t.Context(), name, p); return err }
		}
		enabled := func(on bool) func() error {
			return func() error {
				_, err := store.UpdateKey(t.Context(), name, broker.KeyUpdate{Enabled: &on})
				return err
			}
		}
		nothing := func() error { return nil }
		step("a year is long", nothing, 20*day, 1)
		step("a shorter time that is over", policy(rotateAfter("P10D", "")), 0, 2)
		step("not again before its time", nothing, 10*day-time.Second, 2)
		step("in its time", nothing, time.Second, 3)
		step("none while disabled", enabled(false), 30*day, 3)
		step("at once when enabled", enabled(true), 0, 4)
		step("counted from a rotation by hand", func() error {
			time.Sleep(9 * day)
			_, err := store.RotateKey(t.Context(), name)
			return err
		}, 10*day-time.Second, 5)
		step("and not before", nothing, time.Second, 6)
		step("none without the policy", policy(broker.RotationPolicy{}), 100*day, 6)
		step("with it again", policy(rotateAfter("P10D", "")), 0, 7)
		must(t, v.Close())
	})
}

func TestDeletedKeysAreNotRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := open(t, config(t.TempDir()))
		store, name := v.Keys(), keyName(t, "a")
		rotating(t, v, "a", broker.NewKey{Enabled: true}, rotateAfter("P10D", ""))
		_, err := store.DeleteKey(t.Context(), name)
		must(t, err)
		time.Sleep(50 * day)
		_, err = store.RecoverKey(t.Context(), name)
		must(t, err)
		if got := countVersions(t, v, "a"); got > 2 {
			t.Errorf("%d versions; it was rotated while deleted", got)
		}
		synctest.Wait()
		if got := countVersions(t, v, "a"); got != 2 {
			t.Errorf("%d versions after the recovery, want 2", got)
		}
		must(t, v.Close())
	})
}

func TestRotationOfADisabledKey(t *testing.T) {
	store, name := open(t, config(t.TempDir())).Keys(), keyName(t, "a")
	_, err := store.CreateKey(t.Context(), name, broker.NewKey{Type: broker.KeyTypeEC})
	must(t, err)
	_, err = store.RotateKey(t.Context(), name)
	wantCode(t, "RotateKey", err, broker.CodeKeyDisabled)
}

// A Managed HSM has no notice of its own.
func TestRotationPolicyOfAManagedHSM(t *testing.T) {
	for label, tt := range map[string]struct {
		store broker.KeyStore
		want  int // actions
	}{
		"vault": {open(t, config(t.TempDir())).Keys(), 2},
		"hsm":   {openHSM(t), 1},
	} {
		_, err := tt.store.CreateKey(t.Context(), keyName(t, "a"), broker.NewKey{Type: broker.KeyTypeEC, Enabled: true})
		must(t, err)
		before, err := tt.store.GetRotationPolicy(t.Context(), keyName(t, "a"))
		must(t, err)
		after, err := tt.store.UpdateRotationPolicy(t.Context(), keyName(t, "a"), rotateAfter("P30D", "P90D"))
		must(t, err)
		if len(before.Actions) != tt.want-1 || len(after.Actions) != tt.want || !before.Created.IsZero() || after.Created.IsZero() {
			t.Errorf("%s: %v, then %v", label, before, after)
		}
	}
}

// A restored key is rotated as it was before.
func TestBackupKeepsTheRotationPolicy(t *testing.T) {
	v := open(t, config(t.TempDir()))
	store, name := v.Keys(), keyName(t, "a")
	rotating(t, v, "a", broker.NewKey{Enabled: true}, rotateAfter("P30D", "P90D"))
	want, err := store.GetRotationPolicy(t.Context(), name)
	must(t, err)
	blob, err := store.BackupKey(t.Context(), name)
	must(t, err)
	_, err = store.DeleteKey(t.Context(), name)
	must(t, err)
	must(t, store.PurgeKey(t.Context(), name))
	_, err = store.RestoreKey(t.Context(), vaultName(t), blob)
	must(t, err)
	got, err := store.GetRotationPolicy(t.Context(), name)
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("a restored policy %v, want %v", got, want)
	}
}
