package service_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
	"github.com/keyward/keyward/service"
)

// TestBackAndGone walks a secret through deletion, recovery, backup, purge and
// restoration, by turns over gRPC and REST.
func TestBackAndGone(t *testing.T) {
	w := newWorld(t)
	const db, deleted = "vaults/dev/secrets/db", "vaults/dev/deletedSecrets/db"
	first := w.put(db, "one").Version()
	w.put(db, "two")
	grpc := func(req proto.Message) verdict {
		_, err := w.call(w.billing(), req)
		return grpcVerdict(err)
	}
	rest := func(target, body string) verdict { return w.rest(w.billing(), target, body).verdict(t) }
	expect := func(step string, got, want verdict) {
		t.Helper()
		if got != want {
			t.Fatalf("%s: %v, want %v", step, got, want)
		}
	}
	notFound, softDeleted, exists := verdict{"NotFound", "SECRET_NOT_FOUND"}, verdict{"FailedPrecondition", "SECRET_SOFT_DELETED"}, verdict{"AlreadyExists", "SECRET_EXISTS"}

	expect("get what is not deleted", grpc(&keywardv1.GetDeletedSecretRequest{Name: deleted}), notFound)
	backup := w.rest(w.billing(), "POST /v1/"+db+":backup", "")
	blob := new(keywardv1.BackupSecretResponse)
	w.must(protojson.Unmarshal(backup.body, blob))
	expect("restore over it", grpc(&keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: blob.GetBlob()}), exists)
	expect("delete", rest("DELETE /v1/"+db, ""), verdict{})
	expect("get deleted", rest("GET /v1/"+deleted, ""), verdict{})
	expect("set a deleted name", rest("PUT /v1/"+db, `{"value":"x"}`), softDeleted)
	expect("restore over the deleted", rest("POST /v1/vaults/dev/secrets:restore", string(backup.body)), softDeleted)
	expect("undelete", rest("POST /v1/"+deleted+":undelete", "{}"), verdict{})
	expect("undelete again", grpc(&keywardv1.UndeleteSecretRequest{Name: deleted}), notFound)
	if v := w.value(db); v != "two" {
		t.Errorf("recovered %q", v)
	}
	expect("delete again", grpc(&keywardv1.DeleteSecretRequest{Name: db}), verdict{})
	expect("purge", rest("DELETE /v1/"+deleted, ""), verdict{})
	expect("purge again", grpc(&keywardv1.PurgeSecretRequest{Name: deleted}), notFound)
	expect("undelete what is purged", rest("POST /v1/"+deleted+":undelete", ""), notFound)
	expect("restore", rest("POST /v1/vaults/dev/secrets:restore", string(backup.body)), verdict{})
	if v := w.value(db) + w.value(db+"/versions/"+first); v != "twoone" {
		t.Errorf("restored %q", v)
	}

	version := "/versions/" + strings.Repeat("0", 32)
	bad := verdict{"InvalidArgument", "BAD_NAME"}
	expect("a deleted version", grpc(&keywardv1.GetDeletedSecretRequest{Name: deleted + version}), bad)
	expect("undelete a version", grpc(&keywardv1.UndeleteSecretRequest{Name: deleted + version}), bad)
	expect("purge a version", grpc(&keywardv1.PurgeSecretRequest{Name: deleted + version}), bad)
	expect("purge by the live name", grpc(&keywardv1.PurgeSecretRequest{Name: db}), bad)
	expect("back up a version", grpc(&keywardv1.BackupSecretRequest{Name: db + version}), bad)
}

// anyBlob is a store that takes and gives blobs of any content.
type anyBlob struct {
	broker.SecretStore
	name broker.Name
	blob broker.Value
}

func (a *anyBlob) RestoreSecret(_ context.Context, _ broker.Name, blob broker.Value) (broker.Secret, error) {
	a.blob = blob
	return broker.Secret{Name: a.name}, nil
}

func (a *anyBlob) BackupSecret(context.Context, broker.Name) (broker.Value, error) {
	return a.blob, nil
}

// TestBlobsUpToTheLimit: the largest goes there and back over both transports,
// one byte more over neither.
func TestBlobsUpToTheLimit(t *testing.T) {
	name, err := broker.ParseName(broker.KindSecrets, "vaults/dev/secrets/db")
	if err != nil {
		t.Fatal(err)
	}
	store := &anyBlob{name: name}
	w := newWorld(t, func(_ *service.Config, bc *broker.Config) {
		store.SecretStore = bc.Vaults["dev"].Secrets
		bc.Vaults["dev"] = broker.Vault{Secrets: store}
	})
	w.put(name.String(), "x")
	largest := make([]byte, broker.MaxBackupLen)
	_, _ = rand.Read(largest)
	tooLarge, badField := verdict{"InvalidArgument", "VALUE_TOO_LARGE"}, verdict{"InvalidArgument", "BAD_FIELD"}
	cases := map[string]struct {
		blob []byte
		want verdict
	}{
		"the largest":     {largest, verdict{}},
		"a byte more":     {append(slices.Clip(largest), 'x'), tooLarge},
		"half a MiB more": {make([]byte, broker.MaxBackupLen*3/2), tooLarge},
		"none":            {nil, badField},
	}
	for label, c := range cases {
		t.Run(label, func(t *testing.T) {
			w := w.in(t)
			text := base64.StdEncoding.EncodeToString(c.blob)
			restores := map[string]func() error{
				"gRPC": func() error {
					_, err := w.call(w.billing(), &keywardv1.RestoreSecretRequest{Parent: "vaults/dev", Blob: c.blob})
					return err
				},
				"REST": func() error {
					return w.rest(w.billing(), "POST /v1/vaults/dev/secrets:restore", `{"blob":"`+text+`"}`).err(t)
				},
			}
			for transport, restore := range restores {
				store.blob = broker.Value{}
				err := restore()
				if got := grpcVerdict(err); got != c.want || (err != nil) != (fieldAtFault(err) == "blob") {
					t.Errorf("%s: %v, want %v", transport, err, c.want)
				}
				if err == nil && store.blob.Reveal() != string(c.blob) {
					t.Errorf("%s: the vault got another blob", transport)
				}
			}
			if c.want != (verdict{}) {
				return
			}
			reply, err := w.call(w.billing(), &keywardv1.BackupSecretRequest{Name: name.String()})
			if err != nil || string(reply.(*keywardv1.BackupSecretResponse).GetBlob()) != string(c.blob) {
				t.Errorf("gRPC: a backup came back otherwise: %v", err)
			}
			if r := w.rest(w.billing(), "POST /v1/"+name.String()+":backup", ""); r.status != http.StatusOK || !strings.Contains(string(r.body), text) {
				t.Errorf("REST: a backup came back otherwise: %d", r.status)
			}
		})
	}
	store.blob = broker.NewValue(string(largest) + "x")
	if _, err := w.call(w.billing(), &keywardv1.BackupSecretRequest{Name: name.String()}); grpcVerdict(err) != tooLarge {
		t.Errorf("a backup that could not be restored: %v", err)
	}
	if r := w.rest(w.billing(), "POST /v1/vaults/dev/secrets:restore", strings.Repeat(" ", 3<<20)); r.verdict(t) != tooLarge {
		t.Errorf("a body of 3 MiB: %d %s", r.status, r.body)
	}
}
