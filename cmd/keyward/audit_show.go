package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

type auditShowCmd struct {
	policyOutput
	auditFilter
	auditFiles

	Action     string `placeholder:"ACTION" complete:"actions" help:"Only this action, such as getSecret, authenticate or loadPolicies."`
	Decision   string `enum:"allow,deny,both" default:"both" placeholder:"WORD" help:"Only what was decided so: allow or deny."`
	Denied     bool   `help:"The same as --decision deny, and what was denied of a batch."`
	BreakGlass bool   `help:"Only what a break-glass policy alone allowed."`
	Follow     bool   `short:"f" help:"Go on with what is recorded from now on, of one file."`
}

// Help shows what to ask.
func (*auditShowCmd) Help() string {
	return `Prints a line for each record: when, the decision, who, what, on what, what came of it, and by which policies.

  keyward audit show audit.jsonl --denied --since 24h
  keyward audit show audit-*.jsonl audit.jsonl --principal 'spiffe://example.org/billing' --resource 'vaults/pay/secrets/*'
  keyward audit show audit.jsonl --follow

-o json prints the records as JSON, a line each.

Where the log is not as it was written, that is said on standard error, and the exit code is 1; keyward audit verify says more.
Exit codes: 0 done, 1 the log is not as it was written or cannot be read, 2 wrong usage.`
}

// Run prints what is asked for.
func (c *auditShowCmd) Run(a *app) error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.Follow {
		if len(c.Files) != 1 {
			return usageError("--follow takes one file: the one that is written to")
		}
		for r, err := range audit.Follow(a.ctx, c.Files[0]) {
			if err != nil {
				return err
			}
			if err := c.print(a.out, &r); err != nil {
				return err
			}
		}
		return nil
	}
	files, err := c.ordered()
	if err != nil {
		return err
	}
	return eachRecord(a, files, func(r *audit.Record) error { return c.print(a.out, r) })
}

// eachRecord reads a log. What is wrong with it is told, and is the command's
// failure, but it does not end it.
func eachRecord(a *app, files []string, f func(*audit.Record) error) error {
	wrong := false
	for r, err := range audit.Read(files...) {
		if chain, ok := errors.AsType[*audit.ChainError](err); ok {
			// Part of a log is as good as all of it here.
			if chain.Finding.Kind != audit.Torn && chain.Finding.Kind != audit.Begins {
				fmt.Fprintln(a.err, "keyward:", printable(err.Error()))
				wrong = true
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := f(&r); err != nil {
			return err
		}
	}
	if wrong {
		return codedError{code: exitError}
	}
	return nil
}

func (c *auditShowCmd) takes(r *audit.Record) bool {
	denied := r.Decision == audit.Deny
	if c.Denied {
		denied = denied || slices.ContainsFunc(r.Items, func(i audit.Item) bool { return i.Decision == audit.Deny })
	}
	glass := r.BreakGlass || slices.ContainsFunc(r.Items, func(i audit.Item) bool { return i.BreakGlass })
	switch {
	case c.Denied && !denied, c.Decision != "both" && c.Decision != r.Decision, c.BreakGlass && !glass:
		return false
	case c.Action != "" && c.Action != string(r.Action):
		return false
	}
	return c.auditFilter.takes(r)
}

func (c *auditShowCmd) print(w io.Writer, r *audit.Record) error {
	if !c.takes(r) {
		return nil
	}
	if c.Output == outputJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(r)
	}
	_, err := fmt.Fprintln(w, recordText(r))
	return err
}

// recordText is a record in one line.
func recordText(r *audit.Record) string {
	words := []string{
		r.Time.UTC().Format(time.RFC3339), r.Decision, printable(r.Principal), string(r.Action), printable(r.Resource),
	}
	switch {
	case r.Phase == broker.PhaseIntent:
		words = append(words, "intent")
	case r.Outcome != "":
		words = append(words, printable(r.Outcome))
	}
	if len(r.Policies) > 0 {
		words = append(words, "by "+printable(strings.Join(r.Policies, ", ")))
	}
	if len(r.Items) > 0 {
		words = append(words, itemsText(r.Items))
	}
	if q := r.Question; q != nil {
		words = append(words, questionText(q))
	}
	if r.Cached {
		words = append(words, "cached")
	}
	if r.Stale {
		words = append(words, "stale")
	}
	if r.BreakGlass {
		words = append(words, "BREAK-GLASS")
	}
	if r.Context.Reason != "" {
		words = append(words, "because "+printable(fmt.Sprintf("%q", r.Context.Reason)))
	}
	return strings.Join(words, " ")
}

func itemsText(items []audit.Item) string {
	denied := 0
	for _, i := range items {
		if i.Decision == audit.Deny {
			denied++
		}
	}
	text := "of " + count(len(items), "item", "items")
	if denied > 0 {
		text += fmt.Sprintf(", %d denied", denied)
	}
	return text
}

func questionText(q *audit.Question) string {
	text := fmt.Sprintf("asked: %s %s", q.Action, printable(q.Resource))
	if q.Principal != "" {
		text += " by " + printable(q.Principal) + ": " + q.Decision
	}
	return text
}
