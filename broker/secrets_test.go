package broker_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// managed is a store whose secrets all back certificates.
type managed struct{ broker.SecretStore }

func (m managed) GetSecret(ctx context.Context, n broker.Name) (broker.SecretValue, error) {
	v, err := m.SecretStore.GetSecret(ctx, n)
	v.Managed = true
	return v, err
}

func TestAManagedSecretAlsoTakesTheCertificatesAction(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		var asked []string
		w := newWorld(t, brokertest.AllowAll{})
		n := w.put(t, "tls", "private key")
		b, err := broker.New(broker.Config{
			Vaults: map[string]broker.Vault{"pay": {Secrets: managed{w.store}}},
			Authorizer: brokertest.AuthorizerFunc(func(_ context.Context, r broker.Request) (broker.Decision, error) {
				asked = append(asked, string(r.Action)+" "+r.Resource.String())
				return broker.Decision{Allowed: r.Action == broker.ActionGetSecret || allowed, Policies: []string{string(r.Action)}}, nil
			}),
			Auditor: w.audit,
		})
		if err != nil {
			t.Fatal(err)
		}
		v, err := b.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
		if allowed != (err == nil) || allowed != (v.Value.Len() > 0) {
			t.Errorf("downloadCertificate allowed=%v: %v, %d bytes", allowed, err, v.Value.Len())
		}
		want := []string{"getSecret vaults/pay/secrets/tls", "downloadCertificate vaults/pay/certificates/tls"}
		if !slices.Equal(asked, want) {
			t.Errorf("decided on %q, want %q", asked, want)
		}
		policies := map[bool]string{true: "[getSecret downloadCertificate]", false: "[downloadCertificate]"}[allowed]
		if e := w.audit.Events(); len(e) != 1 || e[0].Decision.Allowed != allowed || fmt.Sprint(e[0].Decision.Policies) != policies {
			t.Errorf("recorded %+v, want the policies %s", e, policies)
		}
	}
}

func TestGetSecretKnown(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "old")
	old, err := w.store.GetSecret(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, "a", "new")
	now, err := w.store.GetSecret(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name  broker.Name
		o     broker.GetSecretOptions
		known bool
		field string // at fault
	}{
		"nothing known":        {n, broker.GetSecretOptions{}, false, ""},
		"the version":          {n, broker.GetSecretOptions{KnownVersion: now.Name.Version()}, true, ""},
		"an older version":     {n, broker.GetSecretOptions{KnownVersion: old.Name.Version()}, false, ""},
		"of a pinned version":  {old.Name, broker.GetSecretOptions{KnownVersion: old.Name.Version()}, true, ""},
		"its etag":             {n, broker.GetSecretOptions{KnownETags: []string{`"x"`, now.ETag()}}, true, ""},
		"another etag":         {n, broker.GetSecretOptions{KnownETags: []string{old.ETag()}}, false, ""},
		"any etag":             {n, broker.GetSecretOptions{KnownETags: []string{"*"}}, true, ""},
		"what is no version":   {n, broker.GetSecretOptions{KnownVersion: "latest"}, false, "known_version"},
		"a negative age":       {n, broker.GetSecretOptions{MaxAge: new(-time.Nanosecond)}, false, "max_age"},
		"an age, but no cache": {n, broker.GetSecretOptions{MaxAge: new(time.Hour)}, false, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := len(w.audit.Events())
			v, err := w.GetSecret(t.Context(), alice, tt.name, tt.o)
			records := len(w.audit.Events()) - before
			if tt.field != "" {
				if e := broker.AsError(err); e == nil || e.Code != broker.CodeBadField || e.Field != tt.field || records != 0 {
					t.Errorf("got %v and %d records, want BAD_FIELD of %s", err, records, tt.field)
				}
				return
			}
			if err != nil || v.NotModified != tt.known || (v.Value.Len() == 0) != tt.known || v.Name.Version() == "" || records != 1 {
				t.Errorf("known %v, %d bytes, %d records, %v", v.NotModified, v.Value.Len(), records, err)
			}
		})
	}
}

func TestMaxAgeReachesTheCache(t *testing.T) {
	cache := newCacheWorld(t, time.Hour)
	audit := &brokertest.Auditor{}
	b, err := broker.New(broker.Config{Vaults: map[string]broker.Vault{"pay": {Secrets: cache}}, Authorizer: brokertest.AllowAll{}, Auditor: audit})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		age    *time.Duration
		cached bool
	}{{nil, false}, {nil, true}, {new(time.Hour), true}, {new(time.Duration), false}, {nil, true}} {
		v, err := b.GetSecret(t.Context(), alice, cache.name, broker.GetSecretOptions{MaxAge: want.age})
		if err != nil || v.Cached != want.cached || audit.Events()[2*i].Cached != want.cached {
			t.Errorf("read %d: cached %v, %v", i, v.Cached, err)
		}
		r, err := b.BatchGetSecrets(t.Context(), alice, cache.name.Vault(), []broker.Name{cache.name}, broker.GetSecretOptions{MaxAge: new(time.Minute)})
		if err != nil || r[0].Err != nil || !r[0].Value.Cached {
			t.Errorf("batch %d: %v, %v", i, r, err)
		}
	}
}

func TestVersionsArePaged(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	var want []string
	for i := range 7 {
		n := w.put(t, "a", fmt.Sprint(i))
		v, err := w.store.GetSecret(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		want = append([]string{v.Name.Version()}, want...)
	}
	var got []string
	page := broker.Page{Size: 3}
	for {
		p, err := w.ListSecretVersions(t.Context(), alice, w.secret(t, "a"), page)
		if err != nil || len(p.Secrets) == 0 || len(p.Secrets) > 3 {
			t.Fatal(err, p)
		}
		for _, s := range p.Secrets {
			got = append(got, s.Name.Version())
		}
		if page.Token = p.Next; p.Next == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
	page.Token = strings.Repeat("f", 32)
	if _, err := w.ListSecretVersions(t.Context(), alice, w.secret(t, "a"), page); broker.CodeOf(err) != broker.CodeBadPageToken {
		t.Errorf("a version that is not there: %v, want BAD_PAGE_TOKEN", err)
	}
}

func TestSetRefusesBeforeAnythingHappens(t *testing.T) {
	tags := map[string]string{}
	for i := range 16 {
		tags[fmt.Sprint(i)] = ""
	}
	now := time.Now()
	tests := map[string]struct {
		s     broker.NewSecret
		code  broker.Code
		field string
	}{
		"no value":          {broker.NewSecret{}, broker.CodeBadField, "value"},
		"25,601 bytes":      {broker.NewSecret{Value: broker.NewValue(strings.Repeat("x", 25_601))}, broker.CodeValueTooLarge, "value"},
		"not UTF-8":         {broker.NewSecret{Value: broker.NewValue("\xff")}, broker.CodeBadField, "value"},
		"long content type": {broker.NewSecret{Value: broker.NewValue("x"), ContentType: strings.Repeat("t", 256)}, broker.CodeBadField, "content_type"},
		"16 tags":           {broker.NewSecret{Value: broker.NewValue("x"), Tags: tags}, broker.CodeBadField, "tags"},
		"a long tag":        {broker.NewSecret{Value: broker.NewValue("x"), Tags: map[string]string{"k": strings.Repeat("v", 257)}}, broker.CodeBadField, "tags"},
		"a nameless tag":    {broker.NewSecret{Value: broker.NewValue("x"), Tags: map[string]string{"": "v"}}, broker.CodeBadField, "tags"},
		"expires first":     {broker.NewSecret{Value: broker.NewValue("x"), NotBefore: now, Expires: now}, broker.CodeBadField, "expire_time"},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			tt := tests[name]
			w := newWorld(t, brokertest.AllowAll{})
			_, err := w.SetSecret(t.Context(), alice, w.secret(t, "a"), tt.s, broker.SetSecretOptions{})
			if e := broker.AsError(err); e == nil || e.Code != tt.code || e.Field != tt.field {
				t.Fatalf("got %v, want %s of %s", err, tt.code, tt.field)
			}
			if n := w.store.Calls(brokertest.SetSecret) + len(w.audit.Events()); n != 0 {
				t.Errorf("%d vault calls and records, want 0", n)
			}
		})
	}
}
