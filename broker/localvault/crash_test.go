package localvault_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/localvault"
)

const crashDir = "LOCALVAULT_CRASH_DIR"

// TestCrashWriter is the process that TestKill ends.
func TestCrashWriter(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestKill")
	}
	v := open(t, config(dir))
	for i := 0; ; i++ {
		object := fmt.Sprint("secret-", i%5)
		s := set(t, v, object, "value of "+object)
		_, _ = fmt.Fprintln(os.Stdout, "set", s.Name)
	}
}

// Whenever a writer is killed, every value that it was told is stored, is.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := make(map[string]bool)
	for _, enough := range []int{1, 7, 20, 60} {
		for _, line := range runAndKill(t, "TestCrashWriter", dir, enough) {
			name, ok := strings.CutPrefix(line, "set ")
			if _, err := broker.ParseName(broker.KindSecrets, name); !ok || err != nil {
				t.Fatalf("the writer said %q", line)
			}
			acknowledged[name] = true
		}
		v := open(t, config(dir))
		for text := range acknowledged {
			name, err := broker.ParseName(broker.KindSecrets, text)
			must(t, err)
			wantValue(t, v, name, "value of "+name.ObjectName())
			versions, err := v.Secrets().ListSecretVersions(t.Context(), name.Base())
			must(t, err)
			found := false
			for _, s := range versions {
				found = found || s.Name == name
			}
			if !found {
				t.Errorf("%v is not listed", name)
			}
		}
		must(t, v.Close())
	}
}

// runAndKill runs a test that writes, kills it after so many lines, and returns
// all whole lines that it printed.
func runAndKill(t *testing.T, test, dir string, enough int) []string {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$")
	writer.Env = append(os.Environ(), crashDir+"="+dir)
	var stderr bytes.Buffer
	writer.Stderr = &stderr
	out, err := writer.StdoutPipe()
	must(t, err)
	must(t, writer.Start())
	var lines []string
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // the end, or the last line, cut
		}
		if lines = append(lines, strings.TrimSuffix(line, "\n")); len(lines) == enough {
			must(t, writer.Process.Kill())
		}
	}
	_ = writer.Process.Kill()
	_ = writer.Wait() // killed
	if len(lines) < enough {
		t.Fatalf("the writer stopped after %d lines: %s", len(lines), stderr.String())
	}
	return lines
}

// rows counts what a closed vault's file holds of each name.
func rows(t *testing.T, c localvault.Config) map[string]int {
	t.Helper()
	db, err := bbolt.Open(c.Path, 0o600, nil)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	count := make(map[string]int)
	must(t, db.View(func(tx *bbolt.Tx) error {
		for _, bucket := range []string{
			"secrets", "secret-metadata", "secret-values", "keys", "key-metadata", "key-values",
			"certificates", "certificate-metadata", "certificate-values", "certificate-pending",
		} {
			err := tx.Bucket([]byte(bucket)).ForEach(func(k, _ []byte) error {
				name, _, _ := strings.Cut(string(k), "\x00")
				count[name]++
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return count
}
