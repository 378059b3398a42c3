package spool

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
)

// reader is where reading stands.
type reader struct {
	unpack *bus.Unpacker
	file   *os.File
	first  uint64 // of the segment that file is
	offset int64  // of the next frame
	after  uint64 // the last number before offset
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file = nil
}

// ErrClosed says that the spool was closed.
var ErrClosed = errors.New("spool is closed")

// Next returns the first batch on disk that goes beyond number after, and waits
// for one until ctx ends.
func (s *Spool) Next(ctx context.Context, after uint64) (bus.Batch, error) {
	for {
		s.mu.Lock()
		b, ok, err := s.find(after)
		fresh, closed := s.fresh, s.closed
		s.mu.Unlock()
		if ok || err != nil {
			return b, err
		}
		if closed {
			return bus.Batch{}, ErrClosed
		}
		select {
		case <-ctx.Done():
			return bus.Batch{}, ctx.Err()
		case <-s.stop:
			return bus.Batch{}, ErrClosed
		case <-fresh:
		}
	}
}

// find returns, mu held, the batch after a number, if there is one.
func (s *Spool) find(after uint64) (bus.Batch, bool, error) {
	for i := range s.segments {
		g := s.segments[i]
		if g.last <= after || g.size == 0 {
			continue
		}
		b, err := s.reader.in(s.path(g), g, after)
		if err == nil {
			return b, true, nil
		}
		if !errors.Is(err, errTorn) && !errors.Is(err, io.EOF) {
			return b, false, err
		}
		return s.standIn(g, after)
	}
	return bus.Batch{}, false, nil
}

// standIn returns, mu held, a statement in place of what cannot be read between
// after and the end of a segment.
func (s *Spool) standIn(g segment, after uint64) (bus.Batch, bool, error) {
	s.opt.Logger.Error("a part of the spool cannot be read and counts as lost", slog.String("segment", s.path(g)), slog.Uint64("after", after))
	s.reader.close()
	var l lost
	damaged(&l, time.Now())
	text, count, err := l.lines()
	if err != nil {
		return bus.Batch{}, false, err
	}
	packer, err := bus.NewPacker() // the other one is the writing goroutine's
	if err != nil {
		return bus.Batch{}, false, err
	}
	s.stats.Lost += g.last - max(after, g.first-1)
	return packer.Pack(max(after+1, g.first), g.last, count, text), true, nil
}

// in returns the first batch of a segment that goes beyond after.
func (r *reader) in(path string, g segment, after uint64) (bus.Batch, error) {
	if r.file == nil || r.first != g.first || r.after > after {
		r.close()
		f, err := os.Open(path)
		if err != nil {
			return bus.Batch{}, err
		}
		r.file, r.first, r.offset, r.after = f, g.first, 0, g.first-1
	}
	for {
		if r.offset >= g.size {
			return bus.Batch{}, io.EOF
		}
		b, next, err := readFrame(r.file, r.offset)
		if err != nil {
			return b, err
		}
		r.offset, r.after = next, b.Last
		if b.Last > after {
			return b, nil
		}
	}
}

// Acknowledge says that the collector keeps everything up to number seq: it
// can be removed here.
func (s *Spool) Acknowledge(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.cursor.Acked || seq >= s.next {
		return
	}
	s.cursor.Acked = seq
	s.prune()
	if time.Since(s.saved) >= cursorEvery {
		s.saved = time.Now()
		_ = s.cursor.save(s.opt.Dir) // an old one costs only double work
	}
}

// prune removes, mu held, segments that are acknowledged, but never the one
// that is written to: its numbers must not be used again.
func (s *Spool) prune() {
	n := len(s.segments)
	s.segments = slices.DeleteFunc(s.segments, func(g segment) bool {
		n--
		if g.last > s.cursor.Acked || n == 0 {
			return false
		}
		if s.reader.first == g.first {
			s.reader.close()
		}
		return os.Remove(s.path(g)) == nil
	})
}

// SkipTo makes numbers go on after seq. It is for a collector that has more
// than this spool knows of, since a disk broke its word: new observations would
// be taken for repetitions.
func (s *Spool) SkipTo(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.kept() {
		return
	}
	s.opt.Logger.Warn("the collector has more than the spool: numbers are skipped", slog.Uint64("collector", seq), slog.Uint64("spool", s.kept()))
	s.skip, s.cursor.Acked = seq, seq
	s.prune()
}

// First returns the number of the oldest observation that is still here.
func (s *Spool) First() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.Acked + 1
}
