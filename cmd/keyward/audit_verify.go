package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/keyward/keyward/broker/audit"
)

// auditAgainst is what a log is held against.
type auditAgainst struct {
	Key     string `placeholder:"PUBFILE" complete:"files" help:"The public keys that checkpoints must be signed with, one a line."`
	Partial bool   `help:"The oldest files are gone: the log may begin behind record 1."`
}

type auditVerifyCmd struct {
	policyOutput
	auditAgainst
	auditFiles

	Checkpoint []string `sep:"none" placeholder:"NOTE" complete:"files" help:"A file with a checkpoint that was kept elsewhere: what it says must be in the log. May be repeated."`
}

// Help says what is found, and what cannot be.
func (*auditVerifyCmd) Help() string {
	return `Follows the chain of hashes through the log's files and prints a line for each place where it does not hold:

  changed     a record is not what was written
  dropped     records are missing; begins late, if that is at the beginning
  duplicated, swapped, moved, added
  truncated   the log ends before what a checkpoint (--checkpoint) says
  checkpoint  one is not signed by the key (--key), or not of this log
  torn        a line that a crash cut; the log went on behind it, and nothing is wrong

A chain alone cannot show that its last records were cut off, or that all of it was made anew. Print checkpoints as they come, keep them
where nobody who can write the log can write, and give the last one:

  keyward audit checkpoint audit.jsonl > /elsewhere/checkpoint
  keyward audit verify --key audit.pub --checkpoint /elsewhere/checkpoint audit-*.jsonl audit.jsonl

Exit codes: 0 the log is as it was written, 1 it is not or cannot be read, 2 wrong usage.`
}

// auditReportJSON is the output for programs.
type auditReportJSON struct {
	OK          bool               `json:"ok"`
	Files       []string           `json:"files"`
	Records     uint64             `json:"records"`
	First       uint64             `json:"first"`
	Last        uint64             `json:"last"`
	Torn        int                `json:"torn"`
	Checkpoints int                `json:"checkpoints"`
	Signed      bool               `json:"signed"` // the signatures were verified
	Checkpoint  *checkpointJSON    `json:"checkpoint"`
	Total       int                `json:"total"` // of the findings, of which the first 1000 are here
	Findings    []auditFindingJSON `json:"findings"`
}

type checkpointJSON struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Origin string    `json:"origin"`
	Note   string    `json:"note"`
}

type auditFindingJSON struct {
	File   string     `json:"file"`
	Line   int        `json:"line"`
	Seq    uint64     `json:"seq"`
	Last   uint64     `json:"last"`
	Kind   audit.Kind `json:"kind"`
	Detail string     `json:"detail"`
}

// Run verifies.
func (c *auditVerifyCmd) Run(a *app) error {
	var anchors []audit.Checkpoint
	for _, file := range c.Checkpoint {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		kept, err := audit.ParseCheckpoint(string(text))
		if err != nil {
			return fmt.Errorf("--checkpoint %s: %w", file, err)
		}
		anchors = append(anchors, kept)
	}
	files, report, err := c.verify(c.auditFiles, anchors)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		err = printIndented(a.out, reportToJSON(files, report, c.Key != ""))
	} else {
		c.print(a.out, files, report)
	}
	if err == nil && !report.OK() {
		err = codedError{code: exitError}
	}
	return err
}

// verify reads the log.
func (c auditAgainst) verify(f auditFiles, anchors []audit.Checkpoint) ([]string, *audit.Report, error) {
	conf := audit.VerifyConfig{Partial: c.Partial, Anchors: anchors}
	if c.Key != "" {
		text, err := os.ReadFile(c.Key)
		if err != nil {
			return nil, nil, fmt.Errorf("--key: %w", err)
		}
		if conf.Keys, err = audit.ParseKeys(string(text)); err != nil {
			return nil, nil, fmt.Errorf("--key %s: %w", c.Key, err)
		}
	}
	files, err := f.ordered()
	if err != nil {
		return nil, nil, err
	}
	report, err := audit.Verify(conf, files...)
	return files, report, err
}

func (c *auditVerifyCmd) print(out io.Writer, files []string, r *audit.Report) {
	for _, f := range r.Findings {
		fmt.Fprintln(out, printable(f.String()))
	}
	if more := r.Total - len(r.Findings); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	word := "ok"
	if !r.OK() {
		word = "not ok"
	}
	said := []string{fmt.Sprintf("%s: %s in %s", word, count(int(r.Records), "record", "records"), count(len(files), "file", "files"))} //nolint:gosec // as many lines as there were
	if r.Checkpoint == nil {
		said = append(said, "no checkpoint: that its end was cut off, or all of it made anew, would not show")
	} else {
		signed := "whose signatures were not looked at (--key)"
		if c.Key != "" {
			signed = "signed"
		}
		said = append(said, fmt.Sprintf("%s, %s, the last of record %d", count(r.Checkpoints, "checkpoint", "checkpoints"), signed, r.Checkpoint.Seq))
	}
	fmt.Fprintln(out, strings.Join(said, "; "))
}

func reportToJSON(files []string, r *audit.Report, signed bool) auditReportJSON {
	out := auditReportJSON{
		OK: r.OK(), Files: files, Records: r.Records, First: r.First, Last: r.Last, Torn: r.Torn,
		Checkpoints: r.Checkpoints, Signed: signed && r.Checkpoint != nil, Total: r.Total, Findings: []auditFindingJSON{},
	}
	if p := r.Checkpoint; p != nil {
		out.Checkpoint = &checkpointJSON{p.Seq, p.Time, p.Origin, p.Note}
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, auditFindingJSON{f.Position.File, f.Position.Line, f.Seq, max(f.Seq, f.Last), f.Kind, f.Detail})
	}
	return out
}

type auditCheckpointCmd struct {
	auditAgainst
	auditFiles
}

// Help says what to do with it.
func (*auditCheckpointCmd) Help() string {
	return `Verifies the log and prints its last checkpoint: a signed note, to be kept where nobody who can write the log can write. With it,
keyward audit verify --checkpoint finds what was cut off or made anew before it.

Exit codes: 0 printed, 1 the log has none or is not as it was written, 2 wrong usage.`
}

// Run prints the last checkpoint.
func (c *auditCheckpointCmd) Run(a *app) error {
	_, report, err := c.verify(c.auditFiles, nil)
	switch {
	case err != nil:
		return err
	case !report.OK():
		return advise("the log is not as it was written", "see where: keyward audit verify")
	case report.Checkpoint == nil:
		return advise("the log has no checkpoint", "audit.checkpoint in the configuration has it signed")
	}
	fmt.Fprint(a.out, report.Checkpoint.Note)
	return nil
}
