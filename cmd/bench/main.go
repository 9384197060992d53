// Command bench measures a keyward beside yardsticks that run on the same
// machine in the same minutes, and prints the table of docs/performance.md.
//
// Every figure is a ratio. In each round the yardstick is measured, then keyward,
// then the yardstick again, and keyward is compared with the mean of its two
// neighbours, so that a machine which is busy with other things slows all three.
// The servers and the one that calls them are separate processes; the yardsticks
// are this program, started with the name of one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// settings are what the flags say.
type settings struct {
	binary   string
	rows     string
	rounds   int
	interval time.Duration
	strict   bool
	dir      string
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) > 0 {
		if serve, ok := yardsticks[args[0]]; ok {
			return exit(serve(args[1:], in, out), errs)
		}
		if args[0] == "flame" {
			return exit(flame(ctx, args[1:], out, errs), errs)
		}
	}
	var s settings
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&s.binary, "keyward", ".build/keyward", "the `file` of the keyward to measure")
	f.StringVar(&s.rows, "rows", "all", "which `rows`, by name, with commas: "+strings.Join(rowNames(), ", "))
	f.IntVar(&s.rounds, "rounds", 7, "how many `times` each is compared")
	f.DurationVar(&s.interval, "interval", 1500*time.Millisecond, "how `long` each is loaded in a round")
	f.StringVar(&s.dir, "dir", "", "the `folder` to work in, on the disk that is meant; default that for temporary files")
	f.BoolVar(&s.strict, "strict", false, "exit with 1 if a target is missed")
	if err := f.Parse(args); err != nil {
		return 2
	}
	chosen, err := chooseRows(s.rows)
	if err != nil || f.NArg() > 0 || s.rounds < 1 || s.interval <= 0 {
		return exit(errors.Join(err, errors.New("usage: bench [-rows NAME,…] [-rounds N] [-interval TIME] [-strict]")), errs)
	}
	results, err := measure(ctx, s, chosen, errs)
	if len(results) > 0 {
		printTable(out, s, results)
	}
	if err == nil && s.strict && slices.ContainsFunc(results, result.missed) {
		err = errors.New("a target is missed")
	}
	return exit(err, errs)
}

func exit(err error, errs io.Writer) int {
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return 1
	}
	return 0
}

// measure builds what the rows need and takes them in turn. What was measured
// before an error is returned with it.
func measure(ctx context.Context, s settings, chosen []row, progress io.Writer) (results []result, err error) {
	r, err := newRig(ctx, s, chosen)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for _, w := range chosen {
		fmt.Fprintf(progress, "bench: %s: %s\n", w.name, w.what)
		got, err := w.measure(ctx, r)
		if err != nil {
			return results, fmt.Errorf("%s: %w", w.name, err)
		}
		for _, g := range got {
			fmt.Fprintln(progress, g.line())
		}
		results = append(results, got...)
	}
	return results, nil
}
