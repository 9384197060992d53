package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

// chainShown is how many things wrong with a log people see here; keyward audit
// verify tells all.
const chainShown = 3

// pastFlags say which past.
type pastFlags struct {
	Audit []string `required:"" sep:"none" placeholder:"LOG" help:"A file of the audit log. May be repeated, in any order: a rotated log is several."`
	Since string   `placeholder:"WHEN" help:"Leave out what is older: 30d or 12h before --until, or a date or time such as 2026-05-01. Default: all there is."`
	Until string   `placeholder:"WHEN" help:"Leave out what is younger: a date or time. Default: now."`

	Logs []string `arg:"" optional:"" complete:"files" help:"More files of the log, as a shell puts them for a *."`
}

// window returns from when to when.
func (f pastFlags) window(now time.Time) (usage.Window, error) {
	w := usage.Window{Until: now}
	var err error
	if f.Until != "" {
		if w.Until, err = whenText("--until", f.Until, time.Time{}); err != nil {
			return w, err
		}
	}
	if f.Since != "" {
		if w.Since, err = whenText("--since", f.Since, w.Until); err != nil {
			return w, err
		}
	}
	if !w.Since.Before(w.Until) {
		return w, usageError(fmt.Sprintf("--since %s is not before %s", w.Since.Format(time.RFC3339), w.Until.Format(time.RFC3339)))
	}
	return w, nil
}

// whenText reads a time, or if there is one to count from, how long before it.
func whenText(flag, text string, from time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	if !from.IsZero() {
		if days, ok := strings.CutSuffix(text, "d"); ok {
			if n, err := strconv.Atoi(days); err == nil && n > 0 {
				return from.UTC().AddDate(0, 0, -n), nil
			}
		}
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return from.UTC().Add(-d), nil
		}
		return from, usageError(fmt.Sprintf("%s %q: want how long, such as 30d or 12h, or when, such as 2026-05-01 or 2026-05-01T12:00:00Z", flag, text))
	}
	return from, usageError(fmt.Sprintf("%s %q: want a date or a time, such as 2026-05-01 or 2026-05-01T12:00:00Z", flag, text))
}

// read returns the past, with as much of each decision as the engines look at.
// What is wrong with the log is told, and what can be read is.
func (f pastFlags) read(a *app, engines ...*policy.Engine) (*usage.Past, error) {
	window, err := f.window(time.Now())
	if err != nil {
		return nil, err
	}
	files, err := audit.Order(slices.Concat(f.Audit, f.Logs))
	if err != nil {
		return nil, err
	}
	past := usage.NewPast(window, engines...)
	names := nameReader{}
	wrong := 0
	for r, err := range audit.Read(files...) {
		if chain, ok := errors.AsType[*audit.ChainError](err); ok {
			// A crash cuts a line, and a log that is rotated begins late.
			if kind := chain.Finding.Kind; kind == audit.Torn || kind == audit.Begins {
				continue
			}
			if wrong++; wrong <= chainShown {
				fmt.Fprintf(a.err, "warning: %s\n", printable(chain.Error()))
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		names.decisions(r, past.Add)
	}
	if wrong > 0 {
		fmt.Fprintf(a.err, "warning: the log is not what was written, and neither may be what is concluded from it: see keyward audit verify\n")
	}
	if past.Decisions == 0 {
		return nil, advise("there is no decision in the log"+windowText(past), "name more files with --audit, or an earlier --since")
	}
	return past, nil
}

func windowText(p *usage.Past) string {
	if p.Window.Since.IsZero() {
		return ""
	}
	return " since " + p.Window.Since.Format(time.RFC3339)
}

// pastText says what the past is: how many decisions, of when.
func pastText(p *usage.Past) string {
	first := p.First.Time
	if first.Before(p.Window.Since) {
		first = p.Window.Since
	}
	return fmt.Sprintf("%s from %s to %s", count(p.Decisions, "decision", "decisions"), first.Format(time.RFC3339), p.Last.Time.Truncate(time.Second).Format(time.RFC3339))
}

// sightText is a record: audit.jsonl:17 (record 17).
func sightText(s usage.Sight) string {
	return fmt.Sprintf("%s at %s:%d (record %d)", s.Time.Truncate(time.Second).Format(time.RFC3339), printable(s.File), s.Line, s.Seq)
}

// sightJSON is a record in the output for programs.
type sightJSON struct {
	Time time.Time `json:"time"`
	File string    `json:"file"`
	Line int       `json:"line"`
	Seq  uint64    `json:"seq"`
}

// nameReader parses resources, most of which come again and again.
type nameReader map[string]broker.Name

func (n nameReader) read(text string) (broker.Name, bool) {
	if name, ok := n[text]; ok {
		return name, !name.IsZero()
	}
	name, err := parseResource(text)
	if err != nil {
		name = broker.Name{}
	}
	n[text] = name
	return name, err == nil
}

// parseResource reads a resource of a record: a vault, a collection, or an
// object, with or without a version.
func parseResource(text string) (broker.Name, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 {
		return broker.Name{}, fmt.Errorf("%q is no resource", text)
	}
	switch len(parts) {
	case 2:
		return broker.ParseVaultName(text)
	case 3:
		vault, err := broker.ParseVaultName(parts[0] + "/" + parts[1])
		return vault.Collection(broker.Kind(parts[2])), err
	}
	return broker.ParseName(broker.Kind(parts[2]), text)
}

// decisions calls add for each decision that the record tells of. Questions,
// failed authentications and what the log says of itself are none.
func (n nameReader) decisions(r audit.Record, add func(usage.Decision)) {
	switch r.Action {
	case broker.ActionAuthenticate, broker.ActionLoadPolicies, broker.ActionCheckAccess, audit.ActionCheckpoint, audit.ActionResume:
		return
	}
	d := usage.Decision{
		Request: broker.Request{
			Principal: broker.Principal{ID: r.Principal, Groups: r.Groups, Attributes: r.Attributes},
			Action:    r.Action, Time: r.Time, Transport: r.Context.Transport, Reason: r.Context.Reason,
		},
		Sight: usage.Sight{Time: r.Time, File: r.Position.File, Line: r.Position.Line, Seq: r.Seq},
		Phase: r.Phase,
	}
	if peer, err := netip.ParseAddr(r.Peer); err == nil {
		d.Request.Peer = peer
	}
	one := func(resource, decision, outcome string, breakGlass bool, policies []string, set string) {
		name, ok := n.read(resource)
		if !ok {
			return
		}
		d.Request.Resource, d.Request.Action = name, r.Action
		d.Allowed, d.OK, d.BreakGlass, d.Policies, d.PolicySet = decision == audit.Allow, outcome == broker.OutcomeOK, breakGlass, policies, set
		add(d)
	}
	head, _ := n.read(r.Resource)
	// A list was decided on the collection and on each object; a batch on each
	// alone. What else has items was decided once.
	batch := r.Action == broker.ActionGetSecret && head.ObjectName() == ""
	if !batch {
		one(r.Resource, r.Decision, r.Outcome, r.BreakGlass, r.Policies, r.PolicySet)
	}
	if batch || head.Kind() != "" && head.ObjectName() == "" {
		for _, i := range r.Items {
			one(i.Resource, i.Decision, i.Outcome, i.BreakGlass, i.Policies, i.PolicySet)
		}
	}
}
