package main

import (
	"context"
	"fmt"
	"time"
)

const (
	manySecrets = 100_000
	batchNames  = 100
)

// The brokers of these rows.
var (
	fewPolicies = brokerSpec{policies: 10}
	tenThousand = brokerSpec{policies: 10_000}
	keepsFew    = brokerSpec{policies: usual.policies, keep: warmNames}
	keepsMany   = brokerSpec{policies: usual.policies, keep: manySecrets}
)

func manyPolicies(ctx context.Context, r *rig) ([]result, error) {
	few, err := r.broker(ctx, fewPolicies)
	if err != nil {
		return nil, err
	}
	many, err := r.broker(ctx, tenThousand)
	if err != nil {
		return nil, err
	}
	yardstick, err := r.gets(few.process, few.grpc, r.names[:warmNames])
	if err != nil {
		return nil, err
	}
	ours, err := r.gets(many.process, many.grpc, r.names[:warmNames])
	if err != nil {
		return nil, err
	}
	pairs, err := r.compare(ctx, yardstick, ours)
	return []result{cost("10,000 policies: server's CPU per warm Get; 10 policies", pairs, atMost(1.10))}, err
}

func cached(ctx context.Context, r *rig) ([]result, error) {
	few, err := r.filled(ctx, keepsFew)
	if err != nil {
		return nil, err
	}
	many, err := r.filled(ctx, keepsMany)
	if err != nil {
		return nil, err
	}
	pairs, err := r.compare(ctx, few.load, many.load)
	return []result{cost("100,000 cached secrets: server's CPU per warm Get; 100 cached", pairs, atMost(1.10))}, err
}

func memory(ctx context.Context, r *rig) ([]result, error) {
	many, err := r.filled(ctx, keepsMany)
	if err != nil {
		return nil, err
	}
	m := result{what: "100,000 cached secrets of 256 bytes: resident under warm load", target: target{bound: 150, unit: "MiB"}}
	var most float64
	for range r.rounds {
		if _, err := many.load.run(ctx, r.interval); err != nil {
			return nil, err
		}
		var now float64
		if now, most, err = many.memory(); err != nil {
			return nil, err
		}
		m.rounds = append(m.rounds, now)
	}
	next, err := many.metric(ctx, "go_memstats_next_gc_bytes")
	if err != nil {
		return nil, err
	}
	percent, err := many.metric(ctx, "go_gc_gogc_percent")
	if err != nil {
		return nil, err
	}
	m.ours = fmt.Sprintf("%s at most since its start; live heap %.0f MiB, GOGC %.0f", m.target.figure(most), next/(1+percent/100)/(1<<20), percent)
	m.against = "none"
	return []result{m}, nil
}

// filled is a broker whose cache is full, and a load of what is in it.
type filled struct {
	*keyward

	load load
}

// filled starts a broker and has it fetch all that it is to keep.
func (r *rig) filled(ctx context.Context, s brokerSpec) (filled, error) {
	k, err := r.broker(ctx, s)
	if err != nil {
		return filled{}, err
	}
	clients, err := r.dial(k.grpc, true)
	if err != nil {
		return filled{}, err
	}
	names := r.names[:s.keep]
	for _, req := range batchRequests(names) {
		if err := batchGet(ctx, clients[0], req); err != nil {
			return filled{}, err
		}
	}
	full, requests := time.Now(), getRequests("bench", names)
	l := getsBy(k.process, clients, names)
	l.call = func(ctx context.Context, caller, n int) error {
		reply, err := clients[caller%len(clients)].GetSecret(ctx, requests[turn(caller, n, len(requests))])
		if err == nil && reply.GetFreshness().GetFetchTime().AsTime().After(full) {
			err = fmt.Errorf("%s was not kept", reply.GetSecret().GetName())
		}
		return err
	}
	return filled{keyward: k, load: l}, nil
}
