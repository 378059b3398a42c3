package audit

import (
	"bytes"
	"errors"
	"io"
)

// LineMax bounds one audit event. A request of pods/exec cannot be longer: the
// API server takes at most 1 MiB of headers, so of URI, and JSON makes at most
// six bytes of one. A longer event is read only as far as is needed to see that
// it concerns no command, as most long ones do: lists at level RequestResponse.
const LineMax = 8 << 20

const (
	chunk     = 256 << 10 // the buffer, unless a line is longer
	headCheck = chunk     // how much of a line must have come before it is looked at
)

var (
	errOversized  = errors.New("event of more than 8 MiB")
	errCompressed = errors.New("compressed data, not lines of JSON: the log is not to be compressed before it is rotated")
)

// lines cuts what is read into lines. What has no line end yet waits.
type lines struct {
	buf      []byte
	start    int   // of the line that is being read
	scanned  int   // up to here there is no line end after start
	consumed int64 // bytes of whole lines so far
	skipping bool  // the line is not wanted; what comes of it is dropped
	skipped  int64 // bytes of it that were dropped
}

// fill reads once and reports how many bytes came.
func (l *lines) fill(r io.Reader) (int, error) {
	if l.start > 0 {
		n := copy(l.buf, l.buf[l.start:])
		l.buf, l.scanned, l.start = l.buf[:n], l.scanned-l.start, 0
	}
	switch {
	case len(l.buf) == cap(l.buf):
		grown := make([]byte, len(l.buf), max(chunk, 2*cap(l.buf)))
		copy(grown, l.buf)
		l.buf = grown
	case cap(l.buf) > chunk && len(l.buf) < chunk/2:
		l.buf = append(make([]byte, 0, chunk), l.buf...)
	}
	n, err := r.Read(l.buf[len(l.buf):cap(l.buf)])
	l.buf = l.buf[:len(l.buf)+n]
	return n, err
}

// next returns the next whole line, without its end, valid until fill. It
// returns nil when there is none yet.
func (l *lines) next(oversized func(head []byte)) []byte {
	for {
		i := bytes.IndexByte(l.buf[l.scanned:], '\n')
		if i < 0 {
			l.scanned = len(l.buf)
			l.long(oversized)
			return nil
		}
		line := l.buf[l.start : l.scanned+i]
		l.start, l.scanned = l.scanned+i+1, l.scanned+i+1
		l.consumed += l.skipped + int64(len(line)) + 1
		l.skipped = 0
		if len(line) > LineMax && !l.skipping {
			oversized(line)
			continue
		}
		if !l.skipping {
			return bytes.Trim(line, "\x00\r") // a crash of the machine may leave NULs
		}
		l.skipping = false
	}
}

// long deals with a line whose end is not in sight.
func (l *lines) long(oversized func(head []byte)) {
	head := l.buf[l.start:]
	switch {
	case l.skipping:
	case len(head) > LineMax:
		oversized(head)
		l.skipping = true
	case len(head) >= headCheck:
		l.skipping = passOver(head)
	}
	if l.skipping {
		l.skipped += int64(len(head))
		l.start, l.scanned = 0, 0
		l.buf = l.buf[:0]
	}
}

// rest returns what is left when no more will come.
func (l *lines) rest() []byte {
	if l.skipping {
		return nil
	}
	return l.buf[l.start:]
}

// passOver reports whether the beginning of an event shows already that it
// concerns no command.
func passOver(head []byte) bool {
	var r record
	for m := membersOf(head); m.next(); {
		r.set(m.key, m.value)
		if string(m.key) == "objectRef" {
			return r.uninteresting()
		}
	}
	return false
}
