// Package broker is the core of Keyward: it decides, records and acts. It
// knows no gRPC, no HTTP and no Azure.
//
// A Broker stands over the vaults. Each of its methods takes the caller and
// calls the guard before it touches a store, so that no transport can forget
// it:
//
//	a read:    decide, act, record, disclose
//	a change:  decide, record the intent, act, record the outcome
//
// What cannot be decided is denied, and what cannot be recorded is neither
// disclosed nor changed. Caches are stores, and lie under the guard: a cached
// value is never served without a decision of the policies in force.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

const scope = "github.com/keyward/keyward/broker"

// Config is what a Broker is made of.
type Config struct {
	// Vaults are the stores, by alias.
	Vaults map[string]Vault
	// Authorizer and Auditor are required: there is no broker without them.
	Authorizer Authorizer
	Auditor    Auditor
	// Logger, TracerProvider and MeterProvider may be nil.
	Logger         *slog.Logger
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// Broker is the guarded way to the vaults. All methods may be called
// concurrently.
type Broker struct {
	vaults     atomic.Pointer[vaultSet]
	setting    sync.Mutex // serializes SetVaults
	authz      Authorizer
	auditor    Auditor
	writers    writers
	changes    changes
	log        *slog.Logger
	tracer     trace.Tracer
	decisions  decisionCounts
	breakGlass metric.Int64Counter
	localUses  metric.Int64Counter
}

// New returns a Broker. It fails if c lacks an Authorizer or an Auditor, or if
// an alias is no vault's name.
func New(c Config) (*Broker, error) {
	if c.Authorizer == nil {
		return nil, errors.New("broker: no authorizer")
	}
	if c.Auditor == nil {
		return nil, errors.New("broker: no auditor")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.TracerProvider == nil {
		c.TracerProvider = tracenoop.NewTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = metricnoop.NewMeterProvider()
	}
	vaults, err := newVaultSet(c.Vaults)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		authz:   c.Authorizer,
		auditor: c.Auditor,
		log:     c.Logger,
		tracer:  c.TracerProvider.Tracer(scope),
	}
	b.vaults.Store(vaults)
	meter := c.MeterProvider.Meter(scope)
	var err1, err2, err3 error
	err1 = b.decisions.register(meter)
	b.breakGlass, err2 = meter.Int64Counter("keyward.breakglass",
		metric.WithDescription("Acts that break-glass policies alone allowed, by action and policy. Alert on any: somebody says that there is an emergency."))
	b.localUses, err3 = meter.Int64Counter("keyward.keys.local",
		metric.WithDescription("Uses of keys that cost no vault call: verified, encrypted or wrapped with the cached public key, by vault and action."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// RefuseCaller records that a call failed authentication with code. The call
// is refused whatever it returns; an error is CodeAuditUnavailable.
func (b *Broker) RefuseCaller(ctx context.Context, c Caller, code Code) error {
	return b.record(ctx, Event{Caller: c, Action: ActionAuthenticate, Outcome: string(code)})
}

// secrets returns the store of n's vault.
func (b *Broker) secrets(n Name) (SecretStore, error) {
	v, err := b.vault(n)
	if err != nil {
		return nil, err
	}
	if v.Secrets == nil {
		return nil, &Error{Code: CodeNotSupported}
	}
	return v.Secrets, nil
}

// read guards an act that discloses: decide, act, record, disclose. act may
// add to the event.
func read[T any](
	ctx context.Context, b *Broker, c Caller, a Action, n Name,
	act func(context.Context, *Event) (T, error),
) (T, error) {
	ev, err := b.enter(ctx, c, a, n)
	if err != nil {
		var none T
		return none, err
	}
	return disclose(ctx, b, ev, act)
}

// disclose is read from the decision on.
func disclose[T any](ctx context.Context, b *Broker, ev Event, act func(context.Context, *Event) (T, error)) (T, error) {
	var none T
	defer b.join().leave()
	v, err := act(ev.Caller.errand(ctx), &ev)
	ev.Outcome = outcome(err)
	if err != nil {
		ev.Items = nil // nothing is disclosed
	}
	if rerr := b.record(ctx, ev); rerr != nil {
		return none, rerr
	}
	if err != nil {
		return none, err
	}
	return v, nil
}

// change guards an act that changes: decide, record the intent, act, record
// the outcome. act may add to the event of the outcome.
func change[T any](
	ctx context.Context, b *Broker, c Caller, a Action, n Name,
	act func(context.Context, *Event) (T, error),
) (T, error) {
	var none T
	ev, err := b.enter(ctx, c, a, n)
	if err != nil {
		return none, err
	}
	ev.Phase = PhaseIntent
	if err := b.record(ctx, ev); err != nil {
		return none, err
	}
	defer b.leaveChanged(b.join(), &ev)
	v, err := act(c.errand(ctx), &ev)
	if n.kind == KindSecrets || n.kind == "" {
		b.changes.publish(n) // whether or not it was made: who watches looks
	}
	err = unsure(err)
	ev.Phase, ev.Outcome = PhaseOutcome, outcome(err)
	if rerr := b.record(ctx, ev); rerr != nil {
		return none, &Error{
			Code:    CodeAuditUnavailable,
			Message: "the change may have been made, but its outcome could not be recorded",
			Err:     rerr,
		}
	}
	if err != nil {
		return none, err
	}
	return v, nil
}

// unsure says of a vault's failure that the change may have been made.
func unsure(err error) error {
	if CodeOf(err) != CodeVaultUnavailable {
		return err
	}
	e := *AsError(err)
	e.Message = "the vault does not answer as it should, and the change may have been made; look before you make it again"
	return &e
}

// enter decides. A denial is recorded and ends the call.
func (b *Broker) enter(ctx context.Context, c Caller, a Action, n Name) (Event, error) {
	ev := Event{Caller: c, Action: a, Resource: n}
	ev.Decision = b.decide(ctx, c, a, n)
	if ev.Decision.Allowed {
		return ev, nil
	}
	ev.Outcome = string(CodePolicyDenied)
	if err := b.record(ctx, ev); err != nil {
		return ev, err
	}
	return ev, &Error{Code: CodePolicyDenied}
}

// decide asks the Authorizer. An error is a denial.
func (b *Broker) decide(ctx context.Context, c Caller, a Action, n Name) Decision {
	ctx, span := b.startSpan(ctx, "policy.decide")
	defer span.End()
	d := b.judge(ctx, c.request(a), n)
	if span.IsRecording() {
		span.SetAttributes(attribute.String("keyward.action", string(a)), attribute.Bool("keyward.allowed", d.Allowed))
	}
	return d
}

// decideEach is decide for each of names, at one time and in one span.
func (b *Broker) decideEach(ctx context.Context, c Caller, a Action, names []Name) []Decision {
	ctx, span := b.startSpan(ctx, "policy.decide")
	defer span.End()
	r, all, allowed := c.request(a), make([]Decision, len(names)), 0
	for i, n := range names {
		if all[i] = b.judge(ctx, r, n); all[i].Allowed {
			allowed++
		}
	}
	span.SetAttributes(attribute.String("keyward.action", string(a)), attribute.Int("keyward.decided", len(names)), attribute.Int("keyward.allowed", allowed))
	return all
}

// startSpan starts a span within that of the call, if that is sampled: another
// would be thrown away.
func (b *Broker) startSpan(ctx context.Context, name string) (context.Context, trace.Span) {
	return b.startSpanIn(ctx, trace.SpanContextFromContext(ctx), name)
}

// startSpanIn is startSpan where the span of ctx is known.
func (b *Broker) startSpanIn(ctx context.Context, in trace.SpanContext, name string) (context.Context, trace.Span) {
	if in.IsValid() && !in.IsSampled() {
		return ctx, noSpan
	}
	return b.tracer.Start(ctx, name) //nolint:spancheck // who calls this ends it
}

var noSpan trace.Span = tracenoop.Span{}

// judge is authorize, counted and logged.
func (b *Broker) judge(ctx context.Context, r Request, n Name) Decision {
	d, err := b.authorize(ctx, r, n)
	if err != nil {
		b.log.ErrorContext(ctx, "the policy could not be evaluated; denied", "action", r.Action, "error", err)
	}
	b.decisions.count(r.Action, d)
	return d
}

func (b *Broker) authorize(ctx context.Context, r Request, n Name) (Decision, error) {
	r.Resource = n.Base()
	d, err := b.authz.Authorize(ctx, r)
	if err != nil {
		d.Allowed, d.BreakGlass = false, false
	}
	return d, err
}

// request is what an Authorizer is asked of c now, but for the resource.
func (c Caller) request(a Action) Request {
	return Request{
		Principal: c.Principal,
		Action:    a,
		Time:      time.Now(),
		Peer:      c.Peer,
		Transport: c.Transport,
		Reason:    c.Reason,
	}
}

// record writes ev, whether or not the caller is still there, and raises the
// alarm if it tells of a break-glass.
func (b *Broker) record(ctx context.Context, ev Event) error {
	in := trace.SpanContextFromContext(ctx)
	ctx, span := b.startSpanIn(ctx, in, "audit.record")
	defer span.End()
	ctx = context.WithoutCancel(ctx)
	ev.Time = time.Now()
	b.alarm(ctx, ev)
	if !in.HasTraceID() { // the span may have begun a trace
		in = span.SpanContext()
	}
	if in.HasTraceID() {
		ev.Trace = in.TraceID().String()
	}
	if err := b.auditor.Record(ctx, ev); err != nil {
		span.RecordError(err)
		b.log.ErrorContext(ctx, "the audit log cannot be written; nothing is disclosed or changed", "error", err)
		return &Error{Code: CodeAuditUnavailable, Err: err}
	}
	return nil
}

func outcome(err error) string {
	if err == nil {
		return OutcomeOK
	}
	return string(CodeOf(err))
}

func decisionText(d Decision) string {
	if d.Allowed {
		return "allow"
	}
	return "deny"
}
