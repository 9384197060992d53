package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker"
)

func TestReadValue(t *testing.T) {
	full := strings.Repeat("x", broker.MaxValueLen)
	tests := []struct {
		name        string
		stdin       string
		file        string // its content; "" means standard input
		keepNewline bool
		want        string
		wantErr     string
	}{
		{name: "as printf writes it", stdin: "s3cret", want: "s3cret"},
		{name: "as echo writes it", stdin: "s3cret\n", want: "s3cret"},
		{name: "as Windows writes it", stdin: "s3cret\r\n", want: "s3cret"},
		{name: "one newline only", stdin: "s3cret\n\n", want: "s3cret\n"},
		{name: "a carriage return alone stays", stdin: "s3cret\r", want: "s3cret\r"},
		{name: "spaces stay", stdin: " a b \n", want: " a b "},
		{name: "newline kept", stdin: "s3cret\r\n", keepNewline: true, want: "s3cret\r\n"},
		{name: "a file is taken as it is", file: "-----END-----\n", want: "-----END-----\n"},
		{name: "as large as can be", stdin: full + "\r\n", want: full},
		{name: "too large", stdin: full + "x\n", wantErr: "VALUE_TOO_LARGE"},
		{name: "far too large", stdin: strings.Repeat(full, 40), wantErr: "VALUE_TOO_LARGE"},
		{name: "too large, a file", file: full + "x", wantErr: "VALUE_TOO_LARGE"},
		{name: "nothing", wantErr: "is empty"},
		{name: "a newline is nothing", stdin: "\n", wantErr: "is empty"},
		{name: "no text", stdin: "\xff\xfe", wantErr: "base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := ""
			if tt.file != "" {
				file = filepath.Join(t.TempDir(), "value")
				if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readValue(&app{in: strings.NewReader(tt.stdin), err: &bytes.Buffer{}}, file, tt.keepNewline)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got %v; want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || got.Reveal() != tt.want {
				t.Errorf("got %.40q, %v; want %.40q", got.Reveal(), err, tt.want)
			}
		})
	}
}

func TestReadValueReadsNoMoreThanItNeeds(t *testing.T) {
	in := strings.NewReader(strings.Repeat("x", 1<<20))
	if _, err := readValue(&app{in: in}, "", false); err == nil {
		t.Fatal("want an error")
	}
	if read := 1<<20 - in.Len(); read > 2*broker.MaxValueLen {
		t.Errorf("read %d bytes", read)
	}
}
