package service

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyward/keyward/broker"
)

const (
	// reasonHeader is where a caller says why it calls, over both transports.
	reasonHeader = "x-keyward-reason"
	// maxReasonLen bounds a reason, in characters.
	maxReasonLen = 500
)

// reasonOf returns the reason that the headers of a call give, or "" for none.
//
// gRPC metadata is ASCII, so a reason that is not is percent-encoded UTF-8, as
// for the path of a URL. What is no such encoding stands for itself: who writes
// "disk at 100%" by hand, in an emergency, is not sent back for it.
func reasonOf(headers []string) (string, error) {
	if len(headers) > 1 {
		return "", badReason("it was given twice")
	}
	var reason string
	for _, h := range headers {
		if plain, err := url.PathUnescape(h); err == nil {
			h = plain
		}
		reason = strings.TrimSpace(h)
	}
	switch {
	case !utf8.ValidString(reason):
		return "", badReason("it is not UTF-8; percent-encode what is not ASCII")
	case utf8.RuneCountInString(reason) > maxReasonLen:
		return "", badReason("it is at most 500 characters")
	case strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", badReason("it is one line of printable characters")
	}
	return reason, nil
}

func badReason(what string) error {
	return &broker.Error{Code: broker.CodeBadField, Field: reasonHeader, Message: "the reason is not valid: " + what}
}
