package capture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/event"
)

// DamagedError says where a capture stops being one. Everything before it has
// been delivered.
type DamagedError struct {
	File string
	Line int64 // counted from 1
	// Offset is where the line begins, in bytes from the start of the text (of
	// the unpacked text when the file is compressed).
	Offset int64
	What   string
}

// Error implements error.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("capture %s: line %d (byte %d): %s", e.File, e.Line, e.Offset, e.What)
}

// Hint says what to do about it.
func (e *DamagedError) Hint() string {
	return "everything before it was read; a capture that was cut off ends like this"
}

// VersionError says that a newer program wrote the capture.
type VersionError struct {
	File string
	Header
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("capture %s: version %d with observations of version %d, this sallyport reads up to %d and %d",
		e.File, e.Version, e.Wire, Version, event.WireVersion)
}

// Hint says what to do about it.
func (e *VersionError) Hint() string { return "use the newer sallyport that wrote it" }

// Reader reads a capture. It is for one goroutine.
type Reader struct {
	name   string
	header Header
	text   *bufio.Reader
	close  []func() error

	line    int64 // of the line read last
	offset  int64 // of its beginning
	next    int64 // of the line after it
	scratch []byte
}

// zstdMagic begins every zstd frame (RFC 8878 §3.1.1).
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Open opens a capture and reads its header. Whether it is compressed is told
// from its content.
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	r, err := NewReader(name, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.close = append(r.close, f.Close)
	return r, nil
}

// NewReader reads a capture from in; name is for errors.
func NewReader(name string, in io.Reader) (*Reader, error) {
	r := &Reader{name: name, text: bufio.NewReaderSize(in, 64<<10)}
	if magic, _ := r.text.Peek(len(zstdMagic)); bytes.Equal(magic, zstdMagic) {
		dec, err := zstd.NewReader(r.text, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, fmt.Errorf("open capture %s: %w", name, err)
		}
		r.close = append(r.close, func() error { dec.Close(); return nil })
		r.text = bufio.NewReaderSize(dec, 64<<10)
	}
	if err := r.readHeader(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) readHeader() error {
	line, err := r.readLine()
	if errors.Is(err, io.EOF) {
		return r.damaged("the file is empty")
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &r.header); err != nil || r.header.Version < 1 {
		return r.damaged("this is no header of a capture")
	}
	if r.header.Version > Version || r.header.Wire > event.WireVersion {
		return &VersionError{r.name, r.header}
	}
	return nil
}

// Header returns the first line.
func (r *Reader) Header() Header { return r.header }

// All returns the observations in the order in which they were written. It ends
// after the first error, a *DamagedError where the file is not what a Writer
// writes.
func (r *Reader) All() iter.Seq2[event.Observation, error] {
	return func(yield func(event.Observation, error) bool) {
		for {
			line, err := r.readLine()
			if errors.Is(err, io.EOF) {
				return
			}
			var o event.Observation
			if err == nil {
				if o, err = event.Unmarshal(line); err != nil {
					err = r.damaged(err.Error())
				}
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// readLine returns the next line without its newline, valid until the next
// call; io.EOF after the last one.
func (r *Reader) readLine() ([]byte, error) {
	r.line, r.offset = r.line+1, r.next
	r.scratch = r.scratch[:0]
	for {
		part, err := r.text.ReadSlice('\n')
		r.next += int64(len(part))
		r.scratch = append(r.scratch, part...)
		switch {
		case len(r.scratch) > MaxLine+1:
			return nil, r.damaged(fmt.Sprintf("the line is longer than %d bytes", MaxLine))
		case err == nil:
			return r.scratch[:len(r.scratch)-1], nil
		case errors.Is(err, io.EOF) && len(r.scratch) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, r.damaged("the line is cut off")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, r.foreign(err)
		}
	}
}

// foreign tells damage to the compressed stream from trouble in reading it.
func (r *Reader) foreign(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("read capture %s: line %d (byte %d): %w", r.name, r.line, r.offset, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.damaged("the compressed stream is cut off")
	}
	return r.damaged("the compressed stream is damaged: " + err.Error())
}

func (r *Reader) damaged(what string) error {
	return &DamagedError{File: r.name, Line: r.line, Offset: r.offset, What: what}
}

// Close closes the file.
func (r *Reader) Close() error {
	var errs []error
	for _, c := range r.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}
