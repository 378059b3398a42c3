package recording

import (
	"bufio"
	"crypto/cipher"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minlz"
)

// TornError says where a recording stops being readable: a write that was cut
// off by a kill or a loss of power, or damage. Everything before is whole.
type TornError struct {
	Offset int64 // bytes of whole blocks, with the header
	What   string
}

// Error implements error.
func (e *TornError) Error() string {
	return fmt.Sprintf("recording: torn at byte %d: %s", e.Offset, e.What)
}

// Reader reads a recording from its beginning. It is for one goroutine.
type Reader struct {
	Header Header

	from   *bufio.Reader
	file   io.Closer   // nil: the caller's
	aead   cipher.AEAD // nil: in clear
	zstd   *zstd.Decoder
	desk   *desk
	clear  []byte // what a seal opens to
	raw    []byte // what that unfolds to
	chain  chain
	offset int64
	seq    uint64
	ended  bool
}

// NewReader reads the header. An encrypted recording needs an identity of one
// of its recipients to be read on (ErrKey); its header is read all the same.
func NewReader(r io.Reader, with ...age.Identity) (*Reader, error) {
	out := &Reader{from: bufio.NewReaderSize(r, 32<<10), desk: newDesk(), raw: make([]byte, 0, blockMax)}
	head, err := readHead(out.from)
	if err == nil {
		out.Header, err = parseHeader(head)
	}
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	out.chain.add(out.desk.digest, head)
	out.offset = int64(len(head))
	out.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(blockMax))
	if err != nil {
		return nil, fmt.Errorf("recording: %w", err)
	}
	if len(out.Header.Key) > 0 {
		out.aead, err = openKey(out.Header.Key, with)
	}
	return out, err
}

// readHead returns a file's beginning as it stands there.
func readHead(r io.Reader) ([]byte, error) {
	b := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, errors.New("not a recording")
	}
	n, err := headSize(b)
	if err != nil {
		return nil, err
	}
	b = append(b, make([]byte, n-len(b))...)
	if _, err := io.ReadFull(r, b[len(magic)+4:]); err != nil {
		return nil, errors.New("its header is cut off")
	}
	return b, nil
}

// Ended reports, once all frames were read, whether the end of the session was
// among them. Without it the recording still runs or its writer was killed.
func (r *Reader) Ended() bool { return r.ended }

// Frames returns what was recorded, in order. The last error is a *TornError
// when the file does not end with a whole block. A file that still grows ends
// where it ends now.
func (r *Reader) Frames() iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for {
			content, err := r.block()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Frame{}, err)
				return
			}
			list := frames{b: content}
			for f, ok := list.next(); ok; f, ok = list.next() {
				r.ended = r.ended || f.End != nil
				if !yield(f, nil) {
					return
				}
			}
			if list.err != nil {
				yield(Frame{}, r.torn(list.err.Error()))
				return
			}
		}
	}
}

func (r *Reader) torn(what string) error { return &TornError{Offset: r.offset, What: what} }

// block returns the frames of the next block, valid until the next call.
func (r *Reader) block() ([]byte, error) {
	k, b, err := readBlock(r.from, r.desk.out)
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, r.torn(err.Error())
	}
	if k.seq <= r.seq || r.ended {
		return nil, r.torn("a block that does not belong here")
	}
	content, err := r.open(k, b)
	if err != nil {
		return nil, r.torn(err.Error())
	}
	r.seq = k.seq
	r.offset += int64(len(b))
	return content, nil
}

// open returns what a block holds.
func (r *Reader) open(k block, b []byte) (content []byte, err error) {
	content = b[blockHead:]
	if r.aead != nil {
		r.desk.seal.prepare(k, &r.chain)
		content, err = r.aead.Open(r.clear[:0], r.desk.seal.nonce[:], content, r.desk.seal.with[:])
		if err != nil {
			return nil, errors.New("a block that was not written so by this recording's writer")
		}
		r.clear = content
	}
	r.chain.add(r.desk.digest, b)
	if content, err = r.unpack(k, content); err != nil {
		return nil, fmt.Errorf("a block that does not unfold: %w", err)
	}
	if len(content) != int(k.raw) {
		return nil, errors.New("a block of another length")
	}
	return content, nil
}

func (r *Reader) unpack(k block, content []byte) ([]byte, error) {
	switch k.flags & flagPack {
	case flagZstd:
		return r.zstd.DecodeAll(content, r.raw[:0])
	case flagMinLZ:
		if ok, n, err := minlz.IsMinLZ(content); err != nil || !ok || n != int(k.raw) {
			return nil, errors.New("its length")
		}
		return minlz.Decode(r.raw[:blockMax], content)
	}
	return content, nil
}

// readBlock reads a block with its head into room. The error is io.EOF when
// nothing follows.
func readBlock(from io.Reader, room []byte) (k block, b []byte, err error) {
	b = room[:blockHead]
	if n, err := io.ReadFull(from, b); err != nil {
		if err == io.EOF {
			return k, nil, err
		}
		if err != io.ErrUnexpectedEOF {
			return k, nil, err
		}
		return k, nil, fmt.Errorf("%d bytes that are no block", n)
	}
	if k, err = parseBlock(b); err != nil {
		return k, nil, err
	}
	b = b[:blockHead+int(k.size)]
	switch _, err := io.ReadFull(from, b[blockHead:]); {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return k, nil, errors.New("its last block is cut off")
	case err != nil:
		return k, nil, err
	}
	if crc32.Checksum(b[crcFrom:], castagnoli) != k.crc {
		return k, nil, errors.New("a block with a wrong checksum")
	}
	return k, b, nil
}

// Info is what can be told of a recording's file without its key.
type Info struct {
	Header
	File  string
	Bytes int64 // of the file
	Whole int64 // bytes of whole blocks, with the header
	// Ended is whether the end of the session is recorded. Without it the
	// recording still runs, or its writer was killed.
	Ended bool
	// Changed is when the file was written last.
	Changed time.Time
}

// Torn is how many bytes follow the whole blocks.
func (i *Info) Torn() int64 { return i.Bytes - i.Whole }

// find returns the file of a recording, under whichever of its names.
func find(dir, id string) (*os.File, error) {
	var first error
	for _, s := range []string{suffix, suffixNew, suffixGone} {
		f, err := os.Open(filepath.Join(dir, id+s))
		if err == nil {
			return f, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Stat tells of the recording id without reading what it holds: only the heads
// of blocks are read.
func Stat(dir, id string) (Info, error) {
	f, err := find(dir, id)
	if err != nil {
		return Info{}, fmt.Errorf("recording %s: %w", id, err)
	}
	defer f.Close()
	i, err := stat(f)
	if err == nil && i.ID != id {
		err = fmt.Errorf("the file is that of recording %s", i.ID)
	}
	if err != nil {
		return i, fmt.Errorf("recording %s: %w", id, err)
	}
	return i, nil
}

func stat(f *os.File) (i Info, err error) {
	at, err := f.Stat()
	if err != nil {
		return i, err
	}
	i.File, i.Bytes, i.Changed = f.Name(), at.Size(), at.ModTime()
	head, err := readHead(f)
	if err != nil {
		return i, err
	}
	if i.Header, err = parseHeader(head); err != nil {
		return i, err
	}
	i.Whole = int64(len(head))
	var b [blockHead]byte
	for !i.Ended {
		if _, err := f.ReadAt(b[:], i.Whole); err != nil {
			return i, ignoreEOF(err)
		}
		k, err := parseBlock(b[:])
		if end := i.Whole + blockHead + int64(k.size); err != nil || end > i.Bytes {
			return i, nil
		}
		i.Whole += blockHead + int64(k.size)
		i.Ended = k.flags&flagEnd != 0
	}
	return i, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// IDs returns the ids of the recordings in a directory, in order. There are
// none where there is no directory.
func IDs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	var out []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && validID(id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// OpenFile opens the recording id for reading. As with NewReader, there is a
// Reader with its header also beside ErrKey.
func OpenFile(dir, id string, with ...age.Identity) (*Reader, error) {
	f, err := find(dir, id)
	if err != nil {
		return nil, fmt.Errorf("recording %s: %w", id, err)
	}
	r, err := NewReader(f, with...)
	if r == nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	r.file = f
	return r, err
}

// Close releases what the Reader holds.
func (r *Reader) Close() error {
	r.zstd.Close()
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
