package docker

import (
	"bytes"

	"github.com/sallyport/sallyport/internal/core/event"
)

// stream is one direction of a connection: where we are in it, and what of it
// is not finished.
type stream struct {
	state streamState
	// end is the offset behind the last byte that the service read or wrote.
	// It is known (placed) from the first piece on; a stream that is seen whole
	// begins at 0.
	end    uint64
	placed bool
	// head holds the beginning of an unfinished head; in streamWaiting it holds
	// what came behind the request that is waited for.
	head []byte
	// body is the message whose body is passing by; keep says that it is
	// wanted and was seen whole so far.
	body framing
	keep bool
	data []byte
}

type streamState int

const (
	// streamHead expects the first byte of a head.
	streamHead streamState = iota
	// streamBody is inside a body.
	streamBody
	// streamWaiting holds back bytes of a client until the daemon's answer says
	// whether they are requests or the input of a command.
	streamWaiting
	// streamRaw is past the last message: hijacked, upgraded, or a body that
	// ends with the connection.
	streamRaw
	// streamSeek looks for a piece that begins an answer.
	streamSeek
	// streamLost does not know where it is.
	streamLost
)

// place moves the end of the stream to that of s. It returns the bytes of s that
// are new, how many bytes before them were never seen, and how many behind them.
func (t *stream) place(s *event.Segment) (before uint64, data []byte, behind uint64) {
	if !t.placed {
		t.placed = true
		if !s.Whole {
			t.end = s.Offset
		}
	}
	end := s.Offset + uint64(s.Length)
	if end <= t.end {
		return 0, nil, 0
	}
	from := max(s.Offset, t.end)
	before = from - t.end
	data = s.Data[min(uint64(len(s.Data)), from-s.Offset):]
	behind = end - from - uint64(len(data))
	t.end = end
	return before, data, behind
}

// endOfHead returns the length of the HTTP/1 head that b begins with: up to and
// with its first empty line. The daemon takes bare LF for CRLF.
func endOfHead(b []byte) (int, bool) {
	for i := 0; ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0, false
		}
		i += j + 1
		rest := b[i:]
		if len(rest) > 0 && rest[0] == '\n' {
			return i + 1, true
		}
		if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 2, true
		}
	}
}
