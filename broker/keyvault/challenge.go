package keyvault

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

const maxClaimsLen = 4 << 10

// claimsOf returns the claims that a 401 asks for, as JSON, or "". They are
// the one thing taken from a challenge: where tokens are asked for, and for
// what, is configured.
func claimsOf(h http.Header) string {
	for _, challenge := range h.Values("Www-Authenticate") {
		p := challengeParams(challenge)
		if p["error"] != "insufficient_claims" || len(p["claims"]) > maxClaimsLen {
			continue
		}
		// Padded or not, standard or URL alphabet: all have been seen.
		text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(p["claims"], "="))
		if claims, err := base64.RawStdEncoding.DecodeString(text); err == nil && json.Valid(claims) {
			return string(claims)
		}
	}
	return ""
}

// challengeParams returns the parameters of a Bearer challenge. What does not
// read as one has none.
func challengeParams(s string) map[string]string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil
	}
	params := make(map[string]string)
	for rest != "" {
		name, after, ok := strings.Cut(strings.TrimLeft(rest, " ,"), "=")
		if !ok {
			break
		}
		var value string
		if quoted, isQuoted := strings.CutPrefix(after, `"`); isQuoted {
			value, rest, ok = strings.Cut(quoted, `"`)
			if !ok {
				break
			}
		} else {
			value, rest, _ = strings.Cut(after, ",")
		}
		params[strings.ToLower(strings.TrimSpace(name))] = value
	}
	return params
}
