package queue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/durable"
)

// A segment file holds frames: length of the body and CRC-32C of what follows,
// 4 bytes each, then the position, 8 bytes, all big-endian, and the body. Its
// name is the number of its first entry.
type segment struct {
	first, last uint64
	size        int64
}

const (
	frameHead = 16
	suffix    = ".seg"
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errTorn    = errors.New("no whole frame")
)

func (q *Queue) path(g segment) string {
	return filepath.Join(q.opt.Dir, fmt.Sprintf("%020d%s", g.first, suffix))
}

// bytes is, mu held, the size of all segments.
func (q *Queue) bytes() (n int64) {
	for _, g := range q.segments {
		n += g.size
	}
	return n
}

// entries is, mu held, how many entries wait. Numbers may have gaps.
func (q *Queue) entries() (n uint64) {
	for _, g := range q.segments {
		n += g.last - min(g.last, max(g.first-1, q.acked))
	}
	return n
}

// settle notes, mu held, when nothing waits: then everything was acknowledged,
// numbers that were dropped included.
func (q *Queue) settle() {
	if q.entries() == 0 {
		q.acked, q.ackedPos = q.next-1, q.last
	}
}

func appendFrame(to []byte, e Entry) []byte {
	var head [frameHead]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(e.Body)))
	binary.BigEndian.PutUint64(head[8:], uint64(e.Position))
	sum := crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, e.Body)
	binary.BigEndian.PutUint32(head[4:], sum)
	return append(append(to, head[:]...), e.Body...)
}

// readFrame reads the frame at offset, and where the next one begins; io.EOF at
// the end, errTorn where no whole frame is.
func readFrame(f io.ReaderAt, offset int64) (Entry, int64, error) {
	var head [frameHead]byte
	n, err := f.ReadAt(head[:], offset)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return Entry{}, offset, io.EOF
	case n < frameHead && errors.Is(err, io.EOF):
		return Entry{}, offset, errTorn
	case n < frameHead:
		return Entry{}, offset, err
	}
	length := binary.BigEndian.Uint32(head[:])
	position := binary.BigEndian.Uint64(head[8:])
	if length > entryMax || position > math.MaxInt64 {
		return Entry{}, offset, errTorn
	}
	body := make([]byte, length)
	if n, err := f.ReadAt(body, offset+frameHead); n < len(body) {
		if errors.Is(err, io.EOF) {
			err = errTorn
		}
		return Entry{}, offset, err
	}
	sum := crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, body)
	if sum != binary.BigEndian.Uint32(head[4:]) {
		return Entry{}, offset, errTorn
	}
	return Entry{int64(position), body}, offset + frameHead + int64(length), nil
}

// append writes, mu held, frames behind all others, and syncs.
func (q *Queue) append(frames []byte, count int) error {
	if err := q.current(); err != nil {
		return err
	}
	g := &q.segments[len(q.segments)-1]
	_, err := q.file.WriteAt(frames, g.size)
	if err == nil {
		err = q.file.Sync()
	}
	if err != nil {
		// After a failed sync nobody knows what of it is on disk, and asking
		// again does not help: the file is left, and what may be in it cut off.
		q.leave()
		return fmt.Errorf("write to queue: %w", err)
	}
	g.size += int64(len(frames))
	g.last += uint64(count)
	q.next += uint64(count)
	return nil
}

// current makes sure, mu held, that the last segment can be written to.
func (q *Queue) current() error {
	limit := min(segmentMax, q.opt.Bytes/16)
	if q.file != nil && q.segments[len(q.segments)-1].size < limit {
		return nil
	}
	if q.file != nil {
		_ = q.file.Close() // every frame in it was synced
		q.file = nil
	}
	g := segment{first: q.next, last: q.next - 1}
	f, err := os.OpenFile(q.path(g), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		err = durable.SyncDir(q.opt.Dir)
	}
	if err != nil {
		return fmt.Errorf("write to queue: %w", err)
	}
	q.file, q.segments = f, append(q.segments, g)
	return nil
}

// leave gives up, mu held, the file that is written to.
func (q *Queue) leave() {
	g := q.segments[len(q.segments)-1]
	_ = q.file.Truncate(g.size)
	_ = q.file.Close()
	q.file = nil
	if g.size == 0 {
		_ = os.Remove(q.path(g))
		q.segments = q.segments[:len(q.segments)-1]
	}
}

// read returns, mu held, what Next returns. With errTorn the batch holds what
// could be read before.
func (q *Queue) read(count int, size int64) (Batch, error) {
	b := Batch{through: q.acked, position: q.reader}
	for _, g := range q.segments {
		if g.last <= q.acked || len(b.Entries) >= count || size <= 0 {
			continue
		}
		err := q.readSegment(g, &b, count, &size)
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

func (q *Queue) readSegment(g segment, b *Batch, count int, size *int64) error {
	f, err := os.Open(q.path(g))
	if err != nil {
		return err
	}
	defer f.Close()
	number, offset := g.first, int64(0)
	if b.segment == g.first && b.number <= b.through+1 && b.number >= g.first {
		number, offset = b.number, b.offset
	}
	for number <= g.last && len(b.Entries) < count {
		e, next, err := readFrame(f, offset)
		if errors.Is(err, io.EOF) {
			err = errTorn // it is shorter than it was
		}
		if err != nil {
			return err
		}
		if number > b.through {
			if len(b.Entries) > 0 && *size < int64(len(e.Body)) {
				*size = 0
				return nil
			}
			*size -= int64(len(e.Body))
			b.Entries, b.through = append(b.Entries, e), number
		}
		number, offset = number+1, next
		b.position = position{number, g.first, offset}
	}
	return nil
}

// discard writes down, mu held, how far it came, and removes the segments of
// which everything is acknowledged. It does so each time: a process that is
// killed again and again must come further each time, too.
func (q *Queue) discard() error {
	q.settle()
	n := 0
	for n < len(q.segments) && q.segments[n].last <= q.acked {
		n++
	}
	if n > 0 && n == len(q.segments) && q.segments[n-1].size < min(segmentMax, q.opt.Bytes/16) {
		n-- // it is still being filled
	}
	if err := q.save(); err != nil {
		return err
	}
	return q.remove(n)
}

// remove deletes, mu held, the first n segments.
func (q *Queue) remove(n int) error {
	for ; n > 0; n-- {
		if len(q.segments) == 1 && q.file != nil {
			_ = q.file.Close()
			q.file = nil
		}
		if err := os.Remove(q.path(q.segments[0])); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		q.segments = q.segments[1:]
	}
	return nil
}

// cutAfter drops, mu held, everything behind what b holds. Numbers are not used
// again: an acknowledgement of one that was dropped must not stand for another.
func (q *Queue) cutAfter(b Batch) error {
	if q.file != nil {
		_ = q.file.Close()
		q.file = nil
	}
	q.last = b.lastPosition(q.ackedPos)
	for n := len(q.segments); n > 0; n-- {
		g := &q.segments[n-1]
		if g.last <= b.through {
			break
		}
		if g.first <= b.through && b.segment == g.first {
			g.last, g.size = b.through, b.offset
			if err := os.Truncate(q.path(*g), g.size); err != nil {
				return err
			}
			break
		}
		if err := os.Remove(q.path(*g)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		q.segments = q.segments[:n-1]
	}
	q.settle()
	return q.save()
}

// loadSegments lists the segments and finds out what is in them.
func (q *Queue) loadSegments() error {
	entries, err := os.ReadDir(q.opt.Dir)
	if err != nil {
		return err
	}
	var list []segment
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), suffix)
		var g segment
		if n, err := fmt.Sscanf(base, "%020d", &g.first); ok && err == nil && n == 1 && g.first > 0 {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	q.next, q.last = q.acked+1, q.saved.Position
	for i, g := range list {
		if g.first < q.next && i > 0 && g.first <= list[i-1].last {
			return fmt.Errorf("%s overlaps the segment before it", filepath.Base(q.path(g)))
		}
		whole, err := q.measure(&list[i])
		if err != nil {
			return err
		}
		if list[i].last >= list[i].first {
			q.segments = append(q.segments, list[i])
			q.next = max(q.next, list[i].last+1)
		}
		if !whole && i < len(list)-1 {
			q.stats.Damaged++
			q.opt.Logger.Error("a part of the export queue cannot be read; it is filled again from the store",
				slog.String("segment", q.path(g)))
			return q.drop(list[i+1:])
		}
	}
	return nil
}

// drop removes segments behind one that is damaged.
func (q *Queue) drop(list []segment) error {
	for _, g := range list {
		if err := os.Remove(q.path(g)); err != nil {
			return err
		}
		q.next = max(q.next, g.first) // numbers are not used again
	}
	return nil
}

// measure reads a segment, fills in its size and last number, moves Last on,
// and cuts off what is not whole; it reports whether all was.
func (q *Queue) measure(g *segment) (whole bool, err error) {
	f, err := os.OpenFile(q.path(*g), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	g.last = g.first - 1
	for {
		e, next, err := readFrame(f, g.size)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return false, err
		}
		g.size, g.last = next, g.last+1
		if g.last > q.acked {
			q.last = e.Position
		}
	}
	q.stats.Torn += info.Size() - g.size
	q.opt.Logger.Warn("the end of a segment of the export queue was half written and is cut off",
		slog.String("segment", q.path(*g)), slog.Int64("bytes", info.Size()-g.size))
	return false, errors.Join(f.Truncate(g.size), f.Sync())
}
