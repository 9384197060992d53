package keyvault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
)

const (
	keysPath        = "/keys"
	deletedKeysPath = "/deletedkeys"
)

// CreateKey implements broker.KeyStore. It is never tried twice: after
// VAULT_UNAVAILABLE the version may or may not exist.
func (c *Client) CreateKey(ctx context.Context, name broker.Name, k broker.NewKey) (broker.Key, error) {
	return c.makeKey(ctx, name, call{operation: "CreateKey", method: http.MethodPost, path: keyPath(name) + "/create"}, CreateKeyRequest{
		Type: k.Type, Size: k.Size, Curve: k.Curve, Ops: k.Ops, Attributes: fromNewKey(k), Tags: k.Tags,
	})
}

// ImportKey implements broker.KeyStore. It is never tried twice.
func (c *Client) ImportKey(ctx context.Context, name broker.Name, k broker.KeyImport) (broker.Key, error) {
	material, err := withOps(k.Material, k.Ops)
	if err != nil {
		return broker.Key{}, err
	}
	return c.makeKey(ctx, name, call{operation: "ImportKey", method: http.MethodPut, path: keyPath(name), field: "value"}, ImportKeyRequest{
		Key: Material{material}, HSM: k.HSM, Attributes: fromNewKey(k.NewKey), Tags: k.Tags,
	})
}

// withOps returns a JSON Web Key with these operations in place of its own, if
// there are any, and without an id, which is the vault's to give. Its errors do
// not quote it.
func withOps(jwk broker.Value, ops []broker.KeyOp) (broker.Value, error) {
	bad := &broker.Error{Code: broker.CodeBadField, Field: "value", Message: "want a JSON Web Key"}
	members, ok := membersOf(jwk.Reveal())
	if !ok {
		return broker.Value{}, bad
	}
	delete(members, "kid")
	if len(ops) > 0 {
		text, err := json.Marshal(ops)
		if err != nil {
			return broker.Value{}, bad
		}
		members["key_ops"] = text
	}
	text, err := json.Marshal(members)
	if err != nil {
		return broker.Value{}, bad
	}
	defer clear(text)
	return broker.NewValue(string(text)), nil
}

// membersOf returns the members of a JSON object, each of which is there once.
func membersOf(text string) (map[string]json.RawMessage, bool) {
	dec := json.NewDecoder(strings.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		key, _ := name.(string) // an object's names are
		var value json.RawMessage
		if _, twice := members[key]; twice || dec.Decode(&value) != nil {
			return nil, false
		}
		members[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	_, err := dec.Token()
	return members, errors.Is(err, io.EOF)
}

// RotateKey implements broker.KeyStore. It is never tried twice.
func (c *Client) RotateKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	return c.makeKey(ctx, name, call{operation: "RotateKey", method: http.MethodPost, path: keyPath(name) + "/rotate"}, nil)
}

// makeKey performs a call that makes a version.
func (c *Client) makeKey(ctx context.Context, name broker.Name, k call, body any) (broker.Key, error) {
	asked := time.Now()
	k.repeat, k.limit = never, maxReplyLen
	if err := k.encode(body); err != nil {
		return broker.Key{}, err
	}
	made, err := invoke(ctx, c, k, func(w Key) (broker.Key, error) { return keyVersionOf(name.Base(), w) })
	if err == nil && k.operation != "RotateKey" {
		c.moves.forget(name)
	}
	return made, c.moves.judge(name, live, asked, err)
}

// encode makes v the body of the call; nil is none.
func (k *call) encode(v any) error {
	if v == nil {
		return nil
	}
	body, err := json.Marshal(v)
	if err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: errors.New("the request cannot be encoded")}
	}
	k.body = body
	return nil
}

// GetKey implements broker.KeyStore.
func (c *Client) GetKey(ctx context.Context, name broker.Name) (broker.Key, error) {
	asked := time.Now()
	k := call{operation: "GetKey", method: http.MethodGet, path: keyVersionPath(name), repeat: ifFailed, limit: maxReplyLen}
	got, err := invoke(ctx, c, k, func(w Key) (broker.Key, error) { return keyVersionOf(name, w) })
	return got, c.moves.judge(name, live, asked, err)
}

// UpdateKey implements broker.KeyStore.
func (c *Client) UpdateKey(ctx context.Context, name broker.Name, u broker.KeyUpdate) (broker.Key, error) {
	asked := time.Now()
	k := call{operation: "UpdateKey", method: http.MethodPatch, path: keyVersionPath(name), repeat: ifFailed, limit: maxReplyLen}
	if err := k.encode(FromKeyUpdate(u)); err != nil {
		return broker.Key{}, err
	}
	got, err := invoke(ctx, c, k, func(w Key) (broker.Key, error) { return keyVersionOf(name, w) })
	return got, c.moves.judge(name, live, asked, err)
}

// ListKeys implements broker.KeyStore, as ListSecrets does.
func (c *Client) ListKeys(ctx context.Context, vault broker.Name, p broker.Page) (broker.KeyPage, error) {
	k := call{operation: "ListKeys", method: http.MethodGet, path: keysPath, repeat: ifFailed}
	items, next, err := list(ctx, c, k, p, func(w KeyItem) (broker.Key, error) {
		n, err := nameOf(vault.Vault(), broker.KindKeys, w.KeyID)
		return w.As(n.Base()), err
	})
	return broker.KeyPage{Keys: items, Next: next}, badTokenOf(p, err)
}

// ListKeyVersions implements broker.KeyStore, as ListSecretVersions does.
func (c *Client) ListKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	asked := time.Now()
	all, err := c.listKeyVersions(ctx, name.Base())
	return all, c.moves.judge(name, live, asked, err)
}

func (c *Client) listKeyVersions(ctx context.Context, name broker.Name) ([]broker.Key, error) {
	k := call{operation: "ListKeyVersions", method: http.MethodGet, path: keyPath(name) + "/versions", repeat: ifFailed}
	var all []broker.Key
	p := broker.Page{Size: broker.MaxStorePage}
	for range maxPages {
		items, next, err := list(ctx, c, k, p, func(w KeyItem) (broker.Key, error) {
			n, err := nameOf(name.Vault(), broker.KindKeys, w.KeyID)
			if err == nil && (n.Base() != name.Base() || n.Version() == "") {
				err = errOtherKey
			}
			return w.As(n), err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next != "" {
			p.Token = next
			continue
		}
		if len(all) == 0 {
			return nil, &broker.Error{Code: broker.CodeKeyNotFound}
		}
		slices.SortFunc(all, func(a, b broker.Key) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Name.Version(), a.Name.Version()))
		})
		return all, nil
	}
	return nil, unusable(errors.New("a list of versions that does not end"))
}

// GetRotationPolicy implements broker.KeyStore.
func (c *Client) GetRotationPolicy(ctx context.Context, name broker.Name) (broker.RotationPolicy, error) {
	k := call{operation: "GetRotationPolicy", method: http.MethodGet, path: keyPath(name) + "/rotationpolicy", repeat: ifFailed, limit: maxReplyLen}
	return invoke(ctx, c, k, func(w RotationPolicy) (broker.RotationPolicy, error) { return w.As(), nil })
}

// UpdateRotationPolicy implements broker.KeyStore.
func (c *Client) UpdateRotationPolicy(ctx context.Context, name broker.Name, p broker.RotationPolicy) (broker.RotationPolicy, error) {
	k := call{operation: "UpdateRotationPolicy", method: http.MethodPut, path: keyPath(name) + "/rotationpolicy", repeat: ifFailed, limit: maxReplyLen}
	if err := k.encode(FromRotationPolicy("", p)); err != nil {
		return broker.RotationPolicy{}, err
	}
	return invoke(ctx, c, k, func(w RotationPolicy) (broker.RotationPolicy, error) { return w.As(), nil })
}

// keyVersionOf returns w, which must be a version of name, and the very one if
// name has a version.
func keyVersionOf(name broker.Name, w Key) (broker.Key, error) {
	n, err := nameOf(name.Vault(), broker.KindKeys, w.Key.KeyID)
	if err != nil {
		return broker.Key{}, err
	}
	if n.Base() != name.Base() || n.Version() == "" || (name.Version() != "" && n != name) {
		return broker.Key{}, errOtherKey
	}
	return w.As(n), nil
}

var errOtherKey = errors.New("another key, or another version, than was asked for")

func keyPath(n broker.Name) string { return keysPath + "/" + n.ObjectName() }

func keyVersionPath(n broker.Name) string {
	if n.Version() == "" {
		return keyPath(n)
	}
	return keyPath(n) + "/" + n.Version()
}
