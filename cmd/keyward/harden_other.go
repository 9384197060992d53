//go:build !linux

package main

// forbidDumps has nothing to do where processes cannot ask for it.
func forbidDumps() error { return nil }
