package vaulthttp

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
)

func (h *handler) createKey(ctx context.Context, r request) (any, error) {
	var w keyvault.CreateKeyRequest
	if err := r.decode(&w, "a key's properties"); err != nil {
		return nil, err
	}
	if w.Type == "" {
		return nil, badParameter(`The parameter "kty" is required.`)
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	k := w.Attributes.NewKey(w.Tags)
	k.Type, k.Size, k.Curve, k.Ops = w.Type, w.Size, w.Curve, w.Ops
	made, err := h.Keys.CreateKey(ctx, r.route.name, k)
	if err != nil {
		return nil, err
	}
	return r.key(made), nil
}

func (h *handler) importKey(ctx context.Context, r request) (any, error) {
	var w keyvault.ImportKeyRequest
	if err := r.decode(&w, "a key"); err != nil {
		return nil, err
	}
	var ops struct {
		Ops []broker.KeyOp `json:"key_ops"`
	}
	if w.Key.Len() == 0 || json.Unmarshal([]byte(w.Key.Reveal()), &ops) != nil {
		return nil, badParameter(`The parameter "key" is a JSON Web Key.`)
	}
	if err := checkProperties("", w.Tags); err != nil {
		return nil, err
	}
	k := broker.KeyImport{NewKey: w.Attributes.NewKey(w.Tags), Material: w.Key.Value, HSM: w.HSM}
	k.Ops = ops.Ops
	made, err := h.Keys.ImportKey(ctx, r.route.name, k)
	if err != nil {
		return nil, err
	}
	return r.key(made), nil
}

func (h *handler) getKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.GetKey(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return r.key(k), nil
}

func (h *handler) updateKey(ctx context.Context, r request) (any, error) {
	var w keyvault.UpdateKeyRequest
	if err := r.decode(&w, "a key's properties"); err != nil {
		return nil, err
	}
	if w.Tags != nil {
		if err := checkProperties("", *w.Tags); err != nil {
			return nil, err
		}
	}
	k, err := h.Keys.UpdateKey(ctx, r.route.name, w.KeyUpdate())
	if err != nil {
		return nil, err
	}
	return r.key(k), nil
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

// listKeyVersions orders versions by id, as listVersions does.
func (h *handler) listKeyVersions(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	all, err := h.Keys.ListKeyVersions(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	all, next := versionsFrom(all, func(k broker.Key) broker.Name { return k.Name }, token, size)
	return list(r, "/keys/"+r.route.name.ObjectName()+"/versions", all, r.keyItem, next, size), nil
}

// versionsFrom returns a page of versions, ordered by id, and the next one's
// token: the last version of a page.
func versionsFrom[T any](all []T, name func(T) broker.Name, token string, size int) (page []T, next string) {
	all = slices.SortedFunc(slices.Values(all), func(a, b T) int {
		return cmp.Compare(name(a).Version(), name(b).Version())
	})
	from, found := slices.BinarySearchFunc(all, token, func(v T, token string) int {
		return cmp.Compare(name(v).Version(), token)
	})
	if found {
		from++
	}
	all = all[from:]
	if len(all) > size {
		all = all[:size]
		next = name(all[size-1]).Version()
	}
	return all, next
}

func (h *handler) rotateKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.RotateKey(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return r.key(k), nil
}

func (h *handler) getRotationPolicy(ctx context.Context, r request) (any, error) {
	p, err := h.Keys.GetRotationPolicy(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return keyvault.FromRotationPolicy(r.keyID(r.route.name)+"/rotationpolicy", p), nil
}

func (h *handler) setRotationPolicy(ctx context.Context, r request) (any, error) {
	var w keyvault.RotationPolicy
	if err := r.decode(&w, "a rotation policy"); err != nil {
		return nil, err
	}
	p, err := h.Keys.UpdateRotationPolicy(ctx, r.route.name, w.As())
	if err != nil {
		return nil, err
	}
	return keyvault.FromRotationPolicy(r.keyID(r.route.name)+"/rotationpolicy", p), nil
}

// decode reads the body. The decoder's errors may quote it.
func (r request) decode(v any, what string) error {
	body, err := readBody(r.Request, maxBodyLen)
	if err != nil {
		return err
	}
	defer clear(body)
	if !utf8.Valid(body) || json.Unmarshal(body, v) != nil {
		return badParameter("The request body is not the JSON of " + what + ".")
	}
	return nil
}

// key returns k as it is written to the client.
func (r request) key(k broker.Key) keyvault.Key {
	w := keyvault.FromKey(r.keyID(k.Name), k)
	w.Attributes = r.trimKey(w.Attributes)
	return w
}

// keyItem returns k as lists have it.
func (r request) keyItem(k broker.Key) keyvault.KeyItem {
	w := keyvault.FromKeyItem(r.keyID(k.Name), k)
	w.Attributes = r.trimKey(w.Attributes)
	return w
}

// keyID is the id of a key, or of a version of it.
func (r request) keyID(n broker.Name) string {
	id := r.origin() + "/keys/" + n.ObjectName()
	if v := n.Version(); v != "" {
		id += "/" + v
	}
	return id
}

func (h *handler) deleteKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.DeleteKey(ctx, r.route.name)
	if err != nil {
		return nil, err
	}
	return h.deletedKey(ctx, r, k), nil
}

func (h *handler) getDeletedKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.GetDeletedKey(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeletedKey(err)
	}
	return h.deletedKey(ctx, r, k), nil
}

func (h *handler) listDeletedKeys(ctx context.Context, r request) (any, error) {
	size, token, err := r.page()
	if err != nil {
		return nil, err
	}
	page, err := h.Keys.ListDeletedKeys(ctx, h.Vault, broker.Page{Size: size, Token: token})
	if err != nil {
		return nil, err
	}
	write := func(k broker.DeletedKey) keyvault.DeletedKeyItem {
		return keyvault.DeletedKeyItem{Deletion: r.deletion(k), KeyItem: r.keyItem(k.Key)}
	}
	return list(r, "/deletedkeys", page.Keys, write, page.Next, size), nil
}

// recoverKey reads no body: clients send an empty one, or none.
func (h *handler) recoverKey(ctx context.Context, r request) (any, error) {
	k, err := h.Keys.RecoverKey(ctx, r.route.name)
	if err != nil {
		return nil, r.refuseDeletedKey(err)
	}
	return r.key(k), nil
}

func (h *handler) purgeKey(ctx context.Context, r request) (any, error) {
	err := h.Keys.PurgeKey(ctx, r.route.name)
	if broker.CodeOf(err) == broker.CodeNotSupported {
		return nil, h.purgeProtected()
	}
	return nil, r.refuseDeletedKey(err)
}

// refuseDeletedKey returns a store's error about a soft-deleted key. Key Vault
// has words of its own for one that is not there.
func (r request) refuseDeletedKey(err error) error {
	if broker.CodeOf(err) == broker.CodeKeyNotFound {
		return &refusal{
			status: http.StatusNotFound, code: keyvault.ErrorKeyNotFound,
			message: "Deleted Key not found: " + r.route.name.ObjectName(),
		}
	}
	return err
}

// deletedKey returns k as the reply about one key has it: unlike in lists, the id
// has a version.
func (h *handler) deletedKey(ctx context.Context, r request, k broker.DeletedKey) keyvault.DeletedKey {
	w := keyvault.DeletedKey{Deletion: r.deletion(k), Key: r.key(k.Key)}
	if h.keyVersions != nil {
		// A key that was purged or recovered meanwhile has its old id.
		if v, err := h.keyVersions.DeletedVersion(ctx, k.Name); err == nil {
			w.Key.Key.KeyID += "/" + v
		}
	}
	return w
}

func (r request) deletion(k broker.DeletedKey) keyvault.Deletion {
	return keyvault.Deletion{
		RecoveryID:         r.origin() + "/deletedkeys/" + k.Name.ObjectName(),
		DeletedDate:        keyvault.NewUnixTime(k.Deleted),
		ScheduledPurgeDate: keyvault.NewUnixTime(k.Purges),
	}
}

// backupKey reads no body: clients send an empty one, or none.
func (h *handler) backupKey(ctx context.Context, r request) (any, error) {
	return backedUp(h.Keys.BackupKey(ctx, r.route.name))
}

func (h *handler) restoreKey(ctx context.Context, r request) (any, error) {
	blob, err := r.blob()
	if err != nil {
		return nil, err
	}
	k, err := h.Keys.RestoreKey(ctx, h.Vault, blob)
	if broker.CodeOf(err) == broker.CodeBadField {
		return nil, errMalformedBackup
	}
	if err != nil {
		return nil, err
	}
	return r.key(k), nil
}
