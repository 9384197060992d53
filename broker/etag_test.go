package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/brokertest"
)

// Updates do not make a version, and a vault's clock has seconds: ten writers
// who read, add their own tag and write back, all within one, lose none.
func TestRacingUpdatesWithETagsLoseNothing(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	var writers sync.WaitGroup
	for i := range 10 {
		writers.Go(func() {
			for {
				v, err := w.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				tags := map[string]string{fmt.Sprint("w", i): "x"}
				for k := range v.Tags {
					tags[k] = "x"
				}
				_, err = w.UpdateSecret(t.Context(), alice, n, broker.SecretUpdate{Tags: &tags}, v.ETag())
				if broker.CodeOf(err) == broker.CodeETagMismatch {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	writers.Wait()
	v, err := w.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
	if err != nil || len(v.Tags) != 10 {
		t.Errorf("%d tags of 10, %v", len(v.Tags), err)
	}
}

func TestAnETagShowsEveryChange(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	seen := map[string]string{}
	note := func(what string, s broker.Secret) {
		t.Helper()
		if other, ok := seen[s.ETag()]; ok {
			t.Errorf("%s has the etag of %s", what, other)
		}
		seen[s.ETag()] = what
	}
	v, err := w.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
	if err != nil {
		t.Fatal(err)
	}
	note("a set", v.Secret)
	later := v.Created.AddDate(1, 0, 0)
	for what, u := range map[string]broker.SecretUpdate{
		"a content type": {ContentType: new("x")},
		"tags":           {Tags: &map[string]string{"a": "bc"}},
		"other tags":     {Tags: &map[string]string{"ab": "c"}},
		"a time":         {NotBefore: &v.Created},
		"an end":         {Expires: &later},
		"disabled":       {Enabled: new(false)},
	} {
		s, err := w.UpdateSecret(t.Context(), alice, n, u, "")
		if err != nil {
			t.Fatal(err)
		}
		note(what, s)
	}
}

// With an etag, a deleted secret is recovered and then judged: it comes back
// with the etag it had.
func TestRecoverDeletedWithAnETag(t *testing.T) {
	for name, good := range map[string]bool{"its own": true, "another": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, brokertest.AllowAll{})
			n := w.put(t, "a", "old")
			v, err := w.GetSecret(t.Context(), alice, n, broker.GetSecretOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.store.DeleteSecret(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			etag := v.ETag()
			if !good {
				etag = `"another"`
			}
			_, err = w.SetSecret(t.Context(), alice, n, value("new"), broker.SetSecretOptions{ETag: etag, RecoverDeleted: true})
			if good && err != nil || !good && broker.CodeOf(err) != broker.CodeETagMismatch {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A restore is decided on the vault; its record says what was brought back.
func TestARestoresRecordNamesTheSecret(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	blob, err := w.BackupSecret(t.Context(), alice, n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.DeleteSecret(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := w.store.PurgeSecret(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RestoreSecret(t.Context(), alice, w.vault, blob); err != nil {
		t.Fatal(err)
	}
	events := w.audit.Events()
	if last := events[len(events)-1]; len(last.Items) != 1 || last.Items[0].Resource != n || last.Resource != w.vault {
		t.Errorf("recorded %+v", last)
	}
}

func TestWhatIsNotDeletedIsCalledThat(t *testing.T) {
	w := newWorld(t, brokertest.AllowAll{})
	n := w.put(t, "a", "v")
	_, gerr := w.GetDeletedSecret(t.Context(), alice, n)
	_, uerr := w.UndeleteSecret(t.Context(), alice, n)
	for what, err := range map[string]error{"get": gerr, "undelete": uerr, "purge": w.PurgeSecret(t.Context(), alice, n)} {
		if e := broker.AsError(err); e == nil || e.Code != broker.CodeSecretNotFound || !strings.Contains(e.Message, "no deleted secret") {
			t.Errorf("%s of a live secret: %v", what, err)
		}
	}
}
