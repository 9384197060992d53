package service_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// TestUpdateSecret: a mask, or what is sent, says what changes; the rest stays.
func TestUpdateSecret(t *testing.T) {
	const db = "vaults/dev/secrets/db"
	notBefore, expires := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
	later := time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)
	// What the secret is before, as one line of text, and what becomes of it.
	const was = "text/plain map[team:pay] true 2030 2040"
	cases := map[string]struct {
		secret     *keywardv1.Secret
		mask       []string
		rest, body string // the query and the body; no query and no body: gRPC only
		want       string // or the field at fault
	}{
		"one field":                {&keywardv1.Secret{ContentType: "x"}, []string{"content_type"}, "?updateMask=contentType", `{"contentType":"x"}`, "x map[team:pay] true 2030 2040"},
		"a mask in proto's form":   {&keywardv1.Secret{ContentType: "x"}, []string{"content_type"}, "?update_mask=content_type", `{"content_type":"x"}`, "x map[team:pay] true 2030 2040"},
		"others sent are left out": {&keywardv1.Secret{ContentType: "x", Enabled: false}, []string{"content_type"}, "?updateMask=contentType", `{"contentType":"x","enabled":false}`, "x map[team:pay] true 2030 2040"},
		"two fields":               {&keywardv1.Secret{ContentType: "x", Tags: map[string]string{"a": "b"}}, []string{"content_type", "tags"}, "?updateMask=contentType,tags", `{"contentType":"x","tags":{"a":"b"}}`, "x map[a:b] true 2030 2040"},
		"to nothing":               {&keywardv1.Secret{}, []string{"content_type", "tags"}, "?updateMask=contentType,tags", `{}`, " map[] true 2030 2040"},
		"without a body":           {&keywardv1.Secret{}, []string{"tags"}, "?updateMask=tags", ``, "text/plain map[] true 2030 2040"},
		"disable":                  {&keywardv1.Secret{}, []string{"enabled"}, "?updateMask=enabled", `{"enabled":false}`, "text/plain map[team:pay] false 2030 2040"},
		"times":                    {&keywardv1.Secret{ExpireTime: timestamppb.New(later)}, []string{"expire_time"}, "?updateMask=expireTime", `{"expireTime":"2041-01-01T00:00:00Z"}`, "text/plain map[team:pay] true 2030 2041"},
		"all": {
			&keywardv1.Secret{ContentType: "x", Enabled: true, NotBeforeTime: timestamppb.New(expires), ExpireTime: timestamppb.New(later)},
			[]string{"*"},
			"?updateMask=*", `{"contentType":"x","enabled":true,"notBeforeTime":"2040-01-01T00:00:00Z","expireTime":"2041-01-01T00:00:00Z"}`, "x map[] true 2040 2041",
		},
		"all, times left": {&keywardv1.Secret{ContentType: "x", Enabled: true}, []string{"*"}, "?updateMask=*", `{"contentType":"x","enabled":true}`, "x map[] true 2030 2040"},

		"no mask":                    {&keywardv1.Secret{ContentType: "x", Tags: map[string]string{"a": "b"}}, nil, "?", `{"contentType":"x","tags":{"a":"b"}}`, "x map[a:b] true 2030 2040"},
		"no mask, a false one":       {nil, nil, "?", `{"enabled":false}`, "text/plain map[team:pay] false 2030 2040"},
		"no mask, an empty one":      {nil, nil, "?", `{"tags":{}}`, "text/plain map[] true 2030 2040"},
		"no mask, not gRPC's zeroes": {&keywardv1.Secret{ContentType: "x", Enabled: false}, nil, "", "", "x map[team:pay] true 2030 2040"},
		"no mask, and more":          {&keywardv1.Secret{ContentType: "x", Version: "1", RecoveryLevel: "y", Managed: true}, nil, "?", `{"name":"vaults/dev/secrets/DB","version":"1","recoveryLevel":"y","managed":true,"createTime":"2020-01-01T00:00:00Z","contentType":"x"}`, "x map[team:pay] true 2030 2040"},

		"nothing":                  {&keywardv1.Secret{}, nil, "?", `{}`, "update_mask"},
		"no body at all":           {nil, nil, "?", ``, "update_mask"},
		"nothing that can change":  {&keywardv1.Secret{Version: "1"}, nil, "?", `{"version":"1","name":"vaults/dev/secrets/db"}`, "update_mask"},
		"an unknown path":          {&keywardv1.Secret{ContentType: "x"}, []string{"owner"}, "?updateMask=owner", `{"contentType":"x"}`, "update_mask"},
		"an immutable path":        {&keywardv1.Secret{ContentType: "x"}, []string{"content_type", "name"}, "?updateMask=contentType,name", `{"contentType":"x"}`, "update_mask"},
		"the etag":                 {&keywardv1.Secret{ContentType: "x"}, []string{"etag"}, "?updateMask=etag", `{"contentType":"x"}`, "update_mask"},
		"a nested path":            {&keywardv1.Secret{Tags: map[string]string{"a": "b"}}, []string{"tags.a"}, "?updateMask=tags.a", `{"tags":{"a":"b"}}`, "update_mask"},
		"an empty path":            {&keywardv1.Secret{ContentType: "x"}, []string{""}, "?updateMask=", `{"contentType":"x"}`, "update_mask"},
		"a time to nothing":        {&keywardv1.Secret{}, []string{"expire_time"}, "?updateMask=expireTime", `{}`, "secret.expire_time"},
		"a null time":              {nil, nil, "?", `{"notBeforeTime":null}`, "secret.not_before_time"},
		"a time before 1970":       {&keywardv1.Secret{ExpireTime: &timestamppb.Timestamp{Seconds: -1}}, []string{"expire_time"}, "?", `{"expireTime":"1969-12-31T23:59:59Z"}`, "secret.expire_time"},
		"a long type":              {&keywardv1.Secret{ContentType: strings.Repeat("x", 256)}, nil, "?", `{"contentType":"` + strings.Repeat("x", 256) + `"}`, "secret.content_type"},
		"an etag that is none":     {&keywardv1.Secret{ContentType: "x", Etag: "abc"}, nil, "?", `{"contentType":"x","etag":"abc"}`, "secret.etag"},
		"a mask's part as a query": {nil, nil, "?updateMask.paths=content_type", `{"contentType":"x"}`, ""},
		"the secret as a query":    {nil, nil, "?secret.enabled=false", `{"contentType":"x"}`, ""},
		"malformed":                {nil, nil, "?", `{"contentType":`, ""},
		"an array":                 {nil, nil, "?", `[]`, ""},
		"null":                     {nil, nil, "?", `null`, ""},
		"a wrong type":             {nil, nil, "?", `{"enabled":"no"}`, ""},
		"an unknown field":         {nil, nil, "?", `{"value":"hunter2"}`, ""},
		"two bodies":               {nil, nil, "?", `{"enabled":true} {}`, ""},
		"a huge body":              {nil, nil, "?", `{"contentType":"` + strings.Repeat("x", 300_000) + `"}`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fresh := func() *world {
				w := newWorld(t)
				n, err := broker.ParseName(broker.KindSecrets, db)
				w.must(err)
				_, err = w.store.SetSecret(t.Context(), n, broker.NewSecret{
					Value: broker.NewValue("x"), ContentType: "text/plain", Tags: map[string]string{"team": "pay"}, Enabled: true, NotBefore: notBefore, Expires: expires,
				})
				w.must(err)
				return w
			}
			check := func(transport string, w *world, v verdict, field string, s *keywardv1.Secret) {
				t.Helper()
				want := c.want
				if v != (verdict{}) {
					if want = was; v != (verdict{"InvalidArgument", "BAD_FIELD"}) || field != c.want {
						t.Errorf("%s: %v of %q, want %q", transport, v, field, c.want)
					}
				} else if got := described(s); got != c.want {
					t.Errorf("%s: replied %q, want %q", transport, got, c.want)
				}
				versions, err := w.call(w.billing(), &keywardv1.ListSecretVersionsRequest{Parent: db})
				w.must(err)
				if got := described(versions.(*keywardv1.ListSecretVersionsResponse).GetSecrets()[0]); got != want {
					t.Errorf("%s: it is %q, want %q", transport, got, want)
				}
			}
			if c.secret != nil {
				w := fresh()
				c.secret.Name = db
				req := &keywardv1.UpdateSecretRequest{Secret: c.secret}
				if c.mask != nil {
					req.UpdateMask = &fieldmaskpb.FieldMask{Paths: c.mask}
				}
				reply, err := w.call(w.billing(), req)
				check("gRPC", w, grpcVerdict(err), fieldAtFault(err), reply.(*keywardv1.Secret))
			}
			if c.rest != "" {
				w := fresh()
				r := w.rest(w.billing(), "PATCH /v1/"+db+strings.TrimSuffix(c.rest, "?"), c.body)
				s := new(keywardv1.Secret)
				if r.status == http.StatusOK {
					w.must(protojson.Unmarshal(r.body, s))
				}
				check("REST", w, r.verdict(t), fieldAtFault(r.err(t)), s)
				if c.want == "" && c.rest == "?" && !strings.Contains(string(r.body), "the body is no JSON") && !strings.Contains(string(r.body), "256 KiB") {
					t.Errorf("REST: it is not told of the body: %s", r.body)
				}
			}
		})
	}
}

// described is what an update can change of a secret.
func described(s *keywardv1.Secret) string {
	tags := s.GetTags()
	if tags == nil {
		tags = map[string]string{}
	}
	return fmt.Sprint(s.GetContentType(), " ", tags, " ", s.GetEnabled(), " ", s.GetNotBeforeTime().AsTime().Year(), " ", s.GetExpireTime().AsTime().Year())
}

// TestUpdateSendsBackWhatWasRead: a whole Secret, one field changed, over REST.
func TestUpdateSendsBackWhatWasRead(t *testing.T) {
	w := newWorld(t)
	version := w.put("vaults/dev/secrets/db", "x").Version()
	w.put("vaults/dev/secrets/db", "y")
	path := "/v1/vaults/dev/secrets/db/versions/" + version
	var got struct{ Secret map[string]any }
	w.must(json.Unmarshal(w.rest(w.billing(), "GET "+path, "").body, &got))
	if len(got.Secret) < 8 {
		t.Fatalf("read %v", got)
	}
	got.Secret["contentType"] = "changed"
	body, err := json.Marshal(got.Secret)
	w.must(err)
	r := w.rest(w.billing(), "PATCH "+path, string(body))
	now := new(keywardv1.Secret)
	if err := protojson.Unmarshal(r.body, now); err != nil || now.GetContentType() != "changed" || now.GetVersion() != version {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

// TestPreconditions: a writer whose etag is old changes nothing.
func TestPreconditions(t *testing.T) {
	const db, path = "vaults/dev/secrets/db", "/v1/vaults/dev/secrets/db"
	mismatch := verdict{"Aborted", "ETAG_MISMATCH"}
	malformed := verdict{"InvalidArgument", "BAD_FIELD"}
	for given, want := range map[string]verdict{"current": {}, `"old"`: mismatch, "*": malformed, "bare": malformed, `"a"b"`: malformed, `"a`: malformed, `W/"a"`: malformed} {
		cases := []struct {
			name string
			call func(w *world, etag func() string) (reply, error)
		}{
			{"SetSecret", func(w *world, etag func() string) (reply, error) {
				_, err := w.call(w.billing(), &keywardv1.SetSecretRequest{Name: db, Value: "y", Etag: etag()})
				return w.rest(w.billing(), "PUT "+path, fmt.Sprintf(`{"value":"y","etag":%q}`, etag())), err
			}},
			{"GenerateSecret", func(w *world, etag func() string) (reply, error) {
				_, err := w.call(w.billing(), &keywardv1.GenerateSecretRequest{Name: db, Etag: etag()})
				return w.rest(w.billing(), "POST "+path+":generate", fmt.Sprintf(`{"etag":%q}`, etag())), err
			}},
			{"UpdateSecret", func(w *world, etag func() string) (reply, error) {
				_, err := w.call(w.billing(), &keywardv1.UpdateSecretRequest{Secret: &keywardv1.Secret{Name: db, ContentType: "y", Etag: etag()}})
				return w.rest(w.billing(), "PATCH "+path, fmt.Sprintf(`{"contentType":"z","etag":%q}`, etag())), err
			}},
			{"DeleteSecret", func(w *world, etag func() string) (reply, error) {
				_, err := w.call(w.billing(), &keywardv1.DeleteSecretRequest{Name: db, Etag: etag()})
				if err == nil {
					_, err = w.call(w.billing(), &keywardv1.UndeleteSecretRequest{Name: "vaults/dev/deletedSecrets/db"})
				}
				return w.rest(w.billing(), "DELETE "+path+"?etag="+url.QueryEscape(etag()), ""), err
			}},
		}
		for _, c := range cases {
			t.Run(c.name+" "+given, func(t *testing.T) {
				w := newWorld(t)
				w.put(db, "x")
				r, err := c.call(w, func() string {
					if given == "current" {
						return w.etag(db)
					}
					return given
				})
				if got := grpcVerdict(err); got != want {
					t.Errorf("gRPC: %v, want %v", err, want)
				}
				if got := r.verdict(t); got != want {
					t.Errorf("REST: %d %s, want %v", r.status, r.body, want)
				}
				changes := w.store.Calls(brokertest.SetSecret) - 1 + w.store.Calls(brokertest.UpdateSecret) + w.store.Calls(brokertest.DeleteSecret)
				if (changes == 0) != (want != verdict{}) {
					t.Errorf("%d changes", changes)
				}
			})
		}
	}
}

// TestRacingSetsWithOneETag: one winner, and no value lost silently.
func TestRacingSetsWithOneETag(t *testing.T) {
	w := newWorld(t)
	const db = "vaults/dev/secrets/db"
	w.put(db, "first")
	etag, client := w.etag(db), w.client(w.billing())
	var mu sync.Mutex
	outcomes := map[verdict]int{}
	var winner string
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			value := fmt.Sprint("value ", i)
			_, err := client.SetSecret(t.Context(), &keywardv1.SetSecretRequest{Name: db, Value: value, Etag: etag})
			mu.Lock()
			defer mu.Unlock()
			outcomes[grpcVerdict(err)]++
			if err == nil {
				winner = value
			}
		})
	}
	wg.Wait()
	if outcomes[verdict{}] != 1 || outcomes[verdict{"Aborted", "ETAG_MISMATCH"}] != 99 {
		t.Errorf("outcomes %v", outcomes)
	}
	got, err := client.GetSecret(t.Context(), &keywardv1.GetSecretRequest{Name: db})
	if err != nil || got.GetValue() != winner {
		t.Errorf("the value is not the winner's: %v", err)
	}
	if n := w.store.Calls(brokertest.SetSecret); n != 2 {
		t.Errorf("%d sets reached the vault, want the first and one", n)
	}
}

func TestRecoverDeleted(t *testing.T) {
	w := newWorld(t)
	for _, transport := range []string{"gRPC", "REST"} {
		name := "vaults/dev/secrets/" + strings.ToLower(transport)
		w.put(name, "old")
		w.remove(name)
		if _, err := w.call(w.billing(), &keywardv1.SetSecretRequest{Name: name, Value: "new"}); grpcVerdict(err) != (verdict{"FailedPrecondition", "SECRET_SOFT_DELETED"}) {
			t.Errorf("%s: without it: %v", transport, err)
		}
		if transport == "gRPC" {
			_, err := w.call(w.billing(), &keywardv1.SetSecretRequest{Name: name, Value: "new", RecoverDeleted: true})
			w.must(err)
		} else if r := w.rest(w.billing(), "PUT /v1/"+name, `{"value":"new","recoverDeleted":true}`); r.status != http.StatusOK {
			t.Errorf("REST: %d %s", r.status, r.body)
		}
		versions, err := w.call(w.billing(), &keywardv1.ListSecretVersionsRequest{Parent: name})
		if err != nil || len(versions.(*keywardv1.ListSecretVersionsResponse).GetSecrets()) != 2 {
			t.Errorf("%s: %v, %v", transport, versions, err)
		}
	}
}

func TestGenerateSecret(t *testing.T) {
	const db, path = "vaults/dev/secrets/db", "POST /v1/vaults/dev/secrets/db:generate"
	cases := map[string]struct {
		grpc *keywardv1.GenerateSecretRequest
		body string
		want func(value string) bool
		bad  string // the field at fault
	}{
		"by default":       {&keywardv1.GenerateSecretRequest{}, "", func(v string) bool { return len(v) == 32 }, ""},
		"long":             {&keywardv1.GenerateSecretRequest{Length: 25_600}, `{"length":25600}`, func(v string) bool { return len(v) == 25_600 }, ""},
		"of an alphabet":   {&keywardv1.GenerateSecretRequest{Length: 9, Alphabet: "äb"}, `{"length":9,"alphabet":"äb"}`, func(v string) bool { return strings.Trim(v, "äb") == "" && len([]rune(v)) == 9 }, ""},
		"too long":         {&keywardv1.GenerateSecretRequest{Length: 25_601}, `{"length":25601}`, nil, "length"},
		"of no length":     {&keywardv1.GenerateSecretRequest{Length: -1}, `{"length":-1}`, nil, "length"},
		"one letter":       {&keywardv1.GenerateSecretRequest{Alphabet: "a"}, `{"alphabet":"a"}`, nil, "alphabet"},
		"a letter twice":   {&keywardv1.GenerateSecretRequest{Alphabet: "aba"}, `{"alphabet":"aba"}`, nil, "alphabet"},
		"a time too early": {&keywardv1.GenerateSecretRequest{ExpireTime: &timestamppb.Timestamp{Seconds: -1}}, `{"expireTime":"1969-12-31T23:59:59Z"}`, nil, "expire_time"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var values []string
			c.grpc.Name = db
			_, err := w.call(w.billing(), c.grpc)
			if got := fieldAtFault(err); got != c.bad {
				t.Errorf("gRPC: %v", err)
			} else if err == nil {
				values = append(values, w.value(db))
			}
			r := w.rest(w.billing(), path, c.body)
			if got := fieldAtFault(r.err(t)); got != c.bad {
				t.Errorf("REST: %d %s", r.status, r.body)
			} else if r.status == http.StatusOK {
				values = append(values, w.value(db))
				if strings.Contains(string(r.body), values[len(values)-1]) {
					t.Error("the value is returned")
				}
			}
			if c.bad == "" && (len(values) != 2 || values[0] == values[1] || slices.ContainsFunc(values, func(v string) bool { return !c.want(v) })) {
				t.Errorf("made %q", values)
			}
		})
	}
}
