//go:build linux && (amd64 || arm64)

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What is pinned besides the programs' links, which have the programs' names,
// and the maps, which have their own.
const gateAbout = "about" // a map with the status as JSON

// gateWay is one way to stand in the kernel.
type gateWay struct {
	hook     GateHook
	programs []string
	attach   func(name string, p *ebpf.Program) (link.Link, error)
}

// gateWays are in the order of GateHook.
var gateWays = []gateWay{
	{GateAtLSM, []string{gateProgAtSocketLsm}, func(_ string, p *ebpf.Program) (link.Link, error) {
		return link.AttachLSM(link.LSMOptions{Program: p})
	}},
	{GateAtSocket, []string{gateProgAtSocket}, func(_ string, p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	}},
	{GateAtAddress, []string{gateProgAtAddress, gateProgAtArrival}, attachAtAddress},
}

func attachAtAddress(name string, p *ebpf.Program) (link.Link, error) {
	if name == gateProgAtArrival {
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
	dir, err := unifiedCgroup()
	if err != nil {
		return nil, err
	}
	return link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCgroupUnixConnect, Program: p})
}

// gateRun is a gate that is being switched on.
type gateRun struct {
	objs  *ebpf.Collection
	links map[string]link.Link
}

func (r *gateRun) close() {
	for _, l := range r.links {
		_ = l.Close()
	}
	r.objs.Close()
}

// On puts the gate into the kernel, in place of one that is there, and pins it:
// it stays when this process ends. It is on when it has refused a connect of its
// own. The error is a *GateUnavailableError when the kernel has no place for it.
func (g *Gate) On(c GateConfig) (GateStatus, error) {
	if err := g.pinnable(); err != nil {
		return GateStatus{}, err
	}
	spec, sockets, err := loadListeners()
	if err != nil {
		return GateStatus{}, err
	}
	defer sockets.close()
	plan, err := planGate(c, sockets)
	if err != nil {
		return GateStatus{}, err
	}
	missing := &GateUnavailableError{}
	for _, w := range gateWays {
		if c.Hook != "" && c.Hook != w.hook {
			continue
		}
		run, err := w.start(spec.Copy(), plan, sockets)
		if err != nil {
			missing.Tried = append(missing.Tried, GateAttempt{w.hook, err})
			continue
		}
		defer run.close()
		status := GateStatus{GateConfig: c, Stands: w.hook, Since: time.Now().UTC(), Absent: plan.absent}
		return status, g.pin(run, status)
	}
	return GateStatus{}, missing
}

// start loads, fills, attaches and tries a gate.
func (w *gateWay) start(spec *ebpf.CollectionSpec, plan *gatePlan, sockets *listeners) (*gateRun, error) {
	for name := range spec.Programs {
		if !slices.Contains(w.programs, name) {
			delete(spec.Programs, name)
		}
	}
	delete(spec.Maps, gateMapScratch) // of programs that are not here
	objs, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, loadError(err)
	}
	run := &gateRun{objs: objs, links: map[string]link.Link{}}
	if err := errors.Join(plan.fill(objs), w.attachAll(run)); err != nil {
		run.close()
		return nil, err
	}
	if err := tryGate(objs, w.hook, sockets); err != nil {
		run.close()
		return nil, err
	}
	return run, nil
}

const errGateNotPermitted constError = "the kernel does not permit it: without root, or by its lockdown"

// loadError says why a program was not loaded; cilium/ebpf takes a refusal for
// too little locked memory.
func loadError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return errGateNotPermitted
	}
	return fmt.Errorf("load: %w", err)
}

func (w *gateWay) attachAll(run *gateRun) error {
	for _, name := range w.programs {
		l, err := w.attach(name, run.objs.Programs[name])
		if err != nil {
			return fmt.Errorf("attach %s: %w", name, err)
		}
		run.links[name] = l
	}
	return nil
}

// pinnable makes sure that there is a BPF file system where the gate goes.
func (g *Gate) pinnable() error {
	dir := g.dir
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		if st.Type != unix.BPF_FS_MAGIC {
			return &gatePlaceError{g.dir}
		}
		return nil
	}
}

// gatePlaceError says that a gate cannot be pinned in a directory.
type gatePlaceError struct{ dir string }

func (e *gatePlaceError) Error() string { return e.dir + " is not on a BPF file system" }

// Hint says what to do.
func (e *gatePlaceError) Hint() string {
	return "mount one: mount -t bpf bpf /sys/fs/bpf"
}

// pin pins a gate beside its place, takes away the one before and moves it
// there. Both work for a moment: never none.
func (g *Gate) pin(run *gateRun, status GateStatus) error {
	fresh := g.dir + "-new"
	if err := errors.Join(os.RemoveAll(fresh), os.MkdirAll(fresh, 0o700), os.Chmod(fresh, 0o700)); err != nil {
		return fmt.Errorf("pin gate: %w", err)
	}
	err := g.pinAll(run, status, fresh)
	if err == nil {
		err = os.RemoveAll(g.dir)
	}
	if err == nil {
		err = os.Rename(fresh, g.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pin gate: %w", err), os.RemoveAll(fresh))
	}
	return nil
}

func (g *Gate) pinAll(run *gateRun, status GateStatus, dir string) error {
	about, err := pinText(status)
	if err != nil {
		return err
	}
	defer about.Close()
	errs := []error{about.Pin(filepath.Join(dir, gateAbout))}
	for name, m := range run.objs.Maps {
		if !strings.HasPrefix(name, ".") { // the compiler's, which cannot be pinned
			errs = append(errs, m.Pin(filepath.Join(dir, name)))
		}
	}
	for name, l := range run.links {
		errs = append(errs, l.Pin(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}

// pinText makes a map that holds a status: what a gate was told is kept with it.
func pinText(status GateStatus) (*ebpf.Map, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: gateAbout, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(text)), MaxEntries: 1})
	if err != nil {
		return nil, err
	}
	if err := m.Put(uint32(0), text); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Off takes the gate out of the kernel. The error is ErrGateOff when there is none.
func (g *Gate) Off() error {
	found := false
	for _, dir := range []string{g.dir, g.dir + "-new"} {
		_, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("switch gate off: %w", err)
		}
	}
	if !found {
		return ErrGateOff
	}
	return nil
}

// open opens one of the gate's pinned maps.
func (g *Gate) open(name string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(g.dir, name), &ebpf.LoadPinOptions{ReadOnly: name != gateMapRing})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrGateOff
	}
	if err != nil {
		return nil, fmt.Errorf("open gate: %w", err)
	}
	return m, nil
}

// Status says what the gate is doing. The error is ErrGateOff when there is
// none, also when only its programs were taken away.
func (g *Gate) Status() (GateStatus, error) {
	status, err := g.about()
	if err != nil {
		return status, err
	}
	for _, w := range gateWays {
		if w.hook != status.Stands {
			continue
		}
		for _, name := range w.programs {
			if _, err := os.Lstat(filepath.Join(g.dir, name)); err != nil {
				return status, ErrGateOff
			}
		}
	}
	counts, err := g.open(gateMapCounts)
	if err != nil {
		return status, err
	}
	defer counts.Close()
	c := &status.Counts
	for verdict, to := range map[gateVerdict]*uint64{
		gateVerdictVERDICT_ALLOWED: &c.Allowed, gateVerdictVERDICT_SEEN: &c.Seen, gateVerdictVERDICT_REFUSED: &c.Refused,
		gateVerdictVERDICT_KILLED: &c.Killed, gateVerdictVERDICT_LOST: &c.Lost,
	} {
		if err := counts.Lookup(uint32(verdict), to); err != nil {
			return status, fmt.Errorf("read gate's counts: %w", err)
		}
	}
	return status, nil
}

// about reads what the gate was told when it was switched on.
func (g *Gate) about() (GateStatus, error) {
	var status GateStatus
	m, err := g.open(gateAbout)
	if err != nil {
		return status, err
	}
	defer m.Close()
	text, err := m.LookupBytes(uint32(0))
	if err != nil {
		return status, fmt.Errorf("read gate: %w", err)
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return status, fmt.Errorf("read gate: %w", err)
	}
	return status, nil
}
