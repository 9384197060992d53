package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

type policyWhatCanCmd struct {
	policyFlags
	principalFlags

	Principal string `arg:"" help:"Who: spiffe://example.org/billing, or ISSUER/SUBJECT such as dev/billing."`
}

// Help explains the lines.
func (*policyWhatCanCmd) Help() string {
	return `Prints a line for each thing or kind of thing that the principal could be permitted something on, with the actions and by which policy.
Groups and attributes are those of entities.json and those given here: what credentials would carry. Below a line stand

  when    what must hold beside; of several, one
  except  what of it is forbidden all the same, by which policy

A group of actions stands for all of its actions. What is not shown is denied.

  keyward policy what-can spiffe://example.org/billing --policy policy/
  keyward policy what-can kubernetes/pay/billing --group kubernetes/team-pay --attribute namespace=pay

Exit codes: 0 done, 1 the policies are refused, 2 wrong usage.`
}

type resourcesJSON struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Vault string `json:"vault"`
}

// abilityJSON is an ability in the output for programs.
type abilityJSON struct {
	Actions    []broker.Action        `json:"actions"`
	Resources  resourcesJSON          `json:"resources"`
	Policies   []policyRefJSON        `json:"policies"`
	Conditions []string               `json:"conditions"`
	Except     []abilityExceptionJSON `json:"except"`
}

type abilityExceptionJSON struct {
	Resources resourcesJSON `json:"resources"`
	Condition string        `json:"condition"`
	Policy    policyRefJSON `json:"policy"`
}

type whatCanJSON struct {
	Principal string        `json:"principal"`
	Groups    []string      `json:"groups"`
	Abilities []abilityJSON `json:"abilities"`
}

// Run lists what the principal can.
func (c *policyWhatCanCmd) Run(a *app) error {
	policies, err := c.open()
	if err != nil {
		return err
	}
	principal, err := c.principal(c.Principal)
	if err != nil {
		return err
	}
	abilities, err := policies.Abilities(a.ctx, principal)
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		out := whatCanJSON{Principal: principal.ID, Groups: orEmpty(principal.Groups), Abilities: []abilityJSON{}}
		for _, b := range abilities {
			out.Abilities = append(out.Abilities, abilityToJSON(b))
		}
		return printIndented(a.out, out)
	}
	if len(abilities) == 0 {
		fmt.Fprintf(a.out, "%s can do nothing\n", cedarText("Workload", principal.ID))
	}
	for _, b := range abilities {
		printAbility(a.out, b, policies.ActionGroups())
	}
	return nil
}

func abilityToJSON(b policy.Ability) abilityJSON {
	out := abilityJSON{
		Actions: b.Actions, Resources: resourcesJSON(b.Resources),
		Policies: refsJSON(b.Policies), Conditions: orEmpty(b.Conditions), Except: []abilityExceptionJSON{},
	}
	for _, x := range b.Except {
		out.Except = append(out.Except, abilityExceptionJSON{resourcesJSON(x.Resources), x.Condition, policyRefJSON(x.Policy)})
	}
	return out
}

// nameLike is a condition on the name before any other.
var nameLike = regexp.MustCompile(`^resource\.name like "([^"\\]*)"(?: && (.*))?$`)

func printAbility(w io.Writer, b policy.Ability, groups map[string][]broker.Action) {
	on, conditions := resourcesText(b.Resources), b.Conditions
	if len(conditions) == 1 {
		if m := nameLike.FindStringSubmatch(conditions[0]); m != nil {
			on += " named like " + m[1]
			conditions = nil
			if m[2] != "" {
				conditions = []string{m[2]}
			}
		}
	}
	fmt.Fprintf(w, "%s on %s by %s\n", strings.Join(actionWords(b.Actions, groups), ", "), on, refsText(b.Policies))
	printConditions(w, conditions)
	for _, x := range b.Except {
		what := ""
		if x.Resources != b.Resources {
			what = resourcesText(x.Resources)
		}
		printExcept(w, what, x.Condition, x.Policy)
	}
}

// actionWords names a group of actions for all of its actions that apply to the
// same resources: those on a vault are apart.
func actionWords(actions []broker.Action, groups map[string][]broker.Action) []string {
	var out []string
	left := slices.Clone(actions)
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		members := slices.DeleteFunc(slices.Clone(groups[name]), func(a broker.Action) bool { return a == broker.ActionRestoreSecret })
		if len(members) < 2 || slices.ContainsFunc(members, func(a broker.Action) bool { return !slices.Contains(left, a) }) {
			continue
		}
		out = append(out, name)
		left = slices.DeleteFunc(left, func(a broker.Action) bool { return slices.Contains(members, a) })
	}
	for _, a := range left {
		out = append(out, string(a))
	}
	return out
}

// resourcesText is what a line is about, in words.
func resourcesText(r policy.Resources) string {
	kind := strings.ToLower(r.Type) + "s"
	switch {
	case r.Name != "":
		return r.Name
	case r.Vault != "":
		return kind + " in " + cedarText("Vault", r.Vault)
	}
	return "any of the " + kind
}
