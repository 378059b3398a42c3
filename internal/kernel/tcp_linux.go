//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"os"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// tcpConns follows the connections to the watched ports. The kernel tells of
// each when it comes up and when it is gone; the list of them is read when a
// port is new or a record was lost.
type tcpConns struct {
	*processes
	ports
	open map[event.ConnID]*tcpConn
	// dialled holds what is known of local clients whose connection is not up
	// yet, by the cookie of their end.
	dialled map[uint64]dialler
	// stale says that the list has to be read; told are the doors that it has
	// been read for.
	stale bool
	told  []string
	// kubelets are the processes behind those doors that are believed to be one.
	kubelets []uint32
	// look is when it is read in any case, in ns since boot: the kernel's walk
	// through its table can pass by a connection that moves meanwhile.
	look uint64
	// read is a list that waits until every record from before it is handled;
	// over are the connections that were gone meanwhile.
	read   []sensorOpenTcp
	begun  uint64 // before it was read
	readAt uint64 // after, both in ns since boot; 0 without a list
	over   map[event.ConnID]bool
	failed map[uint32]bool // the network namespaces that could not be read
}

type tcpConn struct {
	port   *port
	peer   event.Peer
	socket string // the service's end
	opened uint64 // ns since boot
	tapped bool
}

type dialler struct {
	exe  event.Text
	argv event.Argv
	at   uint64
}

const dialledMax = 1024

func newTCPConns(p *processes, objs *sensorObjects) *tcpConns {
	return &tcpConns{
		processes: p, ports: ports{objs: objs},
		open: map[event.ConnID]*tcpConn{}, dialled: map[uint64]dialler{}, over: map[event.ConnID]bool{},
	}
}

// watch watches these ports from now on.
func (c *tcpConns) watch(want []Port) error {
	c.stale, c.look = true, c.clock.now()+uint64(time.Second)
	err := c.set(want)
	if c.link == nil { // nobody would tell of their ends
		for id := range c.open {
			c.close(id, c.clock.now())
		}
	}
	return err
}

// Close ends the watching of all ports.
func (c *tcpConns) Close() error {
	if c.link == nil {
		return nil
	}
	return c.link.Close()
}

// dial takes the connect of a process of this host, which may lead anywhere.
func (c *tcpConns) dial(r *connectRecord) {
	put(c.dialled, r.Cookie, dialler{exe: event.Text(r.exe), argv: r.argv, at: r.Head.Time}, dialledMax)
}

// forget drops those that led elsewhere.
func (c *tcpConns) forget(now uint64) {
	for cookie, d := range c.dialled {
		if d.at+uint64(time.Minute) < now {
			delete(c.dialled, cookie)
		}
	}
}

// accept takes a connection that is up. It returns it when it is one to a
// watched port.
func (c *tcpConns) accept(r *sensorAcceptRecord) *tcpConn {
	p := c.get(r.Door)
	if p == nil {
		return nil
	}
	n := &tcpConn{port: p, opened: r.Head.Time, socket: r.Local.event().String()}
	if r.ClientCookie != 0 {
		n.peer = c.peer(&r.Client)
		d, ok := c.dialled[r.ClientCookie]
		delete(c.dialled, r.ClientCookie)
		if n.peer.Exe, n.peer.Argv = d.exe, d.argv; !ok {
			n.peer.Exe, n.peer.Argv = programOf(n.peer.ID)
		}
	}
	n.peer.Address = r.Remote.event().String()
	c.add(event.ConnID(r.Cookie), n, false)
	return n
}

// programOf says what a process runs, if it still does.
func programOf(id event.ProcessID) (event.Text, event.Argv) {
	info, err := readProc(id)
	if err != nil {
		return "", event.Argv{}
	}
	return info.exe.Path, info.argv
}

// add reports a connection.
func (c *tcpConns) add(id event.ConnID, n *tcpConn, found bool) {
	if c.open[id] != nil {
		return
	}
	if len(c.open) >= connsMax {
		for id := range c.open {
			c.close(id, n.opened)
			break
		}
	}
	c.open[id] = n
	c.tell(id, n, found)
}

func (c *tcpConns) tell(id event.ConnID, n *tcpConn, found bool) {
	c.emit(event.ClientConnect{
		Header: c.header(n.opened), Conn: id, Service: n.port.Service, Socket: n.socket, Peer: n.peer,
		Tapped: n.tapped, Found: found,
	})
}

func (c *tcpConns) closed(r *sensorCloseRecord) {
	id := event.ConnID(r.Cookie)
	if c.readAt != 0 {
		c.over[id] = true
	}
	if c.open[id] != nil {
		c.close(id, r.Head.Time)
	}
}

func (c *tcpConns) close(id event.ConnID, at uint64) {
	delete(c.open, id)
	c.emit(event.ClientClose{Header: c.header(at), Conn: id})
}

// asking counts the open connections whose requests may be read.
func (c *tcpConns) asking() int {
	n := 0
	for _, k := range c.open {
		if k.port.Plain {
			n++
		}
	}
	return n
}

// segment makes of a record what a parser takes. Without the connection nobody
// could be named, and the list will bring it.
func (c *tcpConns) segment(r *segmentRecord) (event.Segment, bool) {
	id := event.ConnID(r.Cookie)
	n := c.open[id]
	if n == nil {
		c.stale = true
		return event.Segment{}, false
	}
	sent, whole := r.Head.Flags&uint16(sensorFlagFLAG_SENT) != 0, r.Head.Flags&uint16(sensorFlagFLAG_WHOLE) != 0
	if !n.tapped && whole && !sent && r.Offset == 0 && isRequest(r.data) {
		n.tapped = true
		c.tell(id, n, false)
	}
	return event.Segment{
		Head: c.header(r.Head.Time), Conn: id, Service: n.port.Service, Peer: n.peer,
		Sent: sent, Offset: r.Offset, Whole: whole, Length: r.Length, Data: r.data,
	}, true
}

// isRequest reports whether b begins as a request of HTTP/1 does.
func isRequest(b []byte) bool {
	for _, m := range []string{"GET ", "POST ", "PUT ", "HEAD ", "DELETE ", "OPTIONS ", "PATCH "} {
		if bytes.HasPrefix(b, []byte(m)) {
			return true
		}
	}
	return false
}

// scan reads the list when that is needed. See compare for what becomes of it.
func (c *tcpConns) scan() error {
	if !c.stale || c.readAt != 0 {
		return nil
	}
	c.stale = false
	c.begun = c.clock.now()
	var err error
	c.read, err = c.list()
	c.readAt = c.clock.now()
	return err
}

// compare takes the list that was read last, once all records up to now are
// handled. It reports whether the doors that are seen changed by that.
func (c *tcpConns) compare(upTo uint64) bool {
	if c.readAt == 0 || upTo <= c.readAt {
		return false
	}
	list, now := c.read, c.readAt
	c.read, c.readAt = nil, 0
	here := make(map[event.ConnID]bool, len(list))
	clients := clientEnds(list)
	for i := range list {
		o := &list[i]
		id := event.ConnID(o.Cookie)
		if p := c.get(o.Door); p != nil && !c.over[id] {
			here[id] = true
			c.find(o, p, clients, now)
		}
	}
	clear(c.over)
	for id, n := range c.open {
		if !here[id] && n.opened < c.begun && c.listed(n.port) {
			c.close(id, now)
		}
	}
	doors, kubelets := c.told, c.kubelets
	c.told, c.kubelets = c.doors(), c.believed()
	return !slices.Equal(doors, c.told) || !slices.Equal(kubelets, c.kubelets)
}

// believed lists the kubelets' processes.
func (c *tcpConns) believed() []uint32 {
	var out []uint32
	for _, p := range c.ports.list {
		if p.Service == event.ServiceKubelet && p.Believed && p.Process != 0 && !slices.Contains(out, p.Process) {
			out = append(out, p.Process)
		}
	}
	return out
}

// listed reports whether the list tells of all connections to the port.
func (c *tcpConns) listed(p *port) bool {
	return slices.Contains(c.ports.list, p) && !c.failed[p.key.NetNs]
}

// doors names the ports whose clients are all seen.
func (c *tcpConns) doors() []string {
	var out []string
	for _, p := range c.ports.list {
		if d := p.Door(); c.listed(p) && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// services names the services all of whose watched ports are seen.
func (c *tcpConns) services() []event.Service {
	var out []event.Service
	for _, p := range c.ports.list {
		if !slices.Contains(out, p.Service) {
			out = append(out, p.Service)
		}
	}
	return slices.DeleteFunc(out, func(s event.Service) bool {
		return slices.ContainsFunc(c.ports.list, func(p *port) bool { return p.Service == s && !slices.Contains(c.told, p.Door()) })
	})
}

// find reports a connection that was there before, or whose record was lost.
func (c *tcpConns) find(o *sensorOpenTcp, p *port, clients map[ends]uint64, now uint64) {
	if c.open[event.ConnID(o.Cookie)] != nil {
		return
	}
	n := &tcpConn{port: p, opened: now, socket: o.Local.event().String()}
	if inode := clients[ends{o.Remote.event(), o.Local.event()}]; inode != 0 {
		if pid := onlyHolder(inode); pid == uint32(os.Getpid()) {
			return // our own client
		} else if pid != 0 {
			n.peer = foundPeer(pid)
		}
	}
	n.peer.Address = o.Remote.event().String()
	c.add(event.ConnID(o.Cookie), n, true)
}

// tcpChore watches the ports that are wanted, and reads the list of connections
// to them when that is needed.
func (r *runner) tcpChore(now uint64) {
	if ports, anew := r.newPorts(); anew && r.features.Get(FeatureTCPState).Available() {
		if err := r.tcp.watch(ports); err != nil {
			r.opt.Logger.Error("clients by TCP", "error", err)
		}
	}
	r.tcp.forget(now)
	if r.tcp.link != nil && now >= r.tcp.look {
		r.tcp.stale, r.tcp.look = true, now+uint64(time.Minute)
	}
	if err := r.tcp.scan(); err != nil {
		r.opt.Logger.Error("list of TCP connections", "error", err)
	}
}

// compare takes the lists of connections that were read, once every record up to
// then is handled.
func (r *runner) compare(upTo uint64) {
	r.conns.compare(upTo)
	if r.tcp.compare(upTo) {
		r.tell(r.clock.now())
	}
}
