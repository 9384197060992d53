package main

import (
	"context"
	"time"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
)

// openPolicies loads the policies, which stay as they are until they Run. Each
// set is recorded before it takes effect, and so is what is refused.
func (w wiring) openPolicies(ctx context.Context, auditor broker.Auditor, tel *telemetry) (*policy.Folder, error) {
	policies, err := policy.Open(ctx, policy.FolderConfig{
		Dir: w.config.file(w.config.Policy.Path),
		Record: func(ctx context.Context, set *policy.Engine, wrong error) error {
			ev := broker.Event{Time: time.Now(), Action: broker.ActionLoadPolicies, Outcome: string(broker.CodePolicyInvalid)}
			if wrong == nil {
				ev.Decision = broker.Decision{Allowed: true, PolicySet: set.Hash()}
				ev.Outcome = broker.OutcomeOK
			}
			return auditor.Record(ctx, ev)
		},
		Logger:        w.log,
		MeterProvider: tel.metrics,
	})
	if err != nil {
		return nil, err
	}
	w.warnOfVaults(ctx, policies.Engine(), nil)
	return policies, nil
}

// warnOfVaults tells of policies for vaults that are not configured, any more if
// there was another configuration. They are in force all the same: a vault may be
// taken away for a while.
func (w wiring) warnOfVaults(ctx context.Context, set *policy.Engine, before *config) {
	for _, v := range set.Vaults() {
		was := before == nil
		if !was {
			_, was = before.Vaults[v.Alias]
		}
		if _, is := w.config.Vaults[v.Alias]; was && !is {
			w.log.WarnContext(ctx, "a policy is for a vault that is not configured, and cannot match", "vault", v.Alias, "policy", v.Where)
		}
	}
}
