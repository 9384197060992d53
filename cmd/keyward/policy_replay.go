package main

import (
	"fmt"
	"io"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

// changesShown is how many changes of each kind people see. Programs see all.
const changesShown = 50

type policyReplayCmd struct {
	policyOutput
	pastFlags

	Candidate string `required:"" placeholder:"DIR" complete:"files" help:"The policies to decide by: a folder as the broker would load it."`
	Policy    string `placeholder:"DIR" complete:"files" help:"Hold the candidate against what this folder decides. Default: against what was recorded."`
}

// Help says what is decided again, and what the exit code says.
func (*policyReplayCmd) Help() string {
	return `What would break? Decides each recorded decision once more, by the candidate, with the principal, groups, attributes, context and time
of the record, and prints what would newly be denied or allowed: who, what, on what, how often, and the last record of it.

Decided again are reads, changes (once, though they have two records), and each object of a list and of a batch. Questions (may I, who
may) and failed authentications are not. What break-glass alone allowed is marked. An item that a list left out is in no record, so what a
list would newly show is not known.

The past may have been decided by other policies than those in force. To see what a change to these would do, name them with --policy.

  keyward policy replay --audit audit.jsonl --candidate new/
  keyward policy replay --audit audit.jsonl --since 30d --policy policy/ --candidate new/ -o json

Exit codes: 0 nothing that was allowed would be denied; 1 something would, or a file is refused; 2 wrong usage.`
}

// replayJSON is the output for programs.
type replayJSON struct {
	Decisions int          `json:"decisions"`
	Questions int          `json:"questions"`
	Used      int          `json:"used"`
	Since     *time.Time   `json:"since"`
	Until     time.Time    `json:"until"`
	First     sightJSON    `json:"first"`
	Last      sightJSON    `json:"last"`
	Denied    []changeJSON `json:"denied"`
	Allowed   []changeJSON `json:"allowed"`
}

type changeJSON struct {
	Principal  string          `json:"principal"`
	Action     broker.Action   `json:"action"`
	Resource   string          `json:"resource"`
	Count      int             `json:"count"`
	BreakGlass int             `json:"breakGlass"`
	First      sightJSON       `json:"first"`
	Last       sightJSON       `json:"last"`
	Policies   []policyRefJSON `json:"policies"`
}

// Run replays.
func (c *policyReplayCmd) Run(a *app) error {
	candidate, err := policy.Inspect(c.Candidate)
	if err != nil {
		return err
	}
	engines := []*policy.Engine{candidate.Engine}
	var before *policy.Engine
	if c.Policy != "" {
		if before, err = policy.Load(c.Policy); err != nil {
			return err
		}
		engines = []*policy.Engine{before, candidate.Engine}
	}
	past, err := c.read(a, engines...)
	if err != nil {
		return err
	}
	replay := past.Replay(before, candidate.Engine)
	if c.Output == outputJSON {
		err = printIndented(a.out, replayToJSON(past, replay))
	} else {
		printReplay(a.out, candidate, past, replay)
	}
	if err == nil && len(replay.Denied) > 0 {
		err = codedError{code: exitError}
	}
	return err
}

func replayToJSON(past *usage.Past, r *usage.Replay) replayJSON {
	out := replayJSON{
		Decisions: r.Decisions, Questions: r.Questions, Used: r.Used, Since: sinceJSON(past.Window), Until: past.Window.Until,
		First: sightJSON(past.First), Last: sightJSON(past.Last), Denied: []changeJSON{}, Allowed: []changeJSON{},
	}
	for _, c := range r.Denied {
		out.Denied = append(out.Denied, changeToJSON(c))
	}
	for _, c := range r.Allowed {
		out.Allowed = append(out.Allowed, changeToJSON(c))
	}
	return out
}

// sinceJSON is null where the window begins with the log.
func sinceJSON(w usage.Window) *time.Time {
	if w.Since.IsZero() {
		return nil
	}
	return &w.Since
}

func changeToJSON(c usage.Change) changeJSON {
	return changeJSON{
		Principal: c.Principal, Action: c.Action, Resource: c.Resource.String(), Count: c.Count, BreakGlass: c.BreakGlass,
		First: sightJSON(c.First), Last: sightJSON(c.Last), Policies: refsJSON(c.Explanation.Refs),
	}
}

func printReplay(w io.Writer, candidate *policy.Analysis, past *usage.Past, r *usage.Replay) {
	fmt.Fprintf(w, "%s, %d of them allowed; %s\n", pastText(past), r.Used, count(r.Questions, "different question", "different questions"))
	if past.Foreign > 0 {
		fmt.Fprintf(w, "%s left out: no policy decides on such an action or resource\n", count(past.Foreign, "decision was", "decisions were"))
	}
	denied, allowed := r.Counts()
	printChanges(w, candidate, "newly denied", denied, r.Denied)
	printChanges(w, candidate, "newly allowed", allowed, r.Allowed)
}

func printChanges(w io.Writer, candidate *policy.Analysis, what string, times int, all []usage.Change) {
	fmt.Fprintf(w, "%s: %d", what, times)
	if len(all) > 0 {
		fmt.Fprintf(w, ", in %s", count(len(all), "line", "lines"))
	}
	fmt.Fprintln(w)
	for i, c := range all {
		if i == changesShown {
			fmt.Fprintf(w, "  and %d more: see them with -o json\n", len(all)-i)
			return
		}
		fmt.Fprintf(w, "  %s %s %s: %s, last %s\n", cedarText("Workload", c.Principal), c.Action, c.Resource,
			count(c.Count, "time", "times"), sightText(c.Last))
		if c.BreakGlass > 0 {
			fmt.Fprintf(w, "      %s by break-glass alone\n", count(c.BreakGlass, "time", "times"))
		}
		fmt.Fprintf(w, "      %s\n", changeText(candidate, c))
	}
}

// changeText says why the candidate decides as it does.
func changeText(candidate *policy.Analysis, c usage.Change) string {
	if c.Err != nil {
		return printable(c.Err.Error())
	}
	why := whyText(c.Explanation)
	if c.Allowed || len(c.Explanation.Refs) > 0 {
		return why
	}
	// A collection has no near policies.
	if near, err := candidate.Near(c.Request); err == nil && len(near) > 0 {
		why += "; near is " + refText(near[0].Policy) + ": " + printable(near[0].String())
	}
	return why
}
