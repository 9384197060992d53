package main

import (
	"errors"

	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

type keyPolicyCmd struct {
	clientFlags
	keyArg

	RotateAfter  string `placeholder:"DURATION" xor:"rotate" help:"Make a new version this long after the last one was made, such as P90D."`
	RotateBefore string `placeholder:"DURATION" xor:"rotate" help:"Make a new version this long before the last one expires."`
	NotifyBefore string `placeholder:"DURATION" help:"Tell whoever listens at the vault this long before a version expires, such as P30D."`
	Expire       string `placeholder:"DURATION" help:"Let each new version expire after this long, such as P1Y."`
	None         bool   `help:"Let the key get no new version by itself."`
}

// Help shows examples.
func (*keyPolicyCmd) Help() string {
	return `Without flags the policy is shown. With any, the whole policy becomes what they say. Durations are ISO 8601's: P90D, P18M, P1Y.

  keyward key rotation-policy invoices
  keyward key rotation-policy invoices --rotate-after P90D --expire P1Y
  keyward key rotation-policy invoices --none` + exitCodes
}

// Run shows or sets a rotation policy.
func (c *keyPolicyCmd) Run(a *app) error {
	change := c.RotateAfter+c.RotateBefore+c.NotifyBefore+c.Expire != ""
	if change && c.None {
		return errors.New("--none: it stands alone")
	}
	return withClient(a, c.callFlags, func(cl *client) error {
		name, err := cl.keyName(c.Name, "")
		if err != nil {
			return err
		}
		var p *keywardv1.RotationPolicy
		if change || c.None {
			p, err = cl.keys.UpdateRotationPolicy(a.ctx, &keywardv1.UpdateRotationPolicyRequest{Name: name, RotationPolicy: c.policy()})
		} else {
			p, err = cl.keys.GetRotationPolicy(a.ctx, &keywardv1.GetRotationPolicyRequest{Name: name})
		}
		if err != nil {
			return err
		}
		if c.Output == outputJSON {
			return printJSON(a.out, p)
		}
		rows := make([][]string, 0, len(p.GetLifetimeActions())+1)
		for _, action := range p.GetLifetimeActions() {
			rows = append(rows, []string{action.GetType(), action.GetAfterCreateDuration(), action.GetBeforeExpiryDuration()})
		}
		rows = append(rows, []string{"Expire", p.GetExpiryDuration(), ""})
		return printTable(a.out, []string{"ACTION", "AFTER CREATION", "BEFORE EXPIRY"}, rows)
	})
}

func (c *keyPolicyCmd) policy() *keywardv1.RotationPolicy {
	p := &keywardv1.RotationPolicy{ExpiryDuration: c.Expire}
	if c.RotateAfter+c.RotateBefore != "" {
		p.LifetimeActions = append(p.LifetimeActions, &keywardv1.LifetimeAction{
			Type: "Rotate", AfterCreateDuration: c.RotateAfter, BeforeExpiryDuration: c.RotateBefore,
		})
	}
	if c.NotifyBefore != "" {
		p.LifetimeActions = append(p.LifetimeActions, &keywardv1.LifetimeAction{Type: "Notify", BeforeExpiryDuration: c.NotifyBefore})
	}
	return p
}
