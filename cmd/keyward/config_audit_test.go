package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func auditText(audit string) string {
	return `tls: {certificate: s.pem, key: k.pem, clientCa: ca.pem}
identity: {mtls: {trustDomain: example.org}}
policy: {path: p}
vaults: {edge: {local: {path: v.db, keyFile: v.key}}}
audit: ` + audit + "\n"
}

func TestAuditConfig(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "audit.key")
	if err := makeSigner(key, "k"); err != nil {
		t.Fatal(err)
	}
	c, _, err := parseConfig("k.yaml", []byte(auditText(
		`{path: a, rotate: {size: 64MiB, age: 24h}, checkpoint: {keyFile: audit.key, every: 500, interval: 30s, origin: "audit.example.org/a"}, otlp: true}`)))
	if err != nil {
		t.Fatal(err)
	}
	c.dir = dir
	got, err := c.Audit.settings(c.file)
	if err != nil || got.Path != filepath.Join(dir, "a") || got.RotateSize != 64<<20 || got.RotateAge != 24*time.Hour ||
		got.CheckpointEvery != 500 || got.CheckpointInterval != 30*time.Second || got.Signer == nil || !c.Audit.OTLP {
		t.Errorf("%+v, %v", got, err)
	}
	for text, size := range map[string]int64{"65536": 65536, "1GiB": 1 << 30, "100KiB": 100 << 10, "0": 0} {
		c, _, err := parseConfig("k.yaml", []byte(auditText("{path: a, rotate: {size: "+text+"}}")))
		if err != nil || int64(c.Audit.Rotate.Size) != size {
			t.Errorf("%s: %v, %v", text, c, err)
		}
	}
	for text, want := range map[string]string{
		`{path: a, rotate: {size: 10MB}}`:                                "k.yaml:5:33: want a number of bytes",
		`{path: a, rotate: {size: -1}}`:                                  "want a number of bytes",
		`{path: a, rotate: {size: 9999999GiB}}`:                          "want a number of bytes",
		`{path: a, rotate: {size: [1]}}`:                                 "want a number of bytes",
		`{path: a, rotate: {size: 1KiB}}`:                                "audit.rotate.size: want at least 64KiB",
		`{path: a, rotate: {age: 10s}}`:                                  "audit.rotate.age: want at least 1m",
		`{path: a, checkpoint: {}}`:                                      "audit.checkpoint.keyFile: name the file",
		`{path: a, checkpoint: {keyFile: k, every: 0}}`:                  "audit.checkpoint.every: want a number of records",
		`{path: a, checkpoint: {keyFile: k, interval: 1ms}}`:             "audit.checkpoint.interval: want at least 1s",
		`{path: a, checkpoint: {key: "PRIVATE+KEY+k+e7b1ed12+AQABAgM"}}`: "a secret does not stand in the configuration",
		`{path: a, sync: often}`:                                         "want always, interval or none",
	} {
		_, _, err := parseConfig("k.yaml", []byte(auditText(text)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "AQAB") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := os.WriteFile(key, []byte("k+e7b1ed12+AQ\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{key: "no private key", "nowhere": "make one with: keyward audit key --new NAME"} {
		c.Audit.Checkpoint.KeyFile = file
		if _, err := c.Audit.settings(c.file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "audit.checkpoint.keyFile") {
			t.Errorf("%s: %v", file, err)
		}
	}
}
