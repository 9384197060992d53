package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keyward/keyward/broker"
)

// record is a line of the log. The order of the fields is that of the line, and
// each line has them all, but for phase, breakGlass and items: who reads the log
// need not ask whether one is there.
type record struct {
	Seq        uint64            `json:"seq"`
	Time       string            `json:"time"`
	Principal  string            `json:"principal"`
	Groups     []string          `json:"groups"`
	Attributes map[string]string `json:"attributes"`
	Context    callContext       `json:"context"`
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
	Items      []item            `json:"items,omitempty"`
	Trace      string            `json:"trace"`
	Request    string            `json:"request"`
	Peer       string            `json:"peer"`
	Prev       string            `json:"prev"`
}

// callContext is what policies saw of the call beside the peer and the time.
type callContext struct {
	Transport string `json:"transport,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// item is one of several objects of a record.
type item struct {
	Resource   string   `json:"resource"`
	Decision   string   `json:"decision"`
	BreakGlass bool     `json:"breakGlass,omitempty"`
	Policies   []string `json:"policies,omitempty"`
	Outcome    string   `json:"outcome"`
	Stale      bool     `json:"stale,omitempty"`
	Cached     bool     `json:"cached,omitempty"`
}

// encode returns the line for e, with its newline.
func encode(e broker.Event, seq uint64, prev string) ([]byte, error) {
	r := record{
		Seq:        seq,
		Time:       e.Time.UTC().Format(time.RFC3339Nano),
		Principal:  e.Caller.ID,
		Groups:     orEmpty(e.Caller.Groups),
		Attributes: e.Caller.Attributes,
		Context:    callContext{Transport: e.Caller.Transport, Reason: e.Caller.Reason},
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
		Trace:      e.Trace,
		Request:    e.Caller.RequestID,
		Prev:       prev,
	}
	if r.Attributes == nil {
		r.Attributes = map[string]string{}
	}
	if e.Caller.Peer.IsValid() {
		r.Peer = e.Caller.Peer.String()
	}
	for _, i := range e.Items {
		r.Items = append(r.Items, item{
			Resource:   i.Resource.String(),
			Decision:   decisionText(i.Decision),
			BreakGlass: i.Decision.BreakGlass,
			Policies:   i.Decision.Policies,
			Outcome:    i.Outcome,
			Stale:      i.Stale,
			Cached:     i.Cached,
		})
	}
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return line.Bytes(), nil
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
