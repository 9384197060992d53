package main

import "context"

// warm is the row that the design is for.
func warm(ctx context.Context, r *rig) ([]result, error) {
	tuned, err := r.warmGRPC(ctx, (*rig).gets, true)
	if err != nil {
		return nil, err
	}
	plain, err := r.warmGRPC(ctx, (*rig).gets, false)
	if err != nil {
		return nil, err
	}
	return []result{
		throughput("warm GetSecret, mTLS: throughput; bare grpc-go tuned alike", tuned, atLeast(0.80)),
		cost("warm GetSecret, mTLS: server's CPU per call; the same", tuned, atMost(1.35)),
		throughput("warm GetSecret, mTLS: throughput; bare grpc-go with its and Go's defaults", plain, atLeast(1.00)),
	}, nil
}

func bearer(ctx context.Context, r *rig) ([]result, error) {
	tuned, err := r.warmGRPC(ctx, (*rig).tokenGets, true)
	if err != nil {
		return nil, err
	}
	return []result{
		throughput("warm GetSecret, bearer token: throughput; bare grpc-go tuned alike", tuned, atLeast(0.72)),
		cost("warm GetSecret, bearer token: server's CPU per call; the same", tuned, untargeted),
	}, nil
}

// warmGRPC compares with a bare gRPC server, which gets the same calls.
func (r *rig) warmGRPC(ctx context.Context, gets func(*rig, *process, string, []string) (load, error), tuned bool) ([]pair, error) {
	k, err := r.broker(ctx, usual)
	if err != nil {
		return nil, err
	}
	ours, err := gets(r, k.process, k.grpc, r.names[:warmNames])
	if err != nil {
		return nil, err
	}
	var args []string
	if tuned {
		args = []string{"-tuned"}
	}
	p, err := r.yardstick(ctx, k, tuned, "bare-grpc", args...)
	if err != nil {
		return nil, err
	}
	yardstick, err := gets(r, p, p.ready[1], r.names[:warmNames])
	if err != nil {
		return nil, err
	}
	return r.compare(ctx, yardstick, ours)
}

func rest(ctx context.Context, r *rig) ([]result, error) {
	k, err := r.broker(ctx, usual)
	if err != nil {
		return nil, err
	}
	p, err := r.yardstick(ctx, k, true, "bare-http")
	if err != nil {
		return nil, err
	}
	var results []result
	for _, protocol := range []struct {
		name  string
		http2 bool
	}{{"HTTP/1.1", false}, {"HTTP/2", true}} {
		ours, err := r.restGets(ctx, k.process, k.http, protocol.http2)
		if err != nil {
			return nil, err
		}
		yardstick, err := r.restGets(ctx, p, p.ready[1], protocol.http2)
		if err != nil {
			return nil, err
		}
		pairs, err := r.compare(ctx, yardstick, ours)
		if err != nil {
			return nil, err
		}
		results = append(results,
			throughput("warm REST GET, "+protocol.name+": throughput; bare net/http handler", pairs, atLeast(0.75)),
			cost("warm REST GET, "+protocol.name+": server's CPU per call; the same", pairs, untargeted))
	}
	return results, nil
}

// batch compares a call for a hundred secrets with as many calls for one.
func batch(ctx context.Context, r *rig) ([]result, error) {
	k, err := r.broker(ctx, usual)
	if err != nil {
		return nil, err
	}
	clients, err := r.dial(k.grpc, true)
	if err != nil {
		return nil, err
	}
	pairs, err := r.compare(ctx, getsBy(k.process, clients, r.names[:warmNames]), batchesBy(k.process, clients, r.names[:batchNames]))
	if err != nil {
		return nil, err
	}
	one := cost("BatchGet of 100 warm names: server's CPU; 100 Gets", pairs, atMost(0.15))
	for i := range one.rounds {
		one.rounds[i] /= batchNames
	}
	one.against = "100 × " + one.against
	return []result{one}, nil
}
