package broker_test

import (
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestNearest(t *testing.T) {
	actions := []string{"getSecret", "listSecrets", "readSecrets", "setSecret", "getDeletedSecret", "id"}
	for name, want := range map[string]string{
		"getSecret":   "getSecret",
		"GETSECRET":   "getSecret", // case alone
		"getSecrets":  "getSecret", // one too many
		"gtSecret":    "getSecret", // one too few
		"gteSecret":   "getSecret", // two swapped
		"fetSecret":   "getSecret", // one for another; setSecret is as near, and later
		"listSecret":  "listSecrets",
		"readsecret":  "readSecrets",
		"getdeleted":  "", // too far
		"fly":         "",
		"purge":       "",
		"ID":          "id",
		"if":          "id",
		"x":           "",
		"":            "",
		"writeSecret": "", // four, though one in three
	} {
		if got := broker.Nearest(name, actions); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	if got := broker.Nearest("a", []string{}); got != "" {
		t.Errorf("of none: %q", got)
	}
}
