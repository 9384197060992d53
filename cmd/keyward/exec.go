package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
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

	Env    []binding `sep:"none" placeholder:"VARIABLE=SECRET" help:"Give the command this secret in this variable. May be repeated."`
	Secret []string  `sep:"none" complete:"secrets" placeholder:"SECRET" help:"The same, with the variable named for the secret: db-password is DB_PASSWORD. May be repeated."`
	From   []string  `sep:"none" placeholder:"FILE" help:"The same for each VARIABLE=SECRET line of FILE. May be repeated."`

	RestartOnChange bool          `help:"When one of the secrets changes, end the command and start it anew with the new values."`
	Grace           time.Duration `default:"10s" help:"How long it then has to end after SIGTERM, before SIGKILL (${default})."`

	Command []string `arg:"" passthrough:"partial" complete:"files" placeholder:"COMMAND" help:"The command to run, and its arguments."`
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

With --restart-on-change a program that reads its environment once has new values soon after they are set:

  keyward exec --restart-on-change --secret db-password -- ./server

A change never costs the command what it has: only once all new values are here is it sent SIGTERM, after --grace SIGKILL, and started anew. While they cannot be had, and when a secret is deleted or disabled, it is kept running as it is; standard error tells, and it is tried again. A command that ends by itself is not started anew, nor one that you have sent SIGTERM, SIGINT or SIGQUIT. It takes the right to watchSecret. A SECRET with a VERSION does not change.

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
	if c.Grace <= 0 {
		return codedError{exitUsage, errors.New("--grace: want more than 0s")}
	}
	// Before any secret is asked for.
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notRun(err)
	}
	env, err := c.environment(a.ctx, a)
	if err != nil {
		return codedError{exitNotStarted, err}
	}
	s := newSupervisor(c, a, path, args, env)
	defer s.unwatch()
	if c.RestartOnChange {
		if err := s.watch(); err != nil {
			return codedError{exitNotStarted, err}
		}
	}
	return s.run()
}

// environment is what a command is given.
type environment struct {
	variables []string // VARIABLE=value
	// versions are those of the values, by the secrets' full names.
	versions map[string]string
}

// environment fetches the secrets.
func (c *execCmd) environment(ctx context.Context, a *app) (*environment, error) {
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
	values, err := cl.fetch(ctx, names)
	if err != nil {
		return nil, err
	}
	env := &environment{variables: make([]string, len(bindings)), versions: make(map[string]string, len(values))}
	for i, b := range bindings {
		text := values[names[i]].value.Reveal()
		if strings.Contains(text, "\x00") {
			return nil, advise(fmt.Sprintf("the value of %s has a NUL byte, which no environment can carry", names[i]),
				"write it to a file with keyward render")
		}
		env.variables[i] = b.variable + "=" + text
		env.versions[names[i]] = values[names[i]].version
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
