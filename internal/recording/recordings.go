// Package recording keeps what passed through the streams of a session, in one
// file for each.
//
// Contract: what Write took is in the file at the latest Options.Delay later, or
// when Flush returns, where a kill of this process cannot take it back, and on the
// disk about a second after that. Writing goes on in the caller's goroutine: a slow disk
// slows the session down, and memory does not grow. What is not recorded is
// said: a strict recorder fails and the session must end, a lenient one marks
// how many bytes are missing and why.
//
// Each file carries a chain of hashes over its blocks. A Ledger is told the
// chain's value when the recording begins, every Options.StateEvery while it
// grows, and at its end; Check holds a file against the last such statement.
//
// Lock order: Recorder.syncMu, Recorder.mu, Recordings.mu.
package recording

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minlz"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/durable"
)

// Ledger keeps what is stated about recordings so that it cannot be changed
// unnoticed.
type Ledger interface {
	// State keeps statements; on return they are durable.
	State(ctx context.Context, list []session.Recording) error
	// Statements returns the last statement about each recording.
	Statements(ctx context.Context) ([]session.Recording, error)
	// Forget says that retention takes recordings away, and why.
	Forget(ctx context.Context, why string, ids []string) error
}

// Options configures Recordings. The zero value of a field means its default.
type Options struct {
	Dir string // required; made when it is missing
	// Recipients are who may read what is recorded; none: it is in clear.
	Recipients []age.Recipient
	// Ledger is told of recordings; nil: nothing proves them.
	Ledger Ledger
	// Delay is how long bytes wait for others before they are written.
	// Default 250 ms.
	Delay time.Duration
	// SyncEvery is how often what was written is brought to the disk. Default 1 s.
	SyncEvery time.Duration
	// StateEvery is how often the ledger is told of a recording that grows.
	// Default 5 min.
	StateEvery time.Duration
	Logger     *slog.Logger
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&o.Delay, 250*time.Millisecond)
	set(&o.SyncEvery, time.Second)
	set(&o.StateEvery, 5*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Recordings is a directory of recordings and the writer of it: one per
// directory. It is safe for concurrent use.
type Recordings struct {
	opt  Options
	zstd *zstd.Encoder

	stop  chan struct{}
	wake  chan struct{} // capacity 1: waiting was empty
	ended sync.WaitGroup

	mu       sync.Mutex
	open     map[*Recorder]struct{} // guarded by mu
	unsynced map[*Recorder]struct{} // guarded by mu
	first    *Recorder              // guarded by mu; waits for its flush longest
	last     *Recorder              // guarded by mu
	closed   bool                   // guarded by mu

	small, large, desks sync.Pool // of *room, *room, *desk
}

// room is what a recorder needs while bytes wait. Idle recorders have none, and
// those that say little a small one.
type room struct {
	frames []byte // capacity smallRoom or blockMax
}

const smallRoom = 4 << 10

// desk is what a block is made on, or read.
type desk struct {
	out    []byte // room for a block as it is written
	digest hash.Hash
	seal   sealing
}

func newDesk() *desk {
	return &desk{out: make([]byte, 0, blockHead+minlz.MaxEncodedLen(blockMax)+sealRoom), digest: sha256.New()}
}

// Open opens a directory of recordings for writing, and seals those whose
// writer was killed. The directory becomes 0700, the files are 0600.
func Open(ctx context.Context, o Options) (*Recordings, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(blockMax), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	r := &Recordings{
		opt: o, zstd: enc, stop: make(chan struct{}), wake: make(chan struct{}, 1),
		open: map[*Recorder]struct{}{}, unsynced: map[*Recorder]struct{}{},
	}
	r.small.New = func() any { return &room{frames: make([]byte, 0, smallRoom)} }
	r.large.New = func() any { return &room{frames: make([]byte, 0, blockMax)} }
	r.desks.New = func() any { return newDesk() }
	if err := r.recover(ctx); err != nil {
		return nil, fmt.Errorf("recordings: %w", err)
	}
	r.ended.Add(2)
	go r.flushing()
	go r.syncing()
	return r, nil
}

// Close ends what still runs (recorders that were not ended are ended without
// an exit status) and releases everything.
func (r *Recordings) Close() error {
	r.mu.Lock()
	was := r.closed
	r.closed = true
	var left []*Recorder
	for rec := range r.open {
		left = append(left, rec)
	}
	r.mu.Unlock()
	if was {
		return nil
	}
	var err error
	for _, rec := range left {
		err = errors.Join(err, rec.End(context.Background(), End{Why: "recording was stopped"}))
	}
	close(r.stop)
	r.ended.Wait()
	return errors.Join(err, r.zstd.Close())
}

// ErrClosed says that a recording has ended.
var ErrClosed = errors.New("recording: it has ended")

// The names of files: ID and one of these.
const (
	suffix     = ".rec"
	suffixNew  = ".new"  // the ledger may not know it yet
	suffixGone = ".gone" // the ledger may have forgotten it already
)

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const idSize = 16

func newID() string {
	var b [idSize * 5 / 8]byte
	_, _ = rand.Read(b[:]) // never fails
	return idText.EncodeToString(b[:])
}

func validID(id string) bool {
	return len(id) == idSize && strings.Trim(id, "0123456789abcdefghjkmnpqrstvwxyz") == ""
}

// Begin begins a recording. When it returns, the file and a statement in the
// ledger are on the disk, so that nothing that passes later can be denied. It
// sets ID, Started and Key of the header.
func (r *Recordings) Begin(ctx context.Context, h Header) (_ *Recorder, err error) {
	rec, err := r.create(h)
	if err != nil {
		return nil, fmt.Errorf("begin recording: %w", err)
	}
	if err := r.state(ctx, rec.statement(session.RecordingBegun)); err != nil {
		_ = rec.file.Close()
		_ = os.Remove(r.path(rec.id, suffixNew))
		return nil, fmt.Errorf("begin recording: %w", err)
	}
	// From here on the ledger knows it, so the file stays, whatever comes.
	err = os.Rename(r.path(rec.id, suffixNew), r.path(rec.id, suffix))
	if err == nil {
		err = durable.SyncDir(r.opt.Dir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.closed {
		err = ErrClosed
	}
	if err != nil {
		_ = rec.file.Close()
		return nil, fmt.Errorf("begin recording: %w", err)
	}
	r.open[rec] = struct{}{}
	return rec, nil
}

// readyRoom is how much room there must be for a recording to begin: for its
// header, its first blocks and the ledger's.
const readyRoom = 256 << 10

// Ready says why no recording could begin now, as far as can be told without: it
// takes room on the disk and gives it back.
func (r *Recordings) Ready() error {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return ErrClosed
	}
	f, err := os.CreateTemp(r.opt.Dir, "room-")
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	_ = os.Remove(f.Name()) // a kill leaves nothing; where open files stay, see below
	_, err = f.Write(make([]byte, readyRoom))
	err = errors.Join(err, f.Close())
	_ = os.Remove(f.Name())
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	return nil
}

// create writes the beginning of a file, synced, under its first name.
func (r *Recordings) create(h Header) (rec *Recorder, err error) {
	rec = &Recorder{set: r, started: time.Now(), lenient: h.Lenient}
	h.ID, h.Started = newID(), rec.started.Round(0).UTC()
	if h.Input == "" {
		h.Input = InputNone
	}
	if len(r.opt.Recipients) > 0 {
		if h.Key, rec.aead, err = newKey(r.opt.Recipients); err != nil {
			return nil, err
		}
	}
	head, err := appendHeader(nil, h)
	if err != nil {
		return nil, err
	}
	rec.id, rec.size = h.ID, int64(len(head))
	rec.session, rec.container, rec.exec = h.Session, h.Target.ContainerID, h.Exec
	rec.chain.add(sha256.New(), head)
	if rec.input = h.Input == InputEchoed; rec.input && h.TTY {
		rec.echo = &echo{}
	}
	name := r.path(rec.id, suffixNew)
	if rec.file, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if _, err = rec.file.Write(head); err == nil {
		err = rec.file.Sync()
	}
	if err != nil {
		_ = rec.file.Close()
		_ = os.Remove(name)
		return nil, err
	}
	return rec, nil
}

// state tells the ledger, if there is one.
func (r *Recordings) state(ctx context.Context, list ...session.Recording) error {
	if r.opt.Ledger == nil || len(list) == 0 {
		return nil
	}
	return r.opt.Ledger.State(context.WithoutCancel(ctx), list)
}

func (r *Recordings) path(id, suffix string) string { return filepath.Join(r.opt.Dir, id+suffix) }
