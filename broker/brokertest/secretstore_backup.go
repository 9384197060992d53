package brokertest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strconv"

	"github.com/keyward/keyward/broker"
)

// backup is what a blob of a SecretStore holds, in the clear.
type backup struct {
	Object   string
	Versions []backupVersion // oldest first
}

type backupVersion struct {
	broker.Secret
	// Name is the version, in place of the secret's name, which cannot be read
	// from JSON.
	Name string
	// Value is bytes, because a broker.Value would be redacted.
	Value []byte
}

// BackupSecret implements broker.SecretStore. The blob is JSON behind its
// checksum.
func (s *SecretStore) BackupSecret(ctx context.Context, name broker.Name) (broker.Value, error) {
	if err := s.enter(ctx, BackupSecret, name); err != nil {
		return broker.Value{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.live(name)
	if err != nil {
		return broker.Value{}, err
	}
	b := backup{Object: name.ObjectName()}
	for _, v := range sec.versions {
		b.Versions = append(b.Versions, backupVersion{
			Secret: v.Secret, Name: v.Name.Version(), Value: []byte(v.Value.Reveal()),
		})
	}
	text, err := json.Marshal(b)
	if err != nil {
		return broker.Value{}, err
	}
	sum := sha256.Sum256(text)
	if len(sum)+len(text) > broker.MaxBackupLen {
		return broker.Value{}, &broker.Error{Code: broker.CodeValueTooLarge, Field: "name"}
	}
	return broker.NewValue(string(sum[:]) + string(text)), nil
}

// RestoreSecret implements broker.SecretStore.
func (s *SecretStore) RestoreSecret(ctx context.Context, vault broker.Name, blob broker.Value) (broker.Secret, error) {
	if err := s.enter(ctx, RestoreSecret, vault); err != nil {
		return broker.Secret{}, err
	}
	b, ok := parseBackup(blob)
	if !ok {
		return broker.Secret{}, &broker.Error{Code: broker.CodeBadField, Field: "blob"}
	}
	name, err := vault.Object(broker.KindSecrets, b.Object)
	if err != nil {
		return broker.Secret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch sec := s.secrets[b.Object]; {
	case sec != nil && sec.deleted.IsZero():
		return broker.Secret{}, &broker.Error{Code: broker.CodeSecretExists}
	case sec != nil:
		return broker.Secret{}, &broker.Error{Code: broker.CodeSecretSoftDeleted}
	}
	restored := new(secret)
	for _, v := range b.Versions {
		if v.Secret.Name, err = name.WithVersion(v.Name); err != nil {
			return broker.Secret{}, err
		}
		made, err := strconv.ParseUint(v.Name, 16, 64)
		if err != nil {
			return broker.Secret{}, err
		}
		s.made = max(s.made, made)
		restored.versions = append(restored.versions, broker.SecretValue{Secret: v.Secret, Value: broker.NewValue(string(v.Value))})
	}
	s.secrets[b.Object], s.sorted = restored, nil
	return restored.latest(), nil
}

func parseBackup(blob broker.Value) (b backup, ok bool) {
	text := blob.Reveal()
	if len(text) < sha256.Size {
		return b, false
	}
	sum := sha256.Sum256([]byte(text[sha256.Size:]))
	if text[:sha256.Size] != string(sum[:]) {
		return b, false
	}
	err := json.Unmarshal([]byte(text[sha256.Size:]), &b)
	return b, err == nil
}
