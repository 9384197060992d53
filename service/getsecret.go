package service

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// GetSecret is called more than all else together, and what is common to all methods
// costs more than it does: messages that are built to be marshalled at once, and over
// REST the gateway's search for a route. So its reply is written by hand, and its
// plain route found without the gateway. The steps before are everybody's.

// grpcSecrets is the service over gRPC.
type grpcSecrets struct{ *secretService }

// GetSecret implements keywardv1.SecretServiceServer.
func (s grpcSecrets) GetSecret(ctx context.Context, req *keywardv1.GetSecretRequest) (*keywardv1.GetSecretResponse, error) {
	v, err := s.get(ctx, req)
	if err != nil {
		return nil, err
	}
	return marshalled(v), nil
}

// BatchGetSecrets implements keywardv1.SecretServiceServer.
func (s grpcSecrets) BatchGetSecrets(ctx context.Context, req *keywardv1.BatchGetSecretsRequest) (*keywardv1.BatchGetSecretsResponse, error) {
	all := wire{make([]byte, 0, min(len(req.GetNames()), broker.MaxBatch)*2*replyLen)}
	return s.batch(ctx, req, all.reply)
}

// marshalled returns the reply with v as a message that holds its own wire form.
func marshalled(v broker.SecretValue) *keywardv1.GetSecretResponse {
	one := wire{make([]byte, 0, v.Value.Len()+replyLen)}
	return one.reply(v)
}

// wire holds the wire forms of replies, one behind the other.
type wire struct{ buf []byte }

// reply returns the reply with v as a message that has its wire form as a field that
// it does not know: proto.Marshal writes that as it is.
func (w *wire) reply(v broker.SecretValue) *keywardv1.GetSecretResponse {
	if !valid(v) {
		return valueProto(v) // which cannot be marshalled, and says why
	}
	from := len(w.buf)
	w.buf = appendReply(w.buf, v)
	m := &keywardv1.GetSecretResponse{}
	m.ProtoReflect().SetUnknown(w.buf[from:len(w.buf):len(w.buf)])
	return m
}

// replyLen is about what a reply takes beside the value.
const replyLen = 256

// valid: v's texts are UTF-8, as those of messages have to be.
func valid(v broker.SecretValue) bool {
	for k, t := range v.Tags {
		if !utf8.ValidString(k) || !utf8.ValidString(t) {
			return false
		}
	}
	return utf8.ValidString(v.Value.Reveal()) && utf8.ValidString(v.ContentType) && utf8.ValidString(v.RecoveryLevel)
}

// appendReply appends the wire form of valueProto(v).
func appendReply(b []byte, v broker.SecretValue) []byte {
	b = appendField(b, 1, func(b []byte) []byte { return appendSecret(b, v.Secret) })
	b = appendText(b, 2, v.Value.Reveal())
	b = appendField(b, 3, func(b []byte) []byte { return appendBool(appendTime(b, 1, v.Fetched), 2, v.Stale) })
	return appendBool(b, 4, v.NotModified)
}

func appendSecret(b []byte, s broker.Secret) []byte {
	b = appendField(b, 1, func(b []byte) []byte {
		b, _ = s.Name.Base().AppendText(b)
		return b
	})
	b = appendText(b, 2, s.Name.Version())
	b = appendText(b, 3, s.ContentType)
	for k, t := range s.Tags {
		b = appendField(b, 4, func(b []byte) []byte {
			return protowire.AppendString(protowire.AppendTag(protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), k), 2, protowire.BytesType), t)
		})
	}
	b = appendBool(b, 5, s.Enabled)
	b = appendTime(b, 6, s.NotBefore)
	b = appendTime(b, 7, s.Expires)
	b = appendTime(b, 8, s.Created)
	b = appendTime(b, 9, s.Updated)
	b = appendText(b, 10, s.RecoveryLevel)
	b = appendInt(b, 11, int64(s.RecoverableDays))
	b = appendBool(b, 12, s.Managed)
	if s.Name.Version() == "" {
		return b
	}
	return appendField(b, 13, s.AppendETag)
}

// appendField appends a field that content appends, with its length before it.
func appendField(b []byte, n protowire.Number, content func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, n, protowire.BytesType)
	at := len(b)
	b = content(append(b, 0)) // most lengths take one byte
	size := len(b) - at - 1
	if more := protowire.SizeVarint(uint64(size)) - 1; more > 0 { //nolint:gosec // no length is negative
		b = slices.Insert(b, at, make([]byte, more)...)
	}
	protowire.AppendVarint(b[:at], uint64(size)) //nolint:gosec // as above
	return b
}

// A field that is zero is left out.

func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendInt(b []byte, n protowire.Number, i int64) []byte {
	if i == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(i)) //nolint:gosec // as protobuf has a negative one
}

func appendBool(b []byte, n protowire.Number, is bool) []byte {
	if !is {
		return b
	}
	return appendInt(b, n, 1)
}

func appendTime(b []byte, n protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendField(b, n, func(b []byte) []byte {
		return appendInt(appendInt(b, 1, t.Unix()), 2, int64(t.Nanosecond()))
	})
}

// The route.

// getSecretTemplate is the binding of GetSecret without a version.
const getSecretTemplate = "/v1/{name=vaults/*/secrets/*}" //nolint:gosec // a path

// isGetSecret reports whether r takes the plain route: one spelling of a path, and no
// query. All else is the gateway's.
func isGetSecret(r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.RawPath != "" || r.URL.RawQuery != "" || r.URL.ForceQuery {
		return false
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/vaults/")
	vault, rest, found := strings.Cut(rest, "/")
	name, secret := strings.CutPrefix(rest, "secrets/")
	plain := func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}
	return ok && found && secret && vault != "" && name != "" && !strings.ContainsFunc(vault, plain) && !strings.ContainsFunc(name, plain)
}

// getSecret answers a call of the plain route that was let through.
func (g *gateway) getSecret(w http.ResponseWriter, r *http.Request, _ map[string]string) {
	ctx := r.Context()
	v, err := g.secrets.get(ctx, &keywardv1.GetSecretRequest{Name: strings.TrimPrefix(r.URL.Path, "/v1/")})
	if err == nil && !valid(v) {
		_, err = g.form.Marshal(valueProto(v))
	}
	if err != nil {
		g.refuseCall(ctx, g.mux, nil, w, r, err)
		return
	}
	h := w.Header()
	etag := versionETag(v.Secret)
	h.Set("Etag", etag)
	if v.NotModified && tagged(callIn(ctx).knownETags, etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	b := appendReplyJSON(make([]byte, 0, v.Value.Len()+2*replyLen), v, etag)
	_, _ = w.Write(b) // the client may have gone
}

// tagged reports whether etag is one of those, or they are any.
func tagged(known []string, etag string) bool {
	return slices.Contains(known, etag) || slices.Contains(known, "*")
}

// appendReplyJSON appends what jsonForm makes of valueProto(v).
func appendReplyJSON(b []byte, v broker.SecretValue, etag string) []byte {
	text := func(before, s string) { b = appendJSONText(append(b, before...), s) }
	truth := func(before string, is bool) { b = strconv.AppendBool(append(b, before...), is) }
	instant := func(before string, t time.Time) {
		if !t.IsZero() {
			b = append(appendJSONTime(append(append(b, before...), '"'), t), '"')
		}
	}
	text(`{"secret":{"name":`, v.Name.Base().String())
	text(`,"version":`, v.Name.Version())
	text(`,"contentType":`, v.ContentType)
	b = append(b, `,"tags":{`...)
	for i, k := range slices.Sorted(maps.Keys(v.Tags)) {
		if i > 0 {
			b = append(b, ',')
		}
		text("", k)
		text(":", v.Tags[k])
	}
	truth(`},"enabled":`, v.Enabled)
	instant(`,"notBeforeTime":`, v.NotBefore)
	instant(`,"expireTime":`, v.Expires)
	instant(`,"createTime":`, v.Created)
	instant(`,"updateTime":`, v.Updated)
	text(`,"recoveryLevel":`, v.RecoveryLevel)
	b = strconv.AppendInt(append(b, `,"recoverableDays":`...), int64(v.RecoverableDays), 10)
	truth(`,"managed":`, v.Managed)
	text(`,"etag":`, etag)
	text(`},"value":`, v.Value.Reveal())
	b = append(b, `,"freshness":{`...)
	if !v.Fetched.IsZero() {
		instant(`"fetchTime":`, v.Fetched)
		b = append(b, ',')
	}
	truth(`"stale":`, v.Stale)
	truth(`},"notModified":`, v.NotModified)
	return append(b, "}\n"...)
}

// appendJSONTime appends t as protobuf's JSON has it: in UTC, with no digits of a
// second's fraction, or 3, 6 or 9.
func appendJSONTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339)
	ns := t.Nanosecond()
	if ns == 0 {
		return b
	}
	b = append(b[:len(b)-len("Z")], '.')
	for unit := 100_000_000; ; unit /= 10 {
		b = append(b, byte('0'+ns/unit%10))
		// Three digits at a time.
		if (unit == 1_000_000 || unit == 1_000 || unit == 1) && ns%unit == 0 {
			return append(b, 'Z')
		}
	}
}

// appendJSONText appends s in quotes, with no more escapes than it needs.
func appendJSONText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	return append(append(b, s[from:]...), '"')
}
