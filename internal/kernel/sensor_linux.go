//go:build linux && (amd64 || arm64)

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Sensor watches the kernel. It is safe for concurrent use; Run runs once.
type Sensor struct {
	opt     Options
	skipped atomic.Uint32 // a pid; see Skip

	mu     sync.Mutex
	status Status        // guarded by mu; Programs and Lost are not kept here
	objs   sensorObjects // guarded by mu; zero unless running
	loaded bool          // guarded by mu
	stats  io.Closer     // guarded by mu; set while the kernel keeps run times
	ports  []Port        // guarded by mu; those to watch
	anew   bool          // guarded by mu; ports changed
}

// New returns a sensor that is not running. It does no I/O.
func New(opt Options) *Sensor {
	opt = opt.withDefaults()
	return &Sensor{opt: opt, status: Status{Mode: opt.Requests}, ports: opt.Ports, anew: len(opt.Ports) > 0}
}

// Run loads the programs, emits what they see and unloads them when ctx ends. By
// event.Progress it says how far it has told everything; a request counts from
// when its last byte was seen.
// Where the kernel does not allow it, it fails at once with an
// *UnavailableError. emit is called from one goroutine.
func (s *Sensor) Run(ctx context.Context, emit func(event.Observation)) (err error) {
	features := Probe()
	if missing := features.missing(); len(missing) > 0 {
		return &UnavailableError{Missing: missing}
	}
	r := &runner{Sensor: s, emit: emit, features: features}
	defer func() { err = errors.Join(err, r.unload()) }()
	if err := r.load(); err != nil {
		return err
	}
	return r.run(ctx)
}

// Status says what the sensor does now and what it has cost. From its first
// call on the kernel keeps the programs' run times, which costs some 50 ns at
// each run.
func (s *Sensor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	if !s.loaded {
		return out
	}
	if s.stats == nil {
		if c, err := ebpf.EnableStats(bpfStatsRunTime); err == nil {
			s.stats = c
		}
	}
	out.Programs = programCosts(&s.objs)
	if lost, err := readLost(s.objs.Lost); err == nil {
		out.Lost = lost
	}
	return out
}

// Skip names the process whose requests to containerd and CRI-O are not to be
// read, 0 when there is none: the Docker daemon asks its containerd all the
// time. Its connections are reported all the same, as not tapped. The last call
// counts; whoever calls it must call again when that process is gone, before its
// pid is another's.
func (s *Sensor) Skip(pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped.Store(pid)
	if s.loaded {
		s.tellSkipped()
	}
}

func (s *Sensor) tellSkipped() {
	if err := s.objs.SkippedPid.Set(s.skipped.Load()); err != nil {
		s.opt.Logger.Error("process to skip", "error", err)
	}
}

// runner is one run of a Sensor.
type runner struct {
	*Sensor
	emit     func(event.Observation)
	features Features
	closers  []io.Closer
	ring     *ringbuf.Reader
	bell     *bell
	rec      ringbuf.Record // the last one read; its buffer serves the next
	clock    clock
	procs    *processes
	conns    *conns
	tcp      *tcpConns
	tap      *tap
	losses   losses
	chores   chores
	hasPeers bool
}

// chores are the moments of what is done now and then, in ns since boot. done is
// when they were done last, told up to when everything was last said to be
// reported.
type chores struct{ next, clock, doors, done, told uint64 }

// readerLooks is how soon the ring is read again after something was found in
// it: READER_LOOKS of the kernel side, which does not wake the reader meanwhile.
const readerLooks = 20 * time.Millisecond

// How often chores are done at least.
const (
	choreEvery = 100 * time.Millisecond
	clockEvery = 10 * time.Second
	doorsEvery = time.Second
)

// run handles records until ctx ends.
func (r *runner) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, r.bell.ring)()
	if err := r.begin(); err != nil {
		return err
	}
	r.ring.SetDeadline(time.Unix(1, 0)) // it is read when there is something
	for ctx.Err() == nil {
		now := r.clock.now()
		found, err := r.drain()
		if err != nil {
			return err
		}
		// What was being recorded a moment ago is in the ring by now.
		r.compare(now - uint64(time.Millisecond))
		if now >= min(r.chores.next, r.conns.due) {
			r.chore(now)
		}
		r.progress(now)
		err = r.bell.wait(func() bool { return r.ring.AvailableBytes() > 0 }, r.pause(found))
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("wait for ring buffer: %w", err)
		}
	}
	r.end()
	return nil
}

// drain handles the records that are there and reports whether any was.
func (r *runner) drain() (found bool, err error) {
	for r.ring.AvailableBytes() > 0 {
		switch err := r.ring.ReadInto(&r.rec); {
		case errors.Is(err, os.ErrDeadlineExceeded): // what was there is void
			return found, nil
		case err != nil:
			return found, fmt.Errorf("read ring buffer: %w", err)
		}
		found = true
		r.handle(r.rec.RawSample)
	}
	return found, nil
}

// pause is how long to wait for a record. After one, others may come that do
// not end the wait.
func (r *runner) pause(found bool) time.Duration {
	now := r.clock.now()
	if r.conns.due <= now || r.conns.readAt != 0 || r.tcp.readAt != 0 {
		return time.Millisecond
	}
	most := choreEvery
	if found {
		most = readerLooks
	}
	return min(most, time.Duration(r.conns.due-now))
}

// handle turns one record into observations.
func (r *runner) handle(raw []byte) {
	rec, err := decode(raw)
	if err != nil {
		r.opt.Logger.Warn("malformed kernel record", "error", err)
		r.mu.Lock()
		r.status.Malformed++
		r.mu.Unlock()
		return
	}
	now := rec.head.Time
	r.compare(now)
	switch sensorKind(rec.head.Kind) {
	case sensorKindKIND_ENTRY:
		r.procs.entry(rec.entry)
	case sensorKindKIND_EXEC:
		r.procs.exec(rec.exec)
	case sensorKindKIND_FORK:
		r.procs.fork(rec.fork)
	case sensorKindKIND_EXIT:
		r.procs.exit(rec.exit)
		r.conns.exited(rec.exit.Id.event(), now)
	case sensorKindKIND_CLIENT_EXIT:
		r.conns.exited(rec.exit.Id.event(), now)
	case sensorKindKIND_FOUND:
		r.procs.found([]*foundRecord{rec.found})
	case sensorKindKIND_ACCEPT:
		if c := r.tcp.accept(rec.accept); c != nil && c.port.Plain {
			r.tap.wake(now)
			r.adjust(r.clock.now())
		}
	case sensorKindKIND_CLOSE:
		r.tcp.closed(rec.closed)
	case sensorKindKIND_CONNECT:
		if rec.head.Flags&uint16(sensorFlagFLAG_DIAL) != 0 {
			r.tcp.dial(rec.connect)
			break
		}
		if c := r.conns.connect(rec.connect); c != nil && r.conns.asks(c) {
			r.tap.wake(now)
			r.adjust(r.clock.now())
		}
	case sensorKindKIND_WAKE:
		r.tap.wake(now)
		r.adjust(r.clock.now())
	case sensorKindKIND_SEGMENT:
		r.segment(rec.segment)
	}
	if now > r.chores.next {
		r.chore(r.clock.now())
	}
	r.progress(now)
}

func (r *runner) segment(rec *segmentRecord) {
	take := r.conns.segment
	if rec.Door >= portsFrom {
		take = r.tcp.segment
	}
	seg, ok := take(rec)
	if !ok || r.opt.OnSegment == nil {
		return
	}
	for _, o := range r.opt.OnSegment(seg) {
		r.emit(o)
	}
}

// begin reports what is there already.
func (r *runner) begin() error {
	now := r.clock.now()
	if _, err := r.tap.adjust(now, 0); err != nil {
		return err
	}
	r.tell(r.clock.now())
	if err := r.takeFound(); err != nil {
		return err
	}
	r.tcpChore(now)
	if err := r.conns.scan(now); err != nil {
		return err
	}
	r.compare(max(r.conns.readAt, r.tcp.readAt) + 1)
	r.chore(now)
	return nil
}

// takeFound reads the dump's records before it handles the live ones that came
// in between: those need to know the containers.
func (r *runner) takeFound() error {
	var found []*foundRecord
	var live [][]byte
	for r.ring.AvailableBytes() > 0 {
		rec, err := r.ring.Read()
		if err != nil {
			return fmt.Errorf("read ring buffer: %w", err)
		}
		if d, err := decode(rec.RawSample); err == nil && d.found != nil {
			found = append(found, d.found)
			continue
		}
		live = append(live, rec.RawSample)
	}
	r.procs.found(found)
	for _, raw := range live {
		r.handle(raw)
	}
	return nil
}

// adjust brings the tap to what is wanted and tells when that changed.
func (r *runner) adjust(now uint64) {
	changed, err := r.tap.adjust(now, r.conns.asking()+r.tcp.asking())
	if err != nil {
		r.opt.Logger.Error("request tap", "error", err)
	}
	if changed {
		r.tell(r.clock.now())
	}
}

// tell reports what is seen from now on.
func (r *runner) tell(now uint64) {
	at := r.clock.wall(now)
	o := event.WitnessState{
		Header: event.Header{Time: at, Witness: event.WitnessKernel}, Up: true, From: at,
		Level: string(r.features.Level()), Peers: r.hasPeers, Requests: r.tap.attached(), Reason: r.reason(),
		TCPDoors: r.tcp.told, Ports: r.tcp.services(), Kubelets: r.tcp.kubelets,
	}
	r.mu.Lock()
	r.status.Requests, r.status.Reason, r.status.Peers, r.status.Doors = o.Requests, o.Reason, o.Peers, o.TCPDoors
	r.mu.Unlock()
	r.emit(o)
}

// reason says why requests are read or not.
func (r *runner) reason() string {
	switch {
	case r.tap.mode == ModeOff && r.opt.Requests == ModeOff:
		return "client requests are switched off"
	case r.tap.mode == ModeOff:
		return "client requests cannot be read: " + r.features.Get(FeatureSockLength).Err.Error()
	case r.tap.mode == ModeAlways:
		return "client requests are always read"
	case r.tap.attached():
		return "client requests are read while clients are about"
	}
	return "client requests are read when a client comes"
}

// chore does what is due now and then.
func (r *runner) chore(now uint64) {
	r.chores.next, r.chores.done = now+uint64(choreEvery), now
	r.procs.expire(now)
	for _, o := range r.losses.poll(r.objs.Lost, r.clock.wall(now)) {
		r.emit(o)
		r.tcp.stale = true // a connection may have come or gone
	}
	r.tcpChore(now)
	r.slowChore(now)
	if err := r.conns.scan(now); err != nil {
		r.opt.Logger.Error("list of client connections", "error", err)
	}
	r.adjust(now)
	if err := tellOpen(r.objs.ClientsOpen, len(r.conns.open) > 0); err != nil {
		r.opt.Logger.Error("client count", "error", err)
	}
	r.mu.Lock()
	r.status.Connections = len(r.conns.open) + len(r.tcp.open)
	r.mu.Unlock()
}

// progress says, some ten times a second, up to when everything is reported:
// every record from before handled was handled, and losses were looked for since.
// A record comes into the ring a little after its moment.
func (r *runner) progress(handled uint64) {
	next := r.chores.told + uint64(choreEvery/2)
	upTo := min(handled-leaveGrace, r.chores.done)
	if upTo < next {
		return
	}
	if upTo = r.procs.reported(upTo); upTo < next {
		return
	}
	r.chores.told = upTo
	h := r.procs.header(upTo)
	r.emit(event.Progress{Header: h, Through: h.Time})
}

func (r *runner) slowChore(now uint64) {
	if now >= r.chores.clock {
		r.chores.clock = now + uint64(clockEvery)
		if err := r.clock.remeasure(); err != nil {
			r.opt.Logger.Error("clock", "error", err)
		}
	}
	if now >= r.chores.doors {
		r.chores.doors = now + uint64(doorsEvery)
		if err := r.conns.doors.refresh(); err != nil {
			r.opt.Logger.Error("service sockets", "error", err)
		}
	}
}

// end reports what was still waiting.
func (r *runner) end() {
	for root := range r.procs.pending {
		r.procs.flush(root)
	}
	for _, o := range r.losses.poll(r.objs.Lost, r.clock.wall(r.clock.now())) {
		r.emit(o)
	}
}
