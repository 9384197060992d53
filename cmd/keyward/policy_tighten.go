package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

// unusedShown is how many actions, principals or resources people see of each.
const unusedShown = 6

type policyTightenCmd struct {
	policyFlags
	pastFlags

	Keep     []string `sep:"none" placeholder:"ID" help:"A policy to keep as it is, for rare work: the yearly job. May be repeated."`
	KeepFile string   `placeholder:"FILE" complete:"files" help:"A file with more of them, an id on each line; what stands behind a # is a comment."`
	Out      string   `placeholder:"DIR" complete:"files" help:"Write the narrower folder there: a new or empty folder."`
	Patch    string   `placeholder:"FILE" complete:"files" help:"Write the change as a patch, for git apply and patch -p1; - is standard output, and nothing else is then."`
}

// Help says what is found and what is proposed.
func (*policyTightenCmd) Help() string {
	return `Which grants could be smaller? Holds each permit against the recorded past, and prints a paragraph for each that

  - nobody used,
  - permits actions that nobody used,
  - permits principals that did not use it: members of a group, or anyone,
  - permits resources that nobody used it on: others of a vault or under a prefix,

with how often it was used, first and last, and what to write instead. --patch and --out write all of that down. Only the parts that
change do so: comments and formatting stay. What is proposed is proven before it is said: decided by it, nothing that was allowed
in the window would be denied. Where there is no narrower policy that is as short to say, that is said, and nothing is proposed: more than
8 names, members that come and go with their tokens.

Left alone: forbids and conditions; break-glass policies; those that --keep names; those whose time has not begun. What nobody did since --since
looks needless, so make it as long as your rarest job is apart. Who and what there is is known from the log and entities.json alone.

  keyward policy tighten --audit audit.jsonl --since 30d --policy policy/
  keyward policy tighten --audit audit.jsonl --since 30d --policy policy/ --keep yearly-report --patch tighten.patch
  git apply tighten.patch

Exit codes: 0 done, whatever was found; 1 a file is refused, or cannot be written; 2 wrong usage.`
}

// tightenJSON is the output for programs.
type tightenJSON struct {
	Decisions int                  `json:"decisions"`
	Since     *time.Time           `json:"since"`
	Until     time.Time            `json:"until"`
	First     sightJSON            `json:"first"`
	Last      sightJSON            `json:"last"`
	Findings  []tightenFindingJSON `json:"findings"`
	Otherwise int                  `json:"otherwise"`
	Proof     proofJSON            `json:"proof"`
}

type proofJSON struct {
	Used   int `json:"used"`
	Denied int `json:"denied"`
}

type tightenFindingJSON struct {
	policyRefJSON

	Kind     usage.Kind `json:"kind"`
	Count    int        `json:"count"`
	First    *sightJSON `json:"first"`
	Last     *sightJSON `json:"last"`
	Used     []string   `json:"used"`
	Unused   []string   `json:"unused"`
	Proposal string     `json:"proposal"`
	Why      string     `json:"why"`
}

// Run tightens.
func (c *policyTightenCmd) Run(a *app) error {
	policies, err := c.open()
	if err != nil {
		return err
	}
	keep, err := c.keep(policies)
	if err != nil {
		return err
	}
	past, err := c.read(a, policies.Engine)
	if err != nil {
		return err
	}
	tight, err := past.Tighten(policies, usage.TightenConfig{Keep: keep})
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := writeFolder(c.Out, tight.After); err != nil {
			return err
		}
	}
	if c.Patch != "" {
		patch := usage.Patch(policies.Texts(), tight.Edits, patchName)
		if c.Patch == stdio {
			_, err := io.WriteString(a.out, patch)
			return err
		}
		if err := replaceFile(c.Patch, []byte(patch), 0o644); err != nil {
			return fmt.Errorf("the patch: %w", err)
		}
	}
	if c.Output == outputJSON {
		return printIndented(a.out, tightenedToJSON(past, tight))
	}
	printTightened(a.out, policies, past, tight)
	return nil
}

// keep returns the ids of the policies to keep, which are there.
func (c *policyTightenCmd) keep(policies *policy.Analysis) ([]string, error) {
	keep := slices.Clone(c.Keep)
	if c.KeepFile != "" {
		text, err := os.ReadFile(c.KeepFile)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			id, _, _ := strings.Cut(lines.Text(), "#")
			if id = strings.TrimSpace(id); id != "" {
				keep = append(keep, id)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.KeepFile, err)
		}
	}
	var ids []string
	for _, p := range policies.Policies() {
		ids = append(ids, p.ID)
	}
	for _, id := range keep {
		if slices.Contains(ids, id) {
			continue
		}
		next := "their ids are those of @id, or where there is none FILE:LINE:COLUMN"
		if near := broker.Nearest(id, ids); near != "" {
			next = fmt.Sprintf("did you mean %s?", near)
		}
		return nil, usageError(fmt.Sprintf("there is no policy %q to keep", id), next)
	}
	return keep, nil
}

// patchName is what a patch calls a file: its path from here, or from the folder
// where that is elsewhere.
func patchName(file string) string {
	if filepath.IsLocal(file) {
		return filepath.ToSlash(filepath.Clean(file))
	}
	return filepath.Base(file)
}

// writeFolder writes the files of a folder of policies into a new one.
func writeFolder(dir string, policies *policy.Analysis) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("the output: %w", err)
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		if err == nil {
			err = advise(dir+" is not empty", "name a new folder with --out")
		}
		return fmt.Errorf("the output: %w", err)
	}
	texts := policies.Texts()
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		if err := replaceFile(filepath.Join(dir, filepath.Base(file)), []byte(texts[file]), fs.FileMode(0o644)); err != nil {
			return fmt.Errorf("the output: %w", err)
		}
	}
	return nil
}

func tightenedToJSON(past *usage.Past, t *usage.Tightened) tightenJSON {
	denied, _ := t.Replay.Counts()
	out := tightenJSON{
		Decisions: past.Decisions, Since: sinceJSON(past.Window), Until: past.Window.Until, First: sightJSON(past.First), Last: sightJSON(past.Last),
		Findings: []tightenFindingJSON{}, Otherwise: t.Otherwise, Proof: proofJSON{Used: t.Replay.Used, Denied: denied},
	}
	for _, f := range t.Findings {
		j := tightenFindingJSON{
			policyRefJSON: policyRefJSON(f.Policy), Kind: f.Kind, Count: f.Count,
			Used: orEmpty(f.Used), Unused: orEmpty(f.Unused), Proposal: f.Proposal, Why: f.Why,
		}
		if f.Count > 0 {
			first, last := sightJSON(f.First), sightJSON(f.Last)
			j.First, j.Last = &first, &last
		}
		out.Findings = append(out.Findings, j)
	}
	return out
}

func printTightened(w io.Writer, policies *policy.Analysis, past *usage.Past, t *usage.Tightened) {
	fmt.Fprintln(w, pastText(past))
	printPastNotes(w, policies, past)
	if t.Otherwise > 0 {
		fmt.Fprintf(w, "%s recorded as allowed and would be denied now: no use of these policies\n", count(t.Otherwise, "decision was", "decisions were"))
	}
	proposals, kept := 0, 0
	for _, f := range t.Findings {
		if f.Kind == usage.Kept {
			kept++
			continue
		}
		printFinding(w, f)
		if f.Proposal != "" {
			proposals++
		}
	}
	if kept > 0 {
		fmt.Fprintln(w)
	}
	for _, f := range t.Findings {
		if f.Kind == usage.Kept {
			fmt.Fprintf(w, "kept: %s: %s; %s\n", refText(f.Policy), f.Why, usedText(f))
		}
	}
	denied, _ := t.Replay.Counts()
	switch {
	case proposals > 0:
		fmt.Fprintf(w, "\n%s, proven: of the %s that were allowed, %d would be denied\n",
			count(proposals, "proposal", "proposals"), count(t.Replay.Used, "decision", "decisions"), denied)
	case len(t.Findings) == kept:
		fmt.Fprintln(w, "\nnothing is broader than its use")
	default:
		fmt.Fprintln(w, "\nnothing to propose")
	}
}

// printPastNotes says what weakens conclusions from the past.
func printPastNotes(w io.Writer, policies *policy.Analysis, past *usage.Past) {
	if past.First.Time.After(past.Window.Since) && !past.Window.Since.IsZero() {
		fmt.Fprintf(w, "the log begins behind --since: what was before is not known\n")
	}
	if in, ok := past.InForce(policies.Hash()); ok && in.Time.After(past.Window.Since) && in.Time.After(past.First.Time) {
		fmt.Fprintf(w, "these policies are in force since %s: a grant that is new may just not have been used yet\n", sightText(in))
	}
}

func usedText(f usage.Finding) string {
	if f.Count == 0 {
		return "nobody used it"
	}
	return fmt.Sprintf("used %s, first %s, last %s", count(f.Count, "time", "times"), f.First.Time.Truncate(time.Second).Format(time.RFC3339), sightText(f.Last))
}

// printFinding prints a paragraph.
func printFinding(w io.Writer, f usage.Finding) {
	fmt.Fprintf(w, "\n%s: %s\n", refText(f.Policy), usedText(f))
	total := len(f.Used) + len(f.Unused)
	switch {
	case f.Kind == usage.Unused:
	case len(f.Unused) == 0:
		fmt.Fprintf(w, "  used on each of the %s that are known\n", count(total, "resource", "resources"))
	case f.Kind == usage.Actions:
		fmt.Fprintf(w, "  %d of its %s used: %s\n  not used: %s\n", len(f.Used), count(total, "action", "actions"), someText(f.Used), someText(f.Unused))
	case f.Kind == usage.Principals:
		fmt.Fprintf(w, "  %d of %s that are known used it: %s\n  did not: %s\n", len(f.Used), count(total, "principal", "principals"), someText(f.Used), someText(f.Unused))
	case f.Kind == usage.Resources:
		fmt.Fprintf(w, "  used on %d of %s that are known: %s\n  not used on: %s\n", len(f.Used), count(total, "resource", "resources"), someText(f.Used), someText(f.Unused))
	}
	if f.Proposal == "" {
		fmt.Fprintf(w, "  nothing is proposed: %s\n", printable(f.Why))
		return
	}
	for i, line := range printableLines(f.Proposal) {
		if i == 0 {
			line = "proposed: " + line
		}
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// someText lists the first of many.
func someText(all []string) string {
	some := all
	if len(all) > unusedShown {
		some = all[:unusedShown-1]
	}
	words := make([]string, 0, len(some))
	for _, s := range some {
		words = append(words, printable(s))
	}
	text := strings.Join(words, ", ")
	if len(some) < len(all) {
		text += fmt.Sprintf(" and %d more", len(all)-len(some))
	}
	return text
}
