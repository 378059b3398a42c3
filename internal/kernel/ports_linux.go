//go:build linux && (amd64 || arm64)

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// portsFrom is the first number of a TCP port; those below are unix sockets'.
const portsFrom = 1 << 16

// port is one watched TCP port.
type port struct {
	Port
	number uint32
	key    sensorPortKey
}

// ports are the watched TCP ports. The kernel knows each by the listener's
// address and network namespace.
type ports struct {
	objs *sensorObjects
	list []*port
	// all has every port that was ever watched, by its number less portsFrom: a
	// connection may be older than the wish.
	all  []*port
	link link.Link // while the program runs at every TCP socket's change of state
}

// portsMax bounds the ports that are watched at a time, as the kernel's map does.
const portsMax = 256

// set makes the kernel watch these ports and no others. Ports that cannot be
// watched are left out; the error says why.
func (ps *ports) set(want []Port) error {
	var errs []error
	var list []*port
	for _, w := range want {
		p, err := ps.want(w)
		if err == nil && !slices.Contains(list, p) {
			err = ps.put(p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("watch port %s: %w", w.Address, err))
			continue
		}
		list = append(list, p)
	}
	gone := slices.DeleteFunc(ps.list, func(p *port) bool { return slices.Contains(list, p) })
	ps.list = slices.Compact(list)
	for _, p := range gone {
		errs = append(errs, ps.drop(p))
	}
	errs = append(errs, ps.attach())
	return errors.Join(errs...)
}

// SetPorts says whose TCP clients are watched from now on, instead of those
// said before; a listener comes and goes with its service. It takes effect
// within some tenths of a second, and event.WitnessState.TCPDoors tells when.
func (s *Sensor) SetPorts(ports []Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports, s.anew = slices.Clone(ports), true
}

// newPorts returns the ports to watch if they changed since the last call.
func (s *Sensor) newPorts() ([]Port, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	anew := s.anew
	s.anew = false
	return s.ports, anew
}

// want returns the port, the same as before if it was ever watched.
func (ps *ports) want(w Port) (*port, error) {
	ns, err := netNS(w.Process)
	if err != nil {
		return nil, err
	}
	key := portKey(w.Address, ns)
	for _, p := range ps.all {
		if p.key == key && p.Service == w.Service && p.Plain == w.Plain {
			p.Process, p.Believed = w.Process, w.Believed
			return p, nil
		}
	}
	if len(ps.all) >= portsMax*portsMax {
		return nil, errTooMany
	}
	p := &port{Port: w, number: portsFrom + uint32(len(ps.all)), key: key}
	ps.all = append(ps.all, p)
	return p, nil
}

func (ps *ports) put(p *port) error {
	value := p.number
	if !p.Plain {
		value |= uint32(sensorDoorDOOR_PEERS_ONLY)
	}
	if err := ps.objs.Ports.Put(p.key, value); err != nil {
		return err
	}
	return ps.objs.PortNumbers.Put(p.key.Port, uint8(1))
}

func (ps *ports) drop(p *port) error {
	var errs []error
	if !slices.ContainsFunc(ps.list, func(q *port) bool { return q.key == p.key }) {
		errs = append(errs, ps.objs.Ports.Delete(p.key))
	}
	if !slices.ContainsFunc(ps.list, func(q *port) bool { return q.key.Port == p.key.Port }) {
		errs = append(errs, ps.objs.PortNumbers.Delete(p.key.Port))
	}
	for i, err := range errs {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// attach has the program run while there is anything to watch, and the tap look
// at TCP sockets.
func (ps *ports) attach() error {
	if err := ps.objs.TcpDoors.Set(uint32(len(ps.list))); err != nil {
		return fmt.Errorf("watch ports: %w", err)
	}
	var err error
	switch {
	case len(ps.list) > 0 && ps.link == nil:
		if ps.link, err = link.AttachTracing(link.TracingOptions{Program: ps.objs.OnTcpState}); err != nil {
			ps.link, ps.list = nil, nil
			return fmt.Errorf("watch ports: %w", err)
		}
	case len(ps.list) == 0 && ps.link != nil:
		err, ps.link = ps.link.Close(), nil
	}
	return err
}

// get returns the port of that number, nil when there is none.
func (ps *ports) get(number uint32) *port {
	if i := int(number) - portsFrom; i >= 0 && i < len(ps.all) {
		return ps.all[i]
	}
	return nil
}

// netNS is the number of the network namespace of a process; 0 is the sensor.
func netNS(pid uint32) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Stat(netNSPath(pid), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: netNSPath(pid), Err: err}
	}
	return uint32(st.Ino), nil
}

func netNSPath(pid uint32) string {
	if pid == 0 { // not self, the first thread: one that is left in another namespace may be it
		return "/proc/thread-self/ns/net"
	}
	return "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/ns/net"
}

func portKey(a netip.AddrPort, ns uint32) sensorPortKey {
	k := sensorPortKey{NetNs: ns, Port: uint32(a.Port())}
	b := a.Addr().As16()
	for i := range k.Addr {
		k.Addr[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return k
}

const errTooMany constError = "too many ports were watched since the start"
