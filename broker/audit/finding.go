package audit

import "fmt"

// Kind is what is wrong with a log.
type Kind string

// Kinds of findings. Only Torn is no sign that somebody changed the log.
const (
	// Changed: a record is not what was written.
	Changed Kind = "changed"
	// Dropped: records that were written are not there.
	Dropped Kind = "dropped"
	// Duplicated: a record is there once more.
	Duplicated Kind = "duplicated"
	// Swapped: two records stand in each other's place.
	Swapped Kind = "swapped"
	// Moved: records stand in another place.
	Moved Kind = "moved"
	// Added: a line that no record follows from.
	Added Kind = "added"
	// Begins: the first record is not record 1; older files are missing.
	Begins Kind = "begins late"
	// Torn: a line is the beginning of a record, as a crash leaves it. Nothing
	// was disclosed on the ground of it.
	Torn Kind = "torn"
	// Truncated: the log ends before what a checkpoint says that it holds.
	Truncated Kind = "truncated"
	// Forged: a checkpoint is not the signer's, or not of this log.
	Forged Kind = "checkpoint"
)

// A Finding is what is wrong with a log, and where: with one line, or with what
// should be there.
type Finding struct {
	Kind     Kind
	Position Position
	// Seq is the record it is about, and Last, if there are several, the last of
	// them. 0: it is about no record.
	Seq, Last uint64
	Detail    string

	// The record says stands in the place of another.
	place, says uint64
}

func (f *Finding) stands(place, says uint64) { f.place, f.says = place, says }

// String says where, which record, and what.
func (f *Finding) String() string {
	about := ""
	switch {
	case f.Last > f.Seq:
		about = fmt.Sprintf("records %d to %d: ", f.Seq, f.Last)
	case f.Seq > 0:
		about = fmt.Sprintf("record %d: ", f.Seq)
	}
	return fmt.Sprintf("%s: %s%s: %s", f.Position, about, f.Kind, f.Detail)
}

// ChainError is a Finding as the error of Read.
type ChainError struct{ Finding *Finding }

func (e *ChainError) Error() string { return e.Finding.String() }
