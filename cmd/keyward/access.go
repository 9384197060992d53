package main

import (
	"fmt"
	"strings"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// accessCmd is the questions to a running broker. Those to a folder of policies
// are keyward policy's.
type accessCmd struct {
	Check  accessCheckCmd  `cmd:"" help:"Ask whether you, or somebody else, may do something."`
	Grants accessGrantsCmd `cmd:"" help:"Ask who may do something."`
}

// question is what both ask about.
type question struct {
	Action   string `arg:"" help:"The action, such as getSecret."`
	Resource string `arg:"" help:"The secret: db-password in the context's vault, or in full vaults/ALIAS/secrets/NAME; of restoreSecret and explainAccess the vault, vaults/ALIAS."`
}

// names returns the action and the full name of the resource.
func (q question) names(c *client) (action, resource string, err error) {
	a, err := broker.ParseAction(q.Action)
	if err != nil {
		return "", "", usageError(broker.AsError(err).Message)
	}
	kind := a.DecidedOn()
	if !strings.Contains(q.Resource, "/") {
		alias := c.vault
		if kind == "" {
			alias = q.Resource
		}
		if alias == "" {
			return "", "", usageError(fmt.Sprintf("which vault is %q in?", q.Resource), "name it with --vault ALIAS, or in full")
		}
		vault, err := broker.VaultName(alias)
		if err == nil && kind != "" {
			vault, err = vault.Object(kind, q.Resource)
		}
		if err != nil {
			return "", "", badName(q.Resource, err)
		}
		return string(a), vault.String(), nil
	}
	n, err := a.ParseResource(q.Resource)
	if err != nil {
		return "", "", usageError(broker.AsError(err).Message)
	}
	if c.chosen && n.VaultAlias() != c.vault {
		return "", "", usageError("--vault: the name already has another vault")
	}
	return string(a), n.String(), nil
}

type accessCheckCmd struct {
	clientFlags
	principalFlags
	question

	Principal string `placeholder:"ID" help:"Whom to ask about, such as spiffe://example.org/billing. Default: yourself. It takes explainAccess on the vault."`
}

// Help shows examples.
func (*accessCheckCmd) Help() string {
	return `The running broker decides, by the policies it has in force, and does nothing else. About yourself you may always ask, and the
answer is for this very call. About others it is for a call at the present time from nowhere.

  keyward access check getSecret db-password
  keyward access check getSecret db-password --principal spiffe://example.org/billing
  keyward access check setSecret vaults/pay/secrets/db-password --principal kubernetes/x --group kubernetes/team-pay -o json

It prints what was decided and by which policies; no policy means that none permits it. Where policies stand, and which came near,
tells keyward policy explain.

Exit codes: 0 allowed, 1 denied or failed, 2 wrong usage.`
}

// Run asks.
func (c *accessCheckCmd) Run(a *app) error {
	about := broker.Principal{}
	if c.Principal != "" {
		var err error
		if about, err = c.principal(c.Principal); err != nil {
			return err
		}
	} else if len(c.Group) > 0 || len(c.Attribute) > 0 {
		return usageError("whose groups and attributes are these?", "name the principal with --principal ID")
	}
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	action, resource, err := c.names(cl)
	if err != nil {
		return err
	}
	reply, err := cl.access.CheckAccess(a.ctx, &keywardv1.CheckAccessRequest{
		Action: action, Resource: resource, Principal: about.ID, Groups: about.Groups, Attributes: about.Attributes,
	})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		err = printJSON(a.out, reply)
	} else {
		fmt.Fprintln(a.out, answerText(reply))
	}
	if err == nil && !reply.GetAllowed() {
		return codedError{code: exitError}
	}
	return err
}

func answerText(reply *keywardv1.CheckAccessResponse) string {
	by := refsText(refsOf(reply.GetPolicies()))
	switch {
	case reply.GetBreakGlass():
		return "allowed in an emergency alone, by " + by
	case reply.GetAllowed():
		return "allowed by " + by
	case by == "":
		return "denied: no policy permits it"
	}
	return "denied by " + by
}

func refsOf(policies []*keywardv1.PolicyRef) []broker.PolicyRef {
	out := make([]broker.PolicyRef, len(policies))
	for i, p := range policies {
		out[i] = broker.PolicyRef{ID: p.GetId(), Position: p.GetPosition()}
	}
	return out
}

type accessGrantsCmd struct {
	clientFlags
	question
}

// Help explains the lines.
func (*accessGrantsCmd) Help() string {
	return `Asks the running broker who could be permitted, by the policies it has in force. It takes explainAccess on the vault. The lines are
those of keyward policy who-can, which asks a folder of policies instead.

  keyward access grants getSecret db-password` + exitCodes
}

// Run asks.
func (c *accessGrantsCmd) Run(a *app) error {
	cl, err := c.dial(a)
	if err != nil {
		return err
	}
	defer cl.close()
	action, resource, err := c.names(cl)
	if err != nil {
		return err
	}
	reply, err := cl.access.ListGrants(a.ctx, &keywardv1.ListGrantsRequest{Action: action, Resource: resource})
	if err != nil {
		return err
	}
	if c.Output == outputJSON {
		return printJSON(a.out, reply)
	}
	if len(reply.GetGrants()) == 0 {
		fmt.Fprintf(a.out, "nobody can %s %s\n", action, resource)
	}
	for _, g := range reply.GetGrants() {
		printGrant(a.out, grantOf(g))
	}
	return nil
}

func grantOf(p *keywardv1.Grant) broker.Grant {
	g := broker.Grant{Subject: subjectOf(p.GetSubject()), Via: p.GetVia(), Policies: refsOf(p.GetPolicies()), Conditions: p.GetConditions()}
	for _, e := range p.GetExceptions() {
		g.Except = append(g.Except, broker.Exception{
			Subject: subjectOf(e.GetSubject()), Condition: e.GetCondition(),
			Policy: broker.PolicyRef{ID: e.GetPolicy().GetId(), Position: e.GetPolicy().GetPosition()},
		})
	}
	return g
}

func subjectOf(s *keywardv1.Subject) broker.Subject {
	return broker.Subject{Kind: s.GetKind(), ID: s.GetId()}
}
