//go:build linux && (amd64 || arm64)

package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clock turns nanoseconds since boot into wall time. The offset between the
// two is measured, because the wall clock may be set.
type clock struct {
	offset int64 // ns
}

// remeasure reads both clocks until a reading between two others is close
// enough to tell the offset to some microseconds; the best of a few has to do.
func (c *clock) remeasure() error {
	best := int64(1) << 62
	for range 5 {
		var before, wall, after unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &before); err != nil {
			return fmt.Errorf("read boot clock: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
			return fmt.Errorf("read wall clock: %w", err)
		}
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &after); err != nil {
			return fmt.Errorf("read boot clock: %w", err)
		}
		if spread := after.Nano() - before.Nano(); spread < best {
			best = spread
			c.offset = wall.Nano() - before.Nano() - spread/2
		}
	}
	return nil
}

// wall returns the time of a moment in nanoseconds since boot.
func (c *clock) wall(boot uint64) time.Time {
	return time.Unix(0, int64(boot)+c.offset).UTC()
}

// now returns the present in nanoseconds since boot.
func (c *clock) now() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}
