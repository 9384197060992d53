package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	b := newBatching(map[string]string{
		"vaults/dev/secrets/db-password":   `p"<&>\` + "\n",
		"vaults/pay/secrets/stripe-key":    "sk",
		"vaults/dev/secrets/prod-password": "prod",
		"vaults/dev/secrets/binary":        "AP9ibG9iCg==",
		"vaults/dev/secrets/s3cret":        "s3cret",
	})
	dir := b.serve(t)
	tests := []struct {
		name, template, flags string
		want                  string
		calls                 int
		wantErr               string
	}{
		{name: "no secret", template: "plain < & >\n", want: "plain < & >\n"},
		{
			name:     "secrets of two vaults, one twice",
			template: `a={{ secret "db-password" }} b={{ secret "vaults/pay/secrets/stripe-key" }} c={{ secret "DB-password" }}`,
			want:     "a=p\"<&>\\\n b=sk c=p\"<&>\\\n", calls: 1,
		},
		{name: "quoted", template: `{"p": {{ secret "db-password" | toJson }}}`, want: `{"p": "p\"<&>\\\n"}`, calls: 1},
		{name: "binary", template: `{{ secret "binary" | b64dec }}`, want: fakeBlob, calls: 1},
		{name: "base64", template: `{{ secret "vaults/pay/secrets/stripe-key" | b64enc }}`, want: "c2s=", calls: 1},
		{name: "a name with a key", template: `{{ secret (printf "%s-password" .stage) }}`, flags: "--set stage=prod", want: "prod", calls: 1},
		{name: "a key that was not set", template: `{{ .stage }}`, wantErr: "stage"},
		{name: "another key", template: `{{ .stage }}`, flags: "--set x=y", wantErr: "stage"},
		{name: "no template", template: `{{ secret `, wantErr: "unclosed action"},
		{name: "a bad name", template: `{{ secret "a_b" }}`, wantErr: "BAD_NAME"},
		{name: "denied", template: `{{ secret "db-password" }}{{ secret "other" }}`, wantErr: "vaults/dev/secrets/other: ", calls: 1},
		{name: "a name made of a value", template: `{{ secret (printf "x%s" (secret "s3cret")) }}`, wantErr: "vaults/dev/secrets/x:", calls: 1},
		{
			name: "named on another's account", template: `{{ if secret "s3cret" }}{{ secret "db-password" }}{{ end }}`,
			wantErr: "must not depend on another's value", calls: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.requests = nil
			folder := t.TempDir()
			in, out := filepath.Join(folder, "in"), filepath.Join(folder, "out")
			for _, file := range []string{in, out} {
				if err := os.WriteFile(file, []byte(tt.template), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(file, 0o644); err != nil { // whatever the umask
					t.Fatal(err)
				}
			}
			args := append([]string{"render", "--in", in, "--out", out}, strings.Fields(tt.flags)...)
			stdout, stderr, code := keyward(t, dir, "", args...)
			if strings.Contains(stderr, "s3cret\"") || strings.Contains(stderr, "xs3cret") {
				t.Errorf("%q repeats a value", stderr)
			}
			if len(b.requests) != tt.calls {
				t.Errorf("%d calls, want %d", len(b.requests), tt.calls)
			}
			info, err := os.Stat(out)
			if err != nil {
				t.Fatal(err)
			}
			if tt.wantErr != "" {
				if code != exitError || !strings.Contains(stderr, tt.wantErr) {
					t.Errorf("exit %d, %q; want %q", code, stderr, tt.wantErr)
				}
				if read(t, out) != tt.template || info.Mode() != 0o644 {
					t.Errorf("the old file became %q, %v", read(t, out), info.Mode())
				}
				return
			}
			if code != exitOK || stdout != "" || read(t, out) != tt.want || info.Mode() != 0o600 {
				t.Errorf("exit %d, %s, %q, %v", code, stderr, read(t, out), info.Mode())
			}
		})
	}
}

func TestRenderThroughPipes(t *testing.T) {
	dir := newBatching(map[string]string{"vaults/dev/secrets/a": "v"}).serve(t)
	stdout, stderr, code := keyward(t, dir, `{{ secret "a" }}!`, "render", "--in", "-", "--out", "-")
	if code != exitOK || stdout != "v!" {
		t.Errorf("exit %d, %q, %s", code, stdout, stderr)
	}
}

func TestFileMode(t *testing.T) {
	tests := []struct {
		text string
		want fileMode // 0: refused
	}{
		{text: "0600", want: 0o600},
		{text: "640", want: 0o640},
		{text: "4755"},
		{text: "u=rw"},
		{text: "0o600"},
		{text: ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			var m fileMode
			if err := m.UnmarshalText([]byte(tt.text)); (err != nil) != (tt.want == 0) || m != tt.want {
				t.Errorf("got %o, %v; want %o", m, err, tt.want)
			}
		})
	}
}
