//go:build unix

package policy

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// userCPU returns the user CPU time of this process so far.
func userCPU(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano())
}
