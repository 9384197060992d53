package usage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// Kind is what a Finding is about.
type Kind string

// Kinds of findings.
const (
	// Unused: nobody used the grant.
	Unused Kind = "unused"
	// Actions, Principals, Resources: it grants more of them than were used.
	Actions    Kind = "actions"
	Principals Kind = "principals"
	Resources  Kind = "resources"
	// Kept: it looks unused or broad, and is left as it is, which Why tells.
	Kept Kind = "kept"
)

// maxNamed is how many principals or resources a narrower grant names one by
// one. More than that is a group or a pattern that somebody has to think of.
const maxNamed = 8

// Finding is a grant that is broader than its use.
type Finding struct {
	Policy broker.PolicyRef
	Kind   Kind
	// Count, First and Last are of its use in the window.
	Count       int
	First, Last Sight
	// Used and Unused are the actions, principals or resources that it is about.
	// Of Unused those are known that the log or the policies name: there may be
	// more.
	Used, Unused []string
	// Proposal is what to write instead: a part of the scope, a condition, or
	// "remove it". It is "" where nothing is proposed, and Why tells why.
	Proposal string
	Why      string

	edits []policy.Edit
	// conditions are what is to be added to it.
	conditions []string
}

// Tightened is what Tighten found.
type Tightened struct {
	Findings []Finding
	// Edits make the folder what is proposed, and After is the folder then. There
	// are none where nothing is.
	Edits []policy.Edit
	After *policy.Analysis
	// Replay proves it: what was allowed in the past and the folder permits, After
	// permits.
	Replay *Replay
	// Otherwise counts decisions that were recorded as allowed and that the folder
	// denies as it is. They are no use of it.
	Otherwise int
}

// TightenConfig says what to leave alone.
type TightenConfig struct {
	// Keep are the ids of policies for rare work. Break-glass policies are kept
	// anyway, and forbids are not looked at.
	Keep []string
}

// tightening is Tighten at work.
type tightening struct {
	past *Past
	all  *policy.Analysis
	// used are the uses of each policy.
	used map[string][]*Use
	// permitted are the uses that the folder permits.
	permitted map[*Use]bool
	// callers are all that are known, the workloads of the folder included.
	callers []broker.Principal
	objects []broker.Name
	groups  map[string][]broker.Action
	texts   map[string]string
}

// Tighten finds the grants of a folder that are broader than their use in the
// window, and says how to narrow them. A proposal denies nothing that the folder
// permitted in the past: it is proven by a replay, and is not made if it is not.
func (p *Past) Tighten(all *policy.Analysis, c TightenConfig) (*Tightened, error) {
	t := &tightening{past: p, all: all, used: map[string][]*Use{}, permitted: map[*Use]bool{}, groups: all.ActionGroups(), texts: all.Texts()}
	out := &Tightened{}
	for _, u := range p.uses {
		if !u.Allowed {
			continue
		}
		d, err := all.Authorize(context.Background(), u.Request)
		if err != nil || !d.Allowed {
			out.Otherwise += u.Count
			continue
		}
		t.permitted[u] = true
		for _, id := range d.Policies {
			t.used[id] = append(t.used[id], u)
		}
	}
	t.know()
	for _, s := range all.Statements() {
		if !s.Permit {
			continue
		}
		if !s.BreakGlass && !slices.Contains(c.Keep, s.Policy.ID) {
			found, err := t.findings(s)
			if err != nil {
				return nil, err
			}
			out.Findings = append(out.Findings, found...)
			continue
		}
		kept := t.finding(s, Kept)
		kept.Why = "it is in the list of those to keep"
		if s.BreakGlass {
			kept.Why = "it is a break-glass policy, for what is rare"
		}
		out.Findings = append(out.Findings, kept)
	}
	return out, t.prove(out)
}

// know collects who and what there is.
func (t *tightening) know() {
	seen := map[string]bool{}
	for _, c := range t.past.Principals() {
		seen[c.ID] = true
		t.callers = append(t.callers, c)
	}
	for _, id := range t.all.Workloads() {
		if !seen[id] {
			t.callers = append(t.callers, broker.Principal{ID: id})
		}
	}
	for _, o := range t.past.Objects() {
		if !o.Gone {
			t.objects = append(t.objects, o.Name)
		}
	}
}

// finding begins one about a policy.
func (t *tightening) finding(s policy.Statement, kind Kind) Finding {
	f := Finding{Policy: s.Policy, Kind: kind}
	for _, u := range t.used[s.Policy.ID] {
		if f.Count == 0 || u.First.Time.Before(f.First.Time) {
			f.First = u.First
		}
		if !u.Last.Time.Before(f.Last.Time) {
			f.Last = u.Last
		}
		f.Count += u.Count
	}
	return f
}

// findings returns what is too broad about one permit.
func (t *tightening) findings(s policy.Statement) ([]Finding, error) {
	uses := t.used[s.Policy.ID]
	if len(uses) == 0 {
		f := t.finding(s, Unused)
		if s.Begins.After(t.past.Window.Since) && s.Begins.After(t.past.First.Time) {
			f.Kind, f.Why = Kept, "it begins at "+s.Begins.Format(time.RFC3339)+", so the past does not tell"
		} else {
			f.Proposal, f.edits = "remove it", []policy.Edit{t.removal(s)}
		}
		return []Finding{f}, nil
	}
	alone, err := t.all.Alone(s)
	if err != nil {
		return nil, err
	}
	n := &narrowing{tightening: t, Statement: s, uses: uses, samples: samplesOf(uses), alone: alone, did: map[act]bool{}}
	for _, u := range uses {
		n.did[act{u.Request.Action, u.Request.Resource}] = true
	}
	var found []Finding
	for _, look := range []func() (Finding, bool){n.actions, n.principals, n.resources} {
		f, broad := look()
		if !broad {
			continue
		}
		found = append(found, f)
		if f.Proposal != "" {
			n.agreed = append(n.agreed, f)
		}
	}
	return found, nil
}

// samplesOf returns a use of each action, those without conditions on time
// alike.
func samplesOf(uses []*Use) []*Use {
	by := map[broker.Action]*Use{}
	for _, u := range uses {
		if by[u.Request.Action] == nil {
			by[u.Request.Action] = u
		}
	}
	samples := make([]*Use, 0, len(by))
	for _, a := range slices.Sorted(maps.Keys(by)) {
		samples = append(samples, by[a])
	}
	return samples
}

// prove joins the edits, and takes back those that the replay speaks against.
func (t *tightening) prove(out *Tightened) error {
	refused := map[string]bool{}
	for {
		out.Edits = nil
		byPolicy := map[string][]Finding{}
		for _, f := range out.Findings {
			if f.Proposal != "" {
				byPolicy[f.Policy.ID] = append(byPolicy[f.Policy.ID], f)
			}
		}
		for _, s := range t.all.Statements() {
			if found := byPolicy[s.Policy.ID]; len(found) > 0 {
				n := &narrowing{tightening: t, Statement: s}
				out.Edits = append(out.Edits, n.edits(found)...)
			}
		}
		if len(out.Edits) == 0 {
			out.After, out.Replay = t.all, t.replay(t.all)
			return nil
		}
		after, err := t.all.Edited(out.Edits)
		if err != nil && len(byPolicy) < t.all.Len() {
			return fmt.Errorf("usage: what would be proposed does not load: %w", err)
		}
		if err != nil { // nothing would be left
			for i := range out.Findings {
				out.Findings[i].withdraw("it is all there is, and a folder without a policy is refused")
			}
			continue
		}
		out.After, out.Replay = after, t.replay(after)
		if len(out.Replay.Denied) == 0 {
			return nil
		}
		for _, c := range out.Replay.Denied {
			d, err := t.all.Authorize(context.Background(), c.Request)
			if err != nil {
				return err
			}
			for _, id := range d.Policies {
				if refused[id] {
					return fmt.Errorf("usage: %s on %s would be denied by what is proposed, and no policy can be found that does it", c.Action, c.Resource)
				}
				refused[id] = true
			}
		}
		for i, f := range out.Findings {
			if refused[f.Policy.ID] {
				out.Findings[i].withdraw("the replay does not prove it")
			}
		}
	}
}

// replay decides what was used again.
func (t *tightening) replay(after *policy.Analysis) *Replay {
	return t.past.replay(func(u *Use) bool { return t.permitted[u] }, after.Engine)
}

// withdraw leaves the finding without a proposal.
func (f *Finding) withdraw(why string) {
	if f.Proposal == "" {
		return
	}
	f.Proposal, f.Why, f.edits, f.conditions = "", why, nil, nil
}
