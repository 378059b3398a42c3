//go:build linux

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
)

// Expose makes a TCP server of this machine, on a loopback address, reachable
// inside the cluster's network under the same address, so that certificates and
// URLs hold on both sides. The server may start later. Pods have a loopback of
// their own and do not reach it.
func (c *Cluster) Expose(addr string) error {
	var l net.Listener
	err := c.net.within(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err == nil {
		err = c.net.track(l)
	}
	if err != nil {
		return fmt.Errorf("expose %s: %w", addr, err)
	}
	c.net.running.Go(func() {
		for {
			inside, err := l.Accept()
			if err != nil {
				return
			}
			c.net.running.Go(func() { c.net.forward(inside, addr) })
		}
	})
	return nil
}

// Dial connects from inside the cluster's network, as the control plane and
// node 1 do. Its host is a literal address.
func (c *Cluster) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.net.dial(ctx, network, addr)
}

// Command returns a command that runs inside the cluster's network, and
// otherwise as any other.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return c.net.command(ctx, name, args...)
}

// forward joins a connection to the server at addr of this machine.
func (n *network) forward(inside net.Conn, addr string) {
	defer inside.Close()
	outside, err := net.Dial("tcp", addr)
	if err != nil {
		return // the other side sees a closed connection, as of a server that is down
	}
	defer outside.Close()
	if n.track(inside) != nil || n.track(outside) != nil {
		return
	}
	defer n.untrack(inside, outside)
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(outside, inside)
	}()
	pipe(inside, outside)
	<-done
}

// pipe copies until the end and passes the end on.
func pipe(dst, src net.Conn) {
	io.Copy(dst, src)
	dst.(*net.TCPConn).CloseWrite()
}

// track has stopForwarding close c.
func (n *network) track(c io.Closer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closers == nil {
		return errors.Join(net.ErrClosed, c.Close())
	}
	n.closers[c] = struct{}{}
	return nil
}

func (n *network) untrack(closers ...io.Closer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range closers {
		delete(n.closers, c)
	}
}

func (n *network) stopForwarding() {
	n.mu.Lock()
	for c := range n.closers {
		c.Close()
	}
	n.closers = nil
	n.mu.Unlock()
	n.running.Wait()
}
