package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/keyward/keyward/broker"
)

const (
	scope = "github.com/keyward/keyward/broker/policy"
	// lookEvery is how often a folder is looked at. A change takes effect with
	// the second look that finds it: within twice that.
	lookEvery = 250 * time.Millisecond
)

// FolderConfig says where policies lie, and who is told of them.
type FolderConfig struct {
	Dir string
	// Record is told of every set that was read, and of what is wrong with it,
	// before it takes effect. If it fails, the set does not. It is never called
	// concurrently.
	Record func(ctx context.Context, set *Engine, wrong error) error
	// Logger and MeterProvider may be nil.
	Logger        *slog.Logger
	MeterProvider metric.MeterProvider
}

// Folder decides by the policies of a folder as it is now. All methods may be
// called concurrently.
//
// A changed folder takes effect as a whole: each decision is made by one set,
// the one before or the one behind the change. A folder with something wrong in
// it takes no effect: the last good set stays in force, and Err says why.
//
// A change takes effect once the folder has been left alone for a moment, so
// that a file half written, which may well be a set that can be loaded, is not
// one. Who changes several files and needs them to change together writes them
// faster than that, or swaps a link, as Kubernetes does.
type Folder struct {
	dir     string
	record  func(context.Context, *Engine, error) error
	log     *slog.Logger
	reloads metric.Int64Counter

	set     atomic.Pointer[Engine]
	refused atomic.Pointer[error] // why the folder, as it is, is not in force

	// Of Run alone: the digests of what the last look saw, and of what was last
	// judged.
	seen, judged string
}

var _ broker.BulkAuthorizer = (*Folder)(nil)

// Open loads the policies of a folder, as Load does. They stay as they are until
// Run.
func Open(ctx context.Context, c FolderConfig) (*Folder, error) {
	f := &Folder{dir: c.Dir, record: c.Record, log: c.Logger}
	if f.record == nil {
		f.record = func(context.Context, *Engine, error) error { return nil }
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if c.MeterProvider == nil {
		c.MeterProvider = metricnoop.NewMeterProvider()
	}
	if err := f.measure(c.MeterProvider.Meter(scope)); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	files, err := readDir(f.dir)
	f.seen = digest(files, err)
	f.judged = f.seen
	if err := f.enforce(ctx, files, err); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Folder) measure(m metric.Meter) error {
	var err error
	if f.reloads, err = m.Int64Counter("keyward.policy.reloads",
		metric.WithDescription("Changes of the policy folder, by result: ok, or refused.")); err != nil {
		return err
	}
	_, err = m.Int64ObservableGauge("keyward.policy.refused",
		metric.WithDescription("1 while the policy folder holds what is refused, and an earlier set is in force."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			if f.Err() != nil {
				o.Observe(1)
			} else {
				o.Observe(0)
			}
			return nil
		}))
	if err != nil {
		return err
	}
	_, err = m.Int64ObservableGauge("keyward.policy.policies",
		metric.WithDescription("The policies in force."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			if e := f.set.Load(); e != nil {
				o.Observe(int64(e.Len()))
			}
			return nil
		}))
	return err
}

// Engine returns the set in force, for several questions to one set.
func (f *Folder) Engine() *Engine { return f.set.Load() }

// Err returns why the folder, as it is now, is not in force; nil if it is.
func (f *Folder) Err() error {
	if err := f.refused.Load(); err != nil {
		return *err
	}
	return nil
}

// Authorize implements broker.Authorizer.
func (f *Folder) Authorize(ctx context.Context, r broker.Request) (broker.Decision, error) {
	return f.Engine().Authorize(ctx, r)
}

// AuthorizeAll implements broker.BulkAuthorizer.
func (f *Folder) AuthorizeAll(ctx context.Context, r broker.Request, names []broker.Name) ([]broker.Decision, error) {
	return f.Engine().AuthorizeAll(ctx, r, names)
}

// Run looks at the folder until ctx ends.
func (f *Folder) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look puts the folder in force if it has changed, and not since the look
// before. The bytes are compared: what is known of a file without reading it,
// its size and its times, may be the same for another.
func (f *Folder) look(ctx context.Context) {
	files, err := readDir(f.dir)
	now := digest(files, err)
	quiet := now == f.seen
	f.seen = now
	if !quiet || now == f.judged {
		return
	}
	f.judged = now
	again := errors.Is(f.Err(), errUnrecorded)
	switch err = f.enforce(ctx, files, err); {
	case errors.Is(err, errUnrecorded):
		f.judged = "" // to be tried again
		if again {
			return
		}
		fallthrough
	case err != nil:
		f.reloads.Add(ctx, 1, metric.WithAttributes(attribute.String("result", "refused")))
		f.log.ErrorContext(ctx, "changed policies are refused; those before stay in force", "set", f.Engine().Hash(), "error", err)
	}
}

// digest is the hash of files, or what is wrong with reading them.
func digest(files []source, err error) string {
	if err != nil {
		return err.Error()
	}
	return hash(files)
}

var errUnrecorded = errors.New("the audit log cannot be written, and policies do not take effect without")

// enforce puts what was read in force, or keeps what is wrong with it.
func (f *Folder) enforce(ctx context.Context, files []source, err error) error {
	before := f.Engine()
	if err == nil && before != nil && hash(files) == before.Hash() {
		f.refused.Store(nil) // put back as it was
		return nil
	}
	var set *Engine
	if err == nil {
		set, err = load(f.dir, files)
	}
	if rerr := f.record(ctx, set, err); rerr != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", errUnrecorded, rerr))
	}
	if err != nil {
		f.refused.Store(&err)
		return err
	}
	f.set.Store(set)
	f.refused.Store(nil)
	if before != nil {
		f.reloads.Add(ctx, 1, metric.WithAttributes(attribute.String("result", "ok")))
	}
	f.log.InfoContext(ctx, "policies are in force", "count", set.Len(), "set", set.Hash())
	return nil
}
