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

	recoveryLevel unique.Handle[string] // one of a few words
	tags          map[string]string
	// The times are when it is valid from and until, was made and changed, and was
	// fetched, in seconds and nanoseconds: side by side they take no padding.
	seconds         [times]int64
	nanoseconds     [times]int32
	recoverableDays int32
	tag             etag
	enabled         bool
	managed         bool
}

const times = 5

// pack returns what v says of name.
func pack(name Name, v SecretValue) (packedSecret, error) {
	if v.Name.Base() != name.Base() {
		return packedSecret{}, &Error{Code: CodeInternal, Err: errors.New("broker: a store answered of another secret than it was asked for")}
	}
	p := packedSecret{
		text:       v.Name.version + v.ContentType + v.Value.text,
		versionLen: uint32(len(v.Name.version)), typeLen: uint32(len(v.ContentType)), //nolint:gosec // bounded by what is read of a reply
		recoveryLevel: unique.Make(v.RecoveryLevel), recoverableDays: v.RecoverableDays,
		tags: v.Tags, enabled: v.Enabled, managed: v.Managed, tag: v.hash(),
	}
	for i, t := range [times]time.Time{v.NotBefore, v.Expires, v.Created, v.Updated, v.Fetched} {
		p.seconds[i], p.nanoseconds[i] = t.Unix(), int32(t.Nanosecond()) //nolint:gosec // below 1e9
	}
	return p, nil
}

// time returns the ith of p's times.
func (p packedSecret) time(i int) time.Time {
	return time.Unix(p.seconds[i], int64(p.nanoseconds[i])).UTC()
}

// unpack returns what p says of name, which it was packed for.
func (p packedSecret) unpack(name Name) SecretValue {
	version, rest := p.text[:p.versionLen], p.text[p.versionLen:]
	name.version = version
	return SecretValue{
		Secret: Secret{
			Name: name, ContentType: rest[:p.typeLen], Tags: p.tags, Enabled: p.enabled,
			NotBefore: p.time(0), Expires: p.time(1), Created: p.time(2), Updated: p.time(3),
			RecoveryLevel: p.recoveryLevel.Value(), RecoverableDays: p.recoverableDays, Managed: p.managed, tag: p.tag,
		},
		Value:   Value{rest[p.typeLen:]},
		Fetched: p.time(4),
	}
}

// Format implements fmt.Formatter: a value is in the text.
func (packedSecret) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// weigh tells what p has in its texts.
func (p packedSecret) weigh() int { return len(p.text) + weighTags(p.tags) }
