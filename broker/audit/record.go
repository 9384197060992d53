package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/keyward/keyward/broker"
)

// Context is what policies saw of the call beside the peer and the time.
type Context struct {
	Transport string `json:"transport,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Question is what was asked, and the answer if it was about one principal.
type Question struct {
	Principal  string            `json:"principal,omitempty"`
	Groups     []string          `json:"groups,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Action     broker.Action     `json:"action"`
	Resource   string            `json:"resource"`
	Decision   string            `json:"decision,omitempty"`
	Policies   []string          `json:"policies,omitempty"`
}

func questionOf(q *broker.Question) *Question {
	if q == nil {
		return nil
	}
	r := &Question{
		Principal:  q.Principal.ID,
		Groups:     q.Principal.Groups,
		Attributes: q.Principal.Attributes,
		Action:     q.Action,
		Resource:   q.Resource.String(),
	}
	if q.Answer != nil {
		r.Decision, r.Policies = decisionText(*q.Answer), q.Answer.Policies
	}
	return r
}

// recordLen is about what a record takes.
const recordLen = 640

// encode appends the record of e without the braces, seq and prev, which only
// its place in the log gives it. note is that of a checkpoint.
//
// Each line has all members in this order, but for phase, breakGlass, question,
// items and checkpoint: who reads the log need not ask whether one is there.
// Every call pays for it, so it is written by hand.
func encode(b []byte, e broker.Event, note string) ([]byte, error) {
	b = slices.Grow(b, recordLen)
	b = append(b, `"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","principal":`...)
	b = appendString(b, e.Caller.ID)
	b = append(b, `,"groups":`...)
	b = appendStrings(b, e.Caller.Groups)
	b = append(b, `,"attributes":`...)
	b = appendMap(b, e.Caller.Attributes)
	b = append(b, `,"context":`...)
	b = appendContext(b, e.Caller)
	b = append(b, `,"action":`...)
	b = appendString(b, string(e.Action))
	b = append(b, `,"resource":`...)
	b = appendName(b, e.Resource)
	if e.Phase != "" {
		b = append(b, `,"phase":`...)
		b = appendString(b, e.Phase)
	}
	b = append(b, `,"decision":`...)
	b = appendString(b, decisionText(e.Decision))
	if e.Decision.BreakGlass {
		b = append(b, `,"breakGlass":true`...)
	}
	b = append(b, `,"policies":`...)
	b = appendStrings(b, e.Decision.Policies)
	b = append(b, `,"policySet":`...)
	b = appendString(b, e.Decision.PolicySet)
	b = append(b, `,"outcome":`...)
	b = appendString(b, e.Outcome)
	b = append(b, `,"stale":`...)
	b = strconv.AppendBool(b, e.Stale)
	b = append(b, `,"cached":`...)
	b = strconv.AppendBool(b, e.Cached)
	if e.Question != nil {
		b = append(b, `,"question":`...)
		var err error
		if b, err = appendJSON(b, questionOf(e.Question)); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	if len(e.Items) > 0 {
		b = appendItems(b, e.Items, e.Decision.PolicySet)
	}
	if note != "" {
		b = append(b, `,"checkpoint":`...)
		b = appendString(b, note)
	}
	b = append(b, `,"trace":`...)
	b = appendString(b, e.Trace)
	b = append(b, `,"request":`...)
	b = appendString(b, e.Caller.RequestID)
	b = append(b, `,"peer":`...)
	peer := ""
	if e.Caller.Peer.IsValid() {
		peer = e.Caller.Peer.String() // its zone may be anything
	}
	return appendString(b, peer), nil
}

// appendStrings appends a list; that of nothing is [].
func appendStrings(b []byte, all []string) []byte {
	b = append(b, '[')
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendMap appends an object, sorted by its names.
func appendMap(b []byte, m map[string]string) []byte {
	if len(m) == 0 { // as most calls have it; to sort nothing costs, too
		return append(b, "{}"...)
	}
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, m[name])
	}
	return append(b, '}')
}

// appendContext appends a Context.
func appendContext(b []byte, c broker.Caller) []byte {
	b = append(b, '{')
	if c.Transport != "" {
		b = append(b, `"transport":`...)
		b = appendString(b, c.Transport)
	}
	if c.Reason != "" {
		if c.Transport != "" {
			b = append(b, ',')
		}
		b = append(b, `"reason":`...)
		b = appendString(b, c.Reason)
	}
	return append(b, '}')
}

// appendLine appends the line of a record, with its newline, and returns its
// hash as well. A prev of zero is that of no line.
func appendLine(b []byte, seq uint64, record []byte, prev digest) ([]byte, digest) {
	at := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, ',')
	b = append(b, record...)
	b = append(b, `,"prev":"`...)
	if prev != (digest{}) {
		b = hex.AppendEncode(b, prev[:])
	}
	b = append(b, `"}`...)
	sum := sha256.Sum256(b[at:])
	return append(b, '\n'), sum
}

// appendJSON appends v as encoding/json writes it, but for HTML: this is none.
func appendJSON(b []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), newline), err
}

func decisionText(d broker.Decision) string {
	if d.Allowed {
		return "allow"
	}
	return "deny"
}
