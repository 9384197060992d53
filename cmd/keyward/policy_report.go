package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/broker/policy/usage"
)

//go:embed report.html
var reportPage string

type policyReportCmd struct {
	Policy string `placeholder:"DIR" complete:"files" help:"The folder with the *.cedar files and entities.json. Default: .keyward/policy, if it is there."`
	Out    string `required:"" placeholder:"FILE" complete:"files" help:"The page to write; - is standard output."`
	pastFlags
}

// Help says what is on the page.
func (*policyReportCmd) Help() string {
	return `Writes a page for people who will not read Cedar: who can do what, each principal and each resource for itself; what of it was used, and
when last; denied attempts; break-glass, with the reasons that were given; secrets that nobody read. Everything links to the policy, with its text,
and to the record, with its file and line.

It is one HTML file that asks the network for nothing: mail it, print it, keep it with the audit. It has names of workloads, people
and secrets, and no value: the log has none.

  keyward policy report --policy policy/ --audit audit.jsonl --since 30d --out report.html

Exit codes: 0 written; 1 a file is refused, or cannot be written; 2 wrong usage.`
}

// Run writes the page.
func (c *policyReportCmd) Run(a *app) error {
	policies, err := policyFlags{Policy: c.Policy}.open()
	if err != nil {
		return err
	}
	past, err := c.read(a, policies.Engine)
	if err != nil {
		return err
	}
	survey, err := past.Survey(a.ctx, policies)
	if err != nil {
		return err
	}
	page, err := renderReport(policies, past, survey)
	if err != nil {
		return err
	}
	if c.Out == stdio {
		_, err := a.out.Write(page)
		return err
	}
	if err := replaceFile(c.Out, page, 0o600); err != nil {
		return fmt.Errorf("the page: %w", err)
	}
	return nil
}

// report is what the page shows.
type report struct {
	*usage.Survey

	Past      *usage.Past
	Since     time.Time
	PolicySet string
	// Allowed and Refused count decisions.
	Allowed, Refused, Glass int
	Vaults                  []vaultReport
	Stale                   []usage.ObjectSurvey
	InForce                 *usage.Sight
	groups                  map[string][]broker.Action
	// anchors are the policies' places on the page, by id.
	anchors map[string]string
	// told are those records that the page links to, and what they are.
	told   map[uint64]recordReport
	events map[uint64][]string
}

type vaultReport struct {
	Alias   string
	Objects []usage.ObjectSurvey
}

type recordReport struct {
	usage.Sight

	Lines []string
}

func renderReport(policies *policy.Analysis, past *usage.Past, survey *usage.Survey) ([]byte, error) {
	r := &report{
		Survey: survey, Past: past, Since: past.First.Time, PolicySet: policies.Hash(), groups: policies.ActionGroups(),
		anchors: map[string]string{}, told: map[uint64]recordReport{}, events: map[uint64][]string{},
	}
	if past.Window.Since.After(r.Since) {
		r.Since = past.Window.Since
	}
	if in, ok := past.InForce(policies.Hash()); ok {
		r.InForce = &in
	}
	for i, p := range survey.Policies {
		r.anchors[p.Policy.ID] = fmt.Sprintf("policy-%d", i+1)
	}
	for _, u := range past.Uses() {
		switch {
		case !u.Allowed:
			r.Refused += u.Count
		case u.BreakGlass:
			r.Glass += u.Count
			fallthrough
		default:
			r.Allowed += u.Count
		}
		line := fmt.Sprintf("%s %s on %s: %s", u.Request.Principal.ID, u.Request.Action, u.Request.Resource, decisionWord(u.Allowed))
		for _, s := range []usage.Sight{u.First, u.Last} {
			if !slices.Contains(r.events[s.Seq], line) {
				r.events[s.Seq] = append(r.events[s.Seq], line)
			}
		}
	}
	for _, o := range survey.Objects {
		if o.Stale() {
			r.Stale = append(r.Stale, o)
		}
		if o.Read != nil && len(r.events[o.Read.Seq]) == 0 {
			r.events[o.Read.Seq] = []string{fmt.Sprintf("%s read %s", o.Reader, o.Name)}
		}
		if n := len(r.Vaults); n == 0 || r.Vaults[n-1].Alias != o.Name.VaultAlias() {
			r.Vaults = append(r.Vaults, vaultReport{Alias: o.Name.VaultAlias()})
		}
		v := &r.Vaults[len(r.Vaults)-1]
		v.Objects = append(v.Objects, o)
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"day":       func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"minute":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
		"base":      filepath.Base,
		"anchor":    func(p broker.PolicyRef) string { return r.anchors[p.ID] },
		"actions":   r.actionsPlain,
		"resources": resourcesPlain,
		"subject":   subjectWords,
		"last":      func(name broker.Name) string { return name.String()[strings.LastIndexByte(name.String(), '/')+1:] },
		"kind":      func(name broker.Name) string { return strings.TrimSuffix(string(name.Kind()), "s") },
		"record":    r.tell,
		"records":   r.records,
		"now":       attemptText,
		"times":     func(n int) string { return count(n, "time", "times") },
		"unique":    func(all []string) []string { return slices.Compact(slices.Clone(all)) },
		"action":    func(a broker.Action) string { return actionPlain(string(a)) },
		"plain":     conditionPlain,
	}).Parse(reportPage)
	if err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	var page bytes.Buffer
	if err := t.Execute(&page, r); err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	return page.Bytes(), nil
}

// tell notes that the page links to a record.
func (r *report) tell(s usage.Sight) usage.Sight {
	r.told[s.Seq] = recordReport{s, r.events[s.Seq]}
	return s
}

// records are those that were linked to so far: the page shows them last.
func (r *report) records() []recordReport {
	all := make([]recordReport, 0, len(r.told))
	for _, seq := range slices.Sorted(maps.Keys(r.told)) {
		all = append(all, r.told[seq])
	}
	return all
}

// subjectWords says who, for those who read no Cedar.
func subjectWords(s broker.Subject) string {
	switch s.Kind {
	case broker.SubjectWorkload:
		return s.ID
	case broker.SubjectGroup:
		return "everyone in " + s.ID
	}
	return "anyone who can log in"
}

// actionsPlain names actions for those who read no Cedar: "get secret", "set
// secret". A group of them is named for all of its own: "read secrets".
func (r *report) actionsPlain(all []broker.Action) string {
	words := actionWords(all, r.groups)
	for i, w := range words {
		words[i] = actionPlain(w)
	}
	return strings.Join(words, ", ")
}

// actionPlain turns getSecret into "get secret".
func actionPlain(action string) string {
	var b strings.Builder
	for _, c := range action {
		if 'A' <= c && c <= 'Z' {
			b.WriteByte(' ')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// conditionPlain says the commonest conditions in words, and "" for others.
func conditionPlain(condition string) string {
	if m := nameLike.FindStringSubmatch(condition); m != nil && m[2] == "" {
		return "only those named " + strings.ReplaceAll(m[1], "*", "…")
	}
	if condition == "context has reason" {
		return "only with a reason, which is recorded"
	}
	return ""
}

// resourcesPlain is what an ability is on.
func resourcesPlain(r policy.Resources) string {
	kind := strings.ToLower(r.Type) + "s"
	switch {
	case r.Name != "":
		return r.Name
	case r.Vault != "":
		return "all " + kind + " in the vault " + r.Vault
	}
	return "all " + kind + " in all vaults"
}

// attemptText says why an attempt would be denied now, or that it would not be.
func attemptText(a usage.Attempt) string {
	switch {
	case a.Now.Allowed:
		return "it would be allowed now"
	case len(a.Now.Refs) == 0:
		return "nothing permits it"
	}
	return "a rule forbids it"
}
