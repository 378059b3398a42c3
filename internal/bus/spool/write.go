package spool

import (
	"log/slog"
	"os"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/durable"
)

// run writes what waits, again and again, until Close.
func (s *Spool) run() {
	defer close(s.ended)
	timer := time.NewTimer(s.opt.Delay)
	defer timer.Stop()
	pause := retryMin
	for {
		stopping := false
		select {
		case <-s.full:
		case <-timer.C:
		case <-s.stop:
			stopping = true
		}
		err := s.flush()
		if stopping {
			return
		}
		wait := s.opt.Delay
		if err != nil {
			wait, pause = pause, min(2*pause, retryMax)
		} else {
			pause = retryMin
		}
		timer.Reset(wait)
	}
}

// flush brings what waits to the disk.
func (s *Spool) flush() error {
	s.mu.Lock()
	if s.count == 0 && s.lost.empty() {
		s.mu.Unlock()
		return nil
	}
	err := s.state()
	var b bus.Batch
	if err == nil {
		s.renumber()
		b = s.packer.Pack(s.next-uint64(s.count), s.next-1, s.count, s.lines)
		err = s.makeRoom(int64(frameHead + b.Size()))
	}
	var f *os.File
	if err == nil {
		f, err = s.current(b.First)
	}
	s.mu.Unlock()
	if err == nil {
		err = s.write(f, b)
	}
	s.outcome(b, err)
	return err
}

// state puts, mu held, what was dropped while the disk failed behind what
// waits.
func (s *Spool) state() error {
	if s.lost.empty() {
		return nil
	}
	text, n, err := s.lost.lines()
	if err != nil {
		return err
	}
	s.lines, s.count, s.next = append(s.lines, text...), s.count+n, s.next+uint64(n)
	s.lost = lost{}
	return nil
}

// renumber moves, mu held, what waits behind the numbers that must not be used.
func (s *Spool) renumber() {
	if s.next-uint64(s.count) <= s.skip {
		s.next = s.skip + 1 + uint64(s.count)
		s.giveUpSegment() // the numbers in a segment have no gaps
	}
}

// current returns, mu held, the file that is written to. It begins a new
// segment when the last one is long enough.
func (s *Spool) current(first uint64) (*os.File, error) {
	if n := len(s.segments); s.file != nil && n > 0 && s.segments[n-1].size < s.opt.segmentBytes() {
		return s.file, nil
	}
	if s.file != nil {
		_ = s.file.Close() // every frame in it was synced
		s.file = nil
	}
	g := segment{first: first, last: first - 1}
	f, err := os.OpenFile(s.path(g), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s.file = f
	s.segments = append(s.segments, g)
	return f, nil
}

// write appends and syncs without mu: nobody else writes to the file, and
// nobody reads beyond the segment's size.
func (s *Spool) write(f *os.File, b bus.Batch) error {
	s.mu.Lock()
	at := s.segments[len(s.segments)-1].size
	s.mu.Unlock()
	if _, err := f.WriteAt(frame(b), at); err != nil {
		return err
	}
	return f.Sync()
}

// outcome notes that b is on disk, or why it is not: it then waits on.
func (s *Spool) outcome(b bus.Batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer signal(s.room)
	first := s.stats.Err == nil
	s.stats.Err = err
	if err != nil {
		if first {
			s.opt.Logger.Error("the spool's disk takes nothing; observations wait in memory", slog.Any("error", err))
		}
		s.giveUpSegment()
		return
	}
	if !first {
		s.opt.Logger.Info("the spool's disk takes observations again", slog.Uint64("lost", s.stats.Lost))
	}
	g := &s.segments[len(s.segments)-1]
	g.last = b.Last
	g.size += int64(frameHead + b.Size())
	s.lines = s.lines[:copy(s.lines, s.lines[b.Raw:])] // what came while it was written
	s.count -= int(b.Count)
	close(s.fresh)
	s.fresh = make(chan struct{})
}

// giveUpSegment leaves, mu held, a file in which a write failed. After a failed
// sync nobody knows what of it is on disk, and asking again does not help.
func (s *Spool) giveUpSegment() {
	n := len(s.segments)
	if s.file == nil || n == 0 {
		return
	}
	_ = s.file.Truncate(s.segments[n-1].size)
	_ = s.file.Close()
	s.file = nil
	if g := s.segments[n-1]; g.size == 0 {
		_ = os.Remove(s.path(g))
		s.segments = s.segments[:n-1]
	}
}

// makeRoom drops, mu held, the oldest segments until n more bytes fit.
func (s *Spool) makeRoom(n int64) error {
	for s.bytes()+n > s.opt.Bytes {
		dropped, err := s.dropOldest()
		if err != nil || !dropped {
			return err
		}
	}
	return nil
}

// dropOldest replaces, mu held, the oldest segment, together with the statement
// of loss before it, by a statement of what is lost. It reports false when
// there is none to drop.
func (s *Spool) dropOldest() (bool, error) {
	n := 1
	if len(s.segments) > 0 && s.segments[0].stated {
		n = 2
	}
	if len(s.segments) < n || len(s.segments) == n && s.file != nil {
		return false, nil
	}
	var l lost
	for _, g := range s.segments[:n] {
		s.sumUp(g, &l)
	}
	stated := segment{first: max(s.segments[0].first, s.cursor.Acked+1), last: s.segments[n-1].last, stated: true}
	text, count, err := l.lines()
	if err != nil {
		return false, err
	}
	keep := s.segments[n:]
	if count > 0 && stated.first <= stated.last {
		content := frame(s.packer.Pack(stated.first, stated.last, count, text))
		if err := durable.Replace(s.path(stated), content); err != nil {
			return false, err
		}
		stated.size = int64(len(content))
		keep = append([]segment{stated}, keep...)
	}
	before := s.segments[:n]
	for _, g := range before {
		if s.path(g) == s.path(stated) {
			continue
		}
		if err := os.Remove(s.path(g)); err != nil && !os.IsNotExist(err) {
			return false, err
		}
	}
	s.stats.Lost += l.n
	s.reader.close()
	s.segments = append([]segment(nil), keep...)
	return true, nil
}

// sumUp adds, mu held, what of a segment is not acknowledged to l.
func (s *Spool) sumUp(g segment, l *lost) {
	_, err := readAll(s.path(g), func(b bus.Batch) {
		if b.Last <= s.cursor.Acked {
			return
		}
		seq := b.First
		for o, err := range s.reader.unpack.All(b) {
			if err != nil {
				damaged(l, time.Now())
				return
			}
			if !b.Whole() || seq > s.cursor.Acked {
				l.add(o)
			}
			seq++
		}
	})
	if err != nil {
		damaged(l, time.Now())
	}
}

// damaged notes that something is lost of which nobody knows what it was.
func damaged(l *lost, until time.Time) {
	for _, k := range []stream{
		{event.WitnessKernel, "process"}, {event.WitnessKernel, "requests"},
		{event.WitnessDocker, "events"}, {event.WitnessContainerd, "events"},
	} {
		if l.losses == nil {
			l.losses, l.states = map[stream]event.Loss{}, map[event.Witness]event.WitnessState{}
		}
		l.sum(k, time.Time{}, until.UTC(), 0)
	}
}
