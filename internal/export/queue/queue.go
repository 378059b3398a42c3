// Package queue keeps on disk what waits to be sent: entries in order, in
// append-only segment files.
//
// Contract: what Put took without error is on disk and stays there until
// Acknowledge, also across kill -9 and loss of power. The queue is bounded:
// Put fails with ErrFull rather than drop anything. Each entry carries its
// position in the stream it comes from, and the queue remembers the last one
// that it took, so that whoever fills it goes on there. A part that cannot be
// read any more takes what lies behind it along: Last goes back to before it,
// and the stream gives it again.
//
// One goroutine fills, another empties. One process at a time has it open.
package queue

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/lib/filelock"
)

// Errors to act on.
var (
	// ErrFull says that there is no room until something is acknowledged.
	ErrFull = errors.New("queue is full")
	// ErrLocked says that another process has the queue open.
	ErrLocked = errors.New("another process uses it")
	// ErrMoved says that the entries do not follow upon Last.
	ErrMoved = errors.New("queue went back to an earlier position")
	// ErrClosed says that the queue was closed.
	ErrClosed = errors.New("queue is closed")
	// ErrSize says that an entry is larger than the queue takes.
	ErrSize = errors.New("entry is too large")
)

// Bounds, in bytes.
const (
	bytesDefault = 256 << 20
	bytesMin     = 1 << 20
	segmentMax   = 4 << 20
	entryMax     = 16 << 20
)

// cursorEvery is how often what was skipped is written down while nothing else
// asks for it: after a kill that much may be looked at again.
const cursorEvery = time.Second

// Options configures a Queue. The zero value of a field means its default.
type Options struct {
	Dir string // required; made when it is missing
	// Bytes bounds the segments on disk. Default 256 MiB, at least 1 MiB.
	Bytes int64
	// Start is the position after which a new queue begins.
	Start  int64
	Logger *slog.Logger
}

// Entry is something to send.
type Entry struct {
	Position int64 // in the stream it comes from
	Body     []byte
}

// Batch is what Next returned, for Acknowledge.
type Batch struct {
	Entries []Entry
	through uint64
	position
}

// position is where in the files a number lies.
type position struct {
	number  uint64 // of the entry at offset
	segment uint64 // first number of the segment
	offset  int64
}

// Stats says how the queue is.
type Stats struct {
	Bytes, Limit int64
	Entries      uint64
	// Torn is the number of bytes cut off when it was opened, Damaged how often
	// a part could not be read.
	Torn    int64
	Damaged uint64
}

// Queue is a queue on disk. See the package comment.
type Queue struct {
	opt  Options
	lock *os.File

	mu       sync.Mutex
	segments []segment     // guarded by mu; oldest first
	file     *os.File      // guarded by mu; of the last segment, nil when a new one is due
	next     uint64        // guarded by mu; number of the next entry, from 1
	acked    uint64        // guarded by mu
	ackedPos int64         // guarded by mu; position of entry acked
	last     int64         // guarded by mu
	reader   position      // guarded by mu; a shortcut
	saved    cursor        // guarded by mu
	savedAt  time.Time     // guarded by mu
	fresh    chan struct{} // capacity 1: entries were added
	room     chan struct{} // capacity 1: room was made
	closed   bool          // guarded by mu
	stats    Stats         // guarded by mu
}

// Open opens the queue in a directory, or makes one.
func Open(opt Options) (*Queue, error) {
	opt.Bytes = max(cmp.Or(opt.Bytes, bytesDefault), bytesMin)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queue{opt: opt, fresh: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	if err := q.open(); err != nil {
		if q.lock != nil {
			_ = q.lock.Close()
		}
		return nil, fmt.Errorf("open queue %s: %w", opt.Dir, err)
	}
	return q, nil
}

func (q *Queue) open() (err error) {
	if err := os.MkdirAll(q.opt.Dir, 0o700); err != nil {
		return err
	}
	if q.lock, err = os.OpenFile(filepath.Join(q.opt.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if ok, err := filelock.Try(q.lock); err != nil || !ok {
		return cmp.Or(err, ErrLocked)
	}
	if err := q.loadCursor(); err != nil {
		return err
	}
	if err := q.loadSegments(); err != nil {
		return err
	}
	q.settle()
	return q.save()
}

// Last is the position of the latest entry taken, or skipped.
func (q *Queue) Last() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.last
}

// MaxEntry is the size of the largest entry that Put takes.
func (q *Queue) MaxEntry() int64 { return min(entryMax, q.opt.Bytes/4) }

// Put adds entries that follow upon position after: all of them or, on an
// error, none.
func (q *Queue) Put(after int64, entries ...Entry) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return ErrClosed
	case after != q.last:
		return ErrMoved
	case len(entries) == 0:
		return nil
	}
	var frames []byte
	for _, e := range entries {
		if int64(len(e.Body)) > q.MaxEntry() {
			return ErrSize
		}
		frames = appendFrame(frames, e)
	}
	if q.bytes()+int64(len(frames)) > q.opt.Bytes {
		return ErrFull
	}
	if err := q.append(frames, len(entries)); err != nil {
		return err
	}
	q.last = entries[len(entries)-1].Position
	signal(q.fresh)
	return nil
}

// Skip notes that nothing up to position, after position after, is to be sent.
func (q *Queue) Skip(after, position int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if after != q.last {
		return ErrMoved
	}
	q.last = position
	if time.Since(q.savedAt) > cursorEvery {
		return q.save()
	}
	return nil
}

// Room is signalled when something was acknowledged.
func (q *Queue) Room() <-chan struct{} { return q.room }

// Fresh is signalled when something was added.
func (q *Queue) Fresh() <-chan struct{} { return q.fresh }

// Next returns the oldest entries that are not acknowledged: at most count, and
// of at most size bytes unless one alone is larger. It returns none when there
// are none.
func (q *Queue) Next(count int, size int64) (Batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return Batch{}, ErrClosed
	}
	b, err := q.read(count, size)
	if errors.Is(err, errTorn) {
		q.stats.Damaged++
		q.opt.Logger.Error("a part of the export queue cannot be read; it is filled again from the store",
			slog.String("dir", q.opt.Dir), slog.Uint64("entry", b.through+1))
		err = q.cutAfter(b)
	}
	return b, err
}

func (b Batch) lastPosition(otherwise int64) int64 {
	if n := len(b.Entries); n > 0 {
		return b.Entries[n-1].Position
	}
	return otherwise
}

// Acknowledge says that a batch, which is what Next returned last, has arrived
// or was put elsewhere for good.
func (q *Queue) Acknowledge(b Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b.Entries) == 0 {
		return nil
	}
	q.acked, q.ackedPos, q.reader = b.through, b.lastPosition(q.ackedPos), b.position
	err := q.discard()
	signal(q.room)
	return err
}

// Empty reports whether everything is acknowledged.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries() == 0
}

// Stats returns the present figures.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Bytes, s.Limit, s.Entries = q.bytes(), q.opt.Bytes, q.entries()
	return s
}

// Close writes down how far it came and gives the directory back.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	err := q.save()
	if q.file != nil {
		err = errors.Join(err, q.file.Close())
	}
	return errors.Join(err, q.lock.Close())
}

// signal notes that something happened, for whoever waits on c.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
