//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ends are those of a connection, the client's first.
type ends struct{ client, service netip.AddrPort }

// clientEnds returns the inodes of the clients' sockets in the list.
func clientEnds(list []sensorOpenTcp) map[ends]uint64 {
	out := map[ends]uint64{}
	for i := range list {
		if o := &list[i]; o.Door == 0 {
			out[ends{o.Local.event(), o.Remote.event()}] = o.Inode
		}
	}
	return out
}

// list reads the open connections from the kernel, one network namespace after
// the other.
func (c *tcpConns) list() ([]sensorOpenTcp, error) {
	var out []sensorOpenTcp
	var errs []error
	done := map[uint32]bool{}
	c.failed = map[uint32]bool{}
	for _, p := range c.ports.list {
		if done[p.key.NetNs] {
			continue
		}
		done[p.key.NetNs] = true
		some, err := c.listIn(p)
		if err != nil {
			c.failed[p.key.NetNs] = true
			errs = append(errs, err)
		}
		out = append(out, some...)
	}
	return out, errors.Join(errs...)
}

func (c *tcpConns) listIn(p *port) ([]sensorOpenTcp, error) {
	it, err := link.AttachIter(link.IterOptions{Program: c.objs.FindTcp})
	if err != nil {
		return nil, fmt.Errorf("attach TCP iterator: %w", err)
	}
	defer it.Close()
	r, err := openIn(it, p)
	if err != nil {
		return nil, fmt.Errorf("open TCP iterator: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read TCP iterator: %w", err)
	}
	var out []sensorOpenTcp
	for len(b) > 0 {
		var o sensorOpenTcp
		if o, b, err = fixed[sensorOpenTcp](b); err != nil {
			return nil, fmt.Errorf("read TCP iterator: %w", err)
		}
		out = append(out, o)
	}
	return out, nil
}

// openIn opens an iterator over the sockets of the port's network namespace:
// that of the thread which opens it.
func openIn(it *link.Iter, p *port) (r io.ReadCloser, err error) {
	own, err := netNS(0)
	if err == nil && own == p.key.NetNs {
		return it.Open()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		var ns *os.File
		if ns, err = os.Open(netNSPath(p.Process)); err != nil {
			return
		}
		defer ns.Close()
		var st unix.Stat_t
		if err = unix.Fstat(int(ns.Fd()), &st); err == nil && uint32(st.Ino) != p.key.NetNs {
			err = os.ErrProcessDone
		}
		if err != nil {
			return
		}
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			r, err = it.Open()
		}
	}()
	<-done
	return r, err
}
