package recording

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/minio/minlz"

	"github.com/sallyport/sallyport/internal/core/session"
)

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
