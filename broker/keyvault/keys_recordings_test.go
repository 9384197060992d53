package keyvault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/keyvault"
	"github.com/keyward/keyward/broker/keyvault/internal/recordings"
)

// recordedKeyMeanings is what the caller must be told of a recorded refusal.
var recordedKeyMeanings = map[string]broker.Code{
	"401 ":             broker.CodeVaultAuthentication, // a Managed HSM says no more
	"401 Unauthorized": broker.CodeVaultAuthentication,
	"404 KeyNotFound":  broker.CodeKeyNotFound,
	"409 Conflict":     broker.CodeKeyExists, // of a restore
}

// Every recorded reply about keys comes out of the client as what it says, but
// for what the client does not ask: releases and random bytes.
func TestRecordedKeyReplies(t *testing.T) {
	set, err := recordings.OthersOfKeys()
	if errors.Is(err, recordings.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	replies, unasked := 0, 0
	for _, s := range set.Scenarios {
		for i := 0; i < len(s.Steps); {
			group := keyGroup(s.Steps[i:])
			replies += len(group)
			if r := group[0].Request; strings.Contains(r.URL, "/release?") || strings.Contains(r.URL, "/rng?") ||
				strings.Contains(string(r.Body), "release_policy") {
				unasked += len(group)
			} else if err := playKeys(t, group); err != nil {
				t.Errorf("%s, step %d, %s %s: %v", s.Name, i+1, r.Method, r.URL, err)
			}
			i += len(group)
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d recorded replies parse as they should, of %d; %d are to what the client does not ask", replies-unasked, replies, unasked)
	if replies-unasked < 200 {
		t.Error("the recordings are not whole")
	}
}

// keyGroup returns the steps that one call of the client makes: all pages of a
// list of versions, or a single step.
func keyGroup(steps []recordings.Step) []recordings.Step {
	path, _, _ := strings.Cut(steps[0].Request.URL, "?")
	n := 1
	for strings.HasSuffix(path, "/versions") && n < len(steps) && strings.HasPrefix(steps[n].Request.URL, path+"?") {
		n++
	}
	return steps[:n]
}

// playKeys has a client of its own ask what was asked, answers as was answered,
// and compares.
func playKeys(t *testing.T, group []recordings.Step) error {
	t.Helper()
	// The vault's own, and no field of the client's.
	group = slices.Clone(group)
	group[0].Request.Body = bytes.ReplaceAll(group[0].Request.Body, []byte(`"public_exponent": 65537`), []byte(`"kty": "RSA"`))
	p := newPlayer(t, recordings.Scenario{Steps: group})
	p.steps = group
	got, err := callKey(t.Context(), p, group[0].Request)
	p.mu.Lock()
	defer p.mu.Unlock()
	want := result{}
	if status := group[0].Response.Status; status >= 300 {
		var body keyvault.ErrorReply
		_ = json.Unmarshal(group[0].Response.Body, &body) // there may be none
		code, known := recordedKeyMeanings[fmt.Sprint(status, " ", body.Error.Code)]
		if !known {
			return fmt.Errorf("no row fits %d %s", status, body.Error.Code)
		}
		want.code, got = code, nil
	} else {
		for _, s := range group {
			f, err := recordedKeyFacts(s.Response.Body)
			if err != nil {
				return err
			}
			want.facts = append(want.facts, f...)
		}
	}
	if p.asked < len(group) {
		return fmt.Errorf("%d requests reached the vault, want %d: %w", p.asked, len(group), err)
	}
	return errors.Join(p.fault, want.compare(got, err))
}

// callKey performs a recorded request with the client.
func callKey(ctx context.Context, p *player, r recordings.Request) ([]facts, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	var name broker.Name
	if len(parts) > 1 && parts[1] != "restore" {
		if name, err = p.vault.Object(broker.KindKeys, parts[1]); err != nil {
			return nil, err
		}
		parts[1] = "{name}"
	}
	if len(parts) > 2 && versionSegment.MatchString(parts[2]) {
		if name, err = name.WithVersion(parts[2]); err != nil {
			return nil, err
		}
		parts = slices.Delete(parts, 2, 3)
	}
	page := broker.Page{Size: 1}
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if strings.HasPrefix(part, "$skiptoken=") || strings.HasPrefix(part, "%24skiptoken=") {
			page.Token = part
		}
	}
	one := func(k broker.Key, err error) ([]facts, error) { return []facts{factsOfKey(k)}, err }
	oneDeleted := func(k broker.DeletedKey, err error) ([]facts, error) { return []facts{factsOfDeletedKey(k)}, err }
	use := keyvault.KeyUse{Value: &keyvault.Blob{}}
	cipher := func(do func(context.Context, broker.Name, broker.Algorithm, broker.Cipher) (broker.CipherResult, error)) ([]facts, error) {
		if err := decodeBody(r.Body, &use); err != nil {
			return nil, err
		}
		c, err := do(ctx, name, use.Algorithm, use.Cipher())
		f := facts{"name": c.Key.ObjectName(), "version": c.Key.Version(), "value": base64URL(c.Data.Reveal())}
		if len(c.IV) > 0 {
			f["iv"] = base64URL(string(c.IV))
		}
		return []facts{f}, err
	}
	c := p.client
	switch r.Method + " " + strings.Join(parts, "/") {
	case "POST keys/{name}/create":
		var body keyvault.CreateKeyRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.CreateKey(ctx, name, body.NewKey()))
	case "PUT keys/{name}":
		body := keyvault.ImportKeyRequest{Key: json.RawMessage("{}")}
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.ImportKey(ctx, name, body.KeyImport()))
	case "GET keys/{name}":
		return one(c.GetKey(ctx, name))
	case "PATCH keys/{name}":
		var body keyvault.UpdateKeyRequest
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.UpdateKey(ctx, name, body.KeyUpdate()))
	case "DELETE keys/{name}":
		return oneDeleted(c.DeleteKey(ctx, name))
	case "GET deletedkeys/{name}":
		return oneDeleted(c.GetDeletedKey(ctx, name))
	case "DELETE deletedkeys/{name}":
		return nil, c.PurgeKey(ctx, name)
	case "POST deletedkeys/{name}/recover":
		return one(c.RecoverKey(ctx, name))
	case "POST keys/{name}/backup":
		blob, err := c.BackupKey(ctx, name)
		return []facts{{"value": base64URL(blob.Reveal())}}, err
	case "POST keys/restore":
		var body keyvault.Backup
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return one(c.RestoreKey(ctx, p.vault, body.Value.Value))
	case "POST keys/{name}/rotate":
		return one(c.RotateKey(ctx, name))
	case "GET keys/{name}/rotationpolicy":
		return factsOfPolicy(c.GetRotationPolicy(ctx, name))
	case "PUT keys/{name}/rotationpolicy":
		var body keyvault.RotationPolicy
		if err := decodeBody(r.Body, &body); err != nil {
			return nil, err
		}
		return factsOfPolicy(c.UpdateRotationPolicy(ctx, name, body.As()))
	case "POST keys/{name}/encrypt":
		return cipher(c.Encrypt)
	case "POST keys/{name}/decrypt":
		return cipher(c.Decrypt)
	case "POST keys/{name}/wrapkey":
		return cipher(c.WrapKey)
	case "POST keys/{name}/unwrapkey":
		return cipher(c.UnwrapKey)
	case "POST keys/{name}/sign":
		if err := decodeBody(r.Body, &use); err != nil {
			return nil, err
		}
		s, err := c.Sign(ctx, name, use.Algorithm, []byte(use.Value.Reveal()))
		return []facts{{"name": s.Key.ObjectName(), "version": s.Key.Version(), "value": base64URL(string(s.Value))}}, err
	case "POST keys/{name}/verify":
		if err := decodeBody(r.Body, &use); err != nil {
			return nil, err
		}
		v, err := c.Verify(ctx, name, use.Algorithm, use.Digest, []byte(use.Value.Reveal()))
		f := facts{"value": strconv.FormatBool(v.Valid)}
		if v.Key.Version() != name.Version() { // the vault told it
			f["name"], f["version"] = v.Key.ObjectName(), v.Key.Version()
		}
		return []facts{f}, err
	case "GET keys":
		l, err := c.ListKeys(ctx, p.vault, page)
		return factsOfAll(l.Keys, factsOfKey), err
	case "GET keys/{name}/versions":
		l, err := c.ListKeyVersions(ctx, name)
		return factsOfAll(l, factsOfKey), err
	case "GET deletedkeys":
		l, err := c.ListDeletedKeys(ctx, p.vault, page)
		return factsOfAll(l.Keys, factsOfDeletedKey), err
	}
	return nil, fmt.Errorf("no operation of the client is %s %s", r.Method, u.Path)
}

func base64URL(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func factsOfAll[T any](all []T, of func(T) facts) []facts {
	var out []facts
	for _, one := range all {
		out = append(out, of(one))
	}
	return out
}

// recordedKeyFacts reads a body as the vault wrote it.
func recordedKeyFacts(body json.RawMessage) ([]facts, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var whole map[string]any
	if err := json.Unmarshal(body, &whole); err != nil {
		return nil, err
	}
	items, isList := whole["value"].([]any)
	if !isList {
		items = []any{whole}
	}
	var all []facts
	for _, item := range items {
		o, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("an item that is a %T", item)
		}
		f := make(facts)
		key, _ := o["key"].(map[string]any)
		flat := maps.Clone(o)
		maps.Copy(flat, key)
		for _, name := range []string{"value", "iv", "kty", "crv", "n", "e", "x", "y", "deletedDate", "scheduledPurgeDate"} {
			f.add(name, flat[name])
		}
		if ops, ok := flat["key_ops"].([]any); ok {
			f["key_ops"] = fmt.Sprint(ops)
		}
		if actions, ok := flat["lifetimeActions"]; ok {
			text, err := json.Marshal(actions)
			if err != nil {
				return nil, err
			}
			f["lifetimeActions"] = string(text)
		}
		for _, group := range []string{"attributes", "tags"} {
			fields, _ := o[group].(map[string]any)
			for name, v := range fields {
				f.add(group+"."+name, v)
			}
		}
		if kid, ok := flat["kid"].(string); ok {
			u, err := url.Parse(kid)
			if err != nil {
				return nil, err
			}
			parts := strings.Split(u.Path, "/")
			f["name"] = strings.ToLower(parts[2])
			if len(parts) == 4 && o["deletedDate"] == nil {
				f["version"] = parts[3]
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// factsOfKey reads a key as the client returned it.
func factsOfKey(k broker.Key) facts {
	f := factsOf(broker.Secret{
		Name: k.Name, Tags: k.Tags, Enabled: k.Enabled, NotBefore: k.NotBefore, Expires: k.Expires,
		Created: k.Created, Updated: k.Updated, RecoveryLevel: k.RecoveryLevel, RecoverableDays: k.RecoverableDays,
	})
	f["attributes.exportable"] = strconv.FormatBool(k.Exportable)
	for name, v := range map[string]string{
		"kty": string(k.JWK.Type), "crv": string(k.JWK.Curve), "n": base64URL(string(k.JWK.N)), "e": base64URL(string(k.JWK.E)),
		"x": base64URL(string(k.JWK.X)), "y": base64URL(string(k.JWK.Y)),
	} {
		if v != "" {
			f[name] = v
		}
	}
	if len(k.Ops) > 0 {
		f["key_ops"] = fmt.Sprint(k.Ops)
	}
	return f
}

func factsOfDeletedKey(k broker.DeletedKey) facts {
	f := factsOfKey(k.Key)
	f["deletedDate"] = strconv.FormatInt(k.Deleted.Unix(), 10)
	f["scheduledPurgeDate"] = strconv.FormatInt(k.Purges.Unix(), 10)
	return f
}

func factsOfPolicy(p broker.RotationPolicy, err error) ([]facts, error) {
	type object = map[string]any
	var actions []object
	for _, a := range p.Actions {
		trigger := object{}
		if a.AfterCreate != "" {
			trigger["timeAfterCreate"] = a.AfterCreate
		}
		if a.BeforeExpiry != "" {
			trigger["timeBeforeExpiry"] = a.BeforeExpiry
		}
		actions = append(actions, object{"action": object{"type": a.Type}, "trigger": trigger})
	}
	text, encoding := json.Marshal(actions)
	return []facts{{
		"lifetimeActions": string(text), "attributes.expiryTime": p.ExpiryTime,
		"attributes.created": strconv.FormatInt(p.Created.Unix(), 10), "attributes.updated": strconv.FormatInt(p.Updated.Unix(), 10),
	}}, errors.Join(err, encoding)
}
