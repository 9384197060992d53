package audit

import (
	"slices"

	"github.com/keyward/keyward/broker"
)

// itemLen is about what an item takes.
const itemLen = 128

// appendItems appends the member "items", with the comma before it. A record may
// have a thousand of them, so they are written by hand:
//
//	{"resource","decision","breakGlass"?,"policies"?,"policySet"?,"outcome","stale"?,"cached"?}
//
// An item's policies are left out if there are none, what is false if it is, and
// the policy set if it is the record's.
func appendItems(b []byte, items []broker.Item, policySet string) []byte {
	b = slices.Grow(b, len(items)*itemLen)
	b = append(b, `,"items":[`...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"resource":`...)
		b = appendName(b, it.Resource)
		b = append(b, `,"decision":`...)
		b = appendString(b, decisionText(it.Decision))
		if it.Decision.BreakGlass {
			b = append(b, `,"breakGlass":true`...)
		}
		for j, p := range it.Decision.Policies {
			if j == 0 {
				b = append(b, `,"policies":[`...)
			} else {
				b = append(b, ',')
			}
			b = appendString(b, p)
		}
		if len(it.Decision.Policies) > 0 {
			b = append(b, ']')
		}
		if it.Decision.PolicySet != policySet && it.Decision.PolicySet != "" {
			b = append(b, `,"policySet":`...)
			b = appendString(b, it.Decision.PolicySet)
		}
		b = append(b, `,"outcome":`...)
		b = appendString(b, it.Outcome)
		if it.Stale {
			b = append(b, `,"stale":true`...)
		}
		if it.Cached {
			b = append(b, `,"cached":true`...)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendName appends a name as a JSON string: it has nothing that needs care.
func appendName(b []byte, n broker.Name) []byte {
	b, _ = n.AppendText(append(b, '"'))
	return append(b, '"')
}

// appendString appends s as a JSON string. What needs care is left to
// encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ = appendJSON(b, s) // a string never fails
			return b
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
