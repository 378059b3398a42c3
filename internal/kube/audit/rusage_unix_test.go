//go:build unix

package audit_test

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used so far; the machine may be busy with
// other things, so rates are told by it.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
