package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/keyward/keyward/broker"
)

// record is a line of the log, without its seq and its prev. The order of the
// fields is that of the line, and each line has them all, but for phase,
// breakGlass, question, items and checkpoint: who reads the log need not ask
// whether one is there. The items are between its two parts.
type (
	recordHead struct {
		Time       string            `json:"time"`
		Principal  string            `json:"principal"`
		Groups     []string          `json:"groups"`
		Attributes map[string]string `json:"attributes"`
		Context    Context           `json:"context"`
		Action     broker.Action     `json:"action"`
		Resource   string            `json:"resource"`
		Phase      string            `json:"phase,omitempty"`
		Decision   string            `json:"decision"`
		BreakGlass bool              `json:"breakGlass,omitempty"`
		Policies   []string          `json:"policies"`
		PolicySet  string            `json:"policySet"`
		Outcome    string            `json:"outcome"`
		Stale      bool              `json:"stale"`
		Cached     bool              `json:"cached"`
		Question   *Question         `json:"question,omitempty"`
	}
	recordTail struct {
		Checkpoint string `json:"checkpoint,omitempty"`
		Trace      string `json:"trace"`
		Request    string `json:"request"`
		Peer       string `json:"peer"`
	}
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

// encode returns the record of e without the braces, seq and prev, which only
// its place in the log gives it. note is that of a checkpoint.
func encode(e broker.Event, note string) ([]byte, error) {
	head := recordHead{
		Time:       e.Time.UTC().Format(time.RFC3339Nano),
		Principal:  e.Caller.ID,
		Groups:     orEmpty(e.Caller.Groups),
		Attributes: e.Caller.Attributes,
		Context:    Context{Transport: e.Caller.Transport, Reason: e.Caller.Reason},
		Action:     e.Action,
		Resource:   e.Resource.String(),
		Phase:      e.Phase,
		Decision:   decisionText(e.Decision),
		BreakGlass: e.Decision.BreakGlass,
		Policies:   orEmpty(e.Decision.Policies),
		PolicySet:  e.Decision.PolicySet,
		Outcome:    e.Outcome,
		Stale:      e.Stale,
		Cached:     e.Cached,
		Question:   questionOf(e.Question),
	}
	if head.Attributes == nil {
		head.Attributes = map[string]string{}
	}
	tail := recordTail{Checkpoint: note, Trace: e.Trace, Request: e.Caller.RequestID}
	if e.Caller.Peer.IsValid() {
		tail.Peer = e.Caller.Peer.String()
	}
	line, err := appendJSON(nil, head)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	line = line[:len(line)-1] // its brace
	if len(e.Items) > 0 {
		line = appendItems(line, e.Items, e.Decision.PolicySet)
	}
	// The tail's brace makes room for what joins it to the head.
	at := len(line)
	if line, err = appendJSON(line, tail); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	line[at] = ','
	return line[1 : len(line)-1], nil
}

// appendLine appends the line of a record, with its newline, and returns its
// hash as well.
func appendLine(b []byte, seq uint64, record []byte, prev string) ([]byte, string) {
	at := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, ',')
	b = append(b, record...)
	b = append(b, `,"prev":"`...)
	b = append(b, prev...)
	b = append(b, `"}`...)
	sum := hash(b[at:])
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

// orEmpty makes a list of nothing [], where encoding/json would write null.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func decisionText(d broker.Decision) string {
	if d.Allowed {
		return "allow"
	}
	return "deny"
}

// hash returns the SHA-256 of a line without its newline.
func hash(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
