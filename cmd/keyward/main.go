// Command keyward is a secrets broker between workloads and Azure Key Vault:
// the service, its client, and a local vault to try it with.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	ends := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) { // as it is for a script's background jobs
		ends = append(ends, os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends what the first could not
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// app is what every command may use of the world.
type app struct {
	ctx context.Context
	env func(string) string
	in  io.Reader
	out io.Writer
	err io.Writer
}

type cli struct {
	Dev   devCmd   `cmd:"" group:"Run" help:"Run everything on this machine, without Azure."`
	Serve serveCmd `cmd:"" group:"Run" help:"Run the broker."`
	Vault vaultCmd `cmd:"" group:"Run" help:"Run the local vault alone, for any Azure Key Vault client."`

	Get      getCmd      `cmd:"" group:"Use" help:"Print a secret's value."`
	Set      setCmd      `cmd:"" group:"Use" help:"Set a secret, from standard input or a file."`
	Generate generateCmd `cmd:"" group:"Use" help:"Set a secret to a random value that nobody sees."`
	Update   updateCmd   `cmd:"" group:"Use" help:"Change what is known of a secret, but not its value."`
	List     listCmd     `cmd:"" group:"Use" help:"List the secrets you may list."`
	Versions versionsCmd `cmd:"" group:"Use" help:"List a secret's versions, newest first."`
	Watch    watchCmd    `cmd:"" group:"Use" help:"Print a line when a secret changes, is deleted or disabled."`
	Delete   deleteCmd   `cmd:"" group:"Use" help:"Delete a secret with all its versions; the vault keeps it for a while."`

	Key         keyCmd         `cmd:"" group:"Use" help:"Make, use and keep keys: sign, encrypt, wrap, rotate."`
	Certificate certificateCmd `cmd:"" group:"Use" help:"Make, import, download and watch certificates."`

	Exec   execCmd   `cmd:"" group:"Hand on" help:"Run a command with secrets in its environment."`
	Render renderCmd `cmd:"" group:"Hand on" help:"Write a file from a template with secrets in it."`

	Deleted  deletedCmd  `cmd:"" group:"Bring back" help:"Look at deleted secrets."`
	Undelete undeleteCmd `cmd:"" group:"Bring back" help:"Bring a deleted secret back, with all its versions."`
	Purge    purgeCmd    `cmd:"" group:"Bring back" help:"Remove a deleted secret for good."`
	Backup   backupCmd   `cmd:"" group:"Bring back" help:"Save all versions of a secret as an opaque blob."`
	Restore  restoreCmd  `cmd:"" group:"Bring back" help:"Bring back a secret from its backup."`

	Access accessCmd `cmd:"" group:"Least privilege" help:"Ask a running broker who may do what."`
	Policy policyCmd `cmd:"" group:"Least privilege" help:"Check, test and explain policies, on files alone."`
	Audit  auditCmd  `cmd:"" group:"Least privilege" help:"Verify and search the audit log."`

	Token      tokenCmd      `cmd:"" group:"Develop" help:"Print a bearer token for a workload of keyward dev."`
	Completion completionCmd `cmd:"" group:"Develop" help:"Print a script that completes commands, flags and names in your shell."`
	Complete   completeCmd   `cmd:"" hidden:"" passthrough:"" help:"What the scripts of keyward completion call."`
	Version    versionCmd    `cmd:"" group:"Develop" help:"Print the version."`
}

// codedError ends a command with an exit code of its own. Without an err there
// is nothing to say.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e codedError) Unwrap() error { return e.err }

// run is main without the process around it. It returns the exit code.
func run(ctx context.Context, args []string, env func(string) string, in io.Reader, out, errOut io.Writer) int {
	a := &app{ctx: ctx, env: env, in: in, out: out, err: errOut}
	exit := -1
	parser, err := kong.New(&cli{},
		kong.Name("keyward"),
		kong.Description("A secrets broker between workloads and Azure Key Vault.\n\n"+
			"Begin with: keyward dev"),
		kong.Writers(out, errOut),
		kong.Exit(func(code int) { exit = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Bind(a),
	)
	if err != nil {
		fmt.Fprintln(errOut, "keyward:", err)
		return exitError
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if exit >= 0 { // --help was printed
		return exit
	}
	if err != nil {
		fmt.Fprintln(errOut, "keyward:", err)
		if perr, ok := errors.AsType[*kong.ParseError](err); ok && perr.Context != nil {
			fmt.Fprintf(errOut, "try: %s --help\n", commandPath(perr.Context))
		}
		return exitUsage
	}
	err = kctx.Run()
	if err == nil {
		return exitOK
	}
	coded, ok := errors.AsType[codedError](err)
	if !ok {
		coded = codedError{exitError, err}
	}
	if coded.err != nil {
		fmt.Fprintln(errOut, "keyward:", coded.err)
	}
	return coded.code
}

func commandPath(c *kong.Context) string {
	if n := c.Selected(); n != nil {
		return n.FullPath()
	}
	return "keyward"
}
