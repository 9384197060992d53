package usage

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/keyward/keyward/broker/policy"
)

// listWidth is how long a list may be on one line.
const listWidth = 100

func keys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

// text returns a part of a file.
func (t *tightening) text(s policy.Span) string { return t.texts[s.File][s.From:s.To] }

// indent returns the white space that a part's line begins with.
func (t *tightening) indent(s policy.Span) string {
	text := t.texts[s.File]
	line := text[strings.LastIndexByte(text[:s.From], '\n')+1:]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// indented is a text of several lines in the place of a part.
func (t *tightening) indented(part policy.Span, text string) string {
	return strings.ReplaceAll(text, "\n", "\n"+t.indent(part))
}

// edits joins the findings of one policy into the edits of its text. Conditions
// that are added stand behind those that are there.
func (n *narrowing) edits(found []Finding) []policy.Edit {
	var edits []policy.Edit
	var conditions strings.Builder
	for _, f := range found {
		edits = append(edits, f.edits...)
		if len(f.conditions) > 0 {
			conditions.WriteString(n.indented(n.Whole, "\n"+f.Proposal))
		}
	}
	if conditions.Len() > 0 {
		at := n.Whole.To - len(";")
		at -= len(n.text(n.Whole)) - len(";") - len(strings.TrimRight(strings.TrimSuffix(n.text(n.Whole), ";"), " \t\r\n"))
		edits = append(edits, policy.Edit{Span: policy.Span{File: n.Whole.File, From: at, To: at}, Text: conditions.String()})
	}
	return edits
}

// removal takes a policy out, with the comments that stand right above it and
// one of the empty lines around it.
func (t *tightening) removal(s policy.Statement) policy.Edit {
	text := t.texts[s.Whole.File]
	from, to := s.Whole.From, s.Whole.To
	lineBegins := func(at int) int { return strings.LastIndexByte(text[:at], '\n') + 1 }
	if begin := lineBegins(from); strings.TrimSpace(text[begin:from]) == "" {
		for from = begin; from > 0; {
			above := lineBegins(from - 1)
			if !strings.HasPrefix(strings.TrimSpace(text[above:from]), "//") {
				break
			}
			from = above
		}
		// What stands first in a file may be about all of it, if nothing parts it
		// from the policy.
		rest := text[to:]
		if line, after, ended := strings.Cut(rest, "\n"); strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "//") {
			to = len(text)
			if ended {
				to -= len(after)
			}
			if line, after, _ := strings.Cut(after, "\n"); ended && strings.TrimSpace(line) == "" {
				to = len(text) - len(after)
			} else if above := lineBegins(max(from-1, 0)); from > 0 && strings.TrimSpace(text[above:from]) == "" {
				from = above
			}
		}
	}
	return policy.Edit{Span: policy.Span{File: s.Whole.File, From: from, To: to}}
}

// entity writes one in Cedar.
func entity(kind, id string) string { return kind + "::" + quoted(id) }

// quoted writes a string in Cedar, whose escapes are not all of Go's.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case !strconv.IsPrint(r):
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// listOf writes a set of entities, or of strings if kind is ""; on several lines,
// which begin with indent, if it is long.
func listOf(kind string, ids []string, indent string) string {
	all := make([]string, 0, len(ids))
	for _, id := range ids {
		if kind != "" {
			all = append(all, entity(kind, id))
		} else {
			all = append(all, quoted(id))
		}
	}
	return listText(all, indent)
}

func listText(all []string, indent string) string {
	if one := "[" + strings.Join(all, ", ") + "]"; len(one) <= listWidth {
		return one
	}
	return "[\n" + indent + "  " + strings.Join(all, ",\n"+indent+"  ") + "\n" + indent + "]"
}

// objectEntity writes an object, whose type its name tells.
func objectEntity(name string) string {
	kind := map[string]string{"secrets": "Secret", "keys": "Key", "certificates": "Certificate"}[strings.Split(name, "/")[2]]
	return entity(kind, name)
}

func objectList(names []string, indent string) string {
	all := make([]string, 0, len(names))
	for _, name := range names {
		all = append(all, objectEntity(name))
	}
	return listText(all, indent)
}

// objectNames are the last parts of names, each once.
func objectNames(names []string) []string {
	last := make([]string, 0, len(names))
	for _, name := range names {
		last = append(last, name[strings.LastIndexByte(name, '/')+1:])
	}
	slices.Sort(last)
	return slices.Compact(last)
}
