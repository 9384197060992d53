package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/keyward/keyward/broker/audit"
)

// auditCmd is the commands on audit logs. They need no broker.
type auditCmd struct {
	Verify     auditVerifyCmd     `cmd:"" help:"Say whether the log is as it was written, and where it is not."`
	Show       auditShowCmd       `cmd:"" help:"Print records, a line each."`
	LastRead   auditLastReadCmd   `cmd:"" help:"Say when each secret was last read, and by whom."`
	Checkpoint auditCheckpointCmd `cmd:"" help:"Print the last checkpoint, to be kept elsewhere."`
	Key        auditKeyCmd        `cmd:"" help:"Make a key for checkpoints, or print its public key."`
}

// auditFiles are the files of one log.
type auditFiles struct {
	Files []string `arg:"" name:"file" complete:"files" help:"The log's files, in any order: audit-*.jsonl audit.jsonl."`
}

// ordered returns the files, oldest first.
func (f auditFiles) ordered() ([]string, error) {
	for _, name := range f.Files {
		if info, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no file %s", name)
		} else if err == nil && info.IsDir() {
			return nil, usageError(name+" is a folder", "name the log's files: "+name+"/audit*.jsonl")
		}
	}
	return audit.Order(f.Files)
}

// pastMoment is a time on the command line: RFC 3339, a date (its midnight in
// UTC), or how long ago, in Go's syntax or days. The zero one is unset.
type pastMoment struct{ time time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *pastMoment) UnmarshalText(text []byte) error {
	s := string(text)
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			m.time = t
			return nil
		}
	}
	ago, err := time.ParseDuration(s)
	var days int
	if n, serr := fmt.Sscanf(s, "%dd", &days); serr == nil && n == 1 && s == fmt.Sprintf("%dd", days) {
		ago, err = time.Duration(days)*24*time.Hour, nil
	}
	if err != nil || ago < 0 {
		return fmt.Errorf("%q is no time: want 2027-01-31, 2027-01-31T12:00:00Z, or how long ago: 12h, 30d", s)
	}
	m.time = time.Now().Add(-ago)
	return nil
}
