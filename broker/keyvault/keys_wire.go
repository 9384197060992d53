package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"

	"github.com/keyward/keyward/broker"
)

// JSONWebKey is the public half of a key as Key Vault writes it. Of a private
// member in a reply no more is read than that it is there.
type JSONWebKey struct {
	KeyID string         `json:"kid,omitempty"`
	Type  broker.KeyType `json:"kty,omitempty"`
	Ops   []broker.KeyOp `json:"key_ops,omitempty"`
	N     Base64URL      `json:"n,omitempty"`
	E     Base64URL      `json:"e,omitempty"`
	Curve broker.Curve   `json:"crv,omitempty"`
	X     Base64URL      `json:"x,omitempty"`
	Y     Base64URL      `json:"y,omitempty"`

	privateMembers
}

// privateMembers are those that RFC 7518 and Key Vault have for private and
// symmetric keys.
type privateMembers struct {
	D   present `json:"d,omitzero"`
	P   present `json:"p,omitzero"`
	Q   present `json:"q,omitzero"`
	DP  present `json:"dp,omitzero"`
	DQ  present `json:"dq,omitzero"`
	QI  present `json:"qi,omitzero"`
	Oth present `json:"oth,omitzero"`
	K   present `json:"k,omitzero"`
	HSM present `json:"key_hsm,omitzero"`
}

// present is whether a member is there, whatever it holds.
type present bool

// UnmarshalJSON implements json.Unmarshaler. A null is as good as nothing.
func (p *present) UnmarshalJSON(text []byte) error {
	*p = string(text) != "null"
	return nil
}

// KeyAttributes are what keys have beside Attributes.
type KeyAttributes struct {
	Attributes
	Exportable  *bool  `json:"exportable,omitempty"`
	HSMPlatform string `json:"hsmPlatform,omitempty"`
}

// KeyBundle is a key as Key Vault writes it.
type KeyBundle struct {
	Key        *JSONWebKey       `json:"key,omitempty"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
	Managed    bool              `json:"managed,omitempty"`
}

// KeyItem is a key in a list: its id stands by itself.
type KeyItem struct {
	KeyID      string            `json:"kid"`
	Attributes KeyAttributes     `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
	Managed    bool              `json:"managed,omitempty"`
}

// Deletion is what a soft-deleted key has beside what it had.
type Deletion struct {
	RecoveryID         string    `json:"recoveryId,omitempty"`
	DeletedDate        *UnixTime `json:"deletedDate,omitempty"`
	ScheduledPurgeDate *UnixTime `json:"scheduledPurgeDate,omitempty"`
}

// DeletedKeyBundle is a soft-deleted key.
type DeletedKeyBundle struct {
	Deletion
	KeyBundle
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
	Attributes Attributes        `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// ImportKeyRequest is the body of an import. The key is whole, private half
// included.
type ImportKeyRequest struct {
	Key        json.RawMessage   `json:"key"`
	HSM        bool              `json:"Hsm,omitempty"`
	Attributes Attributes        `json:"attributes,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`
}

// UpdateKeyRequest is the body of an update. What is nil stays as it is.
type UpdateKeyRequest struct {
	Ops        *[]broker.KeyOp    `json:"key_ops,omitempty"`
	Attributes Attributes         `json:"attributes,omitzero"`
	Tags       *map[string]string `json:"tags,omitempty"`
}

// KeyUse is the body of a use of a key, and Value what is encrypted, decrypted,
// wrapped, unwrapped or signed; of a verification, the signature.
type KeyUse struct {
	Algorithm broker.Algorithm `json:"alg"`
	Value     *Blob            `json:"value,omitempty"`
	Digest    Base64URL        `json:"digest,omitempty"`
	IV        Base64URL        `json:"iv,omitempty"`
	AAD       Base64URL        `json:"aad,omitempty"`
	Tag       Base64URL        `json:"tag,omitempty"`
}

// KeyUsed is the reply to a use of a key other than a verification. A Managed
// HSM names the algorithm as well.
type KeyUsed struct {
	Algorithm broker.Algorithm `json:"alg,omitempty"`
	KeyID     string           `json:"kid"`
	Value     *Blob            `json:"value"`
	IV        Base64URL        `json:"iv,omitempty"`
	AAD       Base64URL        `json:"aad,omitempty"`
	Tag       Base64URL        `json:"tag,omitempty"`
}

// KeyVerified is the reply to a verification. Only a Managed HSM tells what it
// was done with.
type KeyVerified struct {
	Algorithm broker.Algorithm `json:"alg,omitempty"`
	KeyID     string           `json:"kid,omitempty"`
	Value     *bool            `json:"value"`
}

// RotationPolicy is a key's rotation policy as Key Vault writes it.
type RotationPolicy struct {
	ID         string             `json:"id,omitempty"`
	Actions    []LifetimeAction   `json:"lifetimeActions"`
	Attributes RotationAttributes `json:"attributes"`
}

// LifetimeAction is what happens at a point of a key's life.
type LifetimeAction struct {
	Trigger LifetimeTrigger `json:"trigger"`
	Action  struct {
		Type string `json:"type"`
	} `json:"action"`
}

// LifetimeTrigger is the point: one of the two.
type LifetimeTrigger struct {
	AfterCreate  string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry string `json:"timeBeforeExpiry,omitempty"`
}

// RotationAttributes of a policy. A client may set the first.
type RotationAttributes struct {
	ExpiryTime string    `json:"expiryTime,omitempty"`
	Created    *UnixTime `json:"created,omitempty"`
	Updated    *UnixTime `json:"updated,omitempty"`
}

// Base64URL is bytes that JSON carries in base64url without padding.
type Base64URL []byte

// MarshalJSON implements json.Marshaler.
func (b Base64URL) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.RawURLEncoding.EncodeToString(b))
}

// UnmarshalJSON implements json.Unmarshaler. Its errors do not quote the input.
func (b *Base64URL) UnmarshalJSON(text []byte) error {
	var encoded *string
	if json.Unmarshal(text, &encoded) != nil {
		return errNoBlob
	}
	*b = nil
	if encoded == nil {
		return nil
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(*encoded)
	if err != nil {
		return errNoBlob
	}
	*b = decoded
	return nil
}

// FromKey returns k as Key Vault writes it under the given id.
func FromKey(id string, k broker.Key) KeyBundle {
	return KeyBundle{
		Key: &JSONWebKey{
			KeyID: id, Type: k.JWK.Type, Ops: k.Ops, N: k.JWK.N, E: k.JWK.E,
			Curve: k.JWK.Curve, X: k.JWK.X, Y: k.JWK.Y,
		},
		Attributes: fromKeyAttributes(k), Tags: k.Tags, Managed: k.Managed,
	}
}

// FromKeyItem returns k as a list of Key Vault's has it.
func FromKeyItem(id string, k broker.Key) KeyItem {
	return KeyItem{KeyID: id, Attributes: fromKeyAttributes(k), Tags: k.Tags, Managed: k.Managed}
}

func fromKeyAttributes(k broker.Key) KeyAttributes {
	return KeyAttributes{
		Attributes: Attributes{
			Enabled:         &k.Enabled,
			NotBefore:       NewUnixTime(k.NotBefore),
			Expires:         NewUnixTime(k.Expires),
			Created:         NewUnixTime(k.Created),
			Updated:         NewUnixTime(k.Updated),
			RecoveryLevel:   k.RecoveryLevel,
			RecoverableDays: k.RecoverableDays,
		},
		Exportable:  &k.Exportable,
		HSMPlatform: k.HSMPlatform,
	}
}

// As returns k as the broker knows it, under the given name.
func (k KeyItem) As(name broker.Name) broker.Key {
	a := k.Attributes
	return broker.Key{
		Name:            name,
		Tags:            k.Tags,
		Enabled:         a.Enabled == nil || *a.Enabled,
		NotBefore:       a.NotBefore.Time(),
		Expires:         a.Expires.Time(),
		Created:         a.Created.Time(),
		Updated:         a.Updated.Time(),
		Exportable:      a.Exportable != nil && *a.Exportable,
		HSMPlatform:     a.HSMPlatform,
		RecoveryLevel:   a.RecoveryLevel,
		RecoverableDays: a.RecoverableDays,
		Managed:         k.Managed,
	}
}

// As returns k, which has a Key, as the broker knows it, under the given name.
func (k KeyBundle) As(name broker.Name) broker.Key {
	b := KeyItem{Attributes: k.Attributes, Tags: k.Tags, Managed: k.Managed}.As(name)
	b.JWK = k.Key.public()
	b.Ops = k.Key.Ops
	return b
}

// As returns k as a soft-deleted key.
func (d Deletion) As(k broker.Key) broker.DeletedKey {
	k.Name = k.Name.Base()
	return broker.DeletedKey{Key: k, Deleted: d.DeletedDate.Time(), Purges: d.ScheduledPurgeDate.Time()}
}

// settable returns the attributes that a client sets on what is new.
func settable(n broker.NewKey) Attributes {
	return Attributes{Enabled: &n.Enabled, NotBefore: NewUnixTime(n.NotBefore), Expires: NewUnixTime(n.Expires)}
}

// FromNewKey returns n as the body of a create.
func FromNewKey(n broker.NewKey) CreateKeyRequest {
	return CreateKeyRequest{Type: n.Type, Size: n.Size, Curve: n.Curve, Ops: n.Ops, Attributes: settable(n), Tags: n.Tags}
}

// NewKey returns r as the broker knows it. A key that does not say whether it is
// enabled is.
func (r CreateKeyRequest) NewKey() broker.NewKey {
	return newKey(broker.NewKey{Type: r.Type, Size: r.Size, Curve: r.Curve, Ops: r.Ops, Tags: r.Tags}, r.Attributes)
}

func newKey(n broker.NewKey, a Attributes) broker.NewKey {
	n.Enabled = a.Enabled == nil || *a.Enabled
	n.NotBefore, n.Expires = a.NotBefore.Time(), a.Expires.Time()
	return n
}

// KeyImport returns r as the broker knows it.
func (r ImportKeyRequest) KeyImport() broker.KeyImport {
	return broker.KeyImport{
		NewKey: newKey(broker.NewKey{Tags: r.Tags}, r.Attributes), Material: broker.NewValue(string(r.Key)), HSM: r.HSM,
	}
}

// FromKeyUpdate returns u as the body of an update.
func FromKeyUpdate(u broker.KeyUpdate) UpdateKeyRequest {
	// What keys and secrets share is said alike.
	s := FromSecretUpdate(broker.SecretUpdate{Tags: u.Tags, Enabled: u.Enabled, NotBefore: u.NotBefore, Expires: u.Expires})
	r := UpdateKeyRequest{Ops: u.Ops, Attributes: s.Attributes, Tags: s.Tags}
	if u.Ops != nil && *u.Ops == nil {
		r.Ops = &[]broker.KeyOp{} // a null would leave them as they are
	}
	return r
}

// KeyUpdate returns r as the broker knows it.
func (r UpdateKeyRequest) KeyUpdate() broker.KeyUpdate {
	s := UpdateSecretRequest{Attributes: r.Attributes, Tags: r.Tags}.SecretUpdate()
	return broker.KeyUpdate{Ops: r.Ops, Tags: s.Tags, Enabled: s.Enabled, NotBefore: s.NotBefore, Expires: s.Expires}
}

// FromCipher returns c as the body of a use.
func FromCipher(alg broker.Algorithm, c broker.Cipher) KeyUse {
	return KeyUse{Algorithm: alg, Value: &Blob{c.Data}, IV: c.IV, AAD: c.AAD, Tag: c.Tag}
}

// Cipher returns u as the broker knows it. An absent value is empty.
func (u KeyUse) Cipher() broker.Cipher {
	c := broker.Cipher{IV: u.IV, AAD: u.AAD, Tag: u.Tag}
	if u.Value != nil {
		c.Data = u.Value.Value
	}
	return c
}

// FromRotationPolicy returns p as Key Vault writes it under the given id.
func FromRotationPolicy(id string, p broker.RotationPolicy) RotationPolicy {
	w := RotationPolicy{ID: id, Actions: make([]LifetimeAction, 0, len(p.Actions)), Attributes: RotationAttributes{
		ExpiryTime: p.ExpiryTime, Created: NewUnixTime(p.Created), Updated: NewUnixTime(p.Updated),
	}}
	for _, a := range p.Actions {
		one := LifetimeAction{Trigger: LifetimeTrigger{AfterCreate: a.AfterCreate, BeforeExpiry: a.BeforeExpiry}}
		one.Action.Type = a.Type
		w.Actions = append(w.Actions, one)
	}
	return w
}

// As returns p as the broker knows it.
func (p RotationPolicy) As() broker.RotationPolicy {
	b := broker.RotationPolicy{
		ExpiryTime: p.Attributes.ExpiryTime, Created: p.Attributes.Created.Time(), Updated: p.Attributes.Updated.Time(),
	}
	for _, a := range p.Actions {
		b.Actions = append(b.Actions, broker.LifetimeAction{
			Type: a.Action.Type, AfterCreate: a.Trigger.AfterCreate, BeforeExpiry: a.Trigger.BeforeExpiry,
		})
	}
	return b
}

// fromImport returns i as the body of an import. Operations that are asked for
// stand in the key, in place of its own; all else in it goes as it is, for the
// vault to judge.
func fromImport(i broker.KeyImport) (ImportKeyRequest, error) {
	material := []byte(i.Material.Reveal())
	if len(i.Ops) > 0 {
		with, err := withOps(material, i.Ops)
		clear(material)
		if err != nil {
			return ImportKeyRequest{}, err
		}
		material = with
	}
	if !json.Valid(material) {
		return ImportKeyRequest{}, errNoJWK
	}
	return ImportKeyRequest{Key: material, HSM: i.HSM, Attributes: settable(i.NewKey), Tags: i.Tags}, nil
}

var errNoJWK = errors.New("the key is not a JSON Web Key")

// withOps returns a JWK with ops as its operations. A member that stands twice
// still does.
func withOps(material []byte, ops []broker.KeyOp) ([]byte, error) {
	own, err := json.Marshal(ops)
	if err != nil {
		return nil, errNoJWK
	}
	out := slices.Grow([]byte(`{"key_ops":`), len(own)+len(material)+2)
	out = append(out, own...)
	err = eachMember(material, func(name string, value json.RawMessage) {
		if name == "key_ops" {
			return
		}
		quoted, _ := json.Marshal(name) // a string always encodes
		out = append(append(out, ','), quoted...)
		out = append(append(out, ':'), value...)
	})
	if err != nil {
		clear(out)
		return nil, err
	}
	return append(out, '}'), nil
}
