package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const (
	testVersion  = "0123456789abcdef0123456789abcdef"
	testVersion2 = "fedcba9876543210fedcba9876543210"
)

var testTime = timestamppb.New(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))

// newStocked returns a broker with a secret of two versions, whose lists come
// in pages, an empty one among them.
func newStocked() *fakeBroker {
	secret := &keywardv1.Secret{
		Name: "vaults/dev/secrets/db-password", Version: testVersion, ContentType: "text/plain", Enabled: true,
		Tags: map[string]string{"team": "pay", "a": "1"}, CreateTime: testTime, UpdateTime: testTime, Etag: `"e"`,
	}
	older := &keywardv1.Secret{
		Name: secret.GetName(), Version: testVersion2, CreateTime: testTime, UpdateTime: testTime, ExpireTime: testTime,
	}
	hostile := &keywardv1.Secret{Name: "vaults/dev/secrets/zz", Enabled: true, ContentType: "\x1b[2J\nroot"}
	return &fakeBroker{
		get: func(context.Context, *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
			return &keywardv1.GetSecretResponse{
				Secret: secret, Value: "s3cret <&>\n", Freshness: &keywardv1.Freshness{FetchTime: testTime},
			}, nil
		},
		set: func(context.Context, *keywardv1.SetSecretRequest) (*keywardv1.Secret, error) { return secret, nil },
		deleted: func(context.Context, *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error) {
			return &keywardv1.DeletedSecret{
				Name: "vaults/dev/deletedSecrets/db-password", Secret: secret, DeleteTime: testTime, PurgeTime: testTime,
			}, nil
		},
		list: func(_ context.Context, r *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
			switch r.GetPageToken() {
			case "":
				listed := proto.CloneOf(secret)
				listed.Version = ""
				return &keywardv1.ListSecretsResponse{Secrets: []*keywardv1.Secret{listed}, NextPageToken: "2"}, nil
			case "2":
				return &keywardv1.ListSecretsResponse{NextPageToken: "3"}, nil
			}
			return &keywardv1.ListSecretsResponse{Secrets: []*keywardv1.Secret{hostile}}, nil
		},
		versions: func(_ context.Context, r *keywardv1.ListSecretVersionsRequest) (*keywardv1.ListSecretVersionsResponse, error) {
			if r.GetPageToken() == "" {
				return &keywardv1.ListSecretVersionsResponse{Secrets: []*keywardv1.Secret{secret}, NextPageToken: "2"}, nil
			}
			return &keywardv1.ListSecretVersionsResponse{Secrets: []*keywardv1.Secret{older}}, nil
		},
	}
}

func TestCommands(t *testing.T) {
	const name = "vaults/dev/secrets/db-password"
	tests := []struct {
		name  string
		args  string
		stdin string
		asked []proto.Message
		want  string
	}{
		{
			name: "get prints the value and nothing else", args: "get db-password",
			asked: []proto.Message{&keywardv1.GetSecretRequest{Name: name}},
			want:  "s3cret <&>\n",
		},
		{
			name: "get a version, as JSON", args: "get db-password --version " + testVersion + " -o json",
			asked: []proto.Message{&keywardv1.GetSecretRequest{Name: name + "/versions/" + testVersion}},
			want: `{
  "secret": {
    "name": "vaults/dev/secrets/db-password",
    "version": "0123456789abcdef0123456789abcdef",
    "contentType": "text/plain",
    "tags": {
      "a": "1",
      "team": "pay"
    },
    "enabled": true,
    "createTime": "2026-11-21T12:00:00Z",
    "updateTime": "2026-11-21T12:00:00Z",
    "recoveryLevel": "",
    "recoverableDays": 0,
    "managed": false,
    "etag": "\"e\""
  },
  "value": "s3cret <&>\n",
  "freshness": {
    "fetchTime": "2026-11-21T12:00:00Z",
    "stale": false
  }
}
`,
		},
		{
			name: "get from another vault", args: "get db-password --vault pay",
			asked: []proto.Message{&keywardv1.GetSecretRequest{Name: "vaults/pay/secrets/db-password"}},
			want:  "s3cret <&>\n",
		},
		{
			name: "set", args: "set db-password", stdin: "s3cret\n",
			asked: []proto.Message{&keywardv1.SetSecretRequest{Name: name, Value: "s3cret", Enabled: new(true)}},
			want:  name + "/versions/" + testVersion + "\n",
		},
		{
			name:  "set, with all there is",
			args:  "set db-password --keep-newline --content-type text/plain --tag a=b=c;d --tag team=pay --disabled --not-before 2026-11-21 --expires 2026-11-21T13:00:00+01:00",
			stdin: "s3cret\n",
			asked: []proto.Message{&keywardv1.SetSecretRequest{
				Name: name, Value: "s3cret\n", ContentType: "text/plain", Enabled: new(false),
				Tags:          map[string]string{"a": "b=c;d", "team": "pay"},
				NotBeforeTime: timestamppb.New(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)),
				ExpireTime:    testTime,
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "delete", args: "delete db-password",
			asked: []proto.Message{&keywardv1.DeleteSecretRequest{Name: name}},
			want:  "deleted vaults/dev/secrets/db-password; the vault keeps it until 2026-11-21T12:00:00Z\n",
		},
		{
			name: "list follows the pages", args: "list",
			asked: []proto.Message{
				&keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: listPage},
				&keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: listPage, PageToken: "2"},
				&keywardv1.ListSecretsRequest{Parent: "vaults/dev", PageSize: listPage, PageToken: "3"},
			},
			want: "NAME         ENABLED  UPDATED               EXPIRES  CONTENT TYPE  TAGS\n" +
				"db-password  yes      2026-11-21T12:00:00Z  -        text/plain    a=1,team=pay\n" +
				"zz           yes      -                     -        \ufffd[2J\ufffdroot     -\n",
		},
		{
			name: "versions follows the pages", args: "versions db-password",
			asked: []proto.Message{
				&keywardv1.ListSecretVersionsRequest{Parent: name, PageSize: listPage},
				&keywardv1.ListSecretVersionsRequest{Parent: name, PageSize: listPage, PageToken: "2"},
			},
			want: "VERSION                           ENABLED  CREATED               EXPIRES               CONTENT TYPE  TAGS\n" +
				testVersion + "  yes      2026-11-21T12:00:00Z  -                     text/plain    a=1,team=pay\n" +
				testVersion2 + "  no       2026-11-21T12:00:00Z  2026-11-21T12:00:00Z  -             -\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newStocked()
			stdout, stderr, code := keyward(t, b.serve(t), tt.stdin, strings.Fields(tt.args)...)
			if code != exitOK || stderr != "" {
				t.Fatalf("exit %d, %s", code, stderr)
			}
			if stdout != tt.want {
				t.Errorf("got\n%s\nwant\n%s", stdout, tt.want)
			}
			if len(b.requests) != len(tt.asked) {
				t.Fatalf("asked %v", b.requests)
			}
			for i, r := range b.requests {
				if !proto.Equal(r, tt.asked[i]) {
					t.Errorf("asked %v; want %v", r, tt.asked[i])
				}
			}
		})
	}
}

// Every command's JSON is one document with what its table shows.
func TestJSON(t *testing.T) {
	tests := []struct {
		args string
		want string
	}{
		{args: "set db-password -o json", want: `"version": "` + testVersion + `"`},
		{args: "delete db-password -o json", want: `"name": "vaults/dev/deletedSecrets/db-password"`},
		{args: "list -o json", want: `"name": "vaults/dev/secrets/zz"`},
		{args: "versions db-password -o json", want: `"enabled": false`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := keyward(t, newStocked().serve(t), "v", strings.Fields(tt.args)...)
			if code != exitOK || !strings.HasPrefix(stdout, "{") || !strings.Contains(stdout, tt.want) {
				t.Errorf("exit %d, %s%s", code, stdout, stderr)
			}
		})
	}
}

func TestListOfNothing(t *testing.T) {
	b := &fakeBroker{list: func(context.Context, *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
		return &keywardv1.ListSecretsResponse{}, nil
	}}
	stdout, stderr, code := keyward(t, b.serve(t), "", "list")
	if code != exitOK || stdout != "" || !strings.Contains(stderr, "no secrets in vaults/dev") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestValueIsNeverAnArgument(t *testing.T) {
	b := newStocked()
	dir := b.serve(t)
	for _, args := range []string{
		"set db-password hunter2",
		"set db-password --tag a=b hunter2",
		"set --disabled db-password hunter2 --tag a=b",
	} {
		t.Run(args, func(t *testing.T) {
			stdout, stderr, code := keyward(t, dir, "other", strings.Fields(args)...)
			if code != exitUsage || !strings.Contains(stderr, "never an argument") || !strings.Contains(stderr, "--value-file") {
				t.Errorf("exit %d, %q", code, stderr)
			}
			if strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("%q repeats the value", stderr)
			}
		})
	}
	if len(b.requests) != 0 {
		t.Errorf("asked %v", b.requests)
	}
}

func TestMoment(t *testing.T) {
	tests := []struct {
		text string
		want time.Time // zero: refused
	}{
		{text: "2027-01-31", want: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		{text: "2027-01-31T12:00:00+02:00", want: time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC)},
		{text: "31.1.2027"},
		{text: "30 days"},
		{text: ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			var m moment
			if err := m.UnmarshalText([]byte(tt.text)); (err != nil) != tt.want.IsZero() || !m.time.Equal(tt.want) {
				t.Errorf("got %v, %v; want %v", m.time, err, tt.want)
			}
		})
	}
	t.Run("a duration from now", func(t *testing.T) {
		var m moment
		before := time.Now()
		if err := m.UnmarshalText([]byte("720h")); err != nil {
			t.Fatal(err)
		}
		if m.time.Before(before.Add(720*time.Hour)) || m.time.After(time.Now().Add(720*time.Hour)) {
			t.Errorf("got %v", m.time)
		}
	})
}
