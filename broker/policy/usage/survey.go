package usage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// maxSurveyed bounds the objects whose grants a Survey lists.
const maxSurveyed = 1000

// Survey is what a folder of policies grants, and what of it was used.
type Survey struct {
	Principals []PrincipalSurvey
	Objects    []ObjectSurvey
	// Left counts objects that are known and are not in Objects: there are too
	// many.
	Left       int
	Denied     []Attempt
	BreakGlass []*Use
	Policies   []PolicySurvey
}

// PrincipalSurvey is one principal, with the groups and attributes of its last
// credentials.
type PrincipalSurvey struct {
	broker.Principal

	// Groups are all that it is in.
	Groups    []string
	Abilities []AbilityUse
	// Allowed and Denied count its decisions.
	Allowed, Denied int
}

// AbilityUse is an ability and its use. Last is the zero Sight if there was none.
type AbilityUse struct {
	policy.Ability

	Count int
	Last  Sight
}

// ObjectSurvey is an object and who could be permitted something on it.
type ObjectSurvey struct {
	Object

	// Reads counts how often it was given out or used in the window.
	Reads  int
	Grants []ObjectGrant
}

// Stale reports whether nobody read it in the window.
func (o ObjectSurvey) Stale() bool { return o.Reads == 0 }

// ObjectGrant is a grant and the actions that it is the same for. Members are
// those who have it through the group that it is for, and are known.
type ObjectGrant struct {
	broker.Grant

	Actions []broker.Action
	Members []broker.Subject
}

// sameTerms reports whether two grants differ in their subjects only.
func (g ObjectGrant) sameTerms(other broker.Grant) bool {
	return slices.Equal(g.Policies, other.Policies) && slices.Equal(g.Conditions, other.Conditions) && slices.Equal(g.Except, other.Except)
}

// Attempt is what somebody was denied.
type Attempt struct {
	Principal   string
	Action      broker.Action
	Resource    broker.Name
	Count       int
	First, Last Sight
	// Now is what the folder says of it.
	Now broker.Explanation
}

// PolicySurvey is a policy and its use: how often it permitted, or forbade.
type PolicySurvey struct {
	policy.Statement

	Text  string
	Count int
	First Sight
	Last  Sight
}

// Survey holds a folder against the past.
func (p *Past) Survey(ctx context.Context, all *policy.Analysis) (*Survey, error) {
	out := &Survey{}
	decided := make(map[*Use][]string, len(p.uses))
	for _, u := range p.uses {
		d, err := all.Authorize(ctx, u.Request)
		if err == nil && d.Allowed == u.Allowed {
			decided[u] = d.Policies
		}
	}
	if err := p.surveyPrincipals(ctx, all, out, decided); err != nil {
		return nil, err
	}
	if err := p.surveyObjects(ctx, all, out); err != nil {
		return nil, err
	}
	p.surveyDenied(ctx, all, out)
	for _, u := range p.uses {
		if u.BreakGlass && u.Allowed {
			out.BreakGlass = append(out.BreakGlass, u)
		}
	}
	by := map[string]*PolicySurvey{}
	for u, ids := range decided {
		for _, id := range ids {
			if by[id] == nil {
				by[id] = &PolicySurvey{}
			}
			by[id].Count += u.Count
			by[id].First, by[id].Last = earlier(by[id].First, u.First), later(by[id].Last, u.Last)
		}
	}
	for _, s := range all.Statements() {
		ps := PolicySurvey{}
		if used := by[s.Policy.ID]; used != nil {
			ps = *used
		}
		ps.Statement, ps.Text = s, all.Text(s.Policy.ID)
		out.Policies = append(out.Policies, ps)
	}
	return out, nil
}

func earlier(a, b Sight) Sight {
	if a.Time.IsZero() || b.Time.Before(a.Time) {
		return b
	}
	return a
}

func later(a, b Sight) Sight {
	if a.Time.IsZero() || b.Time.After(a.Time) {
		return b
	}
	return a
}

func (p *Past) surveyPrincipals(ctx context.Context, all *policy.Analysis, out *Survey, decided map[*Use][]string) error {
	// The last credentials tell; the groups of any are taken.
	by := map[string]*PrincipalSurvey{}
	for _, id := range all.Workloads() {
		by[id] = &PrincipalSurvey{Principal: broker.Principal{ID: id}}
	}
	for _, c := range p.Principals() {
		s := by[c.ID]
		if s == nil {
			s = &PrincipalSurvey{Principal: broker.Principal{ID: c.ID}}
			by[c.ID] = s
		}
		s.Principal.Groups = slices.Compact(slices.Sorted(slices.Values(slices.Concat(s.Principal.Groups, c.Groups))))
		if len(c.Attributes) > 0 {
			s.Attributes = c.Attributes
		}
	}
	uses := map[string][]*Use{}
	for _, u := range p.uses {
		id := u.Request.Principal.ID
		uses[id] = append(uses[id], u)
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		s := by[id]
		s.Groups = all.GroupsOf(s.Principal)
		abilities, err := all.Abilities(ctx, s.Principal)
		if err != nil {
			return err
		}
		for _, a := range abilities {
			use := AbilityUse{Ability: a}
			for _, u := range uses[id] {
				if u.Allowed && usedBy(a, u.Request, decided[u]) {
					use.Count += u.Count
					use.Last = later(use.Last, u.Last)
				}
			}
			s.Abilities = append(s.Abilities, use)
		}
		for _, u := range uses[id] {
			if u.Allowed {
				s.Allowed += u.Count
			} else {
				s.Denied += u.Count
			}
		}
		out.Principals = append(out.Principals, *s)
	}
	return nil
}

// usedBy reports whether a request, decided by those policies, was a use of an
// ability.
func usedBy(a policy.Ability, r broker.Request, policies []string) bool {
	return slices.Contains(a.Actions, r.Action) &&
		(a.Vault == "" || a.Vault == r.Resource.VaultAlias()) &&
		(a.Name == "" || r.Resource.ObjectName() == "" || a.Name == r.Resource.String()) &&
		slices.ContainsFunc(a.Policies, func(p broker.PolicyRef) bool { return slices.Contains(policies, p.ID) })
}

func (p *Past) surveyObjects(ctx context.Context, all *policy.Analysis, out *Survey) error {
	objects := p.Objects()
	// Those that policies name and nobody saw.
	known := map[string]bool{}
	for _, o := range objects {
		known[o.Name.String()] = true
	}
	for _, s := range out.Principals {
		for _, a := range s.Abilities {
			if a.Name == "" || known[a.Name] {
				continue
			}
			known[a.Name] = true
			for _, kind := range []broker.Kind{broker.KindSecrets, broker.KindKeys, broker.KindCertificates} {
				if n, err := broker.ParseName(kind, a.Name); err == nil {
					objects = append(objects, Object{Name: n})
				}
			}
		}
	}
	slices.SortStableFunc(objects, func(a, b Object) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	reads := map[broker.Name]int{}
	for _, u := range p.uses {
		if a := u.Request.Action; u.Allowed && (a == broker.ActionGetSecret || a == broker.ActionDownloadCertificate || useOfKey(a)) {
			reads[u.Request.Resource] += u.Count
		}
	}
	for _, o := range objects {
		if o.Gone {
			continue
		}
		if len(out.Objects) == maxSurveyed {
			out.Left++
			continue
		}
		s := ObjectSurvey{Object: o, Reads: reads[o.Name]}
		for _, action := range all.Actions() {
			if kind, _ := all.Kind(action); kind != o.Name.Kind() {
				continue
			}
			grants, err := all.Grants(ctx, action, o.Name)
			if err != nil {
				return err
			}
			for _, g := range grants {
				s.add(g, action)
			}
		}
		s.fold()
		slices.SortStableFunc(s.Grants, func(a, b ObjectGrant) int {
			return cmp.Or(strings.Compare(b.Kind, a.Kind), strings.Compare(a.ID, b.ID))
		})
		out.Objects = append(out.Objects, s)
	}
	return nil
}

// add joins what differs in its action only.
func (o *ObjectSurvey) add(g broker.Grant, a broker.Action) {
	for i, other := range o.Grants {
		if other.Subject == g.Subject && other.Via == g.Via && other.sameTerms(g) {
			o.Grants[i].Actions = append(o.Grants[i].Actions, a)
			return
		}
	}
	o.Grants = append(o.Grants, ObjectGrant{Grant: g, Actions: []broker.Action{a}})
}

// fold puts those who have a grant through a group into that of the group.
func (o *ObjectSurvey) fold() {
	var left []ObjectGrant
	for _, g := range o.Grants {
		if g.Via == "" {
			left = append(left, g)
		}
	}
	for _, g := range o.Grants {
		if g.Via == "" {
			continue
		}
		i := slices.IndexFunc(left, func(of ObjectGrant) bool {
			return of.Kind == broker.SubjectGroup && of.ID == g.Via && slices.Equal(of.Actions, g.Actions) && of.sameTerms(g.Grant)
		})
		if i < 0 {
			left = append(left, g)
			continue
		}
		left[i].Members = append(left[i].Members, g.Subject)
	}
	o.Grants = left
}

func (p *Past) surveyDenied(ctx context.Context, all *policy.Analysis, out *Survey) {
	type subject struct {
		principal string
		action    broker.Action
		resource  broker.Name
	}
	at := map[subject]*Attempt{}
	var order []*Attempt
	for _, u := range p.uses {
		if u.Allowed {
			continue
		}
		k := subject{u.Request.Principal.ID, u.Request.Action, u.Request.Resource}
		a := at[k]
		if a == nil {
			a = &Attempt{Principal: k.principal, Action: k.action, Resource: k.resource}
			at[k] = a
			order = append(order, a)
		}
		a.Count += u.Count
		a.First = earlier(a.First, u.First)
		if last := later(a.Last, u.Last); last != a.Last {
			a.Last = last
			a.Now, _ = all.Explain(ctx, u.Request) // an error is a denial
		}
	}
	slices.SortStableFunc(order, func(a, b *Attempt) int { return b.Last.Time.Compare(a.Last.Time) })
	for _, a := range order {
		out.Denied = append(out.Denied, *a)
	}
}
