package policy

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
)

// wildcard stands for "*" in a pattern.
const wildcard rune = -1

// runes returns a pattern as characters and wildcards.
func runes(p cedar.Pattern) ([]rune, bool) {
	text, err := p.MarshalJSON()
	if err != nil {
		return nil, false
	}
	var parts []any
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, false
	}
	var pattern []rune
	for _, part := range parts {
		if literal, ok := part.(map[string]any); ok {
			s, _ := literal["Literal"].(string)
			pattern = append(pattern, []rune(s)...)
			continue
		}
		pattern = append(pattern, wildcard)
	}
	return pattern, true
}

func (l like) String() string {
	return strings.ReplaceAll(string(slices.Collect(func(yield func(rune) bool) {
		for _, r := range l.pattern {
			if r == wildcard {
				r = '*'
			}
			if !yield(r) {
				return
			}
		}
	})), `"`, `\"`)
}

// maxPattern bounds the patterns that are compared.
const maxPattern = 512

// covers reports whether whatever p matches, q matches, too: then a "*" of p is
// within one of q. A string without wildcards is such a p. It may say no where
// it is so.
func covers(q, p []rune) bool {
	if len(p) > maxPattern || len(q) > maxPattern {
		return false
	}
	// from[j]: q[:j] covers what was seen of p.
	from := make([]bool, len(q)+1)
	from[0] = true
	skip := func() {
		for j, r := range q {
			from[j+1] = from[j+1] || from[j] && r == wildcard
		}
	}
	skip()
	for _, r := range p {
		for j := len(q); j > 0; j-- {
			from[j] = from[j] && q[j-1] == wildcard || from[j-1] && q[j-1] == r
		}
		from[0] = false
		skip()
	}
	return from[len(q)]
}

// meet reports whether a string could match both. It may say yes where none
// could.
func meet(p, q []rune) bool {
	if len(p) > maxPattern || len(q) > maxPattern {
		return true
	}
	// after[j]: what is left of p meets q[j:].
	after := make([]bool, len(q)+1)
	for i := len(p); i >= 0; i-- {
		row := make([]bool, len(q)+1)
		for j := len(q); j >= 0; j-- {
			switch {
			case i == len(p) && j == len(q):
				row[j] = true
			case i < len(p) && p[i] == wildcard:
				row[j] = after[j] || j < len(q) && row[j+1]
			case j < len(q) && q[j] == wildcard:
				row[j] = row[j+1] || i < len(p) && after[j]
			case i < len(p) && j < len(q) && p[i] == q[j]:
				row[j] = after[j+1]
			}
		}
		after = row
	}
	return after[0]
}
