package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// profiled is added to keyward when it is built to be profiled: what ships has no
// way to be looked into. The first signal starts a profile, the second ends it.
const profiled = `package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	path := os.Getenv("KEYWARD_BENCH_PROFILE")
	if path == "" {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		<-asked
		f, err := os.Create(path + ".part")
		if err != nil {
			panic(err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			panic(err)
		}
		<-asked
		pprof.StopCPUProfile()
		f.Close()
		os.Rename(path+".part", path)
	}()
}
`

// flame profiles keyward under the load of the warm row, writes the flame graph,
// and prints what each stage of a call costs.
func flame(ctx context.Context, args []string, out, errs io.Writer) (err error) {
	f := flag.NewFlagSet("flame", flag.ContinueOnError)
	f.SetOutput(errs)
	svg := f.String("o", "docs/performance.svg", "the `file` to write")
	kept := f.String("profile", "", "a `file` to keep the profile in, for go tool pprof")
	took := f.Duration("time", 20*time.Second, "for how `long`")
	source := f.String("source", ".", "the repository's `folder`")
	if err := f.Parse(args); err != nil {
		return err
	}
	build, err := os.MkdirTemp("", "keyward-flame-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(build)) }()
	s := settings{binary: filepath.Join(build, "keyward"), rounds: 1, interval: *took}
	if err := buildProfiled(ctx, *source, build, s.binary); err != nil {
		return err
	}
	r, err := newRig(ctx, s, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	profile := filepath.Join(build, "cpu.pb.gz")
	if *kept != "" {
		if profile, err = filepath.Abs(*kept); err != nil {
			return err
		}
	}
	r.env = []string{"KEYWARD_BENCH_PROFILE=" + profile}
	done, err := r.profileWarm(ctx, profile)
	if err != nil {
		return err
	}
	stacks, err := readStacks(ctx, profile)
	if err != nil {
		return err
	}
	printStages(out, stacks, done)
	file, err := os.Create(*svg)
	if err != nil {
		return err
	}
	return errors.Join(drawFlame(file, stacks), file.Close())
}

// buildProfiled builds keyward with one file more than there is.
func buildProfiled(ctx context.Context, source, dir, binary string) error {
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "profiled.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(source, "cmd/keyward/profiled.go"): file}})
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(file, []byte(profiled), 0o600),
		os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/keyward") //nolint:gosec // our own command
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, text)
	}
	return nil
}

// profileWarm loads a broker as the warm row does, and has it write its profile.
func (r *rig) profileWarm(ctx context.Context, file string) (interval, error) {
	k, err := r.broker(ctx, usual)
	if err != nil {
		return interval{}, err
	}
	l, err := r.gets(k.process, k.grpc, r.names[:warmNames])
	if err != nil {
		return interval{}, err
	}
	const warmUp = 2 * time.Second
	if _, err := l.run(ctx, warmUp); err != nil {
		return interval{}, err
	}
	if err := k.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return interval{}, err
	}
	done, err := l.run(ctx, r.interval)
	if err != nil {
		return done, err
	}
	if err := k.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return done, err
	}
	for range 100 {
		if _, err = os.Stat(file); err == nil {
			break
		}
		time.Sleep(stopTime / 100)
	}
	return done, err
}
