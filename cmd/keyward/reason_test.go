package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/keyward/keyward/broker"
)

// Every client command takes a reason and sends it, percent-encoded, with each
// of its calls; without one it sends none.
func TestReasonOfEveryClientCommand(t *testing.T) {
	b := newStocked()
	b.batch = newBatching(map[string]string{"vaults/dev/secrets/a": "v"}).batch
	dir := b.serve(t)
	template := filepath.Join(dir, "template")
	if err := os.WriteFile(template, []byte(`{{ secret "a" }}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"get a", "set a", "generate a", "update a --content-type x", "list", "versions a", "delete a",
		"exec --secret a -- true", "render --in " + template + " --out -",
		"deleted list", "deleted get a", "undelete a", "purge a --yes", "backup a", "restore",
	} {
		t.Run(command, func(t *testing.T) {
			for reason, want := range map[string]string{"": "[]", "\u00fc 100%": "[%C3%BC%20100%25]"} {
				b.reasons = nil
				args := strings.Fields(command)
				if reason != "" {
					at := 1 // behind the command
					if args[0] == "deleted" {
						at = 2
					}
					args = slices.Insert(args, at, "--reason", reason)
				}
				_, stderr, rc := keyward(t, dir, "v", args...)
				if rc != exitOK || len(b.reasons) == 0 {
					t.Fatalf("%q: exit code %d, %d calls: %s", args, rc, len(b.reasons), stderr)
				}
				for _, sent := range b.reasons {
					if got := "[" + strings.Join(sent, "|") + "]"; got != want {
						t.Errorf("%q sent %s, want %s", args, got, want)
					}
				}
			}
		})
	}
}

// A stream says so too.
func TestReasonOfAWatch(t *testing.T) {
	b, _ := newWatched(act{end: statusOf(t, codes.PermissionDenied, broker.CodePolicyDenied)})
	_, stderr, _ := keyward(t, b.serve(t), "", "watch", "a", "--reason", "ticket 4711")
	if len(b.reasons) != 1 || !slices.Equal(b.reasons[0], []string{"ticket%204711"}) {
		t.Errorf("sent %q: %s", b.reasons, stderr)
	}
}
