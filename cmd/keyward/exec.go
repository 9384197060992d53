package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exit codes of exec, as of env and of a shell. All others are the command's.
const (
	exitNotStarted    = 125
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignaled      = 128 // plus the signal's number
)

type execCmd struct {
	callFlags

	Env     []binding `sep:"none" placeholder:"VARIABLE=SECRET" help:"Give the command this secret in this variable. May be repeated."`
	Secret  []string  `sep:"none" complete:"secrets" placeholder:"SECRET" help:"The same, with the variable named for the secret: db-password is DB_PASSWORD. May be repeated."`
	From    []string  `sep:"none" placeholder:"FILE" help:"The same for each VARIABLE=SECRET line of FILE. May be repeated."`
	Command []string  `arg:"" passthrough:"partial" complete:"files" placeholder:"COMMAND" help:"The command to run, and its arguments."`
}

// Help shows examples.
func (*execCmd) Help() string {
	return `All secrets are fetched at once, before the command starts: if one cannot be had, it does not start, and each one is named with the reason. The values are in the command's environment only, on no command line and no disk; what the environment had under the same names is replaced. A SECRET is db-password, or in full vaults/ALIAS/secrets/NAME, with /versions/VERSION if wanted.

  keyward exec --secret db-password -- ./server         ($DB_PASSWORD)
  keyward exec --env PGPASSWORD=db-password -- psql -h db
  keyward exec --from app.secrets -- ./server --listen :8080

app.secrets, which holds no value and can be kept with the source:

  # VARIABLE=SECRET
  PGPASSWORD=db-password
  STRIPE_KEY=vaults/pay/secrets/stripe-key

The rest of the environment is handed on as it is, KEYWARD_CONTEXT too. Signals are passed on: SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 and SIGWINCH.

Exit codes: the command's own, or 128+N if signal N ended it; 125 a secret cannot be had, 126 the command cannot be run, 127 there is no such command, 2 wrong usage.`
}

// Run runs a command with secrets in its environment.
func (c *execCmd) Run(a *app) error {
	args := c.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return codedError{exitUsage, errors.New("which command? write it after --")}
	}
	// Before any secret is asked for.
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notRun(err)
	}
	env, err := c.environment(a)
	if err != nil {
		return codedError{exitNotStarted, err}
	}
	return runCommand(a, path, args, env)
}

// environment fetches the secrets, as VARIABLE=value.
func (c *execCmd) environment(a *app) ([]string, error) {
	bindings, err := c.bindings()
	if err != nil {
		return nil, err
	}
	cl, err := c.dial(a)
	if err != nil {
		return nil, err
	}
	defer cl.close()
	names := make([]string, len(bindings))
	for i, b := range bindings {
		if names[i], err = cl.secretName(b.secret, ""); err != nil {
			return nil, err
		}
	}
	values, err := cl.fetch(a.ctx, names)
	if err != nil {
		return nil, err
	}
	env := make([]string, len(bindings))
	for i, b := range bindings {
		text := values[names[i]].Reveal()
		if strings.Contains(text, "\x00") {
			return nil, advise(fmt.Sprintf("the value of %s has a NUL byte, which no environment can carry", names[i]),
				"write it to a file with keyward render")
		}
		env[i] = b.variable + "=" + text
	}
	return env, nil
}

// bindings returns what the flags ask for. A variable has one secret.
func (c *execCmd) bindings() ([]binding, error) {
	all := c.Env
	for _, secret := range c.Secret {
		b, err := bindingOf(secret)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	for _, file := range c.From {
		more, err := readBindingsFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, advise("no secret was named", "name some with --secret, --env or --from; see: keyward exec --help")
	}
	seen := make(map[string]bool, len(all))
	for _, b := range all {
		if seen[b.variable] {
			return nil, fmt.Errorf("%s is given two secrets; a variable has one", b.variable)
		}
		seen[b.variable] = true
	}
	return all, nil
}

// runCommand runs a command to its end. Signals that would end or steer this
// process are passed on to it.
func runCommand(a *app, path string, args, env []string) error {
	cmd := exec.CommandContext(context.WithoutCancel(a.ctx), path)
	cmd.Args = args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = append(cmd.Environ(), env...)
	signals := make(chan os.Signal, 16)
	for _, s := range []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	} {
		if !signal.Ignored(s) { // what nohup ignores, the command ignores too
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if a.ctx.Err() != nil { // from here on it would be passed on
		return codedError{exitNotStarted, errors.New("interrupted; the command was not started")}
	}
	if err := cmd.Start(); err != nil {
		return notRun(err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if !sentByTerminal(s) {
					_ = cmd.Process.Signal(s) // it may have ended
				}
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return err
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return codedError{code: exitSignaled + int(s.Signal())}
	}
	if code := cmd.ProcessState.ExitCode(); code != exitOK {
		return codedError{code: code}
	}
	return nil
}

func notRun(err error) error {
	code := exitNotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = exitNotFound
	}
	return codedError{code, fmt.Errorf("the command cannot be run: %w", err)}
}

// sentByTerminal reports whether a signal came from the terminal, as far as can
// be known: a terminal sends these to its whole foreground group, so that the
// command got it already. A second one would tell many programs to end at once.
func sentByTerminal(s os.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
	default:
		return false
	}
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
