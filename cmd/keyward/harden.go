package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"syscall"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"golang.org/x/sys/unix"
)

// harden keeps what a server holds to itself: its files, and its memory. Processes
// that it starts leave no core dumps either.
func harden() error {
	restrictFiles()
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core dumps, which would hold secrets, cannot be turned off: %w", err)
	}
	if err := forbidDumps(); err != nil {
		return fmt.Errorf("the memory, which holds secrets, cannot be kept from other processes of this user: %w", err)
	}
	return nil
}

// restrictFiles makes every file of this process its owner's alone.
func restrictFiles() { syscall.Umask(0o077) }

// limitMemory has Go's collector work harder before the kernel kills: from nine
// tenths of the cgroup's limit on, its parents' included. The rest is for what the
// collector does not count. GOMEMLIMIT wins, and has taken effect already.
func limitMemory(ctx context.Context, env func(string) string, log *slog.Logger) {
	paceCollector(env)
	if env("GOMEMLIMIT") != "" {
		log.InfoContext(ctx, "the memory limit", "bytes", debug.SetMemoryLimit(-1), "from", "GOMEMLIMIT")
		return
	}
	whole, err := memlimit.FromCgroup()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		log.InfoContext(ctx, "no memory limit", "reason", err)
	case err != nil:
		log.WarnContext(ctx, "no memory limit: the cgroup's cannot be read; set GOMEMLIMIT", "error", err)
	default:
		limit := int64(whole / 10 * 9) //nolint:gosec // nine tenths of what the kernel counts in an int64
		debug.SetMemoryLimit(limit)
		log.InfoContext(ctx, "the memory limit", "bytes", limit, "from", "cgroup", "cgroup_bytes", whole)
	}
}
