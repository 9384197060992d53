package broker

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestPacked: what is kept is given back, and not shown.
func TestPacked(t *testing.T) {
	name, err := ParseName(KindSecrets, "vaults/pay/secrets/db")
	if err != nil {
		t.Fatal(err)
	}
	version, err := name.WithVersion(strings.Repeat("0a", 16))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	full := SecretValue{
		Secret: Secret{
			Name: version, ContentType: "text/plain", Tags: map[string]string{"team": "pay"}, Enabled: true,
			NotBefore: at, Expires: at.Add(time.Hour), Created: at.Add(2 * time.Hour), Updated: at.Add(3 * time.Hour),
			RecoveryLevel: "Recoverable", RecoverableDays: 90, Managed: true,
		},
		Value: NewValue("canary"), Fetched: at.Add(4 * time.Hour),
	}
	for what, v := range map[string]SecretValue{"full": full, "bare": {Secret: Secret{Name: name}}} {
		p, err := pack(name, v)
		if err != nil {
			t.Fatal(err)
		}
		etag := v.ETag()
		v.tag = v.hash()
		if got := p.unpack(name); !reflect.DeepEqual(got, v) || got.ETag() != etag {
			t.Errorf("%s: got %+v, want %+v", what, got, v)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if text := fmt.Sprintf(verb, p); text != redacted {
				t.Errorf("%s shows %q", verb, text)
			}
		}
	}
	if _, err := pack(name.Vault().Collection(KindSecrets), full); CodeOf(err) != CodeInternal {
		t.Errorf("another secret's answer is kept: %v", err)
	}
}
