package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/keyward/keyward/broker/audit"
)

// auditConfig is the audit log. In all three settings of sync the record is in
// the file, the write having returned, before the reply: "always" syncs it to
// the disk before too, "interval" (the default) each second, "none" leaves that
// to the kernel.
type auditConfig struct {
	Path string   `yaml:"path"`
	Sync syncMode `yaml:"sync"`
	// Rotate says when the file is left for a new one. The old one is kept beside
	// it, as {name}-{last seq}-{time}{.ext}; none is ever removed.
	Rotate struct {
		Size byteSize  `yaml:"size"` // bytes, or 64MiB, 1GiB; at least 64KiB. Default: never
		Age  *duration `yaml:"age"`  // of its first record, at least 1m. Default: never
	} `yaml:"rotate"`
	Checkpoint *checkpointConfig `yaml:"checkpoint"`
	// OTLP sends each record to a collector as well, where the standard
	// OTEL_EXPORTER_OTLP_* variables name one. The file is the record: what does
	// not get there is counted, and fails no call.
	OTLP bool `yaml:"otlp"`
}

// checkpointConfig has the log signed.
type checkpointConfig struct {
	// KeyFile is an Ed25519 key: keyward audit key --new NAME FILE makes one, and
	// prints its public key.
	KeyFile  string    `yaml:"keyFile"`
	Every    *int      `yaml:"every"`    // records; default 1000
	Interval *duration `yaml:"interval"` // behind a record, at the latest; default 1m, at least 1s
	Origin   string    `yaml:"origin"`   // the log's name in what is signed; default the key's name
}

// byteSize is a number of bytes: 1048576, 1MiB.
type byteSize int64

var byteUnits = map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

// UnmarshalYAML implements yaml.NodeUnmarshaler, for an error with a position.
func (s *byteSize) UnmarshalYAML(n ast.Node) error {
	text := n.GetToken().Value
	unit := int64(1)
	for name, bytes := range byteUnits {
		if number, ok := strings.CutSuffix(text, name); ok {
			text, unit = number, bytes
		}
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > (1<<50)/unit {
		return &yaml.SyntaxError{Token: n.GetToken(), Message: "want a number of bytes, such as 1048576, 64MiB or 1GiB"}
	}
	*s = byteSize(v * unit)
	return nil
}

// syncMode is when the audit log is synced.
type syncMode struct{ audit.Sync }

// UnmarshalYAML implements yaml.NodeUnmarshaler, for an error with a position.
func (m *syncMode) UnmarshalYAML(n ast.Node) error {
	var text string
	err := yaml.NodeToValue(n, &text)
	if err == nil {
		err = m.UnmarshalText([]byte(text))
	}
	if err != nil {
		return &yaml.SyntaxError{Token: n.GetToken(), Message: "want always, interval or none"}
	}
	return nil
}

const minRotateSize = 64 << 10

func (k *configCheck) audit(c auditConfig) {
	k.require("$.audit.path", c.Path, "name the audit log's file; without a record nothing is disclosed")
	if s := c.Rotate.Size; s != 0 && s < minRotateSize {
		k.errorf("$.audit.rotate.size", "want at least 64KiB, or the folder fills with files")
	}
	if a := c.Rotate.Age; a != nil && a.Duration < time.Minute {
		k.errorf("$.audit.rotate.age", "want at least 1m, or the folder fills with files")
	}
	p := c.Checkpoint
	if p == nil {
		return
	}
	k.require("$.audit.checkpoint.keyFile", p.KeyFile, "name the file of the key that checkpoints are signed with; make it with: keyward audit key --new NAME FILE")
	if p.Every != nil && *p.Every < 1 {
		k.errorf("$.audit.checkpoint.every", "want a number of records, 1 or more")
	}
	if p.Interval != nil && p.Interval.Duration < time.Second {
		k.errorf("$.audit.checkpoint.interval", "want at least 1s")
	}
}

// settings returns the log's configuration, with the key that it names.
func (c auditConfig) settings(file func(string) string) (audit.Config, error) {
	out := audit.Config{Path: file(c.Path), Sync: c.Sync.Sync, RotateSize: int64(c.Rotate.Size)}
	if c.Rotate.Age != nil {
		out.RotateAge = c.Rotate.Age.Duration
	}
	p := c.Checkpoint
	if p == nil {
		return out, nil
	}
	if p.Every != nil {
		out.CheckpointEvery = *p.Every
	}
	if p.Interval != nil {
		out.CheckpointInterval = p.Interval.Duration
	}
	var err error
	if out.Signer, err = readSigner(file(p.KeyFile), p.Origin); err != nil {
		return out, fmt.Errorf("audit.checkpoint.keyFile: %w", err)
	}
	return out, nil
}
