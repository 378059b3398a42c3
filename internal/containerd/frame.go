package containerd

import "encoding/binary"

// The frames of HTTP/2 (RFC 9113, 6).
type frameKind uint8

const (
	frameData         frameKind = 0
	frameHeaders      frameKind = 1
	framePriority     frameKind = 2
	frameReset        frameKind = 3
	frameSettings     frameKind = 4
	framePush         frameKind = 5
	framePing         frameKind = 6
	frameGoAway       frameKind = 7
	frameWindow       frameKind = 8
	frameContinuation frameKind = 9
)

// Flags of frames. What they mean depends on the kind.
const (
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frameHead = 9       // bytes
	maxFrame  = 1 << 14 // bytes: the protocol's default, and no gRPC server of ours offers more
)

// frame is the header of a frame.
type frame struct {
	length uint32
	kind   frameKind
	flags  uint8
	stream uint32
}

// parseFrame reads a header of frameHead bytes; false when it can be none that a
// server would go on after.
func parseFrame(b []byte) (frame, bool) {
	f := frame{
		length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), kind: frameKind(b[3]), flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) &^ (1 << 31), // a server ignores the reserved bit
	}
	return f, f.length <= maxFrame
}

// plausible reports whether a client has reason to send such a frame: what is
// asked when nothing is certain.
func (f frame) plausible() bool {
	switch f.kind {
	case frameData, frameHeaders, frameContinuation:
		return f.stream%2 == 1
	case framePriority:
		return f.stream%2 == 1 && f.length == 5
	case frameReset:
		return f.stream%2 == 1 && f.length == 4
	case frameSettings:
		return f.stream == 0 && f.length%6 == 0
	case framePing:
		return f.stream == 0 && f.length == 8
	case frameGoAway:
		return f.stream == 0 && f.length >= 8
	case frameWindow:
		return f.length == 4
	case framePush:
	}
	return false
}

// countFrames returns how many frames b consists of; 0 when it does not consist
// of whole, plausible ones.
func countFrames(b []byte) int {
	n := 0
	for len(b) > 0 {
		if len(b) < frameHead || b[5]&0x80 != 0 {
			return 0
		}
		f, ok := parseFrame(b)
		if !ok || !f.plausible() || uint32(len(b)-frameHead) < f.length {
			return 0
		}
		b = b[frameHead+int(f.length):]
		n++
	}
	return n
}

// beginsCall reports whether b, a plausible frame, is all of a call's headers: what
// a client writes alone when its message is not ready yet.
func beginsCall(b []byte) bool {
	f, _ := parseFrame(b)
	return f.kind == frameHeaders && f.flags == flagEndHeaders
}

// payload returns the payload of f without padding and priority, from as much
// of the frame's body as was seen.
func (f frame) payload(body []byte) ([]byte, bool) {
	whole := int(f.length)
	from := 0
	if f.flags&flagPadded != 0 && (f.kind == frameData || f.kind == frameHeaders) {
		if len(body) == 0 {
			return nil, whole > 0
		}
		from, whole = 1, whole-int(body[0])
	}
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		from += 5
	}
	if whole < from {
		return nil, false
	}
	return body[min(from, len(body)):min(whole, len(body))], true
}
