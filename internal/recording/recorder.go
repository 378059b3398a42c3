package recording

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/minio/minlz"

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

// grow makes, mu held, the room large when n more bytes do not fit into a small
// one.
func (r *Recorder) grow(n int) {
	if len(r.room.frames)+n <= cap(r.room.frames) || cap(r.room.frames) >= blockMax {
		return
	}
	large := r.set.large.Get().(*room)
	large.frames = append(large.frames[:0], r.room.frames...)
	r.set.small.Put(r.room)
	r.room = large
}

// enqueue has, mu held, the set flush this recorder after Options.Delay.
func (r *Recorder) enqueue() {
	if !r.queued && !r.ended {
		r.queued = true
		r.set.enqueue(r)
	}
}

// release gives, mu held, the room back.
func (r *Recorder) release() {
	if r.room == nil {
		return
	}
	if cap(r.room.frames) < blockMax {
		r.set.small.Put(r.room)
	} else {
		r.set.large.Put(r.room)
	}
	r.room, r.held, r.marked = nil, [streams]uint64{}, [streams]uint64{}
}

// flush writes, mu held, what waits as a block. When that fails, it is lost.
func (r *Recorder) flush(flags byte) {
	if r.room == nil {
		return
	}
	d := r.set.desks.Get().(*desk)
	defer r.set.desks.Put(d)
	b := r.seal(d, flags)
	if _, err := r.file.WriteAt(b, r.size); err != nil {
		r.fail(err)
		return
	}
	if r.failed != nil && r.lenient {
		r.set.opt.Logger.Info("recording goes on", "recording", r.id, "lost_bytes", r.lostTotal)
		r.failed = nil
	}
	for s := range r.lost {
		r.lost[s] -= r.marked[s]
	}
	r.size += int64(len(b))
	r.chain.add(d.digest, b)
	r.release()
	r.set.written(r)
}

// seal returns, mu held, what waits as a block. A number is used once, whatever
// becomes of the block.
func (r *Recorder) seal(d *desk, flags byte) []byte {
	r.seq++
	k := block{flags: flags, raw: uint32(len(r.room.frames)), seq: r.seq}
	b := r.pack(d, &k)
	k.size = uint32(len(b) - blockHead)
	if r.aead != nil {
		k.size += uint32(r.aead.Overhead())
		d.seal.prepare(k, &r.chain)
		b = r.aead.Seal(b[:blockHead], d.seal.nonce[:], b[blockHead:], d.seal.with[:])
	}
	k.put(b)
	return b
}

// A session that for a while sends more than a person reads is in a hurry: zstd
// would then take more of a CPU than the rest of the recorder. MinLZ takes a fifth of
// that and packs half as well.
const (
	calm    = 12_000_000 // bytes a second that zstd packs for good
	rushed  = 128 << 10
	rushMax = 512 << 10 // from there it takes a pause of 33 ms to be calm again
)

// hurried reports, mu held, whether a session with n more bytes of frames now is in
// a hurry: whether more than rushed have come beyond calm. A pause in between, which
// the scheduler may have made, does not end a hurry at once.
func (r *Recorder) hurried(now time.Time, n int) bool {
	if since := now.Sub(r.packed); since < time.Second {
		r.rush = max(0, r.rush-int(since*calm/time.Second))
	} else {
		r.rush = 0
	}
	r.packed = now
	r.rush = min(r.rush+n, rushMax)
	return r.rush > rushed
}

// pack returns, mu held, what waits behind room for a block's head, as short as
// is worth it.
func (r *Recorder) pack(d *desk, k *block) []byte {
	m := r.room
	b := d.out[:blockHead]
	if r.hurried(time.Now(), len(m.frames)) {
		k.flags |= flagMinLZ
		b = b[:blockHead+len(minlz.TryEncode(b[blockHead:cap(b)], m.frames, minlz.LevelSuperFast))]
	} else {
		k.flags |= flagZstd
		b = r.set.zstd.EncodeAll(m.frames, b)
	}
	if n := len(b) - blockHead; n == 0 || n >= len(m.frames) {
		k.flags &^= flagPack
		b = append(b[:blockHead], m.frames...)
	}
	return b
}

// lose counts, mu held, bytes that pass without being recorded.
func (r *Recorder) lose(s Stream, n uint64) {
	r.lost[s] += n
	r.lostTotal += n
}

// fail notes, mu held, that what waits could not be written.
func (r *Recorder) fail(err error) {
	for s, n := range r.held {
		r.lose(Stream(s), n)
	}
	r.release()
	_ = r.file.Truncate(r.size) // what was written of it; otherwise the next block overwrites it
	r.broken(err)
}

// broken notes, mu held, that the disk failed.
func (r *Recorder) broken(err error) {
	if r.failed == nil {
		r.set.opt.Logger.Error("recording fails", "recording", r.id, "lenient", r.lenient, "error", err)
	}
	r.failed, r.why = err, err.Error()
	r.retry = time.Now().Add(retryAfter)
	if r.lenient {
		r.enqueue()
	}
}

// flushDue writes what waits, or what is missing as soon as the disk takes it.
func (r *Recorder) flushDue() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued = false
	if r.ended {
		return
	}
	if r.failed != nil && r.lenient && !r.ready(smallMax) {
		r.enqueue() // to look again
		return
	}
	r.flush(0)
}

// sync brings to the disk what was written so far, and returns how far that is.
func (r *Recorder) sync() (session.Recording, bool) {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return session.Recording{}, false
	}
	s := r.statement(session.RecordingRunning)
	r.mu.Unlock()
	if err := r.file.Sync(); err != nil {
		r.mu.Lock()
		r.flush(0)
		r.broken(fmt.Errorf("what was recorded before may not survive a loss of power: %w", err))
		r.mu.Unlock()
		return s, false
	}
	return s, true
}

// close syncs and closes the file and makes the last statement.
func (r *Recorder) close(ctx context.Context, failed error) error {
	r.syncMu.Lock()
	defer r.syncMu.Unlock()
	r.mu.Lock()
	last := r.statement(session.RecordingEnded)
	r.mu.Unlock()
	if failed != nil {
		last.State = session.RecordingTorn
		if info, err := r.file.Stat(); err == nil {
			last.Tail = info.Size() - last.Size
		}
	}
	err := errors.Join(failed, r.file.Sync(), r.file.Close(), r.set.state(ctx, last))
	if err != nil {
		return fmt.Errorf("end recording %s: %w", r.id, err)
	}
	return nil
}

// statement returns, mu held, what there is to say of the file so far.
func (r *Recorder) statement(state session.RecordingState) session.Recording {
	return session.Recording{
		ID: r.id, State: state, Time: time.Now().UTC(), Started: r.started.Round(0).UTC(),
		Session: r.session, Container: r.container, Exec: r.exec,
		Size: r.size, Hash: r.chain.String(), Lost: r.lostTotal,
	}
}
