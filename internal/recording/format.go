package recording

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"math"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The format is described in docs/reference/recording-format.md; what is here
// says only what code needs. All numbers are big-endian.

// Version is the version of the format. History:
//
//	1  2026-11  first
//	2  2026-11  MinLZ for S2, blocks of 128 kB
const Version = 2

// magic begins a recording; its last byte is the version.
var magic = []byte("\x89SPREC\n\x02")

const (
	headMax   = 1 << 20   // bytes of a header's JSON
	blockMax  = 128 << 10 // bytes of frames in a block
	blockHead = 22
	sealRoom  = 64 // what compression and encryption may add to a block
)

// Flags of a block.
const (
	flagZstd  = 1 << iota // its frames are a zstd frame
	flagEnd               // its last frame is the end of the recording
	flagMinLZ             // its frames are a MinLZ block; not together with flagZstd
	flagPack  = flagZstd | flagMinLZ
	flagsAll  = flagPack | flagEnd
)

// kind is what a frame says; it is the frame's first byte.
type kind byte

const (
	kindStdin  kind = 0 // as in Docker's own stream headers
	kindStdout kind = 1
	kindStderr kind = 2
	kindResize kind = 3
	kindGap    kind = 4
	kindMasked kind = 5
	kindEnd    kind = 6
)

const (
	frameHeadMax = 1 + 2*binary.MaxVarintLen64 // kind, time, length
	whyMax       = 256                         // bytes of a reason
)

// Stream is one of the three standard streams. A terminal has no stderr of its
// own.
type Stream byte

// The streams.
const (
	Stdin  = Stream(kindStdin)
	Stdout = Stream(kindStdout)
	Stderr = Stream(kindStderr)

	streams = 3
)

// String returns the stream's name.
func (s Stream) String() string {
	if int(s) < streams {
		return [streams]string{"stdin", "stdout", "stderr"}[s]
	}
	return fmt.Sprintf("stream %d", byte(s))
}

// Header says what is recorded. It stands in clear at the beginning of the
// file, also of an encrypted one: who may list recordings sees the command line,
// as in the list of sessions.
type Header struct {
	ID      string    `json:"id"` // set by Begin
	Started time.Time `json:"started"`
	// Session, Exec and Target.ContainerID tie the recording to its session.
	Session session.ID    `json:"session,omitempty"`
	Exec    event.ExecID  `json:"exec,omitempty"`
	Kind    session.Kind  `json:"kind,omitempty"`
	Channel event.Channel `json:"channel,omitempty"`

	TTY  bool   `json:"tty"`
	Cols uint16 `json:"cols,omitempty"` // of the terminal at the beginning; 0 when unknown
	Rows uint16 `json:"rows,omitempty"`

	Argv   []event.Text   `json:"argv,omitempty"`
	Path   event.Text     `json:"path,omitempty"` // of a copy, inside the container
	Into   bool           `json:"into,omitempty"` // of a copy: from outside into the container
	Actor  session.Actor  `json:"actor"`
	Target session.Target `json:"target"`

	// Input says how standard input is recorded, Lenient what happens when
	// recording fails: the session goes on and the gap is marked.
	Input   Input `json:"input"`
	Lenient bool  `json:"lenient,omitempty"`

	// Key is the file key, encrypted by age for those who may read: empty for a
	// recording in clear. Set by Begin.
	Key []byte `json:"key,omitempty"`
}

// Input says how much of standard input is recorded.
type Input string

// The ways to record standard input.
const (
	InputNone Input = "none" // nothing; the default
	// InputEchoed: on a terminal the lines that were echoed, of others how long
	// they were; without a terminal everything.
	InputEchoed Input = "echoed"
)

// appendHeader appends a file's beginning.
func appendHeader(b []byte, h Header) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("recording header: %w", err)
	}
	if len(text) > headMax {
		return nil, fmt.Errorf("recording header: %d bytes are more than %d", len(text), headMax)
	}
	from := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli)), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headSize returns how long a file's beginning is, from its first
// len(magic)+4 bytes.
func headSize(b []byte) (int, error) {
	if len(b) < len(magic)+4 || !bytes.Equal(b[:len(magic)-1], magic[:len(magic)-1]) {
		return 0, errors.New("not a recording")
	}
	if v := b[len(magic)-1]; v != Version {
		return 0, fmt.Errorf("format version %d, this sallyport reads %d", v, Version)
	}
	n := binary.BigEndian.Uint32(b[len(magic):])
	if n > headMax {
		return 0, fmt.Errorf("a header of %d bytes", n)
	}
	return len(magic) + 4 + int(n) + 4, nil
}

// parseHeader reads a file's beginning, as long as headSize says.
func parseHeader(b []byte) (h Header, err error) {
	end := len(b) - 4
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return h, errors.New("its header was changed")
	}
	if err := json.Unmarshal(b[len(magic)+4:end], &h); err != nil {
		return h, fmt.Errorf("its header: %w", err)
	}
	if !validID(h.ID) {
		return h, errors.New("its header: no id")
	}
	return h, nil
}

// block is the head of a block.
type block struct {
	size  uint32 // bytes that follow the head
	crc   uint32 // CRC-32C over the rest of the head and those bytes
	flags byte
	raw   uint32 // bytes of frames
	// seq grows from block to block. A number is never used for two blocks, not
	// even when the first was not written: it is the nonce of an encrypted one.
	seq uint64
	_   byte
}

const crcFrom = 8 // where in a block's head that which has a checksum begins

// put writes the head of a block, whose content stands behind it, with its
// checksum.
func (k block) put(b []byte) {
	k.putHead(b)
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[crcFrom:], castagnoli))
}

func (k block) putHead(b []byte) {
	binary.BigEndian.PutUint32(b, k.size)
	b[8] = k.flags
	b[9] = 0
	binary.BigEndian.PutUint32(b[10:], k.raw)
	binary.BigEndian.PutUint64(b[14:], k.seq)
}

// parseBlock reads the head of a block.
func parseBlock(b []byte) (k block, err error) {
	k = block{
		size: binary.BigEndian.Uint32(b), crc: binary.BigEndian.Uint32(b[4:]), flags: b[8],
		raw: binary.BigEndian.Uint32(b[10:]), seq: binary.BigEndian.Uint64(b[14:]),
	}
	if k.flags&^flagsAll != 0 || k.flags&flagPack == flagPack || b[9] != 0 || k.raw == 0 || k.raw > blockMax || k.size == 0 || k.size > blockMax+sealRoom {
		return k, errors.New("no block begins here")
	}
	return k, nil
}

// chain is the running hash: over what it was before (zeros at first) and the
// header, then over what it was before and each block.
type chain [sha256.Size]byte

func (c *chain) String() string { return hex.EncodeToString(c[:]) }

// add moves c on over a block, or over the header at first. It uses digest.
func (c *chain) add(digest hash.Hash, block []byte) {
	digest.Reset()
	digest.Write(c[:])
	digest.Write(block)
	digest.Sum(c[:0])
}

// Frame is one thing that happened in a recorded session. Which fields count
// depends on which pointers are set; a frame without any is Data of Stream.
type Frame struct {
	At     time.Duration // since Header.Started
	Stream Stream
	Data   []byte // valid until the next frame
	Size   *Size
	Gap    *Gap
	// Masked is how many bytes of standard input are not told because they were
	// not echoed.
	Masked uint64
	End    *End
}

// Size is the size of a terminal.
type Size struct{ Cols, Rows uint16 }

// Gap says that bytes of Frame.Stream passed without being recorded.
type Gap struct {
	Bytes uint64
	Why   string
}

// End is how a session ended.
type End struct {
	Exit *int   // nil when unknown
	Why  string // for a person; "" when there is nothing to say
}

// appendData appends a frame of bytes.
func appendData(b []byte, k kind, delta uint64, p []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(k)), delta)
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

func appendResize(b []byte, delta uint64, s Size) []byte {
	b = binary.AppendUvarint(append(b, byte(kindResize)), delta)
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.Cols)), uint64(s.Rows))
}

func appendGap(b []byte, delta uint64, s Stream, g Gap) []byte {
	b = binary.AppendUvarint(append(b, byte(kindGap)), delta)
	b = binary.AppendUvarint(append(b, byte(s)), g.Bytes)
	return appendWhy(b, g.Why)
}

func appendMasked(b []byte, delta, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(append(b, byte(kindMasked)), delta), n)
}

func appendEnd(b []byte, delta uint64, e End) []byte {
	b = binary.AppendUvarint(append(b, byte(kindEnd)), delta)
	if e.Exit == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendVarint(append(b, 1), int64(*e.Exit))
	}
	return appendWhy(b, e.Why)
}

func appendWhy(b []byte, why string) []byte {
	why = why[:min(len(why), whyMax)]
	return append(binary.AppendUvarint(b, uint64(len(why))), why...)
}

var errFrame = errors.New("a frame that cannot be")

// frames takes frames off the content of a block.
type frames struct {
	b   []byte
	at  time.Duration // of the frame before
	err error
}

// next returns the next frame; false at the end, or when what follows is none:
// see err.
func (r *frames) next() (f Frame, ok bool) {
	if len(r.b) == 0 || r.err != nil {
		return f, false
	}
	k := kind(r.byte())
	delta := r.number(math.MaxInt64 / uint64(time.Microsecond))
	if r.at += time.Duration(delta) * time.Microsecond; r.at < 0 {
		r.err = errFrame
	}
	f.At = r.at
	switch k {
	case kindStdin, kindStdout, kindStderr:
		f.Stream, f.Data = Stream(k), r.bytes(blockMax)
	case kindResize:
		f.Size = &Size{Cols: uint16(r.number(math.MaxUint16)), Rows: uint16(r.number(math.MaxUint16))}
	case kindGap:
		if f.Stream = Stream(r.byte()); f.Stream >= streams {
			r.err = errFrame
		}
		f.Gap = &Gap{Bytes: r.number(math.MaxUint64), Why: string(r.bytes(whyMax))}
	case kindMasked:
		if f.Masked = r.number(math.MaxUint64); f.Masked == 0 {
			r.err = errFrame
		}
	case kindEnd:
		f.End = &End{Exit: r.exit(), Why: string(r.bytes(whyMax))}
	default:
		r.err = errFrame
	}
	return f, r.err == nil
}

func (r *frames) byte() byte {
	if len(r.b) == 0 {
		r.err = errFrame
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *frames) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > most {
		r.err = errFrame
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *frames) bytes(most uint64) []byte {
	n := r.number(most)
	if uint64(len(r.b)) < n {
		r.err = errFrame
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *frames) exit() *int {
	switch r.byte() {
	case 0:
		return nil
	case 1:
		n, size := binary.Varint(r.b)
		if size <= 0 || n < math.MinInt32 || n > math.MaxInt32 {
			r.err = errFrame
			return nil
		}
		r.b = r.b[size:]
		code := int(n)
		return &code
	}
	r.err = errFrame
	return nil
}
