package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/policy"
)

// messagesEntities are beside each policy of testdata/messages.
const messagesEntities = `[
  {"uid": {"type": "Workload", "id": "spiffe://example.org/pay"}, "parents": [{"type": "Group", "id": "operators"}], "attrs": {}},
  {"uid": {"type": "Group", "id": "operators"}, "parents": [{"type": "Group", "id": "staff"}], "attrs": {}}
]`

// TestMessages loads each policy of testdata/messages, one a line, alone. What
// is said of it stands below, indented. All of loads.golden load.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/messages/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				line = strings.TrimRight(line, "\n")
				switch {
				case strings.HasPrefix(line, "  "):
				case line == "" || strings.HasPrefix(line, "#"):
					fmt.Fprintln(&got, line)
				default:
					fmt.Fprintln(&got, line)
					for _, said := range messages(t, line) {
						fmt.Fprintln(&got, "  "+said)
						if kind := filepath.Base(file); (said == "loads") != (kind == "loads.golden") && kind != "names.golden" {
							t.Errorf("%s: %s: %s", kind, line, said)
						}
					}
				}
			}
			golden(t, file, got.String())
			if raw := strings.Index(got.String(), "__cedar"); raw >= 0 {
				t.Errorf("Cedar's own words come through: %s", got.String()[raw:])
			}
		})
	}
}

// messages returns what is said of a policy, without the file.
func messages(t *testing.T, text string) []string {
	t.Helper()
	dir := write(t, "a.cedar", text, "entities.json", messagesEntities)
	_, err := policy.Load(dir)
	if err == nil {
		return []string{"loads"}
	}
	return strings.Split(strings.ReplaceAll(err.Error(), filepath.Join(dir, "a.cedar")+":", ""), "\n")
}

// TestMessagesOfBytes: what no text file holds.
func TestMessagesOfBytes(t *testing.T) {
	for text, want := range map[string]string{
		"permit (principal, action, resource) when { \"\xff\" == \"\" };": "1:45: this is no UTF-8 text; save the file as UTF-8",
		"permit (principal, action, resource)\x00;":                       "1:36: there is a NUL character; remove it",
	} {
		if got := strings.Join(messages(t, text), "; "); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
