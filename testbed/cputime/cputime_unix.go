//go:build unix

// Package cputime tells what CPU time the running process has used. Benchmarks
// count in it: the machine may be busy with other things.
package cputime

import (
	"time"

	"golang.org/x/sys/unix"
)

// User returns the time in user mode so far; 0 where the system does not tell.
func User() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano())
}

// Total returns the time in user mode and in the kernel so far; 0 where the
// system does not tell.
func Total() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func usage() (u unix.Rusage) {
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // it fails for a bad argument only
	return u
}
