package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyward/keyward/broker"
	keywardv1 "github.com/keyward/keyward/gen/keyward/v1"
)

// keptRunning is what becomes of the command while something is wrong.
const keptRunning = "the command keeps running as it is"

// supervisor runs a command to its end and, if its secrets are watched, starts it
// anew when they change. What is below belongs to the goroutine of run.
type supervisor struct {
	c    *execCmd
	a    *app
	path string
	args []string
	// ctx is that of the watch and of what it leads to: the command may go on
	// after the signal that ended the app's.
	ctx     context.Context
	unwatch context.CancelFunc

	child *child
	// now is what the command has. next is what it will have: it was told to end.
	now, next *environment
	// told is the version of each secret that the watch told last; "" if there is
	// none to be had.
	told    map[string]string
	trouble trouble
	wait    pauses
	// fetching: an answer is about to come from got.
	fetching bool

	events       chan *keywardv1.SecretEvent
	got          chan attempt
	retry, grace <-chan time.Time
}

// attempt is what a fetch of new values came to.
type attempt struct {
	env *environment
	err error
}

func newSupervisor(c *execCmd, a *app, path string, args []string, env *environment) *supervisor {
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.ctx))
	return &supervisor{
		c: c, a: a, path: path, args: args, ctx: ctx, unwatch: cancel,
		now: env, told: map[string]string{},
		trouble: trouble{to: a.err, meanwhile: keptRunning + "; trying again"},
		events:  make(chan *keywardv1.SecretEvent), got: make(chan attempt, 1),
	}
}

// watch begins to watch the secrets, from the versions that were fetched on, so
// that no change is missed. It fails if they cannot be watched.
func (s *supervisor) watch() error {
	for name, version := range s.now.versions {
		if !strings.Contains(name, "/versions/") {
			s.told[name] = version
		}
	}
	if len(s.told) == 0 {
		return advise("no secret can change: each is named with its version", "leave out --restart-on-change, or a version")
	}
	names := slices.Sorted(maps.Keys(s.told))
	streams := slices.Collect(slices.Chunk(names, broker.MaxWatchTargets))
	begun, events := make(chan error, len(streams)), s.events
	for _, names := range streams {
		w := newSecretWatch(s.c.callFlags, s.trouble)
		w.patient = true
		w.begun = sync.OnceFunc(func() { begun <- nil })
		for _, name := range names {
			w.known[name] = &keywardv1.SecretEvent{Name: name, Version: s.told[name], Type: keywardv1.SecretEvent_TYPE_CHANGED}
		}
		go func() {
			for event, err := range w.events(s.ctx, s.a) {
				if err != nil {
					begun <- err // as it is patient, it has not begun
					return
				}
				select {
				case events <- event:
				case <-s.ctx.Done():
				}
			}
		}()
	}
	for range streams {
		select {
		case err := <-begun:
			if err != nil {
				return err
			}
		case <-s.a.ctx.Done():
			return errInterrupted
		}
	}
	return nil
}

var errInterrupted = errors.New("interrupted; the command was not started")

// run runs the command to its end. Signals that would end or steer this process
// are passed on to it.
func (s *supervisor) run() error {
	signals := make(chan os.Signal, 16)
	for _, sig := range []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	} {
		if !signal.Ignored(sig) { // what nohup ignores, the command ignores too
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)
	if s.a.ctx.Err() != nil { // from here on it would be passed on
		return codedError{exitNotStarted, errInterrupted}
	}
	if err := s.start(); err != nil {
		return err
	}
	for {
		select {
		case sig := <-signals:
			s.pass(sig)
		case err := <-s.child.ended:
			if s.next == nil {
				return s.child.result(err)
			}
			s.now, s.next, s.grace = s.next, nil, nil
			if err := s.start(); err != nil {
				return err
			}
		case event := <-s.events:
			s.hear(event)
		case <-s.retry:
			s.fetch()
		case got := <-s.got:
			s.take(got)
		case <-s.grace:
			s.say("the command did not end within %s and is killed", s.c.Grace)
			s.grace = nil
			s.child.signal(os.Kill)
		}
	}
}

func (s *supervisor) start() (err error) {
	s.child, err = startChild(s.a, s.path, s.args, s.now.variables)
	return err
}

func (s *supervisor) say(format string, args ...any) {
	fmt.Fprintf(s.a.err, "keyward: "+format+"\n", args...)
}

// pass passes a signal on. Who was told to end is not started anew.
func (s *supervisor) pass(sig os.Signal) {
	if !sentByTerminal(sig) {
		s.child.signal(sig)
	}
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
		s.unwatch()
		s.next, s.events, s.got, s.retry, s.grace = nil, nil, nil, nil, nil
	}
}

// hear takes in what became of a secret.
func (s *supervisor) hear(event *keywardv1.SecretEvent) {
	s.told[event.GetName()] = event.GetVersion()
	if event.GetType() != keywardv1.SecretEvent_TYPE_CHANGED {
		s.told[event.GetName()] = ""
		s.say("%s; %s", eventText(event), keptRunning)
	}
	s.fetch()
}

// fetch asks for new values if the command lacks any. The rest goes on meanwhile.
func (s *supervisor) fetch() {
	s.retry = nil
	if s.fetching || s.asTold(cmp.Or(s.next, s.now)) {
		return
	}
	s.fetching = true
	got := s.got
	go func() {
		env, err := s.c.environment(s.ctx, s.a)
		got <- attempt{env, err}
	}()
}

// asTold reports whether env has the versions that the watch told of.
func (s *supervisor) asTold(env *environment) bool {
	for name, version := range s.told {
		if version != "" && version != env.versions[name] {
			return false
		}
	}
	return true
}

// take takes new values, if they are those that the watch told of: a broker that
// is another than it may be behind it for a while, and the watch behind a value.
func (s *supervisor) take(got attempt) {
	s.fetching = false
	if got.err == nil && s.asTold(got.env) {
		s.wait.over()
		s.trouble.tell(nil)
		s.replace(got.env)
		return
	}
	if got.err != nil {
		s.trouble.tell(got.err)
	}
	s.retry = time.After(s.wait.next(got.err))
}

// replace has the command end, to be started anew with env.
func (s *supervisor) replace(env *environment) {
	if s.next != nil { // it has been told
		s.next = env
		return
	}
	var changed []string
	for _, name := range slices.Sorted(maps.Keys(env.versions)) {
		if env.versions[name] != s.now.versions[name] {
			changed = append(changed, name)
		}
	}
	// Of one that has just ended by itself, run is about to learn.
	if len(changed) == 0 || !s.child.signal(syscall.SIGTERM) {
		return
	}
	s.next, s.grace = env, time.After(s.c.Grace)
	s.say("%s changed; the command is ended and started anew", strings.Join(changed, ", "))
}
