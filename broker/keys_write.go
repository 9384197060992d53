package broker

import (
	"context"
	"slices"
	"time"
)

// maxKeyMaterial bounds a key to import, as JSON, in bytes.
const maxKeyMaterial = 16 << 10

// CreateKey makes a key, or a new version of it. etag, if any, must be that of
// the latest version; it is checked as in SetSecret.
func (b *Broker) CreateKey(ctx context.Context, c Caller, name Name, k NewKey, etag string) (Key, error) {
	if err := k.validate(); err != nil {
		return Key{}, err
	}
	if err := k.validateType(); err != nil {
		return Key{}, err
	}
	return changeKey(ctx, b, c, ActionCreateKey, name, etag, func(ctx context.Context, store KeyStore) (Key, error) {
		return store.CreateKey(ctx, name, k)
	})
}

// ImportKey makes a version of a key that was made elsewhere.
func (b *Broker) ImportKey(ctx context.Context, c Caller, name Name, k KeyImport, etag string) (Key, error) {
	switch n := k.Material.Len(); {
	case n == 0:
		return Key{}, &Error{Code: CodeBadField, Field: "jwk", Message: "a key is required, as a JSON Web Key"}
	case n > maxKeyMaterial:
		return Key{}, &Error{Code: CodeBadField, Field: "jwk", Message: "a key is at most 16 KiB"}
	}
	if err := k.validate(); err != nil {
		return Key{}, err
	}
	return changeKey(ctx, b, c, ActionImportKey, name, etag, func(ctx context.Context, store KeyStore) (Key, error) {
		made, err := store.ImportKey(ctx, name, k)
		return made, ofData("jwk", err)
	})
}

// UpdateKey changes what is known of the named version, or of the latest. etag,
// if any, must be that version's.
func (b *Broker) UpdateKey(ctx context.Context, c Caller, name Name, u KeyUpdate, etag string) (Key, error) {
	if err := u.validate(); err != nil {
		return Key{}, err
	}
	return change(ctx, b, c, ActionUpdateKey, name, func(ctx context.Context, _ *Event) (Key, error) {
		store, unlock, err := b.keyWriter(ctx, name, etag)
		if err != nil {
			return Key{}, err
		}
		defer unlock()
		return store.UpdateKey(ctx, name, u)
	})
}

// RotateKey makes a new version of the same type and size.
func (b *Broker) RotateKey(ctx context.Context, c Caller, name Name) (Key, error) {
	return changeKey(ctx, b, c, ActionRotateKey, name, "", func(ctx context.Context, store KeyStore) (Key, error) {
		return store.RotateKey(ctx, name)
	})
}

// DeleteKey soft-deletes a key with all its versions.
func (b *Broker) DeleteKey(ctx context.Context, c Caller, name Name, etag string) (DeletedKey, error) {
	return changeKey(ctx, b, c, ActionDeleteKey, name, etag, func(ctx context.Context, store KeyStore) (DeletedKey, error) {
		return store.DeleteKey(ctx, name)
	})
}

// GetRotationPolicy returns when a key gets a new version by itself.
func (b *Broker) GetRotationPolicy(ctx context.Context, c Caller, name Name) (RotationPolicy, error) {
	if err := wantBase(name); err != nil {
		return RotationPolicy{}, err
	}
	return read(ctx, b, c, ActionGetRotationPolicy, name, func(ctx context.Context, _ *Event) (RotationPolicy, error) {
		store, err := b.keys(name)
		if err != nil {
			return RotationPolicy{}, err
		}
		return store.GetRotationPolicy(ctx, name)
	})
}

// UpdateRotationPolicy replaces a key's rotation policy.
func (b *Broker) UpdateRotationPolicy(ctx context.Context, c Caller, name Name, p RotationPolicy) (RotationPolicy, error) {
	for _, a := range p.Actions {
		if a.Type != RotationRotate && a.Type != RotationNotify || (a.AfterCreate == "") == (a.BeforeExpiry == "") {
			return RotationPolicy{}, &Error{
				Code: CodeBadField, Field: "rotation_policy.lifetime_actions",
				Message: "an action has a type, Rotate or Notify, and one of after_create_duration and before_expiry_duration",
			}
		}
	}
	return changeKey(ctx, b, c, ActionUpdateRotationPolicy, name, "", func(ctx context.Context, store KeyStore) (RotationPolicy, error) {
		return store.UpdateRotationPolicy(ctx, name, p)
	})
}

// changeKey guards a change of a key as a whole.
func changeKey[T any](
	ctx context.Context, b *Broker, c Caller, a Action, name Name, etag string,
	act func(context.Context, KeyStore) (T, error),
) (T, error) {
	return changeWhole(ctx, b, c, a, name, etag, b.keyWriter, act)
}

// keyWriter returns the store of name's vault, once no other writer of the name
// is at work in this Broker and etag, if any, is that of the key.
func (b *Broker) keyWriter(ctx context.Context, name Name, etag string) (KeyStore, func(), error) {
	store, err := b.keys(name)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := b.turn(ctx, name, etag, func() (string, error) {
		now, _, err := keyWithin(ctx, store, name, 0)
		return now.ETag(), err
	})
	return store, unlock, err
}

// keys returns the store of n's vault.
func (b *Broker) keys(n Name) (KeyStore, error) {
	v, err := b.vault(n)
	if err != nil {
		return nil, err
	}
	if v.Keys == nil {
		return nil, &Error{Code: CodeNotSupported}
	}
	return v.Keys, nil
}

// validateType checks what a vault is asked to make. Which sizes go with which
// type is the vault's to say, but for what none offers.
func (k NewKey) validateType() error {
	switch k.Type {
	case KeyTypeEC, KeyTypeECHSM:
		if k.Curve != "" && !slices.Contains([]Curve{CurveP256, CurveP384, CurveP521, CurveP256K}, k.Curve) {
			return &Error{Code: CodeBadField, Field: "crv", Message: "crv is P-256, P-384, P-521 or P-256K"}
		}
		if k.Size != 0 {
			return &Error{Code: CodeBadField, Field: "key_size", Message: "an EC key has a crv and no key_size"}
		}
		return nil
	case KeyTypeRSA, KeyTypeRSAHSM:
		if !slices.Contains([]int32{0, 2048, 3072, 4096}, k.Size) {
			return &Error{Code: CodeBadField, Field: "key_size", Message: "key_size of an RSA key is 2048, 3072 or 4096; 0 means 2048"}
		}
	case KeyTypeOct, KeyTypeOctHSM:
		if !slices.Contains([]int32{0, 128, 192, 256}, k.Size) {
			return &Error{Code: CodeBadField, Field: "key_size", Message: "key_size of a symmetric key is 128, 192 or 256"}
		}
	default:
		return &Error{Code: CodeBadField, Field: "kty", Message: "kty is RSA, EC or oct, or one of them with -HSM behind it"}
	}
	if k.Curve != "" {
		return &Error{Code: CodeBadField, Field: "crv", Message: "only an EC key has a crv"}
	}
	return nil
}

func (k NewKey) validate() error {
	if err := checkOps(k.Ops); err != nil {
		return err
	}
	if !k.NotBefore.IsZero() && !k.Expires.IsZero() && !k.NotBefore.Before(k.Expires) {
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time must be after not_before_time"}
	}
	return checkTags(k.Tags)
}

func (u KeyUpdate) validate() error {
	switch {
	case u == KeyUpdate{}:
		return &Error{Code: CodeBadField, Field: "update_mask", Message: "nothing to change; name the fields in update_mask"}
	case u.NotBefore != nil && u.NotBefore.IsZero():
		return &Error{Code: CodeBadField, Field: "not_before_time", Message: "not_before_time can be changed but not removed; make a new version without it"}
	case u.Expires != nil && u.Expires.IsZero():
		return &Error{Code: CodeBadField, Field: "expire_time", Message: "expire_time can be changed but not removed; make a new version without it"}
	}
	k := NewKey{}
	for to, from := range map[*time.Time]*time.Time{&k.NotBefore: u.NotBefore, &k.Expires: u.Expires} {
		if from != nil {
			*to = *from
		}
	}
	if u.Ops != nil {
		k.Ops = *u.Ops
	}
	if u.Tags != nil {
		k.Tags = *u.Tags
	}
	return k.validate()
}

func checkOps(ops []KeyOp) error {
	known := []KeyOp{KeyOpEncrypt, KeyOpDecrypt, KeyOpSign, KeyOpVerify, KeyOpWrapKey, KeyOpUnwrapKey, KeyOpImport, KeyOpExport}
	for i, op := range ops {
		if !slices.Contains(known, op) || slices.Contains(ops[:i], op) {
			return &Error{Code: CodeBadField, Field: "key_ops", Message: "key_ops are of encrypt, decrypt, sign, verify, wrapKey and unwrapKey, each once"}
		}
	}
	return nil
}
