package service

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// someValue returns a secret of which each part may be unset, and may hold whatever
// is hard to write.
func someValue(t *testing.T, r *rand.Rand, full bool) broker.SecretValue {
	t.Helper()
	texts := []string{"x", "pay-db", "line\nline\r\n\ttab", `{"user":"a","pass":"b\\c"}`, "\x00\x01\x1f\x7f", "ü€𝄞\u2028", "<&>", strings.Repeat("s", 25_600), strings.Repeat("é", 300)}
	text := func() string {
		if !full && r.IntN(3) == 0 {
			return ""
		}
		return texts[r.IntN(len(texts))]
	}
	instant := func() time.Time {
		if !full && r.IntN(3) == 0 {
			return time.Time{}
		}
		ns := []int64{0, 5_000_000, 120_000, 7, 999_999_999}[r.IntN(5)]
		return time.Unix(1+r.Int64N(1<<34), ns).In(time.FixedZone("", r.IntN(7200)))
	}
	is := func() bool { return full || r.IntN(2) == 0 }
	name, err := broker.ParseName(broker.KindSecrets, "vaults/pay/secrets/db")
	if err != nil {
		t.Fatal(err)
	}
	if is() {
		if name, err = name.WithVersion("0123456789abcdef0123456789abcdef"); err != nil {
			t.Fatal(err)
		}
	}
	v := broker.SecretValue{
		Secret: broker.Secret{
			Name: name, ContentType: text(), Enabled: is(),
			NotBefore: instant(), Expires: instant(), Created: instant(), Updated: instant(),
			RecoveryLevel: text(), Managed: is(),
		},
		Value: broker.NewValue(text()), Fetched: instant(), Stale: is(), NotModified: is(),
	}
	if is() {
		v.RecoverableDays = 1 + r.Int32N(90)
	}
	if is() {
		v.Tags = map[string]string{"k": text(), text(): "v", "ü": ""}
	}
	return v
}

// TestRepliesByHand: the two forms of a reply that are written by hand are what
// protobuf makes of the message.
func TestRepliesByHand(t *testing.T) {
	r, form := rand.New(rand.NewPCG(1, 2)), newJSONForm()
	var all wire // of a batch: what one reply holds the next must not touch
	var before *keywardv1.GetSecretResponse
	var first *keywardv1.GetSecretResponse
	for i := range 2_000 {
		v := someValue(t, r, i == 0)
		want := valueProto(v)
		if i == 0 {
			wantEveryField(t, want.ProtoReflect())
		}
		b, err := proto.Marshal(marshalled(v))
		if err != nil {
			t.Fatal(err)
		}
		got := &keywardv1.GetSecretResponse{}
		if err := proto.Unmarshal(b, got); err != nil {
			t.Fatalf("%v\nof %v", err, want)
		}
		if !proto.Equal(got, want) || len(got.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
		if i%100 == 0 {
			all = wire{make([]byte, 0, 1000)}
		}
		if i%2 == 0 {
			before, first = all.reply(v), want
		} else {
			_ = all.reply(v)
			if b, err = proto.Marshal(before); err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(b, got); err != nil || !proto.Equal(got, first) {
				t.Fatalf("of a batch: got  %v, %v\nwant %v", got, err, first)
			}
		}
		text, err := form.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if made := appendReplyJSON(nil, v, versionETag(v.Secret)); string(made) != string(text) {
			t.Fatalf("got  %s\nwant %s", made, text)
		}
	}
}

// wantEveryField fails for a field that a full reply leaves unset: one that
// TestRepliesByHand would not look at.
func wantEveryField(t *testing.T, m protoreflect.Message) {
	t.Helper()
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case !m.Has(f):
			t.Errorf("%s is not set", f.FullName())
		case f.Message() != nil && !f.IsMap() && f.Message().ParentFile().Package() == "keyward.v1":
			wantEveryField(t, m.Get(f).Message())
		}
	}
}

// TestNoReplyOfWhatIsNoText: what a vault says that is no UTF-8 is refused, as
// protobuf refuses it, and not sent as it is.
func TestNoReplyOfWhatIsNoText(t *testing.T) {
	v := someValue(t, rand.New(rand.NewPCG(1, 2)), true)
	for what, v := range map[string]broker.SecretValue{
		"value": {Secret: v.Secret, Value: broker.NewValue("\xff")},
		"tag":   {Secret: broker.Secret{Name: v.Name, Tags: map[string]string{"k": "\xff"}}},
		"type":  {Secret: broker.Secret{Name: v.Name, ContentType: "\xff"}},
	} {
		if wire, err := proto.Marshal(marshalled(v)); err == nil {
			t.Errorf("%s: %q", what, wire)
		}
	}
}

// TestPlainRoute: what is not spelled plainly is the gateway's.
func TestPlainRoute(t *testing.T) {
	for target, want := range map[string]bool{
		"GET /v1/vaults/pay/secrets/db":             true,
		"GET /v1/vaults/pay/secrets/DB-1":           true,
		"HEAD /v1/vaults/pay/secrets/db":            false,
		"GET /v1/vaults/pay/secrets/db?":            false,
		"GET /v1/vaults/pay/secrets/db?maxAge=0s":   false,
		"GET /v1/vaults/pay/secrets/d%62":           false,
		"GET /v1/vaults/pay%2Fsecrets/db":           false,
		"GET /v1/vaults/pay/secrets/db/":            false,
		"GET /v1/vaults/pay/secrets/":               false,
		"GET /v1/vaults/pay/secrets":                false,
		"GET /v1/vaults//secrets/db":                false,
		"GET /v1/vaults/../secrets/db":              false,
		"GET /v1/vaults/pay/keys/db":                false,
		"GET /v1/vaults/pay/secrets/db:batchGet":    false,
		"GET /v1/vaults/pay/secrets/db/versions/12": false,
		"GET //v1/vaults/pay/secrets/db":            false,
	} {
		method, path, _ := strings.Cut(target, " ")
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := isGetSecret(&http.Request{Method: method, URL: u}); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
}
