package vaulthttp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// What the local vault does otherwise than the recorded one.
const (
	settles   = "a recorded delete, recovery or purge settles after its reply; the local vault's is done at once"
	emptyPage = "a recorded page is empty and leads on; the local vault has such pages nowhere"
	ended     = "the recorded list goes on after its last item; the local vault's has ended"
)

// different lists the steps whose replies differ, by set, scenario and number,
// as the local vault does all at once. At the recorded pace there are none.
var different = map[string]map[string]string{
	"ours": {
		"a life, step 7":   settles,
		"a life, step 10":  settles,
		"a backup, step 7": settles,
		"a backup, step 8": settles,
		"lists, step 5":    emptyPage,
		"lists, step 6":    ended,
		"lists, step 7":    ended,
	},
	"others": {
		"TestBackupRestore, step 5":       settles,
		"TestBackupRestore, step 8":       settles,
		"TestBackupRestore, step 9":       settles,
		"TestCRUD, step 6":                settles,
		"TestListDeletedSecrets, step 6":  settles,
		"TestListDeletedSecrets, step 10": emptyPage,
		"TestListDeletedSecrets, step 11": ended,
		"TestListSecrets, step 10":        ended,
		"TestRecover, step 4":             settles,
		"TestRecover, step 7":             settles,
		jsPages + ", step 1":              emptyPage,
		jsPages + ", step 2":              ended,
		jsPages + ", step 3":              ended,
	},
}

const jsPages = "list_secrets_by_page (first 3 pages: two EMPTY pages that still carry nextLink)"

// The recorded requests, sent to the local vault over HTTPS with a token of its
// own token service, get the recorded status, error code, headers and fields.
func TestReplay(t *testing.T) {
	for label, load := range map[string]func() (recordings.Set, error){"ours": recordings.Ours, "others": recordings.Others} {
		t.Run(label, func(t *testing.T) {
			set, err := load()
			if errors.Is(err, recordings.ErrNone) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Run("at once", func(t *testing.T) { replay(t, set, false, different[label]) })
			t.Run("at the recorded pace", func(t *testing.T) { replay(t, set, true, nil) })
		})
	}
}

// replay sends all of set, and wants the listed steps and no others to differ.
func replay(t *testing.T, set recordings.Set, pace bool, listed map[string]string) {
	t.Helper()
	requests, same := 0, 0
	stale := maps.Clone(listed)
	for _, s := range set.Scenarios {
		v := newReplayVault(t, pace)
		v.seed(t, s)
		for i, step := range s.Steps {
			label := fmt.Sprintf("%s, step %d", s.Name, i+1)
			delete(stale, label)
			v.follow(s.Steps, i)
			for range step.Times() {
				requests++
				err := v.repeat(t, step)
				if err == nil {
					same++
				}
				switch why, ok := listed[label]; {
				case err != nil && !ok:
					t.Errorf("%s, %s %s: %v", label, step.Request.Method, step.Request.URL, err)
				case err == nil && ok:
					t.Errorf("%s is as recorded now, and is listed still: %s", label, why)
				}
			}
		}
	}
	for label := range stale {
		t.Errorf("%s is listed, and was not recorded", label)
	}
	t.Logf("%d of %d recorded requests (%.1f %%) get the recorded status, fields and code", same, requests, 100*float64(same)/float64(requests))
}

// reply is what a vault answered, as far as it is compared.
type reply struct {
	status  int
	headers http.Header
	body    map[string]any
}

// differs says what is otherwise in got, or nothing.
func (want reply) differs(got reply) error {
	if got.status != want.status || errorCode(got.body) != errorCode(want.body) {
		return fmt.Errorf("%d %s, want %d %s", got.status, errorCode(got.body), want.status, errorCode(want.body))
	}
	if g, w := fields(got.body), fields(want.body); !slices.Equal(g, w) {
		return fmt.Errorf("fields %v, want %v", g, w)
	}
	for name := range want.headers {
		if got.headers.Get(name) == "" {
			return fmt.Errorf("no header %s", name)
		}
	}
	return nil
}

func errorCode(body map[string]any) string {
	return strings.TrimSuffix(text(body, "error", "code")+"/"+text(body, "error", "innererror", "code"), "/")
}

// told are the fields that a vault fills with what it was asked for, or always
// alike: their values are compared, and of others their types alone.
var told = map[string]bool{
	"alg": true, "contentType": true, "crv": true, "e": true, "enabled": true, "exportable": true, "kty": true, "key_ops[]": true,
	"recoverableDays": true, "recoveryLevel": true, "type": true, "timeAfterCreate": true, "timeBeforeExpiry": true, "expiryTime": true,
}

// sized are those of which the length is compared.
var sized = map[string]bool{"n": true, "x": true, "y": true}

// fields returns the names of all fields in v with their types, those of a list's
// items as one. An id's name says how many parts it has: whether there is a
// version.
func fields(v any) []string {
	names := make(map[string]bool)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				name := path + "." + key
				if id, ok := value.(string); ok && (key == "id" || key == "kid" || key == "recoveryId") {
					name += fmt.Sprint("/", strings.Count(id, "/"))
				}
				walk(name, value)
			}
		case []any:
			names[path+": list"] = true
			for _, item := range v {
				walk(path+"[]", item)
			}
		default:
			last := path[strings.LastIndex(path, ".")+1:]
			switch text, _ := v.(string); {
			case told[last]:
				path += fmt.Sprintf(" = %v", v)
			case sized[last]:
				path += fmt.Sprintf(": %d characters", len(text))
			case last == "nextLink": // where a list ends is the store's matter
			default:
				path += fmt.Sprintf(": %T", v)
			}
			names[path] = true
		}
	}
	walk("", v)
	return slices.Sorted(maps.Keys(names))
}

// recordedReply returns what was recorded.
func recordedReply(r recordings.Response) (reply, error) {
	got := reply{status: r.Status, headers: make(http.Header)}
	for name, v := range r.Headers {
		got.headers.Set(name, v)
	}
	if len(r.Body) == 0 {
		return got, nil
	}
	return got, json.Unmarshal(r.Body, &got.body)
}
