//go:build linux && (amd64 || arm64)

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// load loads and attaches everything but the request tap.
func (r *runner) load() error {
	// Needed before Linux 5.11 only, and refused without CAP_SYS_RESOURCE.
	if err := rlimit.RemoveMemlock(); err != nil {
		r.opt.Logger.Debug("locked memory stays limited", "error", err)
	}
	if err := r.clock.remeasure(); err != nil {
		return err
	}
	if err := r.loadPrograms(); err != nil {
		return err
	}
	var err error
	if r.ring, err = ringbuf.NewReader(r.objs.Ring); err != nil {
		return fmt.Errorf("open ring buffer: %w", err)
	}
	r.closers = append(r.closers, r.ring)
	if r.bell, err = newBell(r.objs.Ring); err != nil {
		return err
	}
	r.closers = append(r.closers, r.bell)
	if err := r.runIter(r.objs.FindHost); err != nil {
		return err
	}
	doors, err := newDoors(r.opt.Sockets, &r.objs, &r.clock)
	if err != nil {
		return err
	}
	r.procs = newProcesses(&r.clock, r.emit)
	if r.conns, err = newConns(r.procs, doors, &r.objs, &r.skipped); err != nil {
		return err
	}
	r.closers = append(r.closers, r.conns.iter)
	r.tcp = newTCPConns(r.procs, &r.objs)
	r.closers = append(r.closers, r.tcp)
	r.tap = &tap{mode: r.tapMode(), linger: uint64(r.opt.Linger), objs: &r.objs}
	if r.tap.mode == ModeAuto {
		if err := r.objs.WakeWanted.Set(uint32(1)); err != nil {
			return fmt.Errorf("set up request tap: %w", err)
		}
	}
	return r.label()
}

// label labels what runs already and attaches. Everything has its label before
// the programs see it, except what is forked between the two: a second look
// finds those, and a third their children from during the second.
func (r *runner) label() error {
	if err := r.runIter(r.objs.FindTasks); err != nil {
		return err
	}
	if err := r.attach(); err != nil {
		return err
	}
	for range 2 {
		if err := r.runIter(r.objs.FindTasks); err != nil {
			return err
		}
	}
	if err := r.objs.Settling.Set(uint32(0)); err != nil {
		return fmt.Errorf("label running processes: %w", err)
	}
	return nil
}

// loadPrograms loads what the kernel allows.
func (r *runner) loadPrograms() error {
	spec, err := loadSensor()
	if err != nil {
		return fmt.Errorf("read sensor programs: %w", err)
	}
	r.hasPeers = r.features.Get(FeatureConnectUnix).Available()
	var objs sensorObjects
	if err := r.loadInto(spec, &objs); err != nil {
		return fmt.Errorf("load sensor programs: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objs, r.loaded = objs, true
	r.tellSkipped()
	r.status.Level = r.features.Level()
	return nil
}

// loadInto leaves out the programs whose feature is missing: in their place the
// smallest program of a kind that always loads.
func (r *runner) loadInto(spec *ebpf.CollectionSpec, objs *sensorObjects) error {
	replace := func(names ...string) {
		for _, n := range names {
			spec.Programs[n] = emptyProgram(n)
		}
	}
	if !r.hasPeers {
		replace("on_connect")
	}
	if !r.features.Get(FeatureSockLength).Available() {
		replace("on_recv", "on_send")
	}
	if !r.features.Get(FeatureTCPState).Available() {
		replace("on_tcp_state", "find_tcp")
	}
	return spec.LoadAndAssign(objs, nil)
}

func (r *runner) tapMode() Mode {
	if len(r.opt.Sockets) == 0 && len(r.opt.Ports) == 0 || !r.features.Get(FeatureSockLength).Available() {
		return ModeOff
	}
	return r.opt.Requests
}

// attach attaches the programs that run all the time.
func (r *runner) attach() error {
	for _, p := range []*ebpf.Program{r.objs.OnFork, r.objs.OnExec, r.objs.OnExit} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attach %s: %w", p, err)
		}
		r.closers = append(r.closers, l)
	}
	if !r.hasPeers || len(r.opt.Sockets) == 0 {
		r.hasPeers = false
		return nil
	}
	if err := r.attachPeers(); err != nil { // processes are worth watching without
		r.opt.Logger.Error("clients are not seen", "error", err)
		r.hasPeers = false
	}
	return nil
}

func (r *runner) attachPeers() error {
	dir, err := unifiedCgroup()
	if err != nil {
		return err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCgroupUnixConnect, Program: r.objs.OnConnect})
	if err != nil {
		return fmt.Errorf("attach to cgroup %s: %w", dir, err)
	}
	r.closers = append(r.closers, l)
	return nil
}

// unload takes everything out of the kernel.
func (r *runner) unload() error {
	var errs []error
	if r.tap != nil && r.tap.attached() {
		errs = append(errs, r.tap.detach())
	}
	for _, c := range r.closers {
		if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stats != nil {
		errs = append(errs, r.stats.Close())
		r.stats = nil
	}
	if r.loaded {
		errs = append(errs, r.objs.Close())
		r.loaded = false
	}
	r.status.Requests, r.status.Peers, r.status.Connections, r.status.Reason = false, false, 0, "not running"
	r.status.Doors = nil
	return errors.Join(errs...)
}

// runIter runs an iterator program over everything, once.
func (r *runner) runIter(p *ebpf.Program) error {
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return fmt.Errorf("attach %s: %w", p, err)
	}
	defer it.Close()
	f, err := it.Open()
	if err != nil {
		return fmt.Errorf("open %s: %w", p, err)
	}
	defer f.Close()
	if _, err := io.Copy(io.Discard, f); err != nil {
		return fmt.Errorf("run %s: %w", p, err)
	}
	return nil
}

// unifiedCgroup finds where the version 2 hierarchy is mounted. Programs
// attached to its root see the whole host, also where version 1 is in use.
func unifiedCgroup() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find unified cgroup hierarchy: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// "… root mountpoint options … - type source options"
		fields := strings.Fields(lines.Text())
		for i, w := range fields {
			if w == "-" && i > 4 && i+1 < len(fields) && fields[i+1] == "cgroup2" && fields[3] == "/" {
				return fields[4], nil
			}
		}
	}
	return "", errNoUnified
}

const errNoUnified constError = "no cgroup2 hierarchy is mounted"
