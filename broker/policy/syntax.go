package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/keyward/keyward/broker"
)

// parse parses one statement.
func parse(src source, st []token) (*lazyPolicy, *problem) {
	if len(st) > maxTokens {
		return nil, &problem{at: src.at(st[0].offset), msg: fmt.Sprintf("a policy has at most %d words and signs; put a group in place of a long list", maxTokens)}
	}
	var parsed cedar.PolicyList
	err := parsed.UnmarshalCedar([]byte(src.text[st[0].offset:st[len(st)-1].end()]))
	if err != nil {
		return nil, syntaxProblem(src, st, err)
	}
	if len(parsed) != 1 {
		return nil, &problem{at: src.at(st[0].offset), msg: fmt.Sprintf("want one policy before the \";\", found %d", len(parsed))}
	}
	return &lazyPolicy{ast: (*ast.Policy)(parsed[0].AST())}, nil
}

// syntax is what cedar-go says of an error. The position is from the beginning
// of what was parsed.
var syntax = regexp.MustCompile(`(?s)^parser error: (parse error at )?<input>:(\d+):(\d+):? (?:"(?:[^"\\]|\\.)*": )?(.*)$`)

// syntaxProblem says where a statement is wrong, and how.
func syntaxProblem(src source, st []token, err error) *problem {
	m := syntax.FindStringSubmatch(err.Error())
	if m == nil {
		i, msg := literalProblem(st, strings.TrimPrefix(err.Error(), "parser error: "))
		return &problem{at: src.at(st[i].offset), msg: msg}
	}
	line, _ := strconv.Atoi(m[2])
	column, _ := strconv.Atoi(m[3])
	begin := src.at(st[0].offset)
	if line == 1 {
		column += begin.Column - 1
	}
	offset := src.offset(line+begin.Line-1, column)
	// The token there, or the end.
	i, _ := slices.BinarySearchFunc(st, offset, func(t token, o int) int { return t.offset - o })
	i, msg := plain(st, i, m[1] != "", m[4])
	if i >= len(st) {
		return &problem{at: src.at(st[len(st)-1].end()), msg: msg}
	}
	return &problem{at: src.at(st[i].offset), msg: msg}
}

// wanted are cedar-go's words for what it wants, and ours.
var wanted = map[string]string{
	"expected ident or reserved keyword": "the annotation's name",
	"expected string":                    `text in quotes: @name("…")`,
	"expected ident after dot":           "an attribute's name",
	"expected ident or string":           "a name",
	"expected string literal":            `a pattern in quotes, such as "payments-*"`,
}

var (
	functionNames = slices.Sorted(maps.Keys(constructors))
	variableNames = []string{"principal", "action", "resource", "context"}
	// named are messages that say the name of what they are about.
	named = regexp.MustCompile("^`([^`]+)` is (not a function|a method, not a function|not a method|a function, not a method)$")
	count = regexp.MustCompile(`^(\w+) expects (no arguments|one argument)$`)
	got   = regexp.MustCompile(`(?s)^(?:exact )?got (.*) want (.*)$`)
)

// plain says the message in other words, and at which token. i is where the
// parser was; behind is that it has often stepped over what it did not expect.
func plain(st []token, i int, behind bool, msg string) (int, string) {
	if m := named.FindStringSubmatch(msg); m != nil {
		return back(st, i, m[1]), wrongCall(m[1], m[2])
	}
	if m := count.FindStringSubmatch(msg); m != nil {
		return back(st, i, m[1]), fmt.Sprintf("%s takes %s", m[1], strings.TrimSuffix(m[2], "s"))
	}
	if m := got.FindStringSubmatch(msg); m != nil {
		if i > 0 && st[i-1].text == m[1] {
			i--
		}
		return i, unexpected(st, i, m[1], m[2])
	}
	if behind && i > 0 {
		i--
	}
	found := "the policy ends here"
	before := ""
	if i < len(st) {
		found = "found " + quote(st[i].text)
	}
	if i > 0 {
		before = st[i-1].text
	}
	if want, ok := wanted[msg]; ok {
		return i, found + ", want " + want
	}
	switch {
	case strings.HasPrefix(msg, "duplicate annotation: "):
		return i, strings.TrimPrefix(msg, "duplicate annotation: ") + " is there already; a policy has it once"
	case strings.HasPrefix(msg, "duplicate key: "):
		i = back(st, i, strings.TrimPrefix(msg, "duplicate key: "))
		return i, fmt.Sprintf("the key %q is there already", strings.TrimPrefix(msg, "duplicate key: "))
	case strings.HasPrefix(msg, "unexpected effect: "):
		return i, found + ", want permit or forbid"
	case msg == "expected ident" && before == ".":
		return i, found + ", want an attribute's name"
	case msg == "expected ident" && before == "is":
		return i, found + ", want a type without quotes, such as Workload"
	case msg == "expected ident" && before == "=" && i < len(st) && st[i].text == "[":
		return i, `"==" takes one action; for several, write action in […]`
	case msg == "expected ident":
		return i, found + `, want a type and an id, such as Workload::"…" or Action::"…"`
	case msg == "unexpected token" && before == "[":
		return i, found + ", want an attribute's name in quotes"
	case msg == "unexpected token" && i >= 4 && slices.ContainsFunc(st[i-4:i], func(t token) bool { return t.text == "is" }) && i < len(st) && st[i].text[0] == '"':
		return i, found + `: "is" takes a type alone; write == before a type and an id`
	case msg == "unexpected token":
		return i, found + `, want an id in quotes: Type::"…"`
	case msg == "invalid primary":
		return i, noPrimary(st, i, found)
	case msg == "literal not terminated":
		return i, "the text that begins here has no end on its line"
	case msg == "comment not terminated":
		return i, "the comment that begins here has no end; write */"
	case msg == "invalid char escape":
		return i, badEscape
	case msg == "invalid UTF-8 encoding":
		return i, "this is no UTF-8 text; save the file as UTF-8"
	case msg == "invalid character NUL":
		return i, "there is a NUL character; remove it"
	}
	return i, msg
}

// quote leaves the quotes that text has.
func quote(text string) string {
	if text != "" && text[0] == '"' {
		return text
	}
	return fmt.Sprintf("%q", text)
}

// back returns the last token of that text before i, or i.
func back(st []token, i int, text string) int {
	for j := min(i, len(st)-1); j >= 0; j-- {
		if st[j].text == text || st[j].text == strconv.Quote(text) {
			return j
		}
	}
	return i
}

// wrongCall is of a function or a method that is not one.
func wrongCall(name, how string) string {
	switch how {
	case "not a function":
		return fmt.Sprintf("there is no function %q%s", name, didYouMean(name, functionNames))
	case "a method, not a function":
		return fmt.Sprintf("%s is a method: write what it is of before it, as in context.peer.isInRange(…)", name)
	case "a function, not a method":
		return fmt.Sprintf("%s is a function: write %s(…), with nothing before it", name, name)
	}
	return fmt.Sprintf("there is no method %q%s", name, didYouMean(name, methodNames()))
}

// instead are signs of other languages.
var instead = map[string]string{"=": "==", "&": "&&", "and": "&&", "AND": "&&", "|": "||", "or": "||", "OR": "||", "equals": "=="}

// unexpected is of a token in another's place.
func unexpected(st []token, i int, found, want string) string {
	if found == "" {
		return fmt.Sprintf("the policy ends here, want %q", want)
	}
	msg := fmt.Sprintf("found %s, want %q", quote(found), want)
	switch {
	case want == "principal" || want == "action" || want == "resource":
		if n := broker.Nearest(found, []string{want}); n != "" {
			return msg
		}
		return msg + ": the scope is (principal, action, resource)"
	case want == "," && instead[found] == "==" && i > 0 && slices.Contains(variableNames, st[i-1].text):
		return fmt.Sprintf("found %s, want %q", quote(found), "==")
	case (want == "}" || want == ")") && instead[found] != "":
		return fmt.Sprintf("found %s, want %q", quote(found), instead[found])
	case want == "{":
		return msg + ": a condition is in braces"
	case want == ")" && found == ",":
		return msg + ": the scope is (principal, action, resource)"
	case want == ";":
		return fmt.Sprintf(`found %s, want when, unless or ";"`, quote(found))
	}
	return msg
}

// noPrimary is of what no expression begins with.
func noPrimary(st []token, i int, found string) string {
	if i >= len(st) {
		return found + ", want an expression"
	}
	switch text := st[i].text; {
	case text == "not":
		return `found "not", want "!"`
	case text == "'":
		return "text is in double quotes"
	case isWord(text[0]) && i+1 < len(st) && st[i+1].text == ":":
		return found + `, want Type::"…", with two colons`
	case isWord(text[0]):
		return fmt.Sprintf("there is no %q%s", text, didYouMean(text, variableNames))
	}
	return found + ", want an expression"
}

const badEscape = `there is no such escape; write \" \\ \n \r \t \0 or \u{…} with the character's number, and in a pattern \* for a "*"`

// literalProblem finds the literal of which cedar-go says no position.
func literalProblem(st []token, msg string) (int, string) {
	number := strings.Contains(msg, "strconv.ParseInt")
	escape := strings.HasPrefix(msg, "bad ")
	for i, t := range st {
		switch {
		case number && t.text[0] >= '0' && t.text[0] <= '9':
			if _, err := strconv.ParseInt(t.text, 10, 64); err != nil {
				return i, t.text + " is too large: a number has at most 63 bits"
			}
		case escape && t.text[0] == '"' && strings.Contains(t.text, `\`):
			op := "=="
			if i > 0 && st[i-1].text == "like" {
				op = "like"
			}
			var p cedar.Policy
			if p.UnmarshalCedar([]byte(`permit (principal, action, resource) when { "" `+op+" "+t.text+" };")) != nil {
				return i, badEscape
			}
		}
	}
	return 0, msg
}
