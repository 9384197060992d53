package broker

import (
	"errors"
	"fmt"
	"time"
	"unique"
)

// packedSecret is a SecretValue as the cache keeps it. A cache of 100,000 would be
// half as large again without it, and what the collector does each time it runs is to
// go through all of its pointers: here there are three.
type packedSecret struct {
	// text is the version, the content type and the value, one behind the other.
	text                string
	versionLen, typeLen uint32

	recoveryLevel   unique.Handle[string] // one of a few words
	tags            map[string]string
	recoverableDays int32
	enabled         bool
	managed         bool
	tag             etag

	notBefore, expires, created, updated, fetched instant
}

// instant is a time.Time without its location.
type instant struct {
	seconds     int64
	nanoseconds int32
}

func instantOf(t time.Time) instant { return instant{t.Unix(), int32(t.Nanosecond())} } //nolint:gosec // below 1e9

func (i instant) time() time.Time { return time.Unix(i.seconds, int64(i.nanoseconds)).UTC() }

// pack returns what v says of name.
func pack(name Name, v SecretValue) (packedSecret, error) {
	if v.Name.Base() != name.Base() {
		return packedSecret{}, &Error{Code: CodeInternal, Err: errors.New("broker: a store answered of another secret than it was asked for")}
	}
	return packedSecret{
		text:       v.Name.version + v.ContentType + v.Value.text,
		versionLen: uint32(len(v.Name.version)), typeLen: uint32(len(v.ContentType)), //nolint:gosec // bounded by what is read of a reply
		recoveryLevel: unique.Make(v.RecoveryLevel), recoverableDays: v.RecoverableDays,
		tags: v.Tags, enabled: v.Enabled, managed: v.Managed, tag: v.hash(),
		notBefore: instantOf(v.NotBefore), expires: instantOf(v.Expires), created: instantOf(v.Created), updated: instantOf(v.Updated),
		fetched: instantOf(v.Fetched),
	}, nil
}

// unpack returns what p says of name, which it was packed for.
func (p packedSecret) unpack(name Name) SecretValue {
	version, rest := p.text[:p.versionLen], p.text[p.versionLen:]
	name.version = version
	return SecretValue{
		Secret: Secret{
			Name: name, ContentType: rest[:p.typeLen], Tags: p.tags, Enabled: p.enabled,
			NotBefore: p.notBefore.time(), Expires: p.expires.time(), Created: p.created.time(), Updated: p.updated.time(),
			RecoveryLevel: p.recoveryLevel.Value(), RecoverableDays: p.recoverableDays, Managed: p.managed, tag: p.tag,
		},
		Value:   Value{rest[p.typeLen:]},
		Fetched: p.fetched.time(),
	}
}

// Format implements fmt.Formatter: a value is in the text.
func (packedSecret) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// weigh tells what p has in its texts.
func (p packedSecret) weigh() int { return len(p.text) + weighTags(p.tags) }
