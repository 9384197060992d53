package localvault_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyward/keyward/broker/localvault"
)

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct {
		spoil func(c *localvault.Config) error
		want  string // in the error: what to do
	}{
		"a missing key": {
			func(c *localvault.Config) error { return os.Remove(c.KeyFile) },
			"restore the key from a backup",
		},
		"another vault's key": {
			func(c *localvault.Config) error {
				other := config(t.TempDir())
				c.KeyFile = other.KeyFile
				return open(t, other).Close()
			},
			"use the key that was made with this vault",
		},
		"a damaged key": {
			func(c *localvault.Config) error { return os.WriteFile(c.KeyFile, []byte("c2hvcnQ="), 0o600) },
			"does not hold a master key",
		},
		"an endless key": {
			func(c *localvault.Config) error {
				return os.WriteFile(c.KeyFile, bytes.Repeat([]byte("A"), 1<<20), 0o600)
			},
			"too long",
		},
		"a key open to the group": {
			func(c *localvault.Config) error { return os.Chmod(c.KeyFile, 0o640) },
			"chmod 600",
		},
		"a vault open to all": {
			func(c *localvault.Config) error { return os.Chmod(c.Path, 0o644) },
			"chmod 600",
		},
		"a vault in use": {
			func(c *localvault.Config) error { open(t, *c); return nil },
			"in use by another process",
		},
		"a file that is no vault": {
			func(c *localvault.Config) error {
				return os.WriteFile(c.Path, bytes.Repeat([]byte("no vault"), 8<<10), 0o600)
			},
			"cannot be opened",
		},
		"a missing folder": {
			func(c *localvault.Config) error {
				c.Path = filepath.Join(filepath.Dir(c.Path), "none", "vault.db")
				return nil
			},
			"no such file",
		},
		"no path":             {func(c *localvault.Config) error { c.Path = ""; return nil }, "must be named"},
		"too short a memory":  {func(c *localvault.Config) error { c.RetentionDays = 6; return nil }, "choose 7 to 90"},
		"too long a memory":   {func(c *localvault.Config) error { c.RetentionDays = 91; return nil }, "choose 7 to 90"},
		"a negative memory":   {func(c *localvault.Config) error { c.RetentionDays = -1; return nil }, "choose 7 to 90"},
		"a folder for a file": {func(c *localvault.Config) error { c.Path = t.TempDir(); return nil }, "not a regular file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			v := open(t, c)
			set(t, v, "a", "kept")
			must(t, v.Close())
			key, err := os.ReadFile(c.KeyFile)
			must(t, err)

			spoiled := c
			must(t, tt.spoil(&spoiled))
			v, err = localvault.Open(spoiled)
			if err == nil {
				_ = v.Close()
				t.Fatal("Open succeeded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v; want it to say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), strings.TrimSpace(string(key))) {
				t.Error("the error quotes the key")
			}
			if _, err := os.Stat(spoiled.KeyFile); spoiled.KeyFile != c.KeyFile && err != nil {
				t.Errorf("Open touched a key file: %v", err)
			}
		})
	}
}

func TestMissingKeyIsNotMadeAnew(t *testing.T) {
	c := config(t.TempDir())
	must(t, open(t, c).Close())
	must(t, os.Rename(c.KeyFile, c.KeyFile+".away"))
	if v, err := localvault.Open(c); err == nil {
		_ = v.Close()
		t.Fatal("Open succeeded without the key")
	}
	if _, err := os.Stat(c.KeyFile); !os.IsNotExist(err) {
		t.Errorf("Open made a new key: %v", err)
	}
	must(t, os.Rename(c.KeyFile+".away", c.KeyFile))
	must(t, open(t, c).Close())
}
