package keyvault_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyward/keyward/broker"
)

// result is what a call must return: a code, or facts about each secret.
type result struct {
	code  broker.Code
	facts []facts
}

// facts is what is known of a secret, by name. What is unset is absent.
type facts map[string]string

// recordedFacts reads a secret as the vault wrote it.
func recordedFacts(op string, item any) (facts, error) {
	o, ok := item.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("an item that is a %T", item)
	}
	if op == "backup" {
		encoded, _ := o["value"].(string)
		blob, err := base64.RawURLEncoding.DecodeString(encoded)
		return facts{"blob": string(blob)}, err
	}
	f := make(facts)
	for _, key := range []string{"value", "contentType", "deletedDate", "scheduledPurgeDate"} {
		f.add(key, o[key])
	}
	for _, group := range []string{"attributes", "tags"} {
		fields, _ := o[group].(map[string]any)
		for key, v := range fields {
			f.add(group+"."+key, v)
		}
	}
	id, _ := o["id"].(string)
	u, err := url.Parse(id)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 || parts[0] != "secrets" {
		return nil, fmt.Errorf("the id %q names no secret", id)
	}
	f["name"] = strings.ToLower(parts[1])
	// What is deleted are all versions.
	if len(parts) == 3 && o["deletedDate"] == nil {
		f["version"] = parts[2]
	}
	return f, nil
}

func (f facts) add(key string, v any) {
	switch v := v.(type) {
	case nil:
	case float64:
		f[key] = strconv.FormatInt(int64(v), 10)
	default:
		f[key] = fmt.Sprint(v)
	}
}

// factsOf reads a secret as the client returned it.
func factsOf(s broker.Secret) facts {
	f := facts{"name": s.Name.ObjectName(), "attributes.enabled": strconv.FormatBool(s.Enabled)}
	for key, v := range map[string]string{"version": s.Name.Version(), "contentType": s.ContentType, "attributes.recoveryLevel": s.RecoveryLevel} {
		if v != "" {
			f[key] = v
		}
	}
	for key, at := range map[string]interface {
		IsZero() bool
		Unix() int64
	}{"attributes.nbf": s.NotBefore, "attributes.exp": s.Expires, "attributes.created": s.Created, "attributes.updated": s.Updated} {
		if !at.IsZero() {
			f[key] = strconv.FormatInt(at.Unix(), 10)
		}
	}
	if s.RecoverableDays != 0 {
		f["attributes.recoverableDays"] = strconv.Itoa(int(s.RecoverableDays))
	}
	for key, v := range s.Tags {
		f["tags."+key] = v
	}
	return f
}

func factsOfDeleted(s broker.DeletedSecret) facts {
	f := factsOf(s.Secret)
	f["deletedDate"] = strconv.FormatInt(s.Deleted.Unix(), 10)
	f["scheduledPurgeDate"] = strconv.FormatInt(s.Purges.Unix(), 10)
	return f
}

// compare checks what a call returned against what it must. Versions come
// newest first from the client, and by id from the vault.
func (want result) compare(got []facts, err error) error {
	if code := broker.CodeOf(err); code != want.code {
		return errors.Join(fmt.Errorf("it means %q, want %q", code, want.code), err)
	}
	byID := func(a, b facts) int { return strings.Compare(a["name"]+a["version"], b["name"]+b["version"]) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want.facts, byID)
	if !slices.EqualFunc(got, want.facts, maps.Equal) {
		return fmt.Errorf("%v, want %v", got, want.facts)
	}
	return nil
}
