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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
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
	Delete   deleteCmd   `cmd:"" group:"Use" help:"Delete a secret with all its versions; the vault keeps it for a while."`
	List     listCmd     `cmd:"" group:"Use" help:"List the secrets you may list."`
	Versions versionsCmd `cmd:"" group:"Use" help:"List a secret's versions, newest first."`

	Token   tokenCmd   `cmd:"" group:"Develop" help:"Print a bearer token for a workload of keyward dev."`
	Version versionCmd `cmd:"" group:"Develop" help:"Print the version."`
}

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
	if err := kctx.Run(); err != nil {
		fmt.Fprintln(errOut, "keyward:", err)
		return exitError
	}
	return exitOK
}

func commandPath(c *kong.Context) string {
	if n := c.Selected(); n != nil {
		return n.FullPath()
	}
	return "keyward"
}
