package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyward/keyward/broker"
	"github.com/keyward/keyward/broker/policy"
	"github.com/keyward/keyward/service"
)

// configEvery is how often the configuration is read. As with the TLS files, a
// change takes effect with the second look that finds it; on SIGHUP at once.
const configEvery = time.Second

// configFile is the configuration as it is on the disk. Of a change, what the
// server can take while it serves takes effect, and the rest is told of.
type configFile struct {
	wiring   // its config is what is in effect
	server   *service.Server
	core     *broker.Broker
	vaults   *vaults
	policies *policy.Folder
	reloads  metric.Int64Counter
	state    atomic.Pointer[configState]

	// Of run alone, as in tlsFiles.
	seen, judged [sha256.Size]byte
}

// configState is what was made of the file.
type configState struct {
	err     error    // the file is refused
	restart []string // sections that wait for the next start
}

// watchConfig returns what looks at the file while it runs.
func (w wiring) watchConfig(server *service.Server, core *broker.Broker, vaults *vaults, policies *policy.Folder) (*configFile, error) {
	f := &configFile{wiring: w, server: server, core: core, vaults: vaults, policies: policies}
	running := *w.config
	f.config = &running
	f.state.Store(&configState{})
	if w.file == "" {
		return f, nil // keyward dev
	}
	var err error
	f.reloads, err = vaults.tel.metrics.Meter("github.com/keyward/keyward/cmd/keyward").Int64Counter("keyward.config.reloads",
		metric.WithDescription("Changes of the configuration file, by result: ok, restart where a part of it waits for that, or refused."))
	// Judged is nothing yet: what changed since it was loaded is found.
	return f, err
}

// run looks at the file until ctx ends.
func (f *configFile) run(ctx context.Context) {
	if f.file == "" {
		return
	}
	tick := time.NewTicker(configEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.look(ctx)
		case <-f.hangUp:
			f.seen = f.digest()
			f.take(ctx, f.seen)
		case <-ctx.Done():
			return
		}
	}
}

func (f *configFile) look(ctx context.Context) {
	now := f.digest()
	quiet := now == f.seen
	f.seen = now
	if quiet && now != f.judged {
		f.take(ctx, now)
	}
}

func (f *configFile) digest() [sha256.Size]byte {
	text, err := os.ReadFile(f.file)
	return sha256.Sum256(fmt.Appendf(text, "%v", err))
}

// take reads the file and puts it into effect, as far as that goes.
func (f *configFile) take(ctx context.Context, now [sha256.Size]byte) {
	first := f.judged == [sha256.Size]byte{}
	before := f.state.Load()
	next, warnings, err := loadConfig(f.file)
	if f.digest() != now {
		return // it changes while we look
	}
	f.judged = now
	state, result, changed := &configState{}, "ok", false
	if err == nil {
		changed, err = f.apply(ctx, next)
	}
	if err != nil {
		state.err, state.restart, result = err, before.restart, "refused"
		f.log.ErrorContext(ctx, "the changed configuration is refused; the one before stays in use", "error", err)
	} else {
		state.restart = waiting(f.config, next)
		if len(state.restart) > 0 {
			result = "restart"
			f.log.WarnContext(ctx, "a part of the changed configuration takes effect with the next start", "sections", state.restart)
		}
	}
	f.state.Store(state)
	if first && result == "ok" && !changed {
		return // the file as it was loaded
	}
	for _, w := range warnings {
		f.log.WarnContext(ctx, "configuration", "warning", w)
	}
	if result != "refused" {
		f.log.InfoContext(ctx, "the configuration was reloaded")
	}
	f.reloads.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

// apply puts limits, identity, vaults and what the caches keep into effect, all or
// none. Issuers that stay as they are keep the keys that were fetched of them, and
// vaults their connections, tokens and caches.
func (f *configFile) apply(ctx context.Context, next *config) (changed bool, err error) {
	callers := !reflect.DeepEqual(f.config.Identity, next.Identity) || !reflect.DeepEqual(f.config.Limits, next.Limits)
	stores := !reflect.DeepEqual(f.config.Vaults, next.Vaults) || !reflect.DeepEqual(f.config.Cache, next.Cache)
	var opened map[string]*openVault
	if stores {
		if opened, err = f.vaults.opened(ctx, next); err != nil {
			return false, err
		}
	}
	if callers {
		if err := f.admit(next); err != nil {
			return false, errors.Join(err, closeBut(opened, f.vaults.open))
		}
		f.config.Identity, f.config.Limits = next.Identity, next.Limits
	}
	if stores {
		if err := f.vaults.use(ctx, f.core, opened); err != nil {
			return false, err
		}
		before := *f.config
		f.config.Vaults, f.config.Cache = next.Vaults, next.Cache
		f.warnOfVaults(ctx, f.policies.Engine(), &before)
	}
	return callers || stores, nil
}

func (f *configFile) admit(next *config) error {
	if reflect.DeepEqual(f.config.Identity, next.Identity) {
		return f.server.Limit(next.Limits.limits())
	}
	w := f.wiring
	w.config = next
	a, err := w.authenticator()
	if err != nil {
		return err
	}
	return f.server.Admit(a, next.Limits.limits())
}

// waiting are the sections in which the file says something else than what is in
// effect.
func waiting(running, file *config) []string {
	var all []string
	a, b := reflect.ValueOf(running).Elem(), reflect.ValueOf(file).Elem()
	for i := range a.NumField() {
		field := a.Type().Field(i)
		if key := field.Tag.Get("yaml"); key != "" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			all = append(all, key)
		}
	}
	return all
}

// checks tell of the file. What it says is not what decides whether to serve.
func (f *configFile) checks() []service.Check {
	if f.file == "" {
		return nil
	}
	return []service.Check{{
		Name: "configuration", Advisory: true,
		Ready: func(context.Context) error { return f.state.Load().err },
		Note: func() string {
			if s := f.state.Load(); len(s.restart) > 0 {
				return "waits for the next start: " + strings.Join(s.restart, ", ")
			}
			return "in effect"
		},
	}}
}
