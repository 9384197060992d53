package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadContext(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "context.json")
	tests := []struct {
		name    string
		text    string
		want    clientContext
		wantErr string
	}{
		{
			name: "relative paths start at the file",
			text: `{"grpc": "127.0.0.1:7443", "http": "127.0.0.1:7444", "ca": "ca.pem", "certificate": "c/admin.pem", "key": "c/admin-key.pem", "vault": "dev"}`,
			want: clientContext{
				GRPC: "127.0.0.1:7443", HTTP: "127.0.0.1:7444", CA: filepath.Join(dir, "ca.pem"),
				Certificate: filepath.Join(dir, "c", "admin.pem"), Key: filepath.Join(dir, "c", "admin-key.pem"), Vault: "dev",
			},
		},
		{
			name: "absolute paths stay",
			text: `{"grpc": "keyward:443", "tokenFile": "/var/run/token"}`,
			want: clientContext{GRPC: "keyward:443", TokenFile: "/var/run/token"},
		},
		{name: "no address", text: `{"ca": "ca.pem"}`, wantErr: `"grpc" is missing`},
		{name: "a certificate without its key", text: `{"grpc": "h:1", "certificate": "a"}`, wantErr: "go together"},
		{name: "an unknown key", text: `{"grpc": "h:1", "tokenfile_": "a"}`, wantErr: "tokenfile_"},
		{name: "no JSON", text: `grpc: h:1`, wantErr: "context.json"},
		{name: "more than an object", text: `{"grpc": "h:1"} {}`, wantErr: "more follows"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readContext(file)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v; want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestContextIsMissing(t *testing.T) {
	_, stderr, code := keyward(t, t.TempDir(), "", "get", "a")
	if code != exitError || !strings.Contains(stderr, "keyward dev") || !strings.Contains(stderr, "--context") {
		t.Errorf("exit %d, %q; want advice", code, stderr)
	}
}

func TestTokenFile(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{name: "with a newline", text: "a.b.c\n", want: "a.b.c"},
		{name: "empty", text: "\n"},
		{name: "two words", text: "Bearer a.b.c"},
		{name: "two lines", text: "a\nb"},
		{name: "not ASCII", text: "a\u00e9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := clientContext{TokenFile: file}.token()
			if got.Reveal() != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v; want %q", got.Reveal(), err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "a.b.c") {
				t.Errorf("%v: repeats the token", err)
			}
		})
	}
}
