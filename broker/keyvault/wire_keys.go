package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/keyward/keyward/broker"
)

// Bytes are bytes in base64url without padding, as all of a key's are.
type Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler. Padding is passed over; its errors
// do not quote the input.
func (b *Bytes) UnmarshalJSON(text []byte) error {
	var encoded string
	if json.Unmarshal(text, &encoded) != nil {
		return errNoBytes
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return errNoBytes
	}
	*b = raw
	return nil
}

var errNoBytes = errors.New("no JSON string of base64url")

// JSONWebKey is a public key (RFC 7517), with its id and what it is for.
type JSONWebKey struct {
	KeyID string         `json:"kid,omitempty"`
	Type  broker.KeyType `json:"kty"`
	Ops   []broker.KeyOp `json:"key_ops,omitempty"`
	N     Bytes          `json:"n,omitempty"`
	E     Bytes          `json:"e,omitempty"`
	Curve broker.Curve   `json:"crv,omitempty"`
	X     Bytes          `json:"x,omitempty"`
	Y     Bytes          `json:"y,omitempty"`
}

// KeyAttributes are those of a key.
type KeyAttributes struct {
	Attributes
	Exportable  *bool  `json:"exportable,omitempty"`
	HSMPlatform string `json:"hsmPlatform,omitempty"`
}

// Key is a key as Key Vault writes it.
type Key struct {
	Key        JSONWebKey        `json:"key"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
	Managed    bool              `json:"managed,omitempty"`
}

// KeyItem is a key in a list.
type KeyItem struct {
	KeyID      string            `json:"kid"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
	Managed    bool              `json:"managed,omitempty"`
}

// Deletion is what a soft-deleted object has beside itself.
type Deletion struct {
	RecoveryID         string    `json:"recoveryId,omitempty"`
	DeletedDate        *UnixTime `json:"deletedDate,omitempty"`
	ScheduledPurgeDate *UnixTime `json:"scheduledPurgeDate,omitempty"`
}

// DeletedKey is a soft-deleted key.
type DeletedKey struct {
	Deletion
	Key
}

// DeletedKeyItem is a soft-deleted key in a list.
type DeletedKeyItem struct {
	Deletion
	KeyItem
}

// CreateKeyRequest is the body of a create.
type CreateKeyRequest struct {
	Type       broker.KeyType    `json:"kty"`
	Size       int32             `json:"key_size,omitempty"`
	Curve      broker.Curve      `json:"crv,omitempty"`
	Ops        []broker.KeyOp    `json:"key_ops,omitempty"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// ImportKeyRequest is the body of an import. Key is the whole key.
type ImportKeyRequest struct {
	Key        Material          `json:"key"`
	HSM        bool              `json:"Hsm,omitempty"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// Material is a JSON Web Key with its private half, on its way over the wire.
// Whatever else prints it shows "[redacted]".
type Material struct{ broker.Value }

// MarshalJSON implements json.Marshaler. It writes the key.
func (m Material) MarshalJSON() ([]byte, error) { return []byte(m.Reveal()), nil }

// UnmarshalJSON implements json.Unmarshaler.
func (m *Material) UnmarshalJSON(text []byte) error {
	m.Value = broker.NewValue(string(text))
	return nil
}

// UpdateKeyRequest is the body of an update. What is nil stays as it is.
type UpdateKeyRequest struct {
	Ops        *[]broker.KeyOp    `json:"key_ops,omitempty"`
	Attributes KeyAttributes      `json:"attributes,omitzero"`
	Tags       *map[string]string `json:"tags,omitempty"`
}

// OperationRequest is the body of encrypt, decrypt, wrapkey, unwrapkey and sign.
type OperationRequest struct {
	Algorithm broker.Algorithm `json:"alg"`
	Value     *Sealed          `json:"value"`
	IV        Bytes            `json:"iv,omitempty"`
	AAD       Bytes            `json:"aad,omitempty"`
	Tag       Bytes            `json:"tag,omitempty"`
}

// OperationResult is what they return.
type OperationResult struct {
	KeyID string  `json:"kid"`
	Value *Sealed `json:"value"`
	IV    Bytes   `json:"iv,omitempty"`
	AAD   Bytes   `json:"aad,omitempty"`
	Tag   Bytes   `json:"tag,omitempty"`
}

// Sealed are bytes that may be a plaintext or a key: as Blob.
type Sealed = Blob

// VerifyRequest is the body of a verify.
type VerifyRequest struct {
	Algorithm broker.Algorithm `json:"alg"`
	Digest    Bytes            `json:"digest"`
	Signature Bytes            `json:"value"`
}

// VerifyResult is its reply.
type VerifyResult struct {
	Value *bool `json:"value"`
}

// RotationPolicy is when a key is rotated.
type RotationPolicy struct {
	ID      string           `json:"id,omitempty"`
	Actions []LifetimeAction `json:"lifetimeActions"`

	Attributes RotationAttributes `json:"attributes"`
}

// RotationAttributes are those of a RotationPolicy.
type RotationAttributes struct {
	ExpiryTime string    `json:"expiryTime,omitempty"`
	Created    *UnixTime `json:"created,omitempty"`
	Updated    *UnixTime `json:"updated,omitempty"`
}

// LifetimeAction is what is done at a point of a key's life.
type LifetimeAction struct {
	Trigger struct {
		AfterCreate  string `json:"timeAfterCreate,omitempty"`
		BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"type"`
	} `json:"action"`
}

// FromKey returns k as Key Vault writes it under the given id.
func FromKey(id string, k broker.Key) Key {
	i := FromKeyItem(id, k)
	return Key{
		Key: JSONWebKey{
			KeyID: id, Type: k.JWK.Type, Ops: k.Ops, Curve: k.JWK.Curve,
			N: k.JWK.N, E: k.JWK.E, X: k.JWK.X, Y: k.JWK.Y,
		},
		Attributes: i.Attributes, Tags: i.Tags, Managed: i.Managed,
	}
}

// FromKeyItem returns k as Key Vault lists it under the given id.
func FromKeyItem(id string, k broker.Key) KeyItem {
	i := KeyItem{
		KeyID: id,
		Attributes: KeyAttributes{
			Attributes: Attributes{
				Enabled:         &k.Enabled,
				NotBefore:       NewUnixTime(k.NotBefore),
				Expires:         NewUnixTime(k.Expires),
				Created:         NewUnixTime(k.Created),
				Updated:         NewUnixTime(k.Updated),
				RecoveryLevel:   k.RecoveryLevel,
				RecoverableDays: k.RecoverableDays,
			},
			HSMPlatform: k.HSMPlatform,
		},
		Tags:    k.Tags,
		Managed: k.Managed,
	}
	if k.Exportable {
		i.Attributes.Exportable = &k.Exportable
	}
	return i
}

// As returns k as the broker knows it, under the given name.
func (k Key) As(name broker.Name) broker.Key {
	b := KeyItem{Attributes: k.Attributes, Tags: k.Tags, Managed: k.Managed}.As(name)
	b.JWK = broker.JWK{Type: k.Key.Type, Curve: k.Key.Curve, N: k.Key.N, E: k.Key.E, X: k.Key.X, Y: k.Key.Y}
	b.Ops = k.Key.Ops
	return b
}

// As returns i as the broker knows it, under the given name.
func (i KeyItem) As(name broker.Name) broker.Key {
	a := i.Attributes
	return broker.Key{
		Name:            name,
		Tags:            i.Tags,
		Enabled:         a.Enabled == nil || *a.Enabled,
		NotBefore:       a.NotBefore.Time(),
		Expires:         a.Expires.Time(),
		Created:         a.Created.Time(),
		Updated:         a.Updated.Time(),
		Exportable:      a.Exportable != nil && *a.Exportable,
		HSMPlatform:     a.HSMPlatform,
		RecoveryLevel:   a.RecoveryLevel,
		RecoverableDays: a.RecoverableDays,
		Managed:         i.Managed,
	}
}

// As returns k as the broker knows it, deleted.
func (d Deletion) As(k broker.Key) broker.DeletedKey {
	k.Name = k.Name.Base()
	return broker.DeletedKey{Key: k, Deleted: d.DeletedDate.Time(), Purges: d.ScheduledPurgeDate.Time()}
}

func fromNewKey(k broker.NewKey) KeyAttributes {
	return KeyAttributes{Attributes: Attributes{
		Enabled: &k.Enabled, NotBefore: NewUnixTime(k.NotBefore), Expires: NewUnixTime(k.Expires),
	}}
}

// NewKey returns the attributes and tags as the broker knows them.
func (a KeyAttributes) NewKey(tags map[string]string) broker.NewKey {
	return broker.NewKey{
		Tags:      tags,
		Enabled:   a.Enabled == nil || *a.Enabled,
		NotBefore: a.NotBefore.Time(),
		Expires:   a.Expires.Time(),
	}
}

// FromKeyUpdate returns u as the body of an update.
func FromKeyUpdate(u broker.KeyUpdate) UpdateKeyRequest {
	r := UpdateKeyRequest{Ops: u.Ops, Tags: u.Tags, Attributes: KeyAttributes{Attributes: Attributes{Enabled: u.Enabled}}}
	if u.Tags != nil && *u.Tags == nil {
		r.Tags = &map[string]string{} // a null would leave the tags as they are
	}
	if u.Ops != nil && *u.Ops == nil {
		r.Ops = &[]broker.KeyOp{}
	}
	if u.NotBefore != nil {
		r.Attributes.NotBefore = NewUnixTime(*u.NotBefore)
	}
	if u.Expires != nil {
		r.Attributes.Expires = NewUnixTime(*u.Expires)
	}
	return r
}

// KeyUpdate returns r as the broker knows it.
func (r UpdateKeyRequest) KeyUpdate() broker.KeyUpdate {
	u := broker.KeyUpdate{Ops: r.Ops, Tags: r.Tags, Enabled: r.Attributes.Enabled}
	if t := r.Attributes.NotBefore; t != nil {
		u.NotBefore = new(t.Time())
	}
	if t := r.Attributes.Expires; t != nil {
		u.Expires = new(t.Time())
	}
	return u
}

// FromRotationPolicy returns p as Key Vault writes it under the given id.
func FromRotationPolicy(id string, p broker.RotationPolicy) RotationPolicy {
	w := RotationPolicy{
		ID:         id,
		Actions:    make([]LifetimeAction, len(p.Actions)),
		Attributes: RotationAttributes{ExpiryTime: p.ExpiryTime, Created: NewUnixTime(p.Created), Updated: NewUnixTime(p.Updated)},
	}
	for i, a := range p.Actions {
		w.Actions[i].Action.Type = a.Type
		w.Actions[i].Trigger.AfterCreate, w.Actions[i].Trigger.BeforeExpiry = a.AfterCreate, a.BeforeExpiry
	}
	return w
}

// As returns p as the broker knows it. Key Vault takes an action's type in any
// case.
func (p RotationPolicy) As() broker.RotationPolicy {
	b := broker.RotationPolicy{ExpiryTime: p.Attributes.ExpiryTime, Created: p.Attributes.Created.Time(), Updated: p.Attributes.Updated.Time()}
	for _, a := range p.Actions {
		t := a.Action.Type
		for _, known := range []string{broker.RotationRotate, broker.RotationNotify} {
			if strings.EqualFold(t, known) {
				t = known
			}
		}
		b.Actions = append(b.Actions, broker.LifetimeAction{Type: t, AfterCreate: a.Trigger.AfterCreate, BeforeExpiry: a.Trigger.BeforeExpiry})
	}
	return b
}
