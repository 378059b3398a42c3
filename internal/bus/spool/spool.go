// Package spool keeps a node's observations on disk until the collector has
// them: a queue of numbered observations in append-only segment files.
//
// Contract: what Put took is on disk at the latest Delay later, unless the disk
// does not take it, and stays there until Acknowledge. After a kill the queue
// goes on where it was; what a torn write left behind is cut off and counted.
// The queue is bounded: when it is full its oldest segment gives way to a
// statement of what it held (event.Loss by witness and stream), which takes
// the segment's place in the queue. The last known state of each witness and
// the host's facts are never lost that way. Nothing is dropped unsaid.
//
// Put is for one goroutine, Next and Acknowledge for another.
package spool

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
)

// Options configures a Spool. The zero value of a field means its default.
type Options struct {
	Dir string // required; made when it is missing
	// Bytes bounds the segments on disk. Default 1 GiB, at least 256 KiB.
	Bytes int64
	// Delay is how long the first observation of a write waits for others.
	// Default 40 ms, at most 100 ms.
	Delay  time.Duration
	Logger *slog.Logger
}

const (
	bytesDefault = 1 << 30
	bytesMin     = 256 << 10
	segmentMax   = 1 << 20
	delayMax     = 100 * time.Millisecond

	gatherBytes = 256 << 10          // of wire form that end the wait
	waitingMax  = bus.MaxObservation // of wire form that wait for the disk
	roomWait    = 10 * time.Second   // for a disk that hangs; then it counts as failing
	cursorEvery = time.Second        // how often the cursor is written down
	retryMin    = 100 * time.Millisecond
	retryMax    = 5 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Bytes <= 0 {
		o.Bytes = bytesDefault
	}
	o.Bytes = max(o.Bytes, bytesMin)
	if o.Delay <= 0 {
		o.Delay = 40 * time.Millisecond
	}
	o.Delay = min(o.Delay, delayMax)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// segmentBytes is the size from which on a segment is not added to: small
// enough that giving one up costs little, of what is kept and of time.
func (o Options) segmentBytes() int64 { return min(segmentMax, o.Bytes/16) }

// Stats says how the spool is.
type Stats struct {
	Bytes, Limit int64
	// Put is the number of the latest observation, Kept that of the latest on
	// disk, Acknowledged that of the latest that the collector has.
	Put, Kept, Acknowledged uint64
	// Lost counts observations that were dropped because the spool was full or
	// the disk failed; Torn the bytes cut off when it was opened.
	Lost uint64
	Torn int64
	// Err is why the disk does not take anything now, nil when it does.
	Err error
}

// Spool is a queue on disk. See the package comment.
type Spool struct {
	opt  Options
	id   string
	lock *os.File

	full  chan struct{} // capacity 1: enough waits, write now
	room  chan struct{} // capacity 1: the disk took what waited
	stop  chan struct{}
	ended chan struct{}

	// Only the writing goroutine uses these.
	packer *bus.Packer

	mu       sync.Mutex
	segments []segment     // guarded by mu; oldest first, the last is written to
	file     *os.File      // guarded by mu; of the last segment
	lines    []byte        // guarded by mu; what waits for the disk
	count    int           // guarded by mu; observations in lines
	next     uint64        // guarded by mu; the number after the latest
	skip     uint64        // guarded by mu; numbers up to this one are not used
	lost     lost          // guarded by mu; what was dropped before it reached the disk
	cursor   cursor        // guarded by mu
	saved    time.Time     // guarded by mu; when the cursor was last written down
	reader   reader        // guarded by mu
	fresh    chan struct{} // guarded by mu; closed when more is on disk
	stats    Stats         // guarded by mu
	closed   bool          // guarded by mu
}

// ID names this spool for ever: numbers are unique within it.
func (s *Spool) ID() string { return s.id }

// Put adds an observation. It waits while more waits for the disk than may. It
// fails only when o has no wire form; what the disk does not take is counted,
// and stated in the queue as soon as it does.
func (s *Spool) Put(o event.Observation) error {
	line, err := event.Marshal(o)
	if err != nil {
		return fmt.Errorf("put into spool: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := o.Head().Time; t.After(s.cursor.Newest) {
		s.cursor.Newest = t
	}
	if len(line) >= bus.MaxObservation {
		s.drop(o)
		return nil
	}
	s.waitForRoom(len(line))
	if len(s.lines)+len(line) >= waitingMax || s.count >= bus.MaxCount-lostMax || s.closed {
		s.drop(o)
		return nil
	}
	s.lines = append(append(s.lines, line...), '\n')
	s.count++
	s.next++
	if len(s.lines) >= gatherBytes {
		signal(s.full)
	}
	return nil
}

// drop notes, mu held, that o cannot be kept.
func (s *Spool) drop(o event.Observation) {
	s.lost.add(o)
	s.stats.Lost++
}

// waitForRoom waits, mu held on entry and exit, while a disk that works is
// behind.
func (s *Spool) waitForRoom(n int) {
	tight := func() bool {
		return s.count > 0 && (len(s.lines)+n >= waitingMax/2 || s.count >= bus.MaxCount/2) && s.stats.Err == nil && !s.closed
	}
	if !tight() {
		return
	}
	timer := time.NewTimer(roomWait)
	defer timer.Stop()
	for tight() {
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-timer.C:
			s.mu.Lock()
			s.stats.Err = fmt.Errorf("no answer from the disk within %s", roomWait)
			return
		}
		s.mu.Lock()
	}
}

// Last returns the number of the latest observation that was put; 0 before the
// first.
func (s *Spool) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - 1
}

// Newest returns the latest time of any observation that was put, also in an
// earlier run; false without one.
func (s *Spool) Newest() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.Newest, !s.cursor.Newest.IsZero()
}

// Stats returns the present figures.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Bytes, out.Limit = s.bytes(), s.opt.Bytes
	out.Put, out.Kept, out.Acknowledged = s.next-1, s.kept(), s.cursor.Acked
	return out
}

// bytes is, mu held, the size of all segments.
func (s *Spool) bytes() (n int64) {
	for _, g := range s.segments {
		n += g.size
	}
	return n
}

// kept is, mu held, the number of the latest observation on disk.
func (s *Spool) kept() uint64 {
	if len(s.segments) == 0 {
		return s.cursor.Acked
	}
	return max(s.cursor.Acked, s.segments[len(s.segments)-1].last)
}

// Close writes what still waits and ends the spool.
func (s *Spool) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	close(s.stop)
	<-s.ended
	return s.release()
}

// signal notes that something happened, for whoever waits on c.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
