// Package usage holds policies against what was done under them: what another
// set would have decided, and which grants nobody made use of.
//
//	past := usage.NewPast(usage.Window{Since: since}, engine)
//	for … { past.Add(decision) }
//	replay := past.Replay(nil, candidate)
//	tightened, err := past.Tighten(analysis, usage.TightenConfig{})
//
// The past comes as plain decisions, oldest first; where from is the caller's
// matter. What was decided several times is kept once, so that a log of a
// million records is decided in as many steps as there were different questions.
package usage

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// Sight is a record and where it stands.
type Sight struct {
	Time time.Time
	File string
	Line int
	Seq  uint64
}

// Decision is one decision of the past.
type Decision struct {
	// Request is what was decided on, at the time of the record.
	Request broker.Request
	Sight   Sight
	// Allowed, BreakGlass and Policies are what was decided, and by what.
	Allowed, BreakGlass bool
	Policies            []string
	// PolicySet is the hash of what was in force.
	PolicySet string
	// Phase is that of a change, which counts with its intent.
	Phase string
	// OK: what was allowed succeeded.
	OK bool
}

// Use is a question that was decided, as often as it was: who, what, on what,
// and as much of the call's context as the policies look at.
type Use struct {
	// Request is that of Last.
	Request             broker.Request
	Allowed, BreakGlass bool
	Count               int
	First, Last         Sight
}

// Window is from when to when the past counts. Zero times do not bound it.
type Window struct{ Since, Until time.Time }

func (w Window) holds(t time.Time) bool {
	return !t.Before(w.Since) && (w.Until.IsZero() || !t.After(w.Until))
}

// Past is what was decided. It is of one goroutine while it is added to, and may
// be read concurrently from then on.
type Past struct {
	// Window is what was asked for.
	Window Window
	// Decisions counts those in the window, Foreign those on actions or resources
	// that no policy decides any more.
	Decisions, Foreign int
	// First and Last are the first and the last of all, in the window or not.
	First, Last Sight

	engines   []*policy.Engine
	callers   map[string]*caller
	questions map[question]*answers
	uses      []*Use
	objects   map[broker.Name]*Object
	sets      map[string]Sight
	key       []byte
}

// caller is a principal with the groups and attributes of one kind of
// credentials.
type caller struct{ broker.Principal }

// question is what every policy looks at.
type question struct {
	caller   *caller
	action   broker.Action
	resource broker.Name
}

type answers struct {
	looks   policy.Looks
	foreign bool
	uses    map[circumstances]*Use
	// released tells by the policies: see Past.released.
	released map[string]bool
}

// circumstances are what only some policies look at, and the answer.
type circumstances struct {
	allowed, breakGlass bool
	transport, reason   string
	peer                netip.Addr
	time                int64
}

// Object is one that is known to have been there: somebody read, listed or
// changed it.
type Object struct {
	Name broker.Name
	// Read is when its value was last given out, or a key last used, by whom; nil
	// if that is not in the log. It may have been before the window.
	Read   *Sight
	Reader string
	// Gone: it was deleted since.
	Gone bool
}

// NewPast returns a Past without decisions. It keeps of each what the engines
// look at, so those that are asked of it are among them, or ones made narrower.
// The first is what the past is held against: see released.
func NewPast(w Window, engines ...*policy.Engine) *Past {
	return &Past{
		Window: w, engines: engines,
		callers: map[string]*caller{}, questions: map[question]*answers{},
		objects: map[broker.Name]*Object{}, sets: map[string]Sight{},
	}
}

// Add adds a decision, the next in time.
func (p *Past) Add(d Decision) {
	if p.First.Time.IsZero() {
		p.First = d.Sight
	}
	p.Last = d.Sight
	if _, seen := p.sets[d.PolicySet]; !seen {
		p.sets[d.PolicySet] = d.Sight
	}
	p.note(d)
	if d.Phase == broker.PhaseOutcome || !p.Window.holds(d.Sight.Time) {
		return
	}
	r := d.Request
	r.Resource = r.Resource.Base()
	r.Time = d.Sight.Time
	who := p.callerOf(r.Principal)
	q := question{who, r.Action, r.Resource}
	a, asked := p.questions[q]
	if !asked {
		a = p.look(r)
		p.questions[q] = a
	}
	if a.foreign {
		p.Foreign++
		return
	}
	p.Decisions++
	c := circumstances{allowed: d.Allowed, breakGlass: d.BreakGlass}
	if a.looks.Time {
		c.time = r.Time.UnixNano()
	}
	if a.looks.Peer {
		c.peer = r.Peer
	}
	if a.looks.Transport {
		c.transport = r.Transport
	}
	if a.looks.Reason || d.BreakGlass {
		c.reason = r.Reason
	}
	u := a.uses[c]
	if u == nil {
		u = &Use{Allowed: d.Allowed, BreakGlass: d.BreakGlass, First: d.Sight}
		a.uses[c] = u
		p.uses = append(p.uses, u)
	}
	r.Principal = who.Principal
	u.Request, u.Last = r, d.Sight
	u.Count++
	if r.Action == broker.ActionGetSecret && d.Allowed && p.released(a, r, d.Policies) {
		d.Request.Action, d.Request.Resource = broker.ActionDownloadCertificate, r.Resource.As(broker.KindCertificates)
		p.Add(d)
	}
}

// released reports whether a secret that was given out took the decision on
// downloadCertificate as well, because it holds a certificate's key. The record
// does not say so, but has the policies of both decisions, each list sorted, one
// behind the other. Where that could be one list, the decision is held against
// the first engine.
func (p *Past) released(a *answers, r broker.Request, policies []string) bool {
	if len(policies) < 2 {
		return false
	}
	for i := range policies[1:] {
		if policies[i] >= policies[i+1] {
			return true
		}
	}
	key := strings.Join(policies, "\x00")
	if released, known := a.released[key]; known {
		return released
	}
	d, err := p.engines[0].Authorize(context.Background(), r)
	released := err == nil && d.Allowed && slices.ContainsFunc(policies, func(id string) bool { return !slices.Contains(d.Policies, id) })
	if released {
		r.Action, r.Resource = broker.ActionDownloadCertificate, r.Resource.As(broker.KindCertificates)
		released = allows(p.engines[0], r)
	}
	if a.released == nil {
		a.released = map[string]bool{}
	}
	a.released[key] = released
	return released
}

// look prepares for the answers to a question that was not asked before.
func (p *Past) look(r broker.Request) *answers {
	a := &answers{uses: map[circumstances]*Use{}}
	for _, e := range p.engines {
		looks, err := e.Looks(r)
		if err != nil {
			a.foreign = true
			return a
		}
		a.looks = a.looks.Or(looks)
	}
	return a
}

// callerOf returns the one caller that has this id, these groups and attributes.
func (p *Past) callerOf(who broker.Principal) *caller {
	key := append(p.key[:0], who.ID...)
	if len(who.Groups) > 1 && !slices.IsSorted(who.Groups) {
		who.Groups = slices.Sorted(slices.Values(who.Groups))
	}
	for _, g := range who.Groups {
		key = append(append(key, 0), g...)
	}
	if len(who.Attributes) > 0 {
		for _, name := range slices.Sorted(maps.Keys(who.Attributes)) {
			key = append(append(append(append(key, 1), name...), 2), who.Attributes[name]...)
		}
	}
	p.key = key
	c := p.callers[string(key)]
	if c == nil {
		c = &caller{who}
		p.callers[string(key)] = c
	}
	return c
}

// note keeps what a decision tells of its object.
func (p *Past) note(d Decision) {
	n := d.Request.Resource.Base()
	if !d.Allowed || !d.OK || n.ObjectName() == "" {
		return
	}
	o := p.objects[n]
	if o == nil {
		o = &Object{Name: n}
		p.objects[n] = o
	}
	switch a := d.Request.Action; {
	case a == broker.ActionGetSecret, a == broker.ActionDownloadCertificate, useOfKey(a):
		at := d.Sight
		o.Read, o.Reader, o.Gone = &at, d.Request.Principal.ID, false
	case a == broker.ActionDeleteSecret, a == broker.ActionPurgeSecret, a == broker.ActionDeleteKey, a == broker.ActionPurgeKey:
		o.Gone = true
	case a == broker.ActionGetDeletedSecret, a == broker.ActionListDeletedSecrets, a == broker.ActionGetDeletedKey, a == broker.ActionListDeletedKeys:
		o.Gone = true
	default:
		o.Gone = false
	}
}

func useOfKey(a broker.Action) bool {
	switch a {
	case broker.ActionSignKey, broker.ActionVerifyKey, broker.ActionEncryptKey, broker.ActionDecryptKey, broker.ActionWrapKey, broker.ActionUnwrapKey:
		return true
	}
	return false
}

// Uses returns what was decided in the window, the first first.
func (p *Past) Uses() []*Use { return p.uses }

// Questions returns how many different ones there were.
func (p *Past) Questions() int { return len(p.uses) }

// Objects returns the objects that are known, by name.
func (p *Past) Objects() []Object {
	all := make([]Object, 0, len(p.objects))
	for _, o := range p.objects {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b Object) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	return all
}

// Principals returns those who called in the window, each with each of the
// credentials that it had, by id.
func (p *Past) Principals() []broker.Principal {
	keys := slices.Sorted(maps.Keys(p.callers))
	all := make([]broker.Principal, 0, len(keys))
	for _, k := range keys {
		all = append(all, p.callers[k].Principal)
	}
	slices.SortStableFunc(all, func(a, b broker.Principal) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// InForce returns the first record of a policy set, if there is one.
func (p *Past) InForce(set string) (Sight, bool) {
	s, ok := p.sets[set]
	return s, ok
}

// compareNames orders by principal, resource and action.
func compareRequests(a, b broker.Request) int {
	return cmp.Or(
		strings.Compare(a.Principal.ID, b.Principal.ID),
		strings.Compare(a.Resource.String(), b.Resource.String()),
		strings.Compare(string(a.Action), string(b.Action)),
	)
}
