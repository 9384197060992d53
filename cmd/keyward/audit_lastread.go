package main

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/audit"
)

type auditLastReadCmd struct {
	policyOutput
	auditFilter
	auditFiles
}

// Help says what counts.
func (*auditLastReadCmd) Help() string {
	return `Prints a line for each secret and each principal that has read its value, with when it last did and how often. A read counts if
it was allowed and a value was disclosed, of whichever version, alone or in a batch. Lists are no reads.

  keyward audit last-read audit-*.jsonl audit.jsonl
  keyward audit last-read audit.jsonl --resource vaults/pay --since 90d -o json

What nobody has read is not in the log, and so not here.

Exit codes: 0 done, 1 the log is not as it was written or cannot be read, 2 wrong usage.`
}

// lastReadJSON is what is known of a secret's reads by one principal.
type lastReadJSON struct {
	Resource  string    `json:"resource"`
	Principal string    `json:"principal"`
	LastRead  time.Time `json:"lastRead"`
	FirstRead time.Time `json:"firstRead"`
	Reads     int       `json:"reads"`
}

// Run lists the reads.
func (c *auditLastReadCmd) Run(a *app) error {
	if err := c.validate(); err != nil {
		return err
	}
	files, err := c.ordered()
	if err != nil {
		return err
	}
	type who struct{ resource, principal string }
	reads := map[who]*lastReadJSON{}
	count := func(r *audit.Record, resource, decision, outcome string) {
		if decision != audit.Allow || outcome != broker.OutcomeOK || !c.takesResource(resource) {
			return
		}
		k := who{baseName(resource), r.Principal}
		l := reads[k]
		if l == nil {
			l = &lastReadJSON{Resource: k.resource, Principal: k.principal, FirstRead: r.Time, LastRead: r.Time}
			reads[k] = l
		}
		l.Reads++
		if r.Time.After(l.LastRead) {
			l.LastRead = r.Time
		}
		if r.Time.Before(l.FirstRead) {
			l.FirstRead = r.Time
		}
	}
	failed := eachRecord(a, files, func(r *audit.Record) error {
		switch {
		case r.Action != broker.ActionGetSecret || !c.takes(r):
		case len(r.Items) > 0:
			for _, i := range r.Items {
				count(r, i.Resource, i.Decision, i.Outcome)
			}
		case strings.Count(r.Resource, "/") > 2: // an empty batch names a collection
			count(r, r.Resource, r.Decision, r.Outcome)
		}
		return nil
	})
	all := slices.SortedFunc(maps.Values(reads), func(a, b *lastReadJSON) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Principal, b.Principal))
	})
	if c.Output == outputJSON {
		err = printIndented(a.out, orEmpty(all))
	} else {
		rows := make([][]string, 0, len(all))
		for _, l := range all {
			rows = append(rows, []string{l.Resource, l.Principal, l.LastRead.UTC().Format(time.RFC3339), strconv.Itoa(l.Reads)})
		}
		err = printTable(a.out, []string{"SECRET", "PRINCIPAL", "LAST READ", "READS"}, rows)
	}
	return cmp.Or(err, failed)
}
