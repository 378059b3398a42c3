// Package bus carries observations from nodes to a collector.
//
// A node puts what its witnesses see into a spool on its disk (bus/spool); a
// link (bus/link) sends the spool's content to the collector and learns there
// what is safely kept; only that is removed. What travels and what lies on
// disk is the same: a Batch.
//
// The seam for other transports is narrow. On the node, package watch needs a
// Sink: Put, Beat, Newest. At the collector it needs a watch.Witness that emits
// observations with Header.Node set, one node's in order, with an event.Tick of
// that node whenever everything before the tick's time has been given; and the
// store's word on what it keeps (link.Collector.Stored). A NATS JetStream
// stream per node, with the spool before it or in its place, fits the same two
// ends.
package bus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Bounds of a batch, in bytes.
const (
	// MaxObservation bounds one observation in wire form.
	MaxObservation = 4 << 20
	// MaxRaw bounds the observations of a batch in wire form.
	MaxRaw = MaxObservation + 1<<20
	// MaxBatch bounds a batch as Append writes it.
	MaxBatch = MaxRaw + 64<<10
	// MaxCount bounds the observations in a batch.
	MaxCount = 1 << 16

	headSize = 8 + 8 + 4 + 4
)

// Batch is some observations of one spool, in order and compressed. First and
// Last are the numbers of the first and the last observation that it stands
// for. A batch that says what was lost holds fewer than it stands for.
type Batch struct {
	First, Last uint64
	Count       uint32
	Raw         uint32 // bytes of the observations in wire form
	body        []byte // one zstd frame: one observation to a line
}

// Whole reports whether the batch holds every observation that it stands for.
func (b Batch) Whole() bool { return uint64(b.Count) == b.Last-b.First+1 }

// Size is the length of what Append adds.
func (b Batch) Size() int { return headSize + len(b.body) }

// Append adds the batch in binary form to to.
func (b Batch) Append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, b.First)
	to = binary.BigEndian.AppendUint64(to, b.Last)
	to = binary.BigEndian.AppendUint32(to, b.Count)
	to = binary.BigEndian.AppendUint32(to, b.Raw)
	return append(to, b.body...)
}

// Parse reads the binary form, which it keeps. It does not look at the
// observations.
func Parse(p []byte) (Batch, error) {
	b, err := ParseHead(p)
	if err != nil {
		return Batch{}, err
	}
	b.body = p[headSize:]
	return b, nil
}

// ParseHead reads the binary form's beginning, HeadSize bytes: everything but
// the observations.
func ParseHead(p []byte) (Batch, error) {
	if len(p) < headSize || len(p) > MaxBatch {
		return Batch{}, fmt.Errorf("parse batch: %d bytes", len(p))
	}
	b := Batch{
		First: binary.BigEndian.Uint64(p), Last: binary.BigEndian.Uint64(p[8:]),
		Count: binary.BigEndian.Uint32(p[16:]), Raw: binary.BigEndian.Uint32(p[20:]),
	}
	if b.First == 0 || b.Last < b.First || b.Count == 0 || b.Count > MaxCount || b.Raw > MaxRaw {
		return Batch{}, fmt.Errorf("parse batch: numbers %d to %d, %d observations, %d bytes", b.First, b.Last, b.Count, b.Raw)
	}
	return b, nil
}

// HeadSize is how many bytes ParseHead needs.
const HeadSize = headSize

// Packer makes batches. It is for one goroutine.
type Packer struct{ zstd *zstd.Encoder }

// NewPacker returns a packer.
func NewPacker() (*Packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))
	return &Packer{enc}, err
}

// Pack makes a batch of lines: each an observation in wire form and a newline.
func (p *Packer) Pack(first, last uint64, count int, lines []byte) Batch {
	return Batch{
		First: first, Last: last, Count: uint32(count), Raw: uint32(len(lines)),
		body: p.zstd.EncodeAll(lines, make([]byte, 0, len(lines)/4+64)),
	}
}

// Unpacker reads batches. It is for one goroutine.
type Unpacker struct {
	zstd  *zstd.Decoder
	lines []byte
}

// NewUnpacker returns an unpacker.
func NewUnpacker() (*Unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxRaw))
	return &Unpacker{zstd: dec}, err
}

// Close frees what the unpacker holds.
func (u *Unpacker) Close() { u.zstd.Close() }

// All returns the observations of b in order. It ends after the first error.
// An observation of a kind that this version does not know is an error too: a
// newer node is refused when it says hello, not here.
func (u *Unpacker) All(b Batch) iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		var err error
		u.lines, err = u.zstd.DecodeAll(b.body, u.lines[:0])
		if err == nil && len(u.lines) != int(b.Raw) {
			err = fmt.Errorf("%d bytes, its head says %d", len(u.lines), b.Raw)
		}
		if err == nil && bytes.Count(u.lines, []byte{'\n'}) != int(b.Count) {
			err = fmt.Errorf("its head says %d observations, it holds others", b.Count)
		}
		if err != nil {
			yield(nil, fmt.Errorf("unpack batch %d: %w", b.First, err))
			return
		}
		for line := range bytes.Lines(u.lines) {
			o, err := event.Unmarshal(line)
			if err != nil {
				err = fmt.Errorf("unpack batch %d: %w", b.First, err)
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}
