//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/sallyport/sallyport/internal/core/event"
)

// conns follows the connections of clients to service sockets. Nothing in the
// kernel says when one ends at no cost, so their list is read: soon after a
// connect and after a client's end, and now and then while any is open.
type conns struct {
	*processes
	doors     *doors
	objs      *sensorObjects
	iter      *link.Iter
	ownMounts uint32
	skipped   *atomic.Uint32 // see Sensor.Skip
	// open holds what is known to be open; clients counts it by process.
	open    map[event.ConnID]*conn
	clients map[event.ProcessID]int
	// exes are the client programs that the kernel has been told of.
	exes map[sensorExeKey]bool
	// due is when to read the list next, in ns since boot; soon counts the quick
	// looks left.
	due  uint64
	soon int
	// read is a list that waits until every record from before it is handled.
	read   []sensorOpenConn
	readAt uint64
	raw    bytes.Buffer // the list as read
}

type conn struct {
	door   *door
	peer   event.Peer
	opened uint64 // ns since boot
	seen   bool   // in the list
	ended  bool   // the client's process is gone
	dead   uint64 // when the client's end was first seen closed
	missed int    // lists in a row that it was not on
}

// When the list is read. A connect that has not got through to the service is
// not in the list yet: connectGrace is how long that may take.
const (
	scanSoon     = 10 * time.Millisecond // doubled at each quick look
	scanLooks    = 5
	scanOpen     = 250 * time.Millisecond
	scanIdle     = time.Second
	connectGrace = 100 * time.Millisecond
	// A service may still be at work for a client that has closed its end, and
	// shows that by keeping its own; but Docker 20.10 keeps the sockets of
	// hijacked streams until they are garbage. So that is believed for a while.
	deadGrace = time.Second
	connsMax  = 65536
)

func newConns(p *processes, ds *doors, objs *sensorObjects, skipped *atomic.Uint32) (*conns, error) {
	it, err := link.AttachIter(link.IterOptions{Program: objs.FindConns})
	if err != nil {
		return nil, fmt.Errorf("attach socket iterator: %w", err)
	}
	return &conns{
		processes: p, doors: ds, objs: objs, iter: it, ownMounts: ownMountNS(), skipped: skipped,
		open: map[event.ConnID]*conn{}, clients: map[event.ProcessID]int{}, exes: map[sensorExeKey]bool{},
	}, nil
}

// connect takes a client's connect. It returns the connection when it is one.
func (c *conns) connect(r *connectRecord) *conn {
	d := c.doors.match(r, r.Client.Place.MntNs == c.ownMounts)
	if d == nil {
		return nil
	}
	err := c.doors.refreshOne(d) // before it is asked whether it is tapped
	n := &conn{door: d, opened: r.Head.Time, peer: c.peer(&r.Client)}
	n.peer.Exe, n.peer.Argv = event.Text(r.exe), r.argv
	c.add(event.ConnID(r.Cookie), n, event.ClientConnect{
		Header: c.header(r.Head.Time), Socket: r.path,
		Tapped: err == nil && c.asks(n) && d.tapped(&r.Client, r.Head.Time),
	})
	c.learnExe(sensorExeKey{Inode: r.ExeInode, Device: r.ExeDevice})
	return n
}

// add reports a connection.
func (c *conns) add(id event.ConnID, n *conn, o event.ClientConnect) {
	o.Conn, o.Service, o.Peer = id, n.door.Service, n.peer
	if len(c.open) >= connsMax {
		for id := range c.open {
			c.close(id, o.Time)
			break
		}
	}
	c.open[id] = n
	c.clients[n.peer.ID]++
	c.look(n.opened)
	c.emit(o)
}

func (c *conns) close(id event.ConnID, at time.Time) {
	c.drop(id)
	c.emit(event.ClientClose{Header: event.Header{Time: at, Witness: event.WitnessKernel}, Conn: id})
}

// drop takes a connection off the books.
func (c *conns) drop(id event.ConnID) {
	peer := c.open[id].peer.ID
	if c.clients[peer]--; c.clients[peer] == 0 {
		delete(c.clients, peer)
	}
	delete(c.open, id)
}

func (p *processes) peer(k *sensorClient) event.Peer {
	return event.Peer{
		ID: k.Id.event(), Cred: k.Who.event(), Comm: event.Text(text(k.Comm[:])),
		Entry: p.alive[k.Id.event()], Container: p.where(p.alive[k.Id.event()], k.Place.place(), nil),
	}
}

// learnExe tells the kernel which program is a client, so that its next start
// wakes the tap.
func (c *conns) learnExe(key sensorExeKey) {
	if key.Inode == 0 || c.exes[key] {
		return
	}
	if len(c.exes) >= 256 {
		clear(c.exes)
	}
	if c.objs.ClientExes.Put(key, uint8(1)) == nil {
		c.exes[key] = true
	}
}

// exited takes the end of a client's process.
func (c *conns) exited(id event.ProcessID, at uint64) {
	if c.clients[id] == 0 {
		return
	}
	for _, n := range c.open {
		if n.peer.ID == id {
			n.ended = true
			c.look(at)
		}
	}
}

// look asks for a few quick readings of the list.
func (c *conns) look(now uint64) {
	c.soon = scanLooks
	if next := now + uint64(scanSoon); c.due == 0 || next < c.due {
		c.due = next
	}
}

// asking counts the open connections whose requests can be read.
func (c *conns) asking() int {
	n := 0
	for _, k := range c.open {
		if c.asks(k) {
			n++
		}
	}
	return n
}

// asks reports whether the requests of a connection can be read.
func (c *conns) asks(n *conn) bool {
	skipped := n.door.bits()&sensorDoorDOOR_HTTP2 != 0 && n.peer.ID.PID != 0 && n.peer.ID.PID == c.skipped.Load()
	return n.door.asks() && !skipped
}

// scan reads the list when it is time to. See compare for what becomes of it.
func (c *conns) scan(now uint64) error {
	if now < c.due || c.readAt != 0 {
		return nil
	}
	switch {
	case c.soon > 0:
		c.due = now + uint64(scanSoon)<<(scanLooks-c.soon)
		c.soon--
	case len(c.open) > 0:
		c.due = now + uint64(scanOpen)
	default:
		c.due = now + uint64(scanIdle)
	}
	list, err := c.list()
	if err != nil {
		return err
	}
	c.read, c.readAt = list, c.clock.now() // all that the list holds happened before
	return nil
}

// compare takes the list that was read last, once all records up to now are
// handled: records lag behind, and what they tell of a connection must not come
// after its end.
func (c *conns) compare(upTo uint64) {
	if c.readAt == 0 || upTo <= c.readAt {
		return
	}
	list, now := c.read, c.readAt
	c.read, c.readAt = nil, 0
	here := make(map[event.ConnID]bool, len(list))
	for i := range list {
		id := event.ConnID(list[i].Cookie)
		here[id] = true
		switch n := c.open[id]; {
		case n == nil && list[i].Dead == 0:
			c.find(&list[i], now)
		case n == nil:
		default:
			n.seen = true
			c.name(id, n, &list[i], now)
			if list[i].Dead != 0 && n.dead == 0 {
				n.dead = now
			}
			here[id] = n.dead == 0 || now < n.dead+uint64(deadGrace)
		}
	}
	at := c.clock.wall(now)
	for id, n := range c.open {
		switch {
		case here[id]:
			n.missed = 0
		case n.opened >= now || !n.seen && !n.ended && n.opened+uint64(connectGrace) >= now:
		case !n.ended && n.dead == 0 && n.missed == 0:
			n.missed++ // the list may skip a socket while others come and go
			c.look(now)
		default:
			c.close(id, at)
		}
	}
}

// find reports a connection that was there before, or that came by a name
// nobody knew. Its peer is known when its connect was seen; else the pid that
// the service's end remembers counts only if that process has the socket.
func (c *conns) find(o *sensorOpenConn, now uint64) {
	d := c.doors.get(o.Door)
	if d == nil {
		return
	}
	n := &conn{door: d, opened: now, seen: true}
	found := event.ClientConnect{Header: c.header(now), Found: true}
	if o.Client.Id.Pid != 0 {
		n.peer = c.peer(&o.Client)
		found.Tapped = c.asks(n) && d.tapped(&o.Client, o.Client.Time)
		if info, err := readProc(n.peer.ID); err == nil {
			n.peer.Exe, n.peer.Argv = info.exe.Path, info.argv
		}
	} else {
		n.peer = holder(o)
	}
	c.add(event.ConnID(o.Cookie), n, found)
}

// holder returns who has the client's end of a connection, without a process where
// that cannot be told.
func holder(o *sensorOpenConn) event.Peer {
	p := event.Peer{Cred: event.Cred{UID: o.Uid, GID: o.Gid}}
	if !holdsSocket(o.Pid, o.Inode) {
		return p
	}
	p.ID.PID = o.Pid
	if info, err := readProc(p.ID); err == nil {
		p.Exe, p.Argv = info.exe.Path, info.argv
	}
	return p
}

// name tells whose a connection is that was found by its bytes, which do not say it.
func (c *conns) name(id event.ConnID, n *conn, o *sensorOpenConn, now uint64) {
	if n.peer.ID.PID != 0 || o.Client.Id.Pid != 0 || o.Inode == 0 {
		return
	}
	p := holder(o)
	if p.ID.PID == 0 {
		return
	}
	c.drop(id)
	n.peer = p
	c.add(id, n, event.ClientConnect{Header: c.header(now), Found: true})
}

// list reads the open client connections from the kernel.
func (c *conns) list() ([]sensorOpenConn, error) {
	r, err := c.iter.Open()
	if err != nil {
		return nil, fmt.Errorf("open socket iterator: %w", err)
	}
	defer r.Close()
	// The kernel resumes a bucket by position: with small reads it skips
	// sockets while others come and go.
	c.raw.Reset()
	c.raw.Grow(listRead)
	if _, err := c.raw.ReadFrom(io.LimitReader(r, 64<<20)); err != nil {
		return nil, fmt.Errorf("read socket iterator: %w", err)
	}
	b := c.raw.Bytes()
	out := make([]sensorOpenConn, 0, len(b)/int(unsafe.Sizeof(sensorOpenConn{})))
	for len(b) > 0 {
		var o sensorOpenConn
		if o, b, err = fixed[sensorOpenConn](b); err != nil {
			return nil, fmt.Errorf("read socket iterator: %w", err)
		}
		out = append(out, o)
	}
	if c.raw.Cap() > 4*listRead {
		c.raw = bytes.Buffer{}
	}
	return out, nil
}

// listRead is how much of the list is read at once, in bytes: all of it, as a
// rule. The room for it is kept: the list is read several times a second.
const listRead = 1 << 20

// segment makes of a record what a parser takes.
func (c *conns) segment(r *segmentRecord) (event.Segment, bool) {
	d := c.doors.get(r.Door)
	if d == nil {
		return event.Segment{}, false
	}
	id := event.ConnID(r.Cookie)
	n := c.open[id]
	if n == nil { // by a name nobody knew, or its record was lost, or late bytes
		c.find(&sensorOpenConn{Cookie: r.Cookie, Door: r.Door, Pid: r.Pid, Uid: r.Uid, Gid: r.Gid, Client: r.Client}, r.Head.Time)
		n = c.open[id]
	}
	return event.Segment{
		Head: c.header(r.Head.Time), Conn: id, Service: d.Service, Peer: n.peer,
		Sent: r.Head.Flags&uint16(sensorFlagFLAG_SENT) != 0, Offset: r.Offset,
		Whole:  r.Head.Flags&uint16(sensorFlagFLAG_WHOLE) != 0,
		Length: r.Length, Data: r.data,
	}, true
}

// tellOpen says in the kernel whether ends of clients matter.
func tellOpen(v *ebpf.Variable, open bool) error {
	var n uint32
	if open {
		n = 1
	}
	return v.Set(n)
}
