package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// line is an answer to who can or what can: one that could be permitted, by
// whom, when, and with which exceptions.
type line struct {
	one

	// via is the class through which an individual, or a class in another, has
	// it; anything if it has it by itself.
	via     cedar.EntityUID
	permits []rule
	// conditions are alternatives, each of the permit at its place. There are
	// none if one permits without any.
	conditions []string
	except     []exclusion
}

// lines answers for all that stand for the variable. Whatever is permitted meets a
// line: one of its conditions, and no exception. This is how none is missed:
//
//   - An individual that a rule names or that entities.json knows is looked at
//     with all that is known of it. It has a line of its own unless no permit
//     says of it by name what it does not say of others, and no forbid spares it.
//     Then it is one of those that the other lines are about.
//   - A class has a line for each permit whose answer depends on being in it, and
//     for all of them if a forbid spares those who are in it. Where a forbid spares
//     only those of another class as well, the line of that one tells of both.
//   - Whoever is permitted, and not by these, is so independently of every name,
//     and the line for any is about just those.
//
// In each, what is not known stays in the conditions.
func (s *side) lines(permits, forbids []rule) []line {
	var all []line
	need := s.needed(forbids)
	for _, x := range s.individuals {
		all = append(all, s.linesOf(x, permits, forbids)...)
	}
	for _, c := range s.classes {
		if need[c.uid] == anything {
			all = append(all, s.linesOf(c, permits, forbids)...)
		}
	}
	return append(all, s.linesOf(one{}, permits, forbids)...)
}

// linesOf returns the lines about o.
func (s *side) linesOf(o one, permits, forbids []rule) []line {
	exact, typical, without := s.exact(o), s.typical(o), s.without(o)
	if o.individual {
		typical = exact
	}
	spared := false
	var forbidden []exclusion
	for _, f := range forbids {
		r := typical.reduce(f.node)
		if r.fails || r.value == yes {
			return nil
		}
		if o.uid != anything && f.mentions(o) {
			if w := without.reduce(f.node); w.value != no && w.text() != r.text() {
				spared = true
			}
		}
		if r = exact.reduce(f.node); r.value != no {
			forbidden = append(forbidden, s.exclusions(r.rest(f.node), f)...)
		}
	}
	var all []line
	for _, p := range permits {
		if o.uid != anything && !spared && !p.mentions(o) {
			continue // it says of o what it says of others
		}
		r := typical.reduce(p.node)
		if r.fails || r.value == no || o.uid != anything && !spared && r.text() == without.reduce(p.node).text() {
			continue
		}
		r = exact.reduce(p.node)
		if o.individual && !s.exclusive && s.shared(o, p, forbids) {
			continue
		}
		condition, except := s.split(r, p)
		l := line{one: o, via: s.via(o, p, r), permits: []rule{p}, conditions: []string{condition}, except: except}
		all = s.join(all, l)
	}
	all = withoutNeedless(all)
	for i := range all {
		all[i].except = compactExclusions(slices.Concat(forbidden, all[i].except))
		if slices.Contains(all[i].conditions, "") {
			all[i].conditions = nil
		}
	}
	return all
}

// shared reports whether o has p as one of a class that it must be in by its
// credentials, because a forbid spares only those who are: that class's line
// tells of it, if nothing depends on o's name.
func (s *side) shared(o one, p rule, forbids []rule) bool {
	anonymous, self := s.without(o), s.exact(one{uid: o.uid, individual: true, may: s.mayBe(o)})
	byName := func(r rule) bool { return self.reduce(r.node).text() != anonymous.reduce(r.node).text() }
	if byName(p) || slices.ContainsFunc(forbids, func(f rule) bool {
		return byName(f) && anonymous.reduce(f.node).value != no
	}) {
		return false
	}
	return slices.ContainsFunc(s.classes, func(c one) bool { return s.needs(s.exact(o), o, c.uid, forbids) })
}

// needs reports whether a forbid applies to o, which v is the view of, unless it
// is in c.
func (s *side) needs(v *view, o one, c cedar.EntityUID, forbids []rule) bool {
	if slices.Contains(o.within, c) {
		return false
	}
	v = outside(v, c)
	return slices.ContainsFunc(forbids, func(f rule) bool {
		r := v.reduce(f.node)
		return r.fails || r.value == yes
	})
}

// withoutNeedless takes out what is had through a class where the same is had
// without, always.
func withoutNeedless(all []line) []line {
	if !slices.ContainsFunc(all, func(l line) bool {
		return l.via == anything && len(l.except) == 0 && slices.Contains(l.conditions, "")
	}) {
		return all
	}
	return slices.DeleteFunc(all, func(l line) bool { return l.via != anything })
}

// join adds l to the line that differs in its permits and conditions only.
func (s *side) join(all []line, l line) []line {
	for i, other := range all {
		if other.via == l.via && slices.EqualFunc(other.except, l.except, func(a, b exclusion) bool {
			return a.uid == b.uid && a.condition == b.condition
		}) {
			all[i].permits = append(all[i].permits, l.permits...)
			all[i].conditions = append(all[i].conditions, l.conditions...)
			return all
		}
	}
	return append(all, l)
}

// needed returns, for each class, another that whoever is permitted must be in as
// well, because a forbid spares only those; the line of the other tells of them.
// In a circle of such, one is left.
func (s *side) needed(forbids []rule) map[cedar.EntityUID]cedar.EntityUID {
	needs := map[cedar.EntityUID]cedar.EntityUID{}
	if s.exclusive || len(forbids) == 0 {
		return needs
	}
	for _, c := range s.classes {
		for _, other := range s.classes {
			if !leadsTo(needs, other.uid, c.uid) && s.needs(s.typical(c), c, other.uid, forbids) {
				needs[c.uid] = other.uid
				break
			}
		}
	}
	return needs
}

func leadsTo(needs map[cedar.EntityUID]cedar.EntityUID, from, to cedar.EntityUID) bool {
	for from != anything && from != to {
		from = needs[from]
	}
	return from == to
}

// via returns the class without which r would not be what is left of p for o.
func (s *side) via(o one, p rule, r residual) cedar.EntityUID {
	if s.exclusive || o.uid == anything {
		return anything
	}
	by := func(classes ...cedar.EntityUID) string {
		if !o.individual {
			classes = append(classes, o.uid)
		}
		return s.exact(one{uid: o.uid, individual: o.individual, within: classes, may: o.may}).reduce(p.node).text()
	}
	if by() == r.text() {
		return anything
	}
	for _, c := range o.within {
		if c != o.uid && by(c) == r.text() {
			return c
		}
	}
	return anything
}

// positionText is where a policy stands: the file's base name, line and column.
func positionText(p *lazyPolicy) string {
	at := p.position()
	return fmt.Sprintf("%s:%d:%d", at.Filename[strings.LastIndexAny(at.Filename, `/\`)+1:], at.Line, at.Column)
}
