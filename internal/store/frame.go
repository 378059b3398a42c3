package store

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// What is stored is packed in one of two kinds of frame, both with a checksum.
// Long contents are a zstd frame. For a ledger record of usual size zstd takes
// longer than all that is stored of it otherwise, so up to shortMax bytes are a
// short frame: shortFrame, the CRC-32C of what follows, and an S2 block that
// refers to a dictionary. A short frame is half as long as zstd's, too, because
// it holds no names of fields.
const (
	shortFrame = 1 // no zstd frame begins with it
	shortHead  = 5
	shortMax   = 8 << 10
)

// dictionary1 is what short frames refer to. It must never change: another
// dictionary needs another number than shortFrame.
//
//go:embed dictionary1.txt
var dictionary1 []byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packer turns what is stored into frames.
type packer struct {
	zstd *zstd.Encoder
	dict *s2.Dict
	// Room for what is being written: observations, a session, the record
	// around it, its frame and its hashes.
	line, session, record, frame, hashes []byte
}

func newPacker() (packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10), zstd.WithEncoderCRC(true))
	return packer{zstd: enc, dict: newDictionary()}, err
}

func newDictionary() *s2.Dict { return s2.MakeDict(dictionary1, []byte(`{"revision":{"number":1,`)) }

// pack returns content as a frame of its own.
func (p *packer) pack(content []byte) []byte { return p.appendFrame(nil, content) }

// appendFrame appends content as a frame.
func (p *packer) appendFrame(b, content []byte) []byte {
	if len(content) > shortMax {
		return p.zstd.EncodeAll(content, b)
	}
	return p.appendShort(b, content)
}

func (p *packer) appendShort(b, content []byte) []byte {
	head := len(b)
	need := shortHead + s2.MaxEncodedLen(len(content))
	b = append(b, make([]byte, need)...)
	block := p.dict.Encode(b[head+shortHead:], content)
	b[head] = shortFrame
	binary.LittleEndian.PutUint32(b[head+1:], crc32.Checksum(block, castagnoli))
	return b[:head+shortHead+len(block)]
}

// unpacker undoes packer. It is safe for concurrent use.
type unpacker struct {
	*zstd.Decoder
	dict *s2.Dict
}

func newUnpacker() (*unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(unpackMax))
	return &unpacker{Decoder: dec, dict: newDictionary()}, err
}

var errShortFrame = errors.New("short frame: damaged")

// DecodeAll appends the content of a frame to b. It unfolds no more than
// unpackMax bytes.
func (u *unpacker) DecodeAll(frame, b []byte) ([]byte, error) {
	if len(frame) == 0 || frame[0] != shortFrame {
		return u.Decoder.DecodeAll(frame, b)
	}
	if len(frame) < shortHead || binary.LittleEndian.Uint32(frame[1:]) != crc32.Checksum(frame[shortHead:], castagnoli) {
		return b, errShortFrame
	}
	block := frame[shortHead:]
	n, err := s2.DecodedLen(block)
	if err == nil && n > shortMax {
		err = fmt.Errorf("%d bytes are more than it may hold", n)
	}
	if err != nil {
		return b, fmt.Errorf("%w: %w", errShortFrame, err)
	}
	content, err := u.dict.Decode(nil, block)
	if err != nil {
		return b, fmt.Errorf("%w: %w", errShortFrame, err)
	}
	return append(b, content...), nil
}
