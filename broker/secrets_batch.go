package broker

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MaxBatch is the most names of a batch.
	MaxBatch = 100
	// batchParallel bounds the vault calls that one batch makes at a time.
	batchParallel = 8
)

// BatchResult is the answer for one name of a batch: a value, or an error as
// GetSecret would have returned.
type BatchResult struct {
	Value SecretValue
	Err   error
}

// BatchGetSecrets returns 1 to 100 secrets, in the order of names. Each is
// decided, read and recorded on its own, in one record of the whole: one that
// is denied fails none of the others. within is the vault that all names are
// in, or zero for several.
func (b *Broker) BatchGetSecrets(ctx context.Context, c Caller, within Name, names []Name, o GetSecretOptions) ([]BatchResult, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if len(names) == 0 || len(names) > MaxBatch {
		return nil, &Error{Code: CodeBadField, Field: "names", Message: "a batch has 1 to 100 names"}
	}
	ev := Event{Caller: c, Action: ActionGetSecret, Outcome: OutcomeOK, Items: make([]Item, len(names))}
	if !within.IsZero() {
		ev.Resource = within.Collection(KindSecrets)
	}
	// All is decided before anything is asked.
	for i, d := range b.decideEach(ctx, c, ActionGetSecret, names) {
		ev.Items[i] = Item{Resource: names[i], Decision: d}
		ev.Decision.PolicySet = d.PolicySet
		ev.Decision.Allowed = ev.Decision.Allowed || d.Allowed
	}
	if !ev.Decision.Allowed {
		ev.Outcome = string(CodePolicyDenied)
	}
	defer b.join().leave()
	results := make([]BatchResult, len(names))
	ctx = c.errand(ctx)
	read := func(i int) {
		item, result := &ev.Items[i], &results[i]
		if item.Decision.Allowed {
			result.Value, result.Err = b.getCalmly(ctx, c, names[i], o.MaxAge, &item.Decision)
		} else {
			result.Err = &Error{Code: CodePolicyDenied}
		}
		item.Outcome, item.Cached, item.Stale = outcome(result.Err), result.Value.Cached, result.Value.Stale
	}
	// A few take one name after another: most are cached, and cost less than a
	// goroutine of their own would.
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(batchParallel, len(names)) {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				read(i)
			}
		})
	}
	readers.Wait()
	if err := b.record(ctx, ev); err != nil {
		return nil, err
	}
	return results, nil
}

// getCalmly is getSecret in a goroutine of its own, where a panic would end the
// process. Its text is left out: it could quote a value.
func (b *Broker) getCalmly(ctx context.Context, c Caller, n Name, maxAge *time.Duration, d *Decision) (v SecretValue, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = SecretValue{}, &Error{Code: CodeInternal, Err: fmt.Errorf("panic in a batch: %T\n%s", p, debug.Stack())}
		}
	}()
	return b.getSecret(ctx, c, n, maxAge, d)
}
