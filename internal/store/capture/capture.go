// Package capture keeps observations in files for `sallyport capture` and
// `sallyport replay`.
//
// A capture is text: first a line with a Header, then one observation to a line
// in its wire form (event.Marshal). Any JSON tool can read it. A name that
// ends in .zst makes it one zstd stream. Files are private (0600): argument
// lists may hold secrets.
package capture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Version is the version of the file format. History:
//
//	1  2026-11  first
const Version = 1

// MaxLine bounds one line, in bytes without its newline, when writing and when
// reading.
const MaxLine = 16 << 20

// Header is the first line of a capture.
type Header struct {
	// Version and Wire are set by Create: the versions of the file format and of
	// the observations in it.
	Version int `json:"sallyport_capture"`
	Wire    int `json:"wire"`
	// Started is when the capture began.
	Started time.Time `json:"started,omitzero"`
	// Host facts, for a person; replay takes what it needs from event.Host.
	Hostname  string       `json:"hostname,omitempty"`
	BootID    event.BootID `json:"boot_id,omitempty"`
	Kernel    string       `json:"kernel,omitempty"`
	Sallyport string       `json:"sallyport,omitempty"` // version of the program
}

// Writer writes a capture. It is for one goroutine. After an error it writes
// nothing more and returns the same error again.
type Writer struct {
	name string
	file *os.File
	buf  *bufio.Writer
	zstd *zstd.Encoder // nil without compression
	err  error
}

// Create makes a new file and writes its header; a file of that name that
// exists is left alone and is an error (os.ErrExist).
func Create(name string, h Header) (*Writer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create capture: %w", err)
	}
	w := &Writer{name: name, file: f}
	var to io.Writer = f
	if strings.HasSuffix(name, ".zst") {
		w.zstd, err = zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("create capture: %w", err), f.Close())
		}
		to = w.zstd
	}
	w.buf = bufio.NewWriterSize(to, 64<<10)
	h.Version, h.Wire = Version, event.WireVersion
	line, err := json.Marshal(h)
	if err == nil {
		err = w.line(line)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// Write adds an observation. One whose line would be longer than MaxLine is an
// error and is left out; the capture can go on.
func (w *Writer) Write(o event.Observation) error {
	line, err := event.Marshal(o)
	if err != nil {
		return fmt.Errorf("write capture %s: %w", w.name, err)
	}
	if len(line) > MaxLine {
		return fmt.Errorf("write capture %s: %s: %d bytes are more than a line may have", w.name, event.Name(o), len(line))
	}
	return w.line(line)
}

func (w *Writer) line(b []byte) error {
	if w.err != nil {
		return w.err
	}
	_, err := w.buf.Write(append(b, '\n'))
	return w.keep(err)
}

func (w *Writer) keep(err error) error {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("write capture %s: %w", w.name, err)
	}
	return w.err
}

// Flush hands everything written so far to the operating system, so that a
// reader can have it and a kill does not take it back.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	err := w.buf.Flush()
	if err == nil && w.zstd != nil {
		err = w.zstd.Flush()
	}
	return w.keep(err)
}

// Close ends the capture and syncs it to disk.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.zstd != nil {
		err = errors.Join(err, w.keep(w.zstd.Close()))
	}
	if err == nil {
		err = w.keep(w.file.Sync())
	}
	return errors.Join(err, w.file.Close())
}
