package recording

import (
	"context"
	"crypto/cipher"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Recorder records one session. It is safe for concurrent use: the streams of
// a session may be copied by a goroutine each.
type Recorder struct {
	set     *Recordings
	id      string
	started time.Time
	lenient bool
	input   bool
	aead    cipher.AEAD // nil: in clear
	// What statements say of the session.
	session   session.ID
	container event.ContainerID
	exec      event.ExecID

	syncMu sync.Mutex // held while the file is synced or closed

	mu        sync.Mutex
	file      *os.File        // guarded by mu for writing
	size      int64           // guarded by mu; whole blocks in the file
	chain     chain           // guarded by mu; over them
	seq       uint64          // guarded by mu; of the last block that was made
	packed    time.Time       // guarded by mu; when that was
	rush      int             // guarded by mu; bytes of frames beyond calm; see hurried
	room      *room           // guarded by mu; nil while nothing waits
	before    uint64          // guarded by mu; time of the last frame in room
	held      [streams]uint64 // guarded by mu; bytes in room
	marked    [streams]uint64 // guarded by mu; of lost, what room says
	lost      [streams]uint64 // guarded by mu; what passed and no block says
	lostTotal uint64          // guarded by mu
	why       string          // guarded by mu; why bytes were lost
	failed    error           // guarded by mu; strict: for good; lenient: until it works again
	retry     time.Time       // guarded by mu; lenient: when to try again
	echo      *echo           // guarded by mu; nil: input is kept or left out as it is
	ended     bool            // guarded by mu

	queued bool      // guarded by mu; in the set's queue
	due    time.Time // guarded by Recordings.mu
	next   *Recorder // guarded by Recordings.mu
}

// How long a lenient recorder waits before it tries a disk again that failed.
const retryAfter = time.Second

// ID returns the recording's id.
func (r *Recorder) ID() string { return r.id }

// Write records bytes of a stream. It blocks while the disk is behind. An error
// means that they are not recorded and nothing will be: the session must end.
// A lenient recorder returns none but ErrClosed.
//
// Standard input is left out unless Header.Input says otherwise.
func (r *Recorder) Write(s Stream, p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return ErrClosed
	case s >= streams:
		return fmt.Errorf("recording: no stream %d", byte(s))
	case s == Stdin && !r.input:
		return r.strictly()
	case s == Stdin && r.echo != nil:
		return r.typed(p)
	}
	if err := r.data(s, p); err != nil {
		return err
	}
	if r.echo == nil {
		return nil
	}
	return r.told(r.echo.heard(p))
}

// Resize records the terminal's new size.
func (r *Recorder) Resize(s Size) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return ErrClosed
	}
	if !r.ready(smallMax) {
		return r.strictly()
	}
	r.room.frames = appendResize(r.room.frames, r.delta(), s)
	return nil
}

// Skip records that n bytes of a stream were not recorded on purpose, for
// example the content of a copy, and why.
func (r *Recorder) Skip(s Stream, n uint64, why string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return ErrClosed
	}
	if !r.ready(smallMax) {
		r.lose(s, n)
		return r.strictly()
	}
	r.room.frames = appendGap(r.room.frames, r.delta(), s, Gap{n, why})
	return nil
}

// Flush hands what waits to the operating system: after that, a kill of this
// process does not take it back. Who wants nobody to see what is not recorded
// calls it before passing bytes on.
func (r *Recorder) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return ErrClosed
	}
	r.flush(0)
	return r.strictly()
}

// End ends the recording. When it returns nil, the file and the last statement
// in the ledger are on the disk. Later calls do nothing.
func (r *Recorder) End(ctx context.Context, e End) error {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return nil
	}
	if r.echo != nil {
		_ = r.told(r.echo.end())
	}
	if r.lenient {
		r.retry = time.Time{}
	}
	if r.ready(smallMax) {
		r.room.frames = appendEnd(r.room.frames, r.delta(), e)
		r.flush(flagEnd)
	}
	err := r.failed
	r.ended = true
	r.release()
	r.mu.Unlock()
	r.set.forget(r)
	return r.close(ctx, err)
}

// smallMax is what a frame without bytes of a stream takes at most; four of them
// (three gaps before it) have room in a small room.
const smallMax = frameHeadMax + 2 + 2*10 + whyMax

// strictly returns, mu held, why the session must end.
func (r *Recorder) strictly() error {
	if r.lenient || r.failed == nil {
		return nil
	}
	return fmt.Errorf("recording %s: %w", r.id, r.failed)
}

// typed records, mu held, what was typed at a terminal.
func (r *Recorder) typed(p []byte) error {
	for len(p) > 0 {
		n, line := r.echo.typed(p)
		if err := r.told(line); err != nil {
			return err
		}
		p = p[n:]
	}
	return r.strictly()
}

// told records, mu held, a line that was typed.
func (r *Recorder) told(l line) error {
	if len(l.text) > 0 {
		return r.data(Stdin, l.text)
	}
	if l.masked == 0 {
		return nil
	}
	if !r.ready(smallMax) {
		r.lose(Stdin, l.masked)
		return r.strictly()
	}
	r.room.frames = appendMasked(r.room.frames, r.delta(), l.masked)
	r.held[Stdin] += l.masked
	return nil
}

// data puts, mu held, bytes of a stream behind what waits, and writes each block
// as soon as it is full.
func (r *Recorder) data(s Stream, p []byte) error {
	for len(p) > 0 {
		if !r.ready(frameHeadMax + 1) {
			r.lose(s, uint64(len(p)))
			return r.strictly()
		}
		n := min(len(p), blockMax-len(r.room.frames)-frameHeadMax)
		r.grow(frameHeadMax + n)
		r.room.frames = appendData(r.room.frames, kind(s), r.delta(), p[:n])
		r.held[s] += uint64(n)
		if p = p[n:]; len(p) > 0 {
			r.flush(0)
		}
	}
	if r.room != nil && blockMax-len(r.room.frames) < nearlyFull {
		r.flush(0)
	}
	return r.strictly()
}

// nearlyFull is how little room in a block is not worth waiting for.
const nearlyFull = 1 << 10

// delta returns, mu held, the microseconds since the last frame of the block, or
// since the beginning of the recording for its first.
func (r *Recorder) delta() uint64 {
	now := uint64(max(0, time.Since(r.started)) / time.Microsecond)
	d := now - min(r.before, now)
	r.before += d
	return d
}

// ready makes, mu held, room for n bytes of frames; false when the disk takes
// nothing.
func (r *Recorder) ready(n int) bool {
	if r.room != nil && len(r.room.frames)+n > blockMax {
		r.flush(0)
	}
	switch {
	case r.room != nil:
		r.grow(n)
		return true
	case r.failed != nil && (!r.lenient || time.Now().Before(r.retry)):
		return false
	}
	r.room = r.set.small.Get().(*room)
	r.room.frames = r.room.frames[:0]
	r.before = 0
	for s, n := range r.lost {
		if n > 0 || r.failed != nil && Stream(s) == Stdout { // also when only a sync failed
			r.room.frames = appendGap(r.room.frames, r.delta(), Stream(s), Gap{n, r.why})
		}
	}
	r.marked = r.lost
	r.grow(n)
	r.enqueue()
	return true
}
