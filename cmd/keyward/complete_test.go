package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

func TestComplete(t *testing.T) {
	dir := newStocked().serve(t)
	tests := []struct {
		typed string // after keyward; the last word is the one being typed
		want  []string
		lacks string
	}{
		{typed: "", want: []string{"get", "exec", "deleted", "completion"}, lacks: "complete"},
		{typed: "ge", want: []string{"get", "generate"}, lacks: "set"},
		{typed: "deleted ", want: []string{"list", "get"}, lacks: "purge"},
		{typed: "deleted get --o", want: []string{"--output"}, lacks: "list"},
		{typed: "get --", want: []string{"--version", "--max-age", "--context", "--help"}, lacks: "--etag"},
		{typed: "get -o ", want: []string{"table", "json"}},
		{typed: "get --output j", want: []string{"json"}, lacks: "table"},
		{typed: "get ", want: []string{"db-password", "zz"}},
		{typed: "get --version 1 -o json d", want: []string{"db-password"}, lacks: "zz"},
		{typed: "get --output=json d", want: []string{"db-password"}},
		{typed: "get db-password ", lacks: "db-password"},
		{typed: "undelete ", want: []string{"db-password"}, lacks: "zz"},
		{typed: "watch zz ", want: []string{"db-password"}},
		{typed: "exec --secret ", want: []string{"db-password"}},
		{typed: "exec --from ", want: []string{completeFiles}},
		{typed: "exec -- ", want: []string{completeFiles}},
		{typed: "exec --secret a psql --secret ", want: []string{completeFiles}},
		{typed: "restore ", want: []string{completeFiles}},
		{typed: "get --context ", want: []string{completeFiles}},
		{typed: "access check get", want: []string{"getSecret", "getDeletedSecret"}, lacks: "setSecret"},
		{typed: "access check getSecret ", want: []string{"db-password", "zz"}, lacks: "getSecret"},
		{typed: "access grants restore", want: []string{"restoreSecret"}},
		{typed: "policy who-can explain", want: []string{"explainAccess"}},
		{typed: "completion ", want: []string{"bash", "zsh", "fish"}},
		{typed: "get --context nowhere.json ", lacks: "db-password"},
		{typed: "frobnicate --what ", lacks: "db-password"},
	}
	for _, tt := range tests {
		t.Run(tt.typed, func(t *testing.T) {
			stdout, stderr, code := keyward(t, dir, "", append([]string{"complete"}, strings.Split(tt.typed, " ")...)...)
			if code != exitOK || stderr != "" {
				t.Fatalf("exit %d, %s", code, stderr)
			}
			var got []string
			for line := range strings.Lines(stdout) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				got = append(got, word)
			}
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("%v lacks %s", got, want)
				}
			}
			if slices.Contains(got, tt.lacks) {
				t.Errorf("%v has %s", got, tt.lacks)
			}
		})
	}
}

func TestCompleteIsQuiet(t *testing.T) {
	b := &fakeBroker{list: func(context.Context, *keywardv1.ListSecretsRequest) (*keywardv1.ListSecretsResponse, error) {
		return nil, status.Error(codes.PermissionDenied, "no")
	}}
	stdout, stderr, code := keyward(t, b.serve(t), "", "complete", "get", "")
	if code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
}

// The shells do with the scripts what they are for. What is after "typed" is
// how each shell is asked without a person at it.
func TestCompletionScripts(t *testing.T) {
	takesLong(t)
	dir := newStocked().serve(t)
	typed := map[string][]string{ // to what must be offered
		"keyward ge":           {"get", "generate"},
		"keyward get d":        {"db-password"},
		"keyward deleted ":     {"list", "get"},
		"keyward get -o ":      {"table", "json"},
		"keyward exec --from ": {"app.secrets"},
	}
	ask := map[string]string{
		"bash": `source <(keyward completion bash)
			COMP_WORDS=($TYPED) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			if [[ $TYPED == *" " ]]; then COMP_WORDS+=("") COMP_CWORD=$((COMP_CWORD + 1)); fi
			compopt() { COMPREPLY=(*); } # as readline does afterwards
			_keyward; printf '%s\n' "${COMPREPLY[@]}"`,
		"fish": `keyward completion fish | source; complete -C "$TYPED"`,
		"zsh": `autoload -Uz compinit && compinit -u -d "$ZDOTDIR/dump"
			source <(keyward completion zsh)
			words=(${=TYPED}); [[ $TYPED == *" " ]] && words+=("")
			CURRENT=$#words
			_files() { print -l * }
			_describe() { print -l ${found%%:*} }
			_keyward`,
	}
	for shell, script := range ask {
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here", shell)
			continue
		}
		for line, want := range typed {
			t.Run(shell+"/"+line, func(t *testing.T) {
				folder := t.TempDir()
				if err := os.WriteFile(filepath.Join(folder, "app.secrets"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(path, "-c", script)
				cmd.Dir = folder
				cmd.Env = append(os.Environ(), "TYPED="+line, "HOME="+folder, "ZDOTDIR="+folder, "KEYWARD_CONTEXT="+filepath.Join(dir, "context.json"))
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				var got []string
				for line := range strings.Lines(string(out)) {
					word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
					got = append(got, word)
				}
				for _, w := range want {
					if !slices.Contains(got, w) {
						t.Errorf("%q lacks %s", got, w)
					}
				}
				if slices.Contains(got, "set") {
					t.Errorf("%q has what does not begin so", got)
				}
			})
		}
	}
}
