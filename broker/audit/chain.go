package audit

import "fmt"

// maxFindings bounds what is kept of a log of which nothing is right.
const maxFindings = 1000

// chain follows a log, line by line, and finds where it does not follow from
// itself. To tell a changed line from the one behind it, it looks one line ahead.
type chain struct {
	// next is the seq that is to come, and hash what its prev is to be.
	next uint64
	hash digest
	// off: the last line is known to be wrong, so what follows need not link to
	// it.
	off  bool
	last link // the last record in its place
	// junk are the lines since then that are no records.
	junk []link
	held *link
	gaps []gap

	findings []*Finding
	total    int
	torn     int
	// placed is called for each record in its place, before the chain goes on.
	placed func(link)
}

// gap is a run of records that did not come where they should have.
type gap struct {
	from, to uint64
	missing  map[uint64]bool
	// behind is the record that came instead.
	behind  link
	finding *Finding
}

func newChain() *chain { return &chain{next: 1, placed: func(link) {}} }

// add takes the next line.
func (c *chain) add(k link) {
	if c.held != nil {
		c.decide(*c.held, &k)
	}
	c.held = &k
}

// end takes the end of the log.
func (c *chain) end() {
	if c.held != nil {
		c.decide(*c.held, nil)
		c.held = nil
	}
	for _, j := range c.junk {
		if j.cut {
			c.survived(j, "goes on behind it when it is opened again")
		} else {
			c.find(Changed, j, c.next, "this is no record; the log ends here")
		}
	}
	c.junk = nil
	c.pairSwapped()
}

func (c *chain) find(kind Kind, at link, seq uint64, format string, args ...any) *Finding {
	f := &Finding{Kind: kind, Position: at.Position, Seq: seq, Detail: fmt.Sprintf(format, args...)}
	c.total++
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, f)
	}
	return f
}

func (c *chain) survived(at link, what string) {
	c.torn++
	c.find(Torn, at, 0, "the line was cut by a crash while it was written; nothing was disclosed on it, and the log %s", what)
}

// decide places k. n is the line behind it, or nil.
func (c *chain) decide(k link, n *link) {
	if !k.record {
		c.junk = append(c.junk, k)
		return
	}
	if len(c.junk) > 0 && c.behindJunk(k) {
		return
	}
	linked := k.prev == c.hash
	switch {
	case linked && k.seq == c.next:
		c.place(k)
	case linked && k.seq > c.next && n != nil && n.record && n.prev == k.hash:
		c.drop(k) // the file was cut while the log was open
	case linked:
		c.find(Changed, k, c.next, "its seq says %d", k.seq)
		c.placeAs(k)
	case k.seq == c.next && c.off:
		c.place(k)
	case k.seq == c.next:
		c.broken(k, n)
	case n != nil && n.record && n.seq == c.next+1 && k.seq != c.next+1 && !c.missing(k.seq):
		c.find(Changed, k, c.next, "record %d stands in its place", k.seq).stands(c.next, k.seq)
		c.placeAs(k)
	case k.seq > c.next:
		c.drop(k)
	case c.missing(k.seq):
		c.found(k)
	default:
		c.find(Duplicated, k, k.seq, "it was there already; record %d should be here", c.next).stands(c.next, k.seq)
	}
}

// behindJunk places the first record behind lines that are none, if it can.
func (c *chain) behindJunk(k link) bool {
	junk := c.junk
	c.junk = nil
	j := junk[len(junk)-1]
	switch {
	case k.seq == c.next && k.prev == j.hash:
		for _, j := range junk {
			c.survived(j, "goes on behind it")
		}
		c.hash = j.hash
		c.place(k)
		return true
	case k.seq == c.next && k.prev == c.hash:
		for _, j := range junk {
			c.find(Added, j, 0, "no record follows from this line")
		}
		return false
	case k.seq == c.next:
		c.find(Changed, j, 0, "a line that was cut by a crash, and then changed")
		c.place(k)
		return true
	}
	c.find(Changed, j, c.next, "this is no record")
	c.next++
	c.off = true
	return false
}

// broken: k comes where it should, and does not link to the line before.
func (c *chain) broken(k link, n *link) {
	switch {
	case c.last.Line == 0:
		c.find(Changed, k, k.seq, "it is the first, and has the hash of one before it")
	case n != nil && n.record && n.prev != k.hash:
		c.find(Changed, k, k.seq, "its prev is not the hash of the line before, nor is its own hash in the line behind")
		c.placeAs(k)
		return
	case n == nil || !n.record:
		c.find(Changed, c.last, c.last.seq, "its hash is not the prev of record %d, which may be the one that was changed", k.seq)
	default:
		c.find(Changed, c.last, c.last.seq, "its hash is not the prev of record %d", k.seq)
	}
	c.place(k)
}

// drop places k behind a gap.
func (c *chain) drop(k link) {
	kind, detail := Dropped, "missing before this line"
	if c.last.Line == 0 {
		kind, detail = Begins, "the log begins behind them; give the older files too"
	}
	f := c.find(kind, k, c.next, "%s", detail)
	f.Last = k.seq - 1
	c.gaps = append(c.gaps, gap{from: c.next, to: k.seq - 1, behind: k, finding: f})
	c.place(k)
}

func (c *chain) gapOf(seq uint64) *gap {
	for i := range c.gaps {
		if g := &c.gaps[i]; g.from <= seq && seq <= g.to && (g.missing == nil || g.missing[seq]) {
			return g
		}
	}
	return nil
}

func (c *chain) missing(seq uint64) bool { return c.gapOf(seq) != nil }

// maxMoved bounds the gaps that are followed record by record.
const maxMoved = 1 << 16

// found: a record that was missing stands here.
func (c *chain) found(k link) {
	g := c.gapOf(k.seq)
	if g.to-g.from >= maxMoved {
		c.find(Moved, k, k.seq, "it belongs before %s", g.behind.Position)
		return
	}
	if g.missing == nil {
		g.missing = map[uint64]bool{}
		for s := g.from; s <= g.to; s++ {
			g.missing[s] = true
		}
	}
	delete(g.missing, k.seq)
	if len(g.missing) > 0 {
		c.find(Moved, k, k.seq, "it belongs before %s", g.behind.Position)
		return
	}
	f := g.finding
	if g.from == g.to && k.File == g.behind.File && k.Line == g.behind.Line+1 {
		f.Kind, f.Last, f.Detail = Swapped, g.behind.seq, "they stand in each other's place"
		return
	}
	f.Kind, f.Detail = Moved, fmt.Sprintf("they belong before this line, and the last of them is at %s", k.Position)
	if g.from == g.to {
		f.Detail = fmt.Sprintf("it belongs before this line, and is at %s", k.Position)
	}
}

// place makes k the last record.
func (c *chain) place(k link) {
	c.placed(k)
	c.next, c.hash, c.last, c.off = k.seq+1, k.hash, k, false
}

// placeAs takes a wrong k for the record that should be there.
func (c *chain) placeAs(k link) {
	k.seq = c.next
	c.next, c.hash, c.last, c.off = k.seq+1, k.hash, k, true
}

// pairSwapped names two records that stand in each other's place.
func (c *chain) pairSwapped() {
	in := map[[2]uint64]*Finding{}
	for _, f := range c.findings {
		if f.says == 0 {
			continue
		}
		other := in[[2]uint64{f.says, f.place}]
		if other == nil {
			in[[2]uint64{f.place, f.says}] = f
			continue
		}
		for _, f := range []*Finding{f, other} {
			f.Kind, f.Seq, f.Detail = Swapped, f.place, fmt.Sprintf("record %d stands in its place", f.says)
		}
	}
}
