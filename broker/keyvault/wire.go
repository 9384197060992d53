package keyvault

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

// DefaultAPIVersion is the version of the contract that the client asks for.
const DefaultAPIVersion = "2026-04-01"

// Error codes of Key Vault, as they stand in an ErrorReply.
const (
	ErrorBadParameter     = "BadParameter"
	ErrorUnauthorized     = "Unauthorized"
	ErrorForbidden        = "Forbidden"
	ErrorSecretNotFound   = "SecretNotFound"
	ErrorKeyNotFound      = "KeyNotFound"
	ErrorNotSupported     = "NotSupported"
	ErrorNotFound         = "NotFound"
	ErrorMethodNotAllowed = "MethodNotAllowed"
	ErrorConflict         = "Conflict"
	ErrorThrottled        = "Throttled"
	// What is no backup: Key Vault's code has spaces, Managed HSM's has none.
	ErrorMalformedBackup    = "Malformed backup blob"
	ErrorMalformedBackupHSM = "MalformedBackupBlob"
	// A backup that the server will not give. Key Vault is not known to have a
	// code for it.
	ErrorBackupTooLarge = "BackupTooLarge"

	// Inner codes, which say more about ErrorForbidden and ErrorConflict.
	InnerSecretDisabled  = "SecretDisabled"
	InnerKeyDisabled     = "KeyDisabled"
	InnerKeyForbidden    = "KeyOperationForbidden"
	InnerForbiddenByRbac = "ForbiddenByRbac"
	InnerDeleted         = "ObjectIsDeletedButRecoverable"
	InnerBeingDeleted    = "ObjectIsBeingDeleted"
	InnerBeingRecovered  = "ObjectIsBeingRecovered"
)

// Secret is a secret as Key Vault writes it, with its value or without.
type Secret struct {
	Value       *Cleartext        `json:"value,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	ID          string            `json:"id"`
	Attributes  Attributes        `json:"attributes,omitzero"`
	Tags        map[string]string `json:"tags,omitempty"`
	// KeyID is the key of a certificate's secret.
	KeyID   string `json:"kid,omitempty"`
	Managed bool   `json:"managed,omitempty"`
}

// DeletedSecret is a soft-deleted secret, without its value.
type DeletedSecret struct {
	RecoveryID         string    `json:"recoveryId,omitempty"`
	DeletedDate        *UnixTime `json:"deletedDate,omitempty"`
	ScheduledPurgeDate *UnixTime `json:"scheduledPurgeDate,omitempty"`
	Secret
}

// List is a page. It may be empty and still have a NextLink; Key Vault writes
// null on the last page, Managed HSM leaves the field out.
type List[T any] struct {
	Value    []T     `json:"value"`
	NextLink *string `json:"nextLink"`
}

// SetSecretRequest is the body of a set.
type SetSecretRequest struct {
	Value       *Cleartext        `json:"value,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Attributes  Attributes        `json:"attributes,omitzero"`
}

// UpdateSecretRequest is the body of an update. What is nil stays as it is.
type UpdateSecretRequest struct {
	ContentType *string            `json:"contentType,omitempty"`
	Tags        *map[string]string `json:"tags,omitempty"`
	Attributes  Attributes         `json:"attributes,omitzero"`
}

// Attributes of a secret. A client may set the first three.
type Attributes struct {
	Enabled         *bool     `json:"enabled,omitempty"`
	NotBefore       *UnixTime `json:"nbf,omitempty"`
	Expires         *UnixTime `json:"exp,omitempty"`
	Created         *UnixTime `json:"created,omitempty"`
	Updated         *UnixTime `json:"updated,omitempty"`
	RecoveryLevel   string    `json:"recoveryLevel,omitempty"`
	RecoverableDays int32     `json:"recoverableDays,omitempty"`
}

// ErrorReply is the body of every error.
type ErrorReply struct {
	Error ErrorBody `json:"error"`
}

// ErrorBody says what went wrong, for programs and for people.
type ErrorBody struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Inner   *InnerError `json:"innererror,omitempty"`
}

// InnerError narrows the code of an ErrorBody.
type InnerError struct {
	Code string `json:"code"`
}

// Cleartext is a secret value on its way over the wire: JSON carries it, and
// whatever else prints it shows "[redacted]".
type Cleartext struct{ broker.Value }

// MarshalJSON implements json.Marshaler. It writes the value.
func (c Cleartext) MarshalJSON() ([]byte, error) { return json.Marshal(c.Reveal()) }

// UnmarshalJSON implements json.Unmarshaler. Its errors do not quote the input.
func (c *Cleartext) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New("the value is not a JSON string")
	}
	c.Value = broker.NewValue(text)
	return nil
}

// UnixTime is a time in whole seconds.
type UnixTime int64

// NewUnixTime returns t, or nil if t is zero.
func NewUnixTime(t time.Time) *UnixTime {
	if t.IsZero() {
		return nil
	}
	return new(UnixTime(t.Unix()))
}

// Time returns the time in UTC, or a zero time for nil.
func (t *UnixTime) Time() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Unix(int64(*t), 0).UTC()
}

// FromSecret returns s as Key Vault writes it under the given id.
func FromSecret(id string, s broker.Secret) Secret {
	return Secret{
		ContentType: s.ContentType,
		ID:          id,
		Attributes: Attributes{
			Enabled:         &s.Enabled,
			NotBefore:       NewUnixTime(s.NotBefore),
			Expires:         NewUnixTime(s.Expires),
			Created:         NewUnixTime(s.Created),
			Updated:         NewUnixTime(s.Updated),
			RecoveryLevel:   s.RecoveryLevel,
			RecoverableDays: s.RecoverableDays,
		},
		Tags:    s.Tags,
		Managed: s.Managed,
	}
}

// As returns s as the broker knows it, under the given name. A secret that
// does not say whether it is enabled is.
func (s Secret) As(name broker.Name) broker.Secret {
	a := s.Attributes
	return broker.Secret{
		Name:            name,
		ContentType:     s.ContentType,
		Tags:            s.Tags,
		Enabled:         a.Enabled == nil || *a.Enabled,
		NotBefore:       a.NotBefore.Time(),
		Expires:         a.Expires.Time(),
		Created:         a.Created.Time(),
		Updated:         a.Updated.Time(),
		RecoveryLevel:   a.RecoveryLevel,
		RecoverableDays: a.RecoverableDays,
		Managed:         s.Managed,
	}
}

// As returns s as the broker knows it, under the given name's base.
func (s DeletedSecret) As(name broker.Name) broker.DeletedSecret {
	return broker.DeletedSecret{
		Secret:  s.Secret.As(name.Base()),
		Deleted: s.DeletedDate.Time(),
		Purges:  s.ScheduledPurgeDate.Time(),
	}
}

// FromNewSecret returns s as the body of a set.
func FromNewSecret(s broker.NewSecret) SetSecretRequest {
	return SetSecretRequest{
		Value:       &Cleartext{s.Value},
		ContentType: s.ContentType,
		Tags:        s.Tags,
		Attributes: Attributes{
			Enabled:   &s.Enabled,
			NotBefore: NewUnixTime(s.NotBefore),
			Expires:   NewUnixTime(s.Expires),
		},
	}
}

// NewSecret returns r as the broker knows it. An absent value is empty; a
// secret that does not say whether it is enabled is.
func (r SetSecretRequest) NewSecret() broker.NewSecret {
	s := broker.NewSecret{
		ContentType: r.ContentType,
		Tags:        r.Tags,
		Enabled:     r.Attributes.Enabled == nil || *r.Attributes.Enabled,
		NotBefore:   r.Attributes.NotBefore.Time(),
		Expires:     r.Attributes.Expires.Time(),
	}
	if r.Value != nil {
		s.Value = r.Value.Value
	}
	return s
}

// FromSecretUpdate returns u as the body of an update.
func FromSecretUpdate(u broker.SecretUpdate) UpdateSecretRequest {
	r := UpdateSecretRequest{ContentType: u.ContentType, Tags: u.Tags, Attributes: Attributes{Enabled: u.Enabled}}
	if u.Tags != nil && *u.Tags == nil {
		r.Tags = &map[string]string{} // a null would leave the tags as they are
	}
	if u.NotBefore != nil {
		r.Attributes.NotBefore = NewUnixTime(*u.NotBefore)
	}
	if u.Expires != nil {
		r.Attributes.Expires = NewUnixTime(*u.Expires)
	}
	return r
}

// SecretUpdate returns r as the broker knows it.
func (r UpdateSecretRequest) SecretUpdate() broker.SecretUpdate {
	u := broker.SecretUpdate{ContentType: r.ContentType, Tags: r.Tags, Enabled: r.Attributes.Enabled}
	if t := r.Attributes.NotBefore; t != nil {
		u.NotBefore = new(t.Time())
	}
	if t := r.Attributes.Expires; t != nil {
		u.Expires = new(t.Time())
	}
	return u
}

// secretName returns the name that a secret's id stands for in the given
// vault, with its version if it has one. The id's host is not looked at:
// whoever answered was reached at the configured one.
func secretName(vault broker.Name, id string) (broker.Name, error) {
	u, err := url.Parse(id)
	if err != nil {
		return broker.Name{}, errBadID
	}
	return nameAt(vault, broker.KindSecrets, u)
}

// nameAt returns the name that an id's path stands for.
func nameAt(vault broker.Name, kind broker.Kind, id *url.URL) (broker.Name, error) {
	path, ok := strings.CutPrefix(id.EscapedPath(), "/"+string(kind)+"/")
	if !ok {
		return broker.Name{}, errBadID
	}
	object, version, versioned := strings.Cut(path, "/")
	n, err := vault.Object(kind, object)
	if err == nil && versioned {
		n, err = n.WithVersion(version)
	}
	if err != nil {
		return broker.Name{}, errBadID
	}
	return n, nil
}

var errBadID = errors.New("an id in the reply is not of what was asked for")
