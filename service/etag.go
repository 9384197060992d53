package service

import (
	"strings"

	"github.com/keyward/keyward/broker"
)

// etagOf returns the precondition in a request's field, "" for none. What is no
// etag would be a condition that nothing meets.
func etagOf(field, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if etag, rest := cutETag(s); etag == "" || rest != "" {
		return "", &broker.Error{Code: broker.CodeBadField, Field: field, Message: `an etag stands in double quotes, as a reply has it`}
	}
	return s, nil
}

// etagsOf returns the etags of If-None-Match, or "*". The mark of a weak one is
// left out: If-None-Match compares without it. The list ends where it is
// malformed, so that the worst is a reply with a value.
func etagsOf(headers []string) []string {
	list := strings.Join(headers, ",")
	if strings.TrimSpace(list) == "*" {
		return []string{"*"}
	}
	var all []string
	for {
		list = strings.TrimPrefix(strings.TrimLeft(list, ", \t"), "W/")
		etag, rest := cutETag(list)
		if etag == "" {
			return all
		}
		all, list = append(all, etag), rest
	}
}

// cutETag returns the etag that s begins with, quotes included, and what
// follows it; "" if s begins with none.
func cutETag(s string) (etag, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return "", s
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[:i+1], s[i+1:]
		case c <= ' ', c == 0x7f:
			return "", s
		}
	}
	return "", s
}
