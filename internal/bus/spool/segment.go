package spool

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/bus"
	"github.com/sallyport/sallyport/internal/lib/durable"
)

// A segment file holds frames, one after the other: length and CRC-32C of what
// follows, both 4 bytes big-endian, then a batch in binary form. Its name is
// the number of its first observation.
type segment struct {
	first, last uint64
	size        int64
	stated      bool // it holds what was lost, not what was observed
}

const (
	frameHead = 8
	suffix    = ".seg"
	lostTail  = ".lost"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Spool) path(g segment) string {
	name := fmt.Sprintf("%020d%s", g.first, suffix)
	if g.stated {
		name = fmt.Sprintf("%020d%s", g.first, lostTail)
	}
	return filepath.Join(s.opt.Dir, name)
}

// parseName is the inverse of path.
func parseName(name string) (g segment, ok bool) {
	base, isSegment := strings.CutSuffix(name, suffix)
	if !isSegment {
		if base, ok = strings.CutSuffix(name, lostTail); !ok {
			return g, false
		}
		g.stated = true
	}
	n, err := fmt.Sscanf(base, "%020d", &g.first)
	return g, err == nil && n == 1 && g.first > 0
}

// frame returns a batch as it lies on disk.
func frame(b bus.Batch) []byte {
	out := make([]byte, frameHead, frameHead+b.Size())
	out = b.Append(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-frameHead))
	binary.BigEndian.PutUint32(out[4:], crc32.Checksum(out[frameHead:], castagnoli))
	return out
}

// errTorn says that there is no whole frame at a place.
var errTorn = errors.New("no whole frame")

// readFrame reads the frame at offset and returns where the next one begins;
// io.EOF at the end of the file.
func readFrame(f io.ReaderAt, offset int64) (bus.Batch, int64, error) {
	var head [frameHead]byte
	n, err := f.ReadAt(head[:], offset)
	if n == 0 && errors.Is(err, io.EOF) {
		return bus.Batch{}, offset, io.EOF
	}
	if n < frameHead {
		return bus.Batch{}, offset, errTorn
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > bus.MaxBatch {
		return bus.Batch{}, offset, errTorn
	}
	body := make([]byte, length)
	if n, _ = f.ReadAt(body, offset+frameHead); n < len(body) {
		return bus.Batch{}, offset, errTorn
	}
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return bus.Batch{}, offset, errTorn
	}
	b, err := bus.Parse(body)
	if err != nil {
		return bus.Batch{}, offset, errTorn
	}
	return b, offset + frameHead + int64(length), nil
}

// readAll gives the batches of a segment file to each, up to the end or the
// first frame that is not whole; it returns the length of what is.
func readAll(name string, each func(bus.Batch)) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var offset int64
	for {
		b, next, err := readFrame(f, offset)
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, err
		}
		each(b)
		offset = next
	}
}

// cursor is what the spool remembers beside its segments.
type cursor struct {
	Version int    `json:"sallyport_spool"`
	ID      string `json:"id"`
	// Acked is the latest number that the collector has. It may lag behind.
	Acked  uint64    `json:"acknowledged"`
	Newest time.Time `json:"newest,omitzero"`
}

const (
	cursorVersion = 1
	cursorName    = "spool.json"
	lockName      = "lock"
)

// save replaces the cursor file.
func (c cursor) save(dir string) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, cursorName), append(text, '\n'))
}
