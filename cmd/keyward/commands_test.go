package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

const (
	testVersion  = "0123456789abcdef0123456789abcdef"
	testVersion2 = "fedcba9876543210fedcba9876543210"
)

var testTime = timestamppb.New(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))

// fakeBlob is a backup: bytes, no text.
const fakeBlob = "\x00\xffblob\n"

func fakeSecret() *keywardv1.Secret {
	return &keywardv1.Secret{
		Name: "vaults/dev/secrets/db-password", Version: testVersion, ContentType: "text/plain", Enabled: true,
		Tags: map[string]string{"team": "pay", "a": "1"}, CreateTime: testTime, UpdateTime: testTime, Etag: `"e"`,
	}
}

func fakeDeleted() *keywardv1.DeletedSecret {
	return &keywardv1.DeletedSecret{
		Name: "vaults/dev/deletedSecrets/db-password", Secret: fakeSecret(), DeleteTime: testTime, PurgeTime: testTime,
	}
}

// newStocked returns a broker with a secret of two versions, whose lists come
// in pages, an empty one among them.
func newStocked() *fakeBroker {
	secret := fakeSecret()
	older := &keywardv1.Secret{
		Name: secret.GetName(), Version: testVersion2, CreateTime: testTime, UpdateTime: testTime, ExpireTime: testTime,
	}
	hostile := &keywardv1.Secret{Name: "vaults/dev/secrets/zz", Enabled: true, ContentType: "\x1b[2J\nroot"}
	return &fakeBroker{
		get: func(_ context.Context, r *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
			if r.GetKnownVersion() == testVersion {
				return &keywardv1.GetSecretResponse{Secret: secret, NotModified: true}, nil
			}
			return &keywardv1.GetSecretResponse{
				Secret: secret, Value: "s3cret <&>\n", Freshness: &keywardv1.Freshness{FetchTime: testTime},
			}, nil
		},
		set: func(context.Context, *keywardv1.SetSecretRequest) (*keywardv1.Secret, error) { return secret, nil },
		deleted: func(context.Context, *keywardv1.DeleteSecretRequest) (*keywardv1.DeletedSecret, error) {
			return fakeDeleted(), nil
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
	const name, deleted = "vaults/dev/secrets/db-password", "vaults/dev/deletedSecrets/db-password"
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
  },
  "notModified": false
}
`,
		},
		{
			name: "get from another vault", args: "get db-password --vault pay",
			asked: []proto.Message{&keywardv1.GetSecretRequest{Name: "vaults/pay/secrets/db-password"}},
			want:  "s3cret <&>\n",
		},
		{
			name: "get, no older than", args: "get db-password --max-age 0s --known-version " + testVersion2,
			asked: []proto.Message{&keywardv1.GetSecretRequest{Name: name, MaxAge: durationpb.New(0), KnownVersion: testVersion2}},
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
			name: "set, on a condition", args: `set db-password --etag "e" --recover-deleted`, stdin: "v",
			asked: []proto.Message{&keywardv1.SetSecretRequest{
				Name: name, Value: "v", Enabled: new(true), Etag: `"e"`, RecoverDeleted: true,
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "generate", args: "generate db-password",
			asked: []proto.Message{&keywardv1.GenerateSecretRequest{Name: name, Enabled: new(true)}},
			want:  name + "/versions/" + testVersion + "\n",
		},
		{
			name: "generate, with all there is",
			args: `generate db-password --length 6 --alphabet 0,1 --content-type pin --tag a=b --disabled --not-before 2026-11-21 --expires 2026-11-21T12:00:00Z --etag "e"`,
			asked: []proto.Message{&keywardv1.GenerateSecretRequest{
				Name: name, Length: 6, Alphabet: "0,1", ContentType: "pin", Tags: map[string]string{"a": "b"}, Enabled: new(false),
				NotBeforeTime: timestamppb.New(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)), ExpireTime: testTime, Etag: `"e"`,
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "update names what it changes", args: "update db-password --disable",
			asked: []proto.Message{&keywardv1.UpdateSecretRequest{
				Secret: &keywardv1.Secret{Name: name}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enabled"}},
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "update to nothing", args: "update db-password --content-type= --no-tags",
			asked: []proto.Message{&keywardv1.UpdateSecretRequest{
				Secret: &keywardv1.Secret{Name: name}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type", "tags"}},
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "update, with all there is",
			args: "update db-password --version " + testVersion +
				` --content-type text/plain --tag a=b=c --enable --not-before 2026-11-21 --expires 2026-11-21T12:00:00Z --etag "e"`,
			asked: []proto.Message{&keywardv1.UpdateSecretRequest{
				Secret: &keywardv1.Secret{
					Name: name + "/versions/" + testVersion, ContentType: "text/plain", Tags: map[string]string{"a": "b=c"}, Enabled: true,
					NotBeforeTime: timestamppb.New(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)), ExpireTime: testTime, Etag: `"e"`,
				},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"content_type", "tags", "enabled", "not_before_time", "expire_time"}},
			}},
			want: name + "/versions/" + testVersion + "\n",
		},
		{
			name: "delete, on a condition", args: `delete db-password --etag "e"`,
			asked: []proto.Message{&keywardv1.DeleteSecretRequest{Name: name, Etag: `"e"`}},
			want:  "deleted vaults/dev/secrets/db-password; the vault keeps it until 2026-11-21T12:00:00Z\n",
		},
		{
			name: "deleted list follows the pages", args: "deleted list",
			asked: []proto.Message{
				&keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev", PageSize: listPage},
				&keywardv1.ListDeletedSecretsRequest{Parent: "vaults/dev", PageSize: listPage, PageToken: "2"},
			},
			want: "NAME         DELETED               PURGED                CONTENT TYPE  TAGS\n" +
				"db-password  2026-11-21T12:00:00Z  2026-11-21T12:00:00Z  text/plain    a=1,team=pay\n",
		},
		{
			name: "deleted get", args: "deleted get db-password",
			asked: []proto.Message{&keywardv1.GetDeletedSecretRequest{Name: deleted}},
			want: "NAME         DELETED               PURGED                CONTENT TYPE  TAGS\n" +
				"db-password  2026-11-21T12:00:00Z  2026-11-21T12:00:00Z  text/plain    a=1,team=pay\n",
		},
		{
			name: "undelete, in full", args: "undelete " + deleted,
			asked: []proto.Message{&keywardv1.UndeleteSecretRequest{Name: deleted}},
			want:  "recovered vaults/dev/secrets/db-password\n",
		},
		{
			name: "undelete, by the name it had", args: "undelete " + name,
			asked: []proto.Message{&keywardv1.UndeleteSecretRequest{Name: deleted}},
			want:  "recovered vaults/dev/secrets/db-password\n",
		},
		{
			name: "purge", args: "purge db-password --yes",
			asked: []proto.Message{&keywardv1.PurgeSecretRequest{Name: deleted}},
			want:  "purged vaults/dev/deletedSecrets/db-password\n",
		},
		{
			name: "backup", args: "backup db-password",
			asked: []proto.Message{&keywardv1.BackupSecretRequest{Name: name}},
			want:  fakeBlob,
		},
		{
			name: "restore", args: "restore --vault pay", stdin: fakeBlob,
			asked: []proto.Message{&keywardv1.RestoreSecretRequest{Parent: "vaults/pay", Blob: []byte(fakeBlob)}},
			want:  "restored vaults/dev/secrets/db-password\n",
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
		{args: "get db-password -o json --known-version " + testVersion, want: `"notModified": true`},
		{args: "generate db-password -o json", want: `"etag": "\"e\""`},
		{args: "update db-password --enable -o json", want: `"enabled": true`},
		{args: "deleted list -o json", want: `"deletedSecrets"`},
		{args: "deleted get db-password -o json", want: `"purgeTime"`},
		{args: "undelete db-password -o json", want: `"version": "` + testVersion + `"`},
		{args: "purge db-password -y -o json", want: `{}`},
		{args: "backup db-password -o json", want: `"blob": "AP9ibG9iCg=="`},
		{args: "restore -o json", want: `"version": "` + testVersion + `"`},
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

// What is refused on this side says what to do, and asks the broker nothing.
func TestRefusedBeforeTheCall(t *testing.T) {
	tests := []struct {
		args, stdin, want string
		code              int
	}{
		{args: "update db-password", want: "nothing to change", code: exitError},
		{args: "update db-password --enable --disable", want: "can't be used together", code: exitUsage},
		{args: "update db-password --tag a=b --no-tags", want: "can't be used together", code: exitUsage},
		{args: "purge db-password", stdin: "yes\n", want: "add --yes", code: exitError},
		{args: "undelete vaults/dev/secrets/a/versions/" + testVersion, want: "leave the version out", code: exitError},
		{args: "undelete vaults/dev/keys/a", want: "BAD_NAME", code: exitError},
		{args: "backup db-password --out f -o json", want: "leave out -o json", code: exitError},
		{args: "restore", want: "is empty", code: exitError},
		{args: "restore", stdin: strings.Repeat("x", broker.MaxBackupLen+1), want: "VALUE_TOO_LARGE", code: exitError},
		{args: "restore nowhere", want: "no such file", code: exitError},
		{args: "get db-password --max-age soon", want: "--max-age", code: exitUsage},
		{args: "completion tcsh", want: "bash", code: exitUsage},
	}
	b := newStocked()
	dir := b.serve(t)
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, code := keyward(t, dir, tt.stdin, strings.Fields(tt.args)...)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit %d, stdout %q, stderr %q; want %q", code, stdout, stderr, tt.want)
			}
		})
	}
	if len(b.requests) != 0 {
		t.Errorf("asked %v", b.requests)
	}
}

func TestGetOfWhatIsKnown(t *testing.T) {
	stdout, stderr, code := keyward(t, newStocked().serve(t), "", "get", "db-password", "--known-version", testVersion)
	if code != exitOK || stdout != "" || !strings.Contains(stderr, "not modified") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestGetOfWhatIsStale(t *testing.T) {
	b := newStocked()
	fresh := b.get
	b.get = func(ctx context.Context, r *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
		reply, err := fresh(ctx, r)
		reply.GetFreshness().Stale = true
		return reply, err
	}
	dir := b.serve(t)
	stdout, stderr, code := keyward(t, dir, "", "get", "db-password")
	if want := "stale: the vault cannot be asked; this is its answer of " + timeText(testTime) + "\n"; code != exitOK || stdout != "s3cret <&>\n" || stderr != want {
		t.Errorf("exit %d, stdout %q, stderr %q; want %q", code, stdout, stderr, want)
	}
	stdout, stderr, code = keyward(t, dir, "", "get", "db-password", "-o", "json")
	if code != exitOK || !strings.Contains(stdout, `"stale": true`) || stderr != "" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestBackupToAFile(t *testing.T) {
	dir := newStocked().serve(t)
	file := filepath.Join(t.TempDir(), "db-password.backup")
	if err := os.WriteFile(file, []byte("an older one"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := keyward(t, dir, "", "backup", "db-password", "--out", file)
	if code != exitOK || stdout != "saved vaults/dev/secrets/db-password in "+file+"\n" {
		t.Fatalf("exit %d, %q, %s", code, stdout, stderr)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 || read(t, file) != fakeBlob {
		t.Errorf("%v, %v, %q", info.Mode(), err, read(t, file))
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
