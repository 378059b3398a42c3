//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/link"
)

// tap attaches and detaches the two programs that read requests. Attached they
// run at every send and receive of every socket of the host, so ModeAuto has
// them attached only while somebody can ask: from the connect of a client, or
// the start of a program that is one, until linger after the last connection
// has gone. Linger is the hysteresis: a client that comes again within it finds
// the tap attached.
type tap struct {
	mode   Mode
	linger uint64
	objs   *sensorObjects
	links  []link.Link
	// until is when to detach, in ns since boot, if no client is open.
	until uint64
	// leaving is set while new connections are already told that they are not
	// tapped, but the programs stay for those that connected just before.
	leaving uint64
}

// leaveGrace is longer than a connect takes to get from the program that marks
// it to the ring buffer.
const leaveGrace = uint64(50 * time.Millisecond)

func (t *tap) attached() bool { return len(t.links) > 0 }

// wake wants the tap from now on for a while.
func (t *tap) wake(now uint64) { t.until = max(t.until, now+t.linger) }

// adjust attaches or detaches. It reports whether that changed anything.
func (t *tap) adjust(now uint64, open int) (bool, error) {
	if open > 0 {
		t.wake(now)
	}
	want := t.mode == ModeAlways || t.mode == ModeAuto && now < t.until
	switch {
	case want && (!t.attached() || t.leaving != 0):
		return t.attach()
	case want || !t.attached():
		return false, nil
	case t.leaving == 0:
		t.leaving = now
		return false, t.objs.Tapped.Set(uint32(0))
	case now-t.leaving > leaveGrace:
		return true, t.detach()
	}
	return false, nil
}

func (t *tap) attach() (changed bool, err error) {
	t.leaving = 0
	if !t.attached() {
		changed = true
		if err := t.objs.WakeWanted.Set(uint32(0)); err != nil {
			return false, fmt.Errorf("attach request tap: %w", err)
		}
		recv, err := link.AttachTracing(link.TracingOptions{Program: t.objs.OnRecv})
		if err != nil {
			return false, fmt.Errorf("attach request tap: %w", err)
		}
		send, err := link.AttachTracing(link.TracingOptions{Program: t.objs.OnSend})
		if err != nil {
			return false, errors.Join(fmt.Errorf("attach request tap: %w", err), recv.Close())
		}
		t.links = []link.Link{recv, send}
	}
	return changed, t.objs.Tapped.Set(uint32(1))
}

func (t *tap) detach() error {
	var errs []error
	if t.objs.Tapped != nil {
		errs = append(errs, t.objs.Tapped.Set(uint32(0)))
	}
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links, t.leaving = nil, 0
	if t.mode == ModeAuto {
		errs = append(errs, t.objs.WakeWanted.Set(uint32(1)))
	}
	return errors.Join(errs...)
}
