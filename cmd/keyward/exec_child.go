package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a command that was started.
type child struct {
	cmd *exec.Cmd
	// ended receives what Wait returns.
	ended chan error
}

// startChild starts a command with variables in its environment.
func startChild(a *app, path string, args, variables []string) (*child, error) {
	cmd := exec.CommandContext(context.WithoutCancel(a.ctx), path)
	cmd.Args = args
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = append(cmd.Environ(), variables...)
	if err := cmd.Start(); err != nil {
		return nil, notRun(err)
	}
	c := &child{cmd: cmd, ended: make(chan error, 1)}
	go func() { c.ended <- cmd.Wait() }()
	return c, nil
}

// signal sends a signal, and reports whether the command was still there.
func (c *child) signal(s os.Signal) bool { return c.cmd.Process.Signal(s) == nil }

// result turns what Wait returned into this process's own end.
func (c *child) result(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return err
	}
	if s, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return codedError{code: exitSignaled + int(s.Signal())}
	}
	if code := c.cmd.ProcessState.ExitCode(); code != exitOK {
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
