package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What the callers of the warm rows are.
const (
	callers     = 32
	connections = 2
	valueBytes  = 256
	warmNames   = 100
)

// load is callers of a server, each of which waits for its answer before it calls
// again.
type load struct {
	name    string
	server  *process // nil: its processor time is of no concern
	callers int
	// dress puts what all calls carry into their context; or nil.
	dress func(context.Context) context.Context
	call  func(ctx context.Context, caller, n int) error
}

// interval is what a load did in a while, and what it cost the server.
type interval struct {
	calls int
	took  time.Duration
	cpu   time.Duration
}

// rate is calls per second.
func (i interval) rate() float64 { return float64(i.calls) / i.took.Seconds() }

// perCall is the server's processor time of one call, in microseconds.
func (i interval) perCall() float64 { return float64(i.cpu.Nanoseconds()) / 1e3 / float64(i.calls) }

// run loads the server for d. The first error ends it.
func (l load) run(ctx context.Context, d time.Duration) (interval, error) {
	before, err := l.cpu()
	if err != nil {
		return interval{}, err
	}
	if l.dress != nil {
		ctx = l.dress(ctx)
	}
	began := time.Now()
	end := began.Add(d)
	counts, errs := make([]int, l.callers), make([]error, l.callers+1)
	var all sync.WaitGroup
	for c := range l.callers {
		all.Go(func() {
			n := 0
			for ctx.Err() == nil && time.Now().Before(end) {
				if errs[c] = l.call(ctx, c, n); errs[c] != nil {
					break
				}
				n++
			}
			counts[c] = n
		})
	}
	all.Wait()
	took := time.Since(began)
	after, err := l.cpu()
	errs[l.callers] = errors.Join(err, ctx.Err())
	if err := errors.Join(errs...); err != nil {
		return interval{}, fmt.Errorf("%s: %w", l.name, err)
	}
	done := interval{took: took, cpu: after - before}
	for _, n := range counts {
		done.calls += n
	}
	if done.calls == 0 {
		return done, fmt.Errorf("%s: no call was answered in %s", l.name, took)
	}
	return done, nil
}

func (l load) cpu() (time.Duration, error) {
	if l.server == nil {
		return 0, nil
	}
	return l.server.cpu()
}

// pair is a round: keyward, and the yardstick right before and after it.
type pair struct{ before, ours, after interval }

// ratio compares a figure of ours with the mean of its two neighbours.
func (p pair) ratio(figure func(interval) float64) float64 {
	return figure(p.ours) / ((figure(p.before) + figure(p.after)) / 2)
}

// compare warms both up and takes the rounds.
func (r *rig) compare(ctx context.Context, yardstick, ours load) ([]pair, error) {
	for _, l := range []load{yardstick, ours, yardstick, ours} {
		if _, err := l.run(ctx, r.interval/2); err != nil {
			return nil, err
		}
	}
	pairs := make([]pair, r.rounds)
	for i := range pairs {
		p := &pairs[i]
		for _, step := range []struct {
			load load
			to   *interval
		}{{yardstick, &p.before}, {ours, &p.ours}, {yardstick, &p.after}} {
			var err error
			if *step.to, err = step.load.run(ctx, r.interval); err != nil {
				return nil, err
			}
		}
	}
	return pairs, nil
}

// throughput is a line about calls per second.
func throughput(what string, pairs []pair, t target) result {
	ours, against := figures(pairs, interval.rate)
	return result{
		what: what, rounds: ratios(pairs, interval.rate), target: t,
		ours: fmt.Sprintf("%.0f/s", ours), against: fmt.Sprintf("%.0f/s", against),
	}
}

// cost is a line about the server's processor time per call.
func cost(what string, pairs []pair, t target) result {
	ours, against := figures(pairs, interval.perCall)
	return result{
		what: what, rounds: ratios(pairs, interval.perCall), target: t,
		ours: fmt.Sprintf("%.1f µs", ours), against: fmt.Sprintf("%.1f µs", against),
	}
}

func ratios(pairs []pair, figure func(interval) float64) []float64 {
	all := make([]float64, len(pairs))
	for i, p := range pairs {
		all[i] = p.ratio(figure)
	}
	return all
}

// figures are the medians of what was compared.
func figures(pairs []pair, figure func(interval) float64) (ours, against float64) {
	var o, a []float64
	for _, p := range pairs {
		o = append(o, figure(p.ours))
		a = append(a, figure(p.before), figure(p.after))
	}
	return median(o), median(a)
}
