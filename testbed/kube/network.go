//go:build linux

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/daemon"
)

// Addresses in a cluster's network. The service address is on the bridge, so
// that pods reach the API server without kube-proxy and with their own address.
const (
	serviceAddress = "10.96.0.1"
	services       = "10.96.0.0/16"
	hosts          = "10.99.0.0/24"
	pods           = "10.88.0.0/16"
	bridge         = "tb0"
)

func hostAddress(node int) string { return fmt.Sprintf("10.99.0.%d", node) }
func podSubnet(node int) string   { return fmt.Sprintf("10.88.%d.0/24", node) }

// network is a network namespace without a way out.
type network struct {
	path string // where it is mounted
	ns   *os.File

	mu      sync.Mutex
	closers map[io.Closer]struct{} // of forwarding; nil when it has stopped
	running sync.WaitGroup
}

// newNetwork makes a network namespace and mounts it at path. It is no entry
// of "ip netns": that command mounts a new /sys, in which no runtime works.
func newNetwork(path string) (*network, error) {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, err
	}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		return os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""))
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &network{path: path, ns: f, closers: make(map[io.Closer]struct{})}, nil
}

func (n *network) close() { n.ns.Close() }

// within runs f on a thread in the namespace. Sockets and processes that f
// makes are of the namespace for good.
func (n *network) within(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// onThread runs f on a thread whose network namespace f may change. The thread
// goes back to the old one, or ends.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// control gives the namespace what node 1 and the control plane need. It is a
// bridge because the kubelet refuses a loopback address, and so that more nodes
// can join.
func (n *network) control() error {
	return n.within(func() error {
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make bridge: %w", err)
		}
		return errors.Join(up("lo"), up(bridge), address(bridge, hostAddress(1)+"/24"), address(bridge, serviceAddress+"/32"))
	})
}

// join makes the namespace of a further node a neighbour of the first.
func (n *network) join(first *network, node int) error {
	port := fmt.Sprintf("node%d", node)
	err := first.within(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = port
		pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(n.ns.Fd())}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("make veth: %w", err)
		}
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMaster(pair, b), up(port), route(podSubnet(node), hostAddress(node)))
	})
	if err != nil {
		return err
	}
	return n.within(func() error {
		if err := errors.Join(up("lo"), up("eth0"), address("eth0", hostAddress(node)+"/24")); err != nil {
			return err
		}
		return errors.Join(route(services, hostAddress(1)), route(podSubnet(1), hostAddress(1)))
	})
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

func address(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, addr)
}

func route(cidr, via string) error {
	_, dst, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)})
}

// start starts a daemon in the namespace.
func (n *network) start(program, log string, args ...string) (d *daemon.Daemon, err error) {
	err = n.within(func() error {
		d, err = daemon.Start(program, log, args...)
		return err
	})
	return d, err
}

// command returns a command that runs in the namespace and nowhere else new.
func (n *network) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path, "--", name}, args...)...)
	cmd.Env = testbed.Environ()
	return cmd
}

// dial connects from the namespace. The address is literal: a resolver would
// ask from elsewhere.
func (n *network) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = n.within(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}
