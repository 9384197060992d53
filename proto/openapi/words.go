package main

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// words turns comments into descriptions.
type words struct {
	// json are the JSON names of the fields whose proto names differ.
	json map[string]string
}

func (w *words) learn(f *protogen.File) {
	if w.json == nil {
		w.json = map[string]string{}
	}
	for _, m := range f.Messages {
		for _, field := range m.Fields {
			if name := string(field.Desc.Name()); name != field.Desc.JSONName() {
				w.json[name] = field.Desc.JSONName()
			}
		}
	}
}

var (
	snake       = regexp.MustCompile(`[a-z]+(_[a-z]+)+`)
	sentenceEnd = regexp.MustCompile(`\.(\s|$)`)
)

// of returns a comment as Markdown: its paragraphs on one line each, indented
// lines as they are, and fields under their JSON names.
func (w *words) of(c protogen.Comments) string {
	if c == "" {
		return ""
	}
	var out strings.Builder
	indented, begun := false, false
	for line := range strings.SplitSeq(strings.TrimSpace(string(c)), "\n") {
		line = strings.TrimPrefix(strings.TrimRight(line, " "), " ")
		switch {
		case line == "":
			out.WriteString("\n\n")
			begun = false
			continue
		case strings.HasPrefix(line, "  "):
			if !indented {
				out.WriteString("\n")
			}
			out.WriteString("\n    " + strings.TrimSpace(line))
			indented, begun = true, true
			continue
		case indented:
			out.WriteString("\n\n")
		case begun:
			out.WriteString(" ")
		}
		out.WriteString(line)
		indented, begun = false, true
	}
	return snake.ReplaceAllStringFunc(out.String(), func(s string) string {
		if name, ok := w.json[s]; ok {
			return name
		}
		return s
	})
}

// split returns the first sentence of a comment, and the rest.
func (w *words) split(c protogen.Comments) (first, rest string) {
	text := w.of(c)
	end := sentenceEnd.FindStringIndex(text)
	if end == nil {
		return text, ""
	}
	return text[:end[0]+1], strings.TrimSpace(text[end[1]:])
}
