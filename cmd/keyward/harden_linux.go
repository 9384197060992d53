package main

import "golang.org/x/sys/unix"

// forbidDumps keeps other processes of this user from reading the memory, as a
// debugger does, and the environment. Nor is there a core dump where the system
// hands them to a program, for which the limit does not count. What is below
// /proc/self belongs to root then; the process itself may read on.
func forbidDumps() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
