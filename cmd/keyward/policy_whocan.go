package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/keyward/keyward/broker"
)

type policyWhoCanCmd struct {
	policyFlags

	Action   string `arg:"" help:"The action, such as getSecret."`
	Resource string `arg:"" help:"The secret, such as vaults/pay/secrets/db-password, or the vault of an action on one: vaults/pay."`
	Vault    string `placeholder:"ALIAS" help:"The vault of a short name."`
}

// Help explains the lines.
func (*policyWhoCanCmd) Help() string {
	return `Prints a line for each workload or group that could be permitted, and by which policy. Below it stand

  when    what must hold beside; of several, one
  except  who of them is forbidden all the same, by which policy

"anyone" is whoever can authenticate. Which groups and attributes somebody's credentials carry is not known here, nor from where
and when a call comes; so what asks for them stays a condition. Nobody who is not shown is permitted.

  keyward policy who-can getSecret vaults/pay/secrets/db-password --policy policy/
  keyward policy who-can deleteSecret db-password --vault pay -o json

Exit codes: 0 done, 1 the policies are refused, 2 wrong usage.`
}

type subjectJSON struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// grantJSON is a grant in the output for programs.
type grantJSON struct {
	subjectJSON

	Via        string               `json:"via"`
	Policies   []policyRefJSON      `json:"policies"`
	Conditions []string             `json:"conditions"`
	Except     []grantExceptionJSON `json:"except"`
}

type grantExceptionJSON struct {
	subjectJSON

	Condition string        `json:"condition"`
	Policy    policyRefJSON `json:"policy"`
}

type whoCanJSON struct {
	Action   string      `json:"action"`
	Resource string      `json:"resource"`
	Grants   []grantJSON `json:"grants"`
}

// Run lists who can.
func (c *policyWhoCanCmd) Run(a *app) error {
	policies, err := c.open()
	if err != nil {
		return err
	}
	action, err := actionOf(policies, c.Action)
	if err != nil {
		return err
	}
	resource, err := resourceOf(policies, action, c.Resource, c.Vault)
	if err != nil {
		return err
	}
	grants, err := policies.Grants(a.ctx, action, resource)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		out := whoCanJSON{Action: string(action), Resource: resource.String(), Grants: []grantJSON{}}
		for _, g := range grants {
			out.Grants = append(out.Grants, grantToJSON(g))
		}
		return printIndented(a.out, out)
	}
	if len(grants) == 0 {
		fmt.Fprintf(a.out, "nobody can %s %s\n", action, resource)
	}
	for _, g := range grants {
		printGrant(a.out, g)
	}
	return nil
}

func grantToJSON(g broker.Grant) grantJSON {
	out := grantJSON{
		subjectJSON: subjectJSON(g.Subject), Via: g.Via,
		Policies: refsJSON(g.Policies), Conditions: orEmpty(g.Conditions), Except: []grantExceptionJSON{},
	}
	for _, x := range g.Except {
		out.Except = append(out.Except, grantExceptionJSON{subjectJSON(x.Subject), x.Condition, policyRefJSON(x.Policy)})
	}
	return out
}

func printGrant(w io.Writer, g broker.Grant) {
	via := ""
	if g.Via != "" {
		via = " through " + subjectText(broker.Subject{Kind: broker.SubjectGroup, ID: g.Via})
	}
	fmt.Fprintf(w, "%s%s by %s\n", subjectText(g.Subject), via, refsText(g.Policies))
	printConditions(w, g.Conditions)
	for _, x := range g.Except {
		who := ""
		if x.Subject != g.Subject {
			who = subjectText(x.Subject)
		}
		printExcept(w, who, x.Condition, x.Policy)
	}
}

func printConditions(w io.Writer, conditions []string) {
	seen := map[string]bool{}
	for _, c := range conditions {
		if seen[c] {
			continue
		}
		word := "when"
		if len(seen) > 0 {
			word = "or when"
		}
		seen[c] = true
		fmt.Fprintf(w, "    %s %s\n", word, printable(c))
	}
}

// printExcept prints an exception; who is "" where it is all of the line.
func printExcept(w io.Writer, who, condition string, by broker.PolicyRef) {
	words := []string{"except"}
	if who != "" {
		words = append(words, who)
	}
	if condition != "" {
		words = append(words, "when", printable(condition))
	}
	fmt.Fprintf(w, "    %s, by %s\n", strings.Join(words, " "), refText(by))
}

// subjectText is a subject as Cedar writes it.
func subjectText(s broker.Subject) string {
	switch s.Kind {
	case broker.SubjectWorkload:
		return cedarText("Workload", s.ID)
	case broker.SubjectGroup:
		return cedarText("Group", s.ID)
	}
	return "anyone"
}

func cedarText(kind, id string) string { return printable(fmt.Sprintf("%s::%q", kind, id)) }
