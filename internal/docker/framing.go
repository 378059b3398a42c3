package docker

import (
	"bytes"
	"errors"
	"strconv"
)

var errFraming = errors.New("chunked body: malformed")

// maxLine bounds a line of chunked framing, in bytes; the daemon allows 4 KiB.
const maxLine = 256

// framing follows an HTTP/1 message body to its exact end. Bytes that were not
// seen are fine where only payload can be (skip). It accepts only the strict
// form of chunked bodies: whatever two parsers may read differently ends the
// certainty.
type framing struct {
	state framingState
	left  uint64 // bytes left of the body, or of the current chunk
	line  []byte // the beginning of an unfinished line
	chunk bool
}

type framingState int

const (
	framingDone framingState = iota
	framingData
	framingSize    // line with a chunk's size
	framingDataEnd // CRLF behind a chunk
	framingTrailer // lines behind the last chunk
)

func lengthFraming(n uint64) framing {
	if n == 0 {
		return framing{}
	}
	return framing{state: framingData, left: n}
}

func chunkedFraming() framing { return framing{state: framingSize, chunk: true} }

func (f *framing) done() bool { return f.state == framingDone }

// next takes bytes from the front of data, at least one unless it fails or is
// done. It returns how many, and those among them that are payload.
func (f *framing) next(data []byte) (used int, payload []byte, err error) {
	switch f.state {
	case framingDone:
		return 0, nil, nil
	case framingData:
		n := int(min(f.left, uint64(len(data))))
		f.advance(uint64(n))
		return n, data[:n], nil
	default:
		used, err = f.nextLine(data)
		return used, nil, err
	}
}

// skip passes n bytes that were not seen; false when they may hold framing.
func (f *framing) skip(n uint64) bool {
	if f.state != framingData || n > f.left {
		return false
	}
	f.advance(n)
	return true
}

func (f *framing) advance(n uint64) {
	f.left -= n
	if f.left > 0 {
		return
	}
	f.state = framingDone
	if f.chunk {
		f.state = framingDataEnd
	}
}

func (f *framing) nextLine(data []byte) (int, error) {
	i := bytes.IndexByte(data, '\n')
	used := i + 1
	if i < 0 {
		used = len(data)
	}
	if len(f.line)+used > maxLine {
		return 0, errFraming
	}
	f.line = append(f.line, data[:used]...)
	if i < 0 {
		return used, nil
	}
	line, ok := bytes.CutSuffix(f.line, []byte("\r\n"))
	f.line = nil
	if !ok {
		return 0, errFraming
	}
	return used, f.endLine(line)
}

func (f *framing) endLine(line []byte) error {
	switch f.state {
	case framingSize:
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(size), 16, 63)
		if err != nil {
			return errFraming
		}
		f.state, f.left = framingData, n
		if n == 0 {
			f.state = framingTrailer
		}
	case framingDataEnd:
		if len(line) > 0 {
			return errFraming
		}
		f.state = framingSize
	case framingTrailer:
		if len(line) == 0 {
			f.state = framingDone
		}
	case framingDone, framingData:
	}
	return nil
}
