package door

import "encoding/binary"

// Stream is one of the three standard streams. A terminal has no stderr of its
// own.
type Stream byte

// The streams.
const (
	Stdin Stream = iota
	Stdout
	Stderr
)

// frames takes apart the stream in which Docker sends stdout and stderr of what
// has no terminal: frames of 8 bytes (stream, three zeros, length) and content
// (github.com/moby/moby/api/pkg/stdcopy). It keeps at most those 8 bytes, wherever
// the stream is split.
//
// The daemon's own errors (stream 3) are taken for stderr: that is where clients
// show them. What follows a frame that cannot be is taken for stdout as it comes.
type frames struct {
	to func(Stream, []byte) error
	position
}

// position is where in a stream frames is.
type position struct {
	raw  bool // it is not framed, or not any more
	head [8]byte
	have int    // bytes of head
	left uint32 // bytes of content that are still to come
	as   Stream
}

// write takes the next bytes, in order, until the function that gets the content
// returns an error.
func (f *frames) write(p []byte) error {
	for len(p) > 0 {
		if f.raw {
			return f.to(Stdout, p)
		}
		if f.left > 0 {
			part := p[:min(len(p), int(min(f.left, 1<<30)))]
			if err := f.to(f.as, part); err != nil {
				return err
			}
			f.left -= uint32(len(part))
			p = p[len(part):]
			continue
		}
		took := copy(f.head[f.have:], p)
		p = p[took:]
		if f.have += took; f.have == len(f.head) {
			if err := f.frame(); err != nil {
				return err
			}
		}
	}
	return nil
}

// frame takes the head of a frame.
func (f *frames) frame() error {
	f.have = 0
	switch f.head[0] {
	case 0, 1:
		f.as = Stdout // as stdcopy does with 0, which daemons do not send
	case 2, 3:
		f.as = Stderr
	default:
		f.raw = true
		return f.to(Stdout, f.head[:])
	}
	f.left = binary.BigEndian.Uint32(f.head[4:])
	return nil
}

// fillMax bounds what is sent to end a frame; daemons send frames of 32 kB.
const fillMax = 64 << 10

// last returns what ends a stream here, so that its client learns why: of a frame
// that has begun the rest, as zeros, and then an error as the daemon sends its own;
// of a terminal a line. It is nil where the rest is too long.
func (at position) last(why string) []byte {
	if at.raw {
		return []byte("\r\n" + why + "\r\n")
	}
	left := at.left
	var out []byte
	if at.have > 0 {
		out = make([]byte, len(at.head)-at.have)
		clear(at.head[at.have:])
		left = binary.BigEndian.Uint32(at.head[4:])
	}
	if left > fillMax {
		return nil
	}
	out = append(out, make([]byte, left)...)
	out = append(out, 3, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(why)))
	return append(out, why...)
}
