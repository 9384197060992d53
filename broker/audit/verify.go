package audit

import (
	"crypto/sha256"
	"slices"
)

// VerifyConfig says what a log is held against.
type VerifyConfig struct {
	// Partial: the log may begin behind record 1, its oldest files being gone.
	Partial bool
	// Keys, if there are any, must have signed each checkpoint of the log, and
	// there must be one.
	Keys *Keys
	// Anchors are checkpoints of this log that were kept elsewhere. What they say
	// must be there.
	Anchors []Checkpoint
}

// Report is what Verify found.
type Report struct {
	// Lines and Records count what was read; First and Last are the seq of the
	// first and the last record in their places.
	Lines, Records uint64
	First, Last    uint64
	// Checkpoints counts those in the log, and Checkpoint is the last that is
	// right: what is behind its Seq can be cut off without a trace, unless a
	// checkpoint that was kept elsewhere says more.
	Checkpoints int
	Checkpoint  *Checkpoint
	// Torn counts lines cut by crashes.
	Torn int
	// Findings are in the order of the log, the first 1000 of Total.
	Findings []*Finding
	Total    int
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return r.Total == r.Torn }

// Verify follows the chain through the files of a log, oldest first (see
// Order). An error is that of a file that could not be read; what is wrong with
// the log is in the report.
func Verify(c VerifyConfig, files ...string) (*Report, error) {
	v := &verifier{VerifyConfig: c, chain: newChain(), reached: make([]bool, len(c.Anchors))}
	v.chain.placed = v.placed
	err := eachLine(files, func(l rawLine) bool {
		v.line(l)
		return true
	})
	if err != nil {
		return nil, err
	}
	v.end()
	return &v.Report, nil
}

// verifier holds a log against what is known of it.
type verifier struct {
	VerifyConfig
	Report

	chain *chain
	// text is that of the last line.
	text []byte
	// reached: the log holds what the anchor says.
	reached []bool
}

func (v *verifier) line(l rawLine) {
	k := parseLink(l)
	v.text = append(v.text[:0], l.text...)
	v.Lines++
	if k.record {
		v.Records++
	}
	v.chain.add(k)
}

// placed looks at a record in its place.
func (v *verifier) placed(k link) {
	if v.First == 0 {
		v.First = k.seq
	}
	for i, a := range v.Anchors {
		if k.seq == a.Seq && k.hash == a.Hash || k.seq == a.Seq+1 && k.prev == a.Hash {
			v.reached[i] = true
		}
	}
	if k.note == "" {
		return
	}
	v.Checkpoints++
	c, err := checkLine(k, v.Keys)
	if err != nil {
		v.chain.find(Forged, k, k.seq, "%v", err)
		return
	}
	v.Checkpoint = &c
}

func (v *verifier) end() {
	ch := v.chain
	for i, a := range v.Anchors {
		for _, j := range ch.junk {
			v.reached[i] = v.reached[i] || j.hash == a.Hash
		}
	}
	ch.end()
	v.Last = ch.last.seq
	last := ch.last
	// No record behind it says what the last one was; at least it is to read as
	// one.
	if last.Line > 0 && last.hash == sha256.Sum256(v.text) {
		if _, err := decode(v.text); err != nil {
			ch.find(Changed, last, last.seq, "%v", err)
		}
	}
	if v.Keys != nil && v.Checkpoint == nil {
		ch.find(Forged, last, 0, "the log has no checkpoint that the given key signed")
	}
	for i, a := range v.Anchors {
		switch {
		case v.Keys != nil && v.Keys.Verify(a) != nil:
			ch.find(Forged, last, 0, "the checkpoint of record %d that was kept elsewhere: %v", a.Seq, v.Keys.Verify(a))
		case v.reached[i]:
		case a.Seq > last.seq:
			ch.find(Truncated, last, last.seq+1, "the log ends here, and the checkpoint that was kept elsewhere says that it went on").Last = a.Seq
		case a.Seq < v.First:
			ch.find(Truncated, last, a.Seq, "the checkpoint that was kept elsewhere is of records before those given; give the older files too")
		default:
			ch.find(Forged, last, a.Seq, "it is not what the checkpoint that was kept elsewhere says; the log was written anew, or this is another")
		}
	}
	v.Findings, v.Total, v.Torn = ch.findings, ch.total, ch.torn
	if v.Partial {
		v.Findings = slices.DeleteFunc(v.Findings, func(f *Finding) bool { return f.Kind == Begins })
		v.Total -= len(ch.findings) - len(v.Findings)
	}
}
