package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/keyward/keyward/broker"
)

// Decisions of records and items.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Actions that the log records of itself.
const (
	// ActionCheckpoint: a signed note says what the log holds up to here.
	ActionCheckpoint broker.Action = "checkpoint"
	// ActionResume: the log could not be written for a while, and can again.
	ActionResume broker.Action = "resumeAudit"
)

// Record is a line of a log.
type Record struct {
	// Position is where it stands.
	Position Position `json:"-"`

	Seq        uint64            `json:"seq"`
	Time       time.Time         `json:"time"`
	Principal  string            `json:"principal"`
	Groups     []string          `json:"groups"`
	Attributes map[string]string `json:"attributes"`
	Context    Context           `json:"context"`
	Action     broker.Action     `json:"action"`
	Resource   string            `json:"resource"`
	// Phase is broker.PhaseIntent or PhaseOutcome of a change; "" of a read.
	Phase      string   `json:"phase,omitempty"`
	Decision   string   `json:"decision"` // Allow or Deny
	BreakGlass bool     `json:"breakGlass,omitempty"`
	Policies   []string `json:"policies"`
	PolicySet  string   `json:"policySet"`
	// Outcome is broker.OutcomeOK or a broker.Code; "" of an intent.
	Outcome  string    `json:"outcome"`
	Stale    bool      `json:"stale"`
	Cached   bool      `json:"cached"`
	Question *Question `json:"question,omitempty"`
	// Items are the objects of a list that were disclosed, or those that a batch
	// asked for. What the line leaves out, because it is the record's, is here.
	Items []Item `json:"items,omitempty"`
	// Checkpoint is the signed note of a record of ActionCheckpoint.
	Checkpoint string `json:"checkpoint,omitempty"`
	Trace      string `json:"trace"`
	Request    string `json:"request"`
	Peer       string `json:"peer"`
	Prev       string `json:"prev"`
}

// Item is one object of a Record that has several.
type Item struct {
	Resource   string   `json:"resource"`
	Decision   string   `json:"decision"`
	BreakGlass bool     `json:"breakGlass,omitempty"`
	Policies   []string `json:"policies,omitempty"`
	PolicySet  string   `json:"policySet,omitempty"`
	Outcome    string   `json:"outcome"`
	Stale      bool     `json:"stale,omitempty"`
	Cached     bool     `json:"cached,omitempty"`
}

// Read reads the records of a log from its files, oldest first (see Order), and
// checks the chain as it goes:
//
//	for r, err := range audit.Read(files...) {
//		chain, ok := errors.AsType[*audit.ChainError](err)
//		switch {
//		case ok && chain.Finding.Kind == audit.Torn: // a crash, survived
//		case err != nil:
//			return err
//		default:
//			use(r)
//		}
//	}
//
// A *ChainError is about one place, and reading goes on behind it; it comes at
// most two lines late. Any other error is the last: a file cannot be read. A log
// whose oldest files are gone is a Finding of kind Begins, at its beginning.
func Read(files ...string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := newChain()
		going := true
		tell := func() bool {
			for _, f := range c.findings {
				if going = going && yield(Record{}, &ChainError{f}); !going {
					return false
				}
			}
			c.findings = c.findings[:0]
			return true
		}
		err := eachLine(files, func(l rawLine) bool {
			k := parseLink(l)
			var bad *Finding
			var r Record
			if k.record {
				var err error
				if r, err = decode(l.text); err != nil {
					bad = &Finding{Kind: Changed, Position: l.Position, Seq: k.seq, Detail: err.Error()}
				}
			}
			c.add(k)
			if !tell() {
				return false
			}
			switch {
			case bad != nil:
				going = yield(Record{}, &ChainError{bad})
			case k.record:
				r.Position = l.Position
				going = yield(r, nil)
			}
			return going
		})
		if !going {
			return
		}
		if err != nil {
			yield(Record{}, err)
			return
		}
		c.end()
		tell()
	}
}

// decode reads a line. It takes what encode writes and nothing else, so that a
// line means the same to whoever reads it; members of later versions are left
// out.
func decode(line []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(line))
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("it does not read as a record: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Record{}, errors.New("there is more than a record in the line")
	}
	if r.Decision != Allow && r.Decision != Deny {
		return Record{}, fmt.Errorf("its decision is neither %q nor %q", Allow, Deny)
	}
	for i := range r.Items {
		item := &r.Items[i]
		if item.Decision != Allow && item.Decision != Deny {
			return Record{}, fmt.Errorf("the decision of an item is neither %q nor %q", Allow, Deny)
		}
		if item.PolicySet == "" {
			item.PolicySet = r.PolicySet
		}
	}
	return r, nil
}
