package usage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker/policy"
)

// diffContext is how many lines around a change a patch shows.
const diffContext = 3

// hunk is a run of lines that are replaced: of the old ones those from From up to
// To.
type hunk struct {
	from, to int
	lines    []string
}

// Patch writes edits as a unified diff, for patch -p1 and git apply. name is what
// to call a file in it.
func Patch(texts map[string]string, edits []policy.Edit, name func(file string) string) string {
	var out strings.Builder
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		old := linesOf(texts[file])
		hunks := hunksOf(file, texts[file], edits)
		if len(hunks) == 0 {
			continue
		}
		fmt.Fprintf(&out, "--- a/%s\n+++ b/%s\n", name(file), name(file))
		shift := 0 // by how much the new lines are behind the old
		for len(hunks) > 0 {
			n := 1
			for n < len(hunks) && hunks[n].from-hunks[n-1].to <= 2*diffContext {
				n++
			}
			shift += writeHunks(&out, old, hunks[:n], shift)
			hunks = hunks[n:]
		}
	}
	return out.String()
}

// writeHunks writes what is close together as one, and returns how many lines
// it adds.
func writeHunks(out *strings.Builder, old []string, hunks []hunk, shift int) int {
	from := max(hunks[0].from-diffContext, 0)
	to := min(hunks[len(hunks)-1].to+diffContext, len(old))
	added := 0
	for _, h := range hunks {
		added += len(h.lines) - (h.to - h.from)
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", rangeText(from, to-from), rangeText(from+shift, to-from+added))
	write := func(sign string, lines []string) {
		for _, l := range lines {
			out.WriteString(sign + l)
			if !strings.HasSuffix(l, "\n") {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	at := from
	for _, h := range hunks {
		write(" ", old[at:h.from])
		write("-", old[h.from:h.to])
		write("+", h.lines)
		at = h.to
	}
	write(" ", old[at:to])
	return added
}

// rangeText counts lines from 1; where there are none, from the line before.
func rangeText(from, n int) string {
	if n > 0 {
		from++
	}
	return fmt.Sprintf("%d,%d", from, n)
}

// hunksOf turns the edits of a file into whole lines.
func hunksOf(file, text string, edits []policy.Edit) []hunk {
	here := slices.DeleteFunc(slices.Clone(edits), func(e policy.Edit) bool { return e.File != file })
	slices.SortStableFunc(here, func(a, b policy.Edit) int { return a.From - b.From })
	var hunks []hunk
	for len(here) > 0 {
		// Edits on the same lines are one.
		begin, end := lineBegin(text, here[0].From), lineEnd(text, here[0].To)
		n := 1
		for n < len(here) && here[n].From < end {
			end = max(end, lineEnd(text, here[n].To))
			n++
		}
		moved := slices.Clone(here[:n])
		for i := range moved {
			moved[i].From, moved[i].To = moved[i].From-begin, moved[i].To-begin
		}
		h := hunk{from: strings.Count(text[:begin], "\n")}
		old := linesOf(text[begin:end])
		h.to, h.lines = h.from+len(old), linesOf(policy.Rewrite(file, text[begin:end], moved))
		h.trim(old)
		hunks = append(hunks, h)
		here = here[n:]
	}
	return hunks
}

// trim takes off the lines that are the same at both ends.
func (h *hunk) trim(old []string) {
	for len(old) > 0 && len(h.lines) > 0 && old[0] == h.lines[0] {
		old, h.lines, h.from = old[1:], h.lines[1:], h.from+1
	}
	for len(old) > 0 && len(h.lines) > 0 && old[len(old)-1] == h.lines[len(h.lines)-1] {
		old, h.lines, h.to = old[:len(old)-1], h.lines[:len(h.lines)-1], h.to-1
	}
}

func lineBegin(text string, at int) int { return strings.LastIndexByte(text[:at], '\n') + 1 }

// lineEnd returns where the line ends that the byte before at is on, or if a line
// begins there, at.
func lineEnd(text string, at int) int {
	if at > 0 && text[at-1] == '\n' {
		return at
	}
	if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(text)
}

// linesOf splits a text behind each newline.
func linesOf(text string) []string { return slices.Collect(strings.Lines(text)) }
