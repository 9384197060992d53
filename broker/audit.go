package broker

import (
	"context"
	"time"
)

// Phases of a change, which is recorded twice. A read has none.
const (
	PhaseIntent  = "intent"
	PhaseOutcome = "outcome"
)

// OutcomeOK is the outcome of an act that succeeded; any other is a Code.
const OutcomeOK = "ok"

// Acts that are recorded beside the Actions of policies.
const (
	ActionAuthenticate Action = "authenticate"
	ActionLoadPolicies Action = "loadPolicies"
	// ActionCheckAccess is a question about the caller itself.
	ActionCheckAccess Action = "checkAccess"
)

// Event is one act to record. It has no field for a value, nor for a hash of
// one.
type Event struct {
	Time   time.Time
	Caller Caller
	Action Action
	// Resource is an object, a version or a collection; zero for acts on none.
	Resource Name
	// Phase is empty for a read.
	Phase    string
	Decision Decision
	// Outcome is OutcomeOK or a Code. Empty in an intent.
	Outcome string
	Cached  bool
	Stale   bool
	// Items are the objects of a list that were disclosed, or those that a batch
	// asked for.
	Items []Item
	// Question is what was asked and answered, if the act is a question.
	Question *Question
	// Trace is the W3C trace id, if the call is traced.
	Trace string
}

// Item is one object of an Event that has several.
type Item struct {
	Resource Name
	Decision Decision
	Outcome  string
	Cached   bool
	Stale    bool
}

// Question is whether a principal may do an action on a resource, or if there is
// no principal, who may.
type Question struct {
	Action    Action
	Resource  Name
	Principal Principal
	// Answer is nil where the question is who may.
	Answer *Decision
}

// Auditor records an event. It returns once the event would survive the
// process; an error means that it may not, and that nothing may be disclosed.
// Record may be called concurrently.
type Auditor interface {
	Record(ctx context.Context, e Event) error
}
