package audit

import (
	"crypto/sha256"
	"slices"
)

// VerifyConfig says what a log is held against.
type VerifyConfig struct {
	// Partial: the log may begin behind record 1, its oldest files being gone.
	Partial bool
}

// Report is what Verify found.
type Report struct {
	// Lines and Records count what was read; First and Last are the seq of the
	// first and the last record in their places.
	Lines, Records uint64
	First, Last    uint64
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
	r := &Report{}
	ch := newChain()
	ch.placed = func(k link) {
		if r.First == 0 {
			r.First = k.seq
		}
	}
	var last []byte
	err := eachLine(files, func(l rawLine) bool {
		k := parseLink(l)
		last = append(last[:0], l.text...)
		r.Lines++
		if k.record {
			r.Records++
		}
		ch.add(k)
		return true
	})
	if err != nil {
		return nil, err
	}
	ch.end()
	// No record behind it says what the last one was; at least it is to read as
	// one.
	if ch.last.Line > 0 && ch.hash == sha256.Sum256(last) {
		if _, err := decode(last); err != nil {
			ch.find(Changed, ch.last, ch.last.seq, "%v", err)
		}
	}
	r.Last, r.Findings, r.Total, r.Torn = ch.last.seq, ch.findings, ch.total, ch.torn
	if c.Partial {
		r.Findings = slices.DeleteFunc(r.Findings, func(f *Finding) bool { return f.Kind == Begins })
		r.Total -= len(ch.findings) - len(r.Findings)
	}
	return r, nil
}
