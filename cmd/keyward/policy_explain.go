package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// nearShown is how many of the near policies people see. Programs see all.
const nearShown = 5

type policyExplainCmd struct {
	policyFlags
	principalFlags

	Action    string `arg:"" help:"The action, such as getSecret."`
	Resource  string `arg:"" help:"The secret, such as vaults/pay/secrets/db-password, or the vault of an action on one: vaults/pay."`
	Principal string `required:"" placeholder:"ID" help:"Who asks: spiffe://example.org/billing, or ISSUER/SUBJECT such as dev/billing."`
	Vault     string `placeholder:"ALIAS" help:"The vault of a short name."`
	Time      string `placeholder:"TIME" help:"When: RFC 3339, such as 2026-05-01T12:00:00Z. Default: now."`
	Peer      string `placeholder:"ADDRESS" help:"From which IP address. Default: not known."`
	Transport string `enum:"grpc,rest" default:"grpc" help:"grpc or rest (${default})."`
	Reason    string `placeholder:"TEXT" help:"The reason that the caller gives, for break-glass policies."`
}

// Help shows examples.
func (*policyExplainCmd) Help() string {
	return `Decides as the broker would, and prints the policies that decided with their text. Where the answer is deny, the policies that came
near follow, the nearest first: which of principal, action and resource they take, or which condition did not hold.

  keyward policy explain getSecret vaults/pay/secrets/db-password --principal spiffe://example.org/billing --policy policy/
  keyward policy explain setSecret db-password --vault pay --principal kubernetes/pay/billing --group kubernetes/team-pay \
      --attribute namespace=pay --time 2026-05-01T12:00:00Z

Exit codes: 0 decided, either way; 1 the policies are refused, or a forbid could not be evaluated; 2 wrong usage.`
}

// explainJSON is the output for programs.
type explainJSON struct {
	Decision   string         `json:"decision"`
	BreakGlass bool           `json:"breakGlass"`
	Policies   []decidingJSON `json:"policies"`
	PolicySet  string         `json:"policySet"`
	Near       []nearJSON     `json:"near"`
}

type decidingJSON struct {
	policyRefJSON

	Text string `json:"text"`
}

type nearJSON struct {
	policyRefJSON

	Why       string          `json:"why"`
	Overruled bool            `json:"overruled"`
	Scope     []scopePartJSON `json:"scope"`
	Condition *conditionJSON  `json:"condition"`
}

type scopePartJSON struct {
	Variable string `json:"variable"`
	Matches  bool   `json:"matches"`
	Wants    string `json:"wants"`
}

type conditionJSON struct {
	Text     string `json:"text"`
	Position string `json:"position"`
	Failure  string `json:"failure"`
}

// Run decides and explains.
func (c *policyExplainCmd) Run(a *app) error {
	policies, err := c.open()
	if err != nil {
		return err
	}
	request, err := c.request(policies)
	if err != nil {
		return err
	}
	explained, failed := policies.Explain(a.ctx, request)
	var near []policy.Near
	if !explained.Allowed {
		if near, err = policies.Near(request); err != nil {
			return err
		}
	}
	if c.Output == outputJSON {
		if err := printIndented(a.out, explanationToJSON(policies, explained, near)); err != nil {
			return err
		}
		return failed
	}
	printExplanation(a.out, policies, explained)
	if len(near) > 0 {
		fmt.Fprintln(a.out)
	}
	printNear(a.out, "", near)
	return failed
}

func (c *policyExplainCmd) request(policies *policy.Analysis) (broker.Request, error) {
	r := broker.Request{Transport: c.Transport, Reason: c.Reason, Time: time.Now()}
	var err error
	if r.Action, err = actionOf(policies, c.Action); err != nil {
		return r, err
	}
	if r.Resource, err = resourceOf(policies, r.Action, c.Resource, c.Vault); err != nil {
		return r, err
	}
	if r.Principal, err = c.principal(c.Principal); err != nil {
		return r, err
	}
	if c.Time != "" {
		if r.Time, err = time.Parse(time.RFC3339, c.Time); err != nil {
			return r, usageError(fmt.Sprintf("--time %q: want RFC 3339, such as 2026-05-01T12:00:00Z", c.Time))
		}
	}
	if c.Peer != "" {
		if r.Peer, err = netip.ParseAddr(c.Peer); err != nil {
			return r, usageError(fmt.Sprintf("--peer %q: want an IP address, such as 10.0.0.1", c.Peer))
		}
	}
	return r, nil
}

func explanationToJSON(policies *policy.Analysis, x broker.Explanation, near []policy.Near) explainJSON {
	out := explainJSON{
		Decision: decisionWord(x.Allowed), BreakGlass: x.BreakGlass, PolicySet: x.PolicySet,
		Policies: []decidingJSON{}, Near: []nearJSON{},
	}
	for _, r := range x.Refs {
		out.Policies = append(out.Policies, decidingJSON{policyRefJSON(r), policies.Text(r.ID)})
	}
	for _, n := range near {
		j := nearJSON{policyRefJSON: policyRefJSON(n.Policy), Why: n.String(), Overruled: n.Overruled()}
		for _, p := range n.Scope {
			j.Scope = append(j.Scope, scopePartJSON{p.Variable, p.Matches, p.Text})
		}
		if n.Condition != nil {
			j.Condition = &conditionJSON{n.Condition.Text, n.Condition.Position, n.Condition.Failure}
		}
		out.Near = append(out.Near, j)
	}
	return out
}

func decisionWord(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "deny"
}

func printExplanation(w io.Writer, policies *policy.Analysis, x broker.Explanation) {
	switch {
	case x.BreakGlass:
		fmt.Fprintln(w, "allow, by break-glass alone: it is recorded with its reason, and counted")
	case x.Allowed:
		fmt.Fprintln(w, "allow")
	case len(x.Refs) == 0:
		fmt.Fprintln(w, "deny: no policy permits it")
	default:
		fmt.Fprintln(w, "deny: a forbid wins")
	}
	for _, r := range x.Refs {
		fmt.Fprintf(w, "\nby %s:\n", refText(r))
		for _, line := range printableLines(policies.Text(r.ID)) {
			fmt.Fprintln(w, strings.TrimRight("    "+line, " "))
		}
	}
}

// printNear prints the nearest, a line each.
func printNear(w io.Writer, indent string, near []policy.Near) {
	if len(near) == 0 {
		return
	}
	fmt.Fprintf(w, "%snear:\n", indent)
	for i, n := range near {
		if i == nearShown {
			fmt.Fprintf(w, "%s  and %d more: see them with -o json\n", indent, len(near)-i)
			break
		}
		fmt.Fprintf(w, "%s  %s: %s\n", indent, refText(n.Policy), printable(n.String()))
	}
}
