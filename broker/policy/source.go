package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
)

// problem is something wrong with a file, and where.
type problem struct {
	at  cedar.Position
	msg string
}

func (p problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.at.Filename, p.at.Line, p.at.Column, p.msg)
}

// joinProblems returns all of ps as one error, in the order of the files, a
// line each.
func joinProblems(ps []problem) error {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(
			strings.Compare(a.at.Filename, b.at.Filename),
			a.at.Line-b.at.Line,
			a.at.Column-b.at.Column,
			strings.Compare(a.msg, b.msg),
		)
	})
	var errs []error
	for _, p := range slices.Compact(ps) {
		errs = append(errs, errors.New(p.String()))
	}
	return errors.Join(errs...)
}

// source is the text of a file. cedar-go says where a policy begins, but not
// where in it a thing is; the tokens here do.
type source struct {
	path string
	text string
	// lines are the offsets at which the lines begin.
	lines []int
}

func newSource(path, text string) source {
	s := source{path: path, text: text, lines: []int{0}}
	for i := range len(text) {
		if text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// at returns the position of a byte offset. Columns count characters.
func (s source) at(offset int) cedar.Position {
	line, begins := slices.BinarySearch(s.lines, offset)
	if !begins {
		line--
	}
	return cedar.Position{
		Filename: s.path,
		Offset:   offset,
		Line:     line + 1,
		Column:   utf8.RuneCountInString(s.text[s.lines[line]:offset]) + 1,
	}
}

// offset is the inverse of at. What is outside of the text is at its nearer end.
func (s source) offset(line, column int) int {
	switch {
	case line < 1:
		return 0
	case line > len(s.lines):
		return len(s.text)
	}
	i := s.lines[line-1]
	for range column - 1 {
		_, n := utf8.DecodeRuneInString(s.text[i:])
		i += n
	}
	return i
}

// token is a word, a number, a string with its quotes, or a single character.
type token struct {
	offset int
	text   string
}

func (t token) end() int { return t.offset + len(t.text) }

// tokens splits text, without its white space and comments.
func tokens(text string) []token {
	var ts []token
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch {
		case strings.IndexByte(" \t\r\n", rest[0]) >= 0:
			i++
			continue
		case strings.HasPrefix(rest, "//"):
			i += spanUntil(rest, 2, "\n")
			continue
		case strings.HasPrefix(rest, "/*"):
			i += spanUntil(rest, 2, "*/")
			continue
		case rest[0] == '"':
			n = stringLen(rest)
		case isWord(rest[0]):
			for n < len(rest) && isWord(rest[n]) {
				n++
			}
		default:
			_, n = utf8.DecodeRuneInString(rest)
		}
		ts = append(ts, token{offset: i, text: rest[:n]})
		i += n
	}
	return ts
}

// statements splits ts behind each ";", which is nowhere in a policy but at its
// end.
func statements(ts []token) [][]token {
	var out [][]token
	begin := 0
	for i, t := range ts {
		if t.text == ";" {
			out = append(out, ts[begin:i+1])
			begin = i + 1
		}
	}
	if begin < len(ts) {
		out = append(out, ts[begin:])
	}
	return out
}

// spanUntil returns the length of s through the first end behind from, or all
// of it.
func spanUntil(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

// stringLen returns the length of the string literal at the beginning of s. One
// that is not ended ends with its line.
func stringLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\n':
			return i
		case '"':
			return i + 1
		}
	}
	return len(s)
}

func isWord(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
