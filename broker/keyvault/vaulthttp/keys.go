package vaulthttp

import (
	"context"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

// unserved are what a client may ask of a new key that no key here has. To leave
// it out would give another key than was asked for.
type unserved struct {
	Exponent   int64           `json:"public_exponent"`
	Release    json.RawMessage `json:"release_policy"`
	Attributes struct {
		Exportable bool `json:"exportable"`
	} `json:"attributes"`
}

func (u unserved) check() error {
	switch {
	case u.Exponent != 0 && u.Exponent != 65537:
		return badParameter("The public exponent of a key is 65537 here.")
	case u.Attributes.Exportable || len(u.Release) > 0 && string(u.Release) != "null":
		return badParameter("Keys are not exportable here, and have no release policy.")
	}
	return nil
}

// keyBody reads a request's body into each of w. The decoder's errors may quote
// it.
func keyBody(r request, w ...any) error {
	body, err := readBody(r.Request, maxBodyLen)
	if err != nil {
		return err
	}
	defer clear(body)
	for _, one := range w {
		if !utf8.Valid(body) || json.Unmarshal(body, one) != nil {
			return badParameter("The request body is not the JSON that the operation takes.")
		}
	}
	return nil
}

// newKeyBody reads the body of what makes a key.
func newKeyBody(r request, w any) error {
	var more unserved
	if err := keyBody(r, w, &more); err != nil {
		return err
	}
	return more.check()
}

func (h *handler) createKey(ctx context.Context, r request) (any, error) {
	var w keyvault.CreateKeyRequest
	if err := newKeyBody(r, &w); err != nil {
		return nil, err
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	k, err := h.Keys.CreateKey(ctx, r.route.name, w.NewKey())
	return r.keyOr(k, err)
}

func (h *handler) importKey(ctx context.Context, r request) (any, error) {
	var w keyvault.ImportKeyRequest
	if err := newKeyBody(r, &w); err != nil {
		return nil, err
	}
	defer clear(w.Key)
	if len(w.Key) == 0 {
		return nil, badParameter(`The parameter "key" is required.`)
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	k, err := h.Keys.ImportKey(ctx, r.route.name, w.KeyImport())
	return r.keyOr(k, err)
}

func (h *handler) getKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.GetKey(ctx, r.route.name)
	return r.keyOr(k, err)
}

func (h *handler) updateKey(ctx context.Context, r request) (any, error) {
	var w keyvault.UpdateKeyRequest
	if err := keyBody(r, &w); err != nil {
		return nil, err
	}
	if w.Tags != nil {
		if err := checkProperties("", *w.Tags); err != nil {
			return nil, err
		}
	}
	k, err := h.Keys.UpdateKey(ctx, r.route.name, w.KeyUpdate())
	return r.keyOr(k, err)
}

func (h *handler) listKeys(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Keys.ListKeys(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	return list(r, "/keys", page.Keys, r.keyItem, page.Next, size), nil
}

func (h *handler) listKeyVersions(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	all, err := h.Keys.ListKeyVersions(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	all, next := pageOfVersions(all, func(k broker.Key) string { return k.Name.Version() }, token, size)
	return list(r, "/keys/"+r.route.name.ObjectName()+"/versions", all, r.keyItem, next, size), nil
}

// rotateKey reads no body: clients send an empty one, or none.
func (h *handler) rotateKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.RotateKey(ctx, r.route.name)
	return r.keyOr(k, err)
}

func (h *handler) getRotationPolicy(ctx context.Context, r request) (any, error) {
	p, err := h.Keys.GetRotationPolicy(ctx, r.route.name)
	return r.rotationPolicyOr(p, err)
}

func (h *handler) updateRotationPolicy(ctx context.Context, r request) (any, error) {
	var w keyvault.RotationPolicy
	if err := keyBody(r, &w); err != nil {
		return nil, err
	}
	p, err := h.Keys.UpdateRotationPolicy(ctx, r.route.name, w.As())
	return r.rotationPolicyOr(p, err)
}

func (r request) rotationPolicyOr(p broker.RotationPolicy, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	id := r.kid(r.route.name.Base()) + "/rotationpolicy"
	if r.managedHSM {
		id = strings.TrimPrefix(id, r.origin()+"/")
	}
	return keyvault.FromRotationPolicy(id, p), nil
}

// keyOr returns k as it is written to the client, if there is no error.
func (r request) keyOr(k broker.Key, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return r.key(k), nil
}

func (r request) key(k broker.Key) keyvault.KeyBundle {
	w := keyvault.FromKey(r.kid(k.Name), k)
	r.trimKey(&w.Attributes)
	return w
}

func (r request) keyItem(k broker.Key) keyvault.KeyItem {
	w := keyvault.FromKeyItem(r.kid(k.Name), k)
	r.trimKey(&w.Attributes)
	return w
}

// kid returns the id of a key, or of a version of one.
func (r request) kid(n broker.Name) string {
	id := r.origin() + "/keys/" + n.ObjectName()
	if v := n.Version(); v != "" {
		id += "/" + v
	}
	return id
}
