package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// defaultPolicy is where keyward dev has its policies.
const defaultPolicy = ".keyward/policy"

// policyCmd is the commands on a folder of policies. They need no broker.
type policyCmd struct {
	Check   policyCheckCmd   `cmd:"" help:"Say what is wrong with policies, and what they say in vain."`
	Test    policyTestCmd    `cmd:"" help:"Decide the cases of YAML files and compare."`
	Explain policyExplainCmd `cmd:"" help:"Decide one request and say why."`
	WhoCan  policyWhoCanCmd  `cmd:"" help:"List who can do something."`
	WhatCan policyWhatCanCmd `cmd:"" help:"List what somebody can do."`
	Replay  policyReplayCmd  `cmd:"" help:"Decide the past again: say what other policies would break."`
	Tighten policyTightenCmd `cmd:"" help:"Hold grants against their use: say which could be smaller, and how."`
	Report  policyReportCmd  `cmd:"" help:"Write a page of who can do what, and what of it was used."`
}

// policyOutput is the form of output.
type policyOutput struct {
	Output string `short:"o" enum:"text,json" default:"text" placeholder:"FORM" help:"text, for people, or json, for programs (${default})."`
}

// policyFlags are the flags of the commands that ask a folder of policies.
type policyFlags struct {
	policyOutput

	Policy string `placeholder:"DIR" help:"The folder with the *.cedar files and entities.json. Default: .keyward/policy, if it is there."`
}

// open loads the folder.
func (f policyFlags) open() (*policy.Analysis, error) {
	dir, err := policyDir(f.Policy, "--policy DIR")
	if err != nil {
		return nil, err
	}
	return policy.Inspect(dir)
}

// policyDir returns dir, or the default if it is there.
func policyDir(dir, name string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	if _, err := os.Stat(defaultPolicy); errors.Is(err, fs.ErrNotExist) {
		return "", usageError("which policies? there is no folder "+defaultPolicy+" here", "name one with "+name)
	}
	return defaultPolicy, nil
}

// usageError is wrong usage: it ends the command with exit code 2.
func usageError(what string, next ...string) error {
	return codedError{exitUsage, advise(what, next...)}
}

// principalFlags say who asks.
type principalFlags struct {
	Group     []string `sep:"none" placeholder:"GROUP" help:"A group that the credentials put the principal in, such as kubernetes/team-pay. May be repeated."`
	Attribute []string `sep:"none" placeholder:"NAME=VALUE" help:"An attribute that the credentials give, such as namespace=pay. May be repeated."`
}

// principal returns the one of that id.
func (f principalFlags) principal(id string) (broker.Principal, error) {
	p := broker.Principal{}
	var err error
	if p.ID, err = entityID(id, "Workload", "spiffe://example.org/billing or dev/billing"); err != nil {
		return p, err
	}
	for _, g := range f.Group {
		g, err := entityID(g, "Group", "kubernetes/team-pay")
		if err != nil {
			return p, err
		}
		p.Groups = append(p.Groups, g)
	}
	for _, pair := range f.Attribute {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return p, usageError(fmt.Sprintf("--attribute %q: want NAME=VALUE, such as namespace=pay", pair))
		}
		if p.Attributes == nil {
			p.Attributes = map[string]string{}
		}
		p.Attributes[name] = value
	}
	return p, nil
}

// entityID takes an id as it is, or as Cedar writes it: Workload::"dev/billing".
func entityID(text, kind, example string) (string, error) {
	id := text
	if prefix, quoted, ok := strings.Cut(text, `::"`); ok {
		unquoted, err := strconv.Unquote(`"` + quoted)
		if err != nil || prefix != kind {
			return "", usageError(fmt.Sprintf(`%q: want %s::"…"`, text, kind))
		}
		id = unquoted
	}
	if !strings.ContainsAny(id, "/.") {
		return "", usageError(fmt.Sprintf("%q is no %s: want the whole id, such as %s", text, strings.ToLower(kind), example))
	}
	return id, nil
}

// actionOf finds an action by its name, as it is or as Cedar writes it.
func actionOf(a *policy.Analysis, text string) (broker.Action, error) {
	name := text
	if quoted, ok := strings.CutPrefix(text, `Action::"`); ok {
		name = strings.TrimSuffix(quoted, `"`)
	}
	if _, ok := a.Kind(broker.Action(name)); ok {
		return broker.Action(name), nil
	}
	if members, ok := a.ActionGroups()[name]; ok {
		return "", usageError(fmt.Sprintf("%q is a group of actions", name), "ask for one: "+joinWords(members))
	}
	all := a.Actions()
	if near := broker.Nearest(name, all); near != "" {
		return "", usageError(fmt.Sprintf("there is no action %q", name), fmt.Sprintf("did you mean %s?", near))
	}
	return "", usageError(fmt.Sprintf("there is no action %q", name), "there are: "+joinWords(all))
}

// resourceOf reads what an action is to be done to: a name, in full, short or as
// Cedar writes it. vault is where short names are.
func resourceOf(a *policy.Analysis, action broker.Action, text, vault string) (broker.Name, error) {
	kind, _ := a.Kind(action)
	name := text
	if _, quoted, ok := strings.Cut(text, `::"`); ok {
		name = strings.TrimSuffix(quoted, `"`)
		if strings.HasPrefix(text, "Vault::") {
			name = "vaults/" + name
		}
	}
	parts := strings.Split(name, "/")
	onVault := parts[0] == "vaults" && len(parts) == 2
	switch {
	case kind == "" && len(parts) == 1:
		return parsed(broker.VaultName(name))
	case kind == "" && onVault:
		return parsed(broker.ParseVaultName(name))
	case kind == "":
		return broker.Name{}, usageError(fmt.Sprintf("%s is decided on a vault, and %q is none", action, text), "write vaults/ALIAS")
	case onVault:
		return broker.Name{}, usageError(fmt.Sprintf("%s is decided on each of a vault's %s", action, kind), fmt.Sprintf("write one: %s/%s/NAME", name, kind))
	case len(parts) == 1 && vault == "":
		return broker.Name{}, usageError(fmt.Sprintf("which vault is %q in?", name), fmt.Sprintf("name it with --vault ALIAS, or in full: vaults/ALIAS/%s/%s", kind, name))
	case len(parts) == 1:
		v, err := parsed(broker.VaultName(vault))
		if err != nil {
			return v, err
		}
		return parsed(v.Object(kind, name))
	}
	n, err := parsed(broker.ParseName(kind, name))
	if err == nil && vault != "" && n.VaultAlias() != vault {
		return n, usageError("--vault: the name already has another vault")
	}
	return n.Base(), err
}

func parsed(n broker.Name, err error) (broker.Name, error) {
	if err != nil {
		return n, usageError(err.Error(), "names are vaults/ALIAS/secrets/NAME or vaults/ALIAS, of [a-z0-9-]")
	}
	return n, nil
}

func joinWords[T ~string](all []T) string {
	words := make([]string, 0, len(all))
	for _, w := range all {
		words = append(words, string(w))
	}
	return strings.Join(words, ", ")
}

// printIndented prints v as JSON.
func printIndented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// policyRefJSON is a policy in the output for programs.
type policyRefJSON struct {
	ID       string `json:"id"`
	Position string `json:"position"`
}

func refsJSON(refs []broker.PolicyRef) []policyRefJSON {
	out := make([]policyRefJSON, 0, len(refs))
	for _, r := range refs {
		out = append(out, policyRefJSON(r))
	}
	return out
}

// refText is a policy's id and where it stands, said once if they are the same.
func refText(r broker.PolicyRef) string {
	if r.ID == r.Position {
		return r.ID
	}
	return printable(r.ID) + " (" + r.Position + ")"
}

func refsText(refs []broker.PolicyRef) string {
	all := make([]string, 0, len(refs))
	for _, r := range refs {
		all = append(all, refText(r))
	}
	return strings.Join(all, ", ")
}

// orEmpty keeps a list in JSON from being null.
func orEmpty[T any](all []T) []T {
	return slices.Clip(append([]T{}, all...))
}

// printableLines are the lines of a text, without what would move a terminal's
// cursor.
func printableLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    "); line != "" {
			line = printable(line)
		}
		lines = append(lines, line)
	}
	return lines
}
