// Package logfile reads the records of other programs' log files: plain, gzip
// or zstd, one record a line or one JSON value after the other.
//
// Nothing in a file is trusted: records are bounded by RecordMax, also after
// decompression; a longer one is passed over and reported. A file is read once,
// from its beginning, and never held whole.
package logfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"
)

// RecordMax bounds one record, in bytes.
const RecordMax = 8 << 20

// ErrTooLong says that a record is longer than RecordMax.
var ErrTooLong = errors.New("record of more than 8 MiB")

// ErrRefused says that records of a known form are not read: no record of the
// file will be.
var ErrRefused = errors.New("refused")

// Record is one record of a file.
type Record struct {
	// N counts records from 1: the number of the line, where records are lines.
	N int
	// Data is without the line's end; valid until the next record.
	Data []byte
	// Err says why this is no record (ErrTooLong); Data then holds its
	// beginning.
	Err error
}

// File is an open log file.
type File struct {
	name   string
	closer []io.Closer
	r      *bufio.Reader
}

const chunk = 256 << 10

var byteOrderMark = []byte("\xef\xbb\xbf")

// Open opens a log file and looks through its compression, if any.
func Open(name string) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	out := &File{name: name, closer: []io.Closer{f}}
	if err := out.unpack(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return out, nil
}

// NewFile reads from r, which stays the caller's; name is for messages.
func NewFile(name string, r io.Reader) (*File, error) {
	f := &File{name: name}
	if err := f.unpack(r); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return f, nil
}

func (f *File) unpack(r io.Reader) error {
	f.r = bufio.NewReaderSize(r, chunk)
	magic, err := f.r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(f.r)
		if err != nil {
			return err
		}
		f.closer = append(f.closer, z)
		f.r = bufio.NewReaderSize(z, chunk)
	case bytes.Equal(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(f.r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return err
		}
		f.closer = append(f.closer, z.IOReadCloser())
		f.r = bufio.NewReaderSize(z, chunk)
	}
	return nil
}

// Head returns the beginning of the file, for a look at what it is. It must be
// called before Records. What ends a file in the middle is met by Records, after
// the records before it.
func (f *File) Head() ([]byte, error) {
	b, err := f.r.Peek(chunk)
	if errors.Is(err, io.EOF) || len(b) > 0 {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	return b, nil
}

// Close closes the file.
func (f *File) Close() error {
	var err error
	for i := len(f.closer) - 1; i >= 0; i-- {
		err = errors.Join(err, f.closer[i].Close())
	}
	return err
}

// Records returns the records: lines, or, where the first line is the beginning
// of a JSON value that goes on, JSON values (see values). An error ends them;
// what is wrong with a single record is in the record.
func (f *File) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		head, err := f.Head()
		if err != nil {
			yield(Record{}, err)
			return
		}
		if bytes.HasPrefix(head, byteOrderMark) { // of Windows
			_, _ = f.r.Discard(len(byteOrderMark))
		}
		read := f.lines
		if spansLines(head) {
			read = f.values
		}
		if err := read(func(r Record) bool { return yield(r, nil) }); err != nil {
			yield(Record{}, fmt.Errorf("read %s: %w", f.name, err))
		}
	}
}

// spansLines reports whether the first line begins a JSON value and does not
// end it.
func spansLines(head []byte) bool {
	head = bytes.TrimLeft(head, "\xef\xbb\xbf \t\r\n")
	if len(head) == 0 || head[0] != '{' && head[0] != '[' {
		return false
	}
	line, _, whole := bytes.Cut(head, []byte("\n"))
	if line = bytes.TrimSpace(line); line[0] == '[' {
		return true
	}
	return whole && !json.Valid(line) && (len(line) == 1 || line[len(line)-1] == '{' || line[len(line)-1] == ',' || line[len(line)-1] == '[') ||
		wraps(line)
}

// wraps reports whether a line is an object that holds the records in a list.
func wraps(line []byte) bool {
	for _, w := range wrappers {
		if bytes.HasPrefix(line, []byte(`{"`+w+`":`)) {
			return true
		}
	}
	return false
}

func (f *File) lines(yield func(Record) bool) error {
	var buf []byte
	long := false
	for n := 1; ; {
		part, err := f.r.ReadSlice('\n')
		if room := RecordMax + 1 - len(buf); !long {
			buf = append(buf, part[:min(len(part), room)]...)
			long = len(part) > room
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if data := bytes.Trim(buf, "\x00\r\n"); len(bytes.TrimSpace(data)) > 0 {
			r := Record{N: n, Data: data}
			if len(data) > RecordMax || long {
				r.Err = ErrTooLong
			}
			if !yield(r) {
				return nil
			}
		}
		if err != nil {
			return nil
		}
		buf, long = buf[:0], false
		n++
	}
}
