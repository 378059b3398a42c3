package export

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/export/queue"
	"github.com/sallyport/sallyport/internal/export/redact"
)

// Options configures an Exporter. The zero value of a field means its default.
type Options struct {
	Name        string           // required; names it in log and figures
	Source      Source           // required
	Destination Destination      // required
	Redactor    *redact.Redactor // required
	Dir         string           // required; of queue and dead letters, made when it is missing

	// Start is the position after which a new queue begins; -1 for everything
	// that the source has.
	Start int64
	// Keep says which records are sent; all of them when it is nil.
	Keep func(Record) bool
	// QueueBytes bounds the queue on disk. Default 256 MiB, at least 1 MiB.
	QueueBytes int64
	// DeadBytes bounds the dead letter file. Default 64 MiB.
	DeadBytes int64
	// BatchRecords and BatchBytes bound what is sent at once, and what is in
	// memory. Default 256 records, 1 MiB; one larger record goes alone.
	BatchRecords int
	BatchBytes   int64
	// Poll is how often the source is asked for more. Default 1 s.
	Poll time.Duration
	// RetryMin and RetryMax bound the pause after a failure, which doubles and
	// is drawn at random between its half and itself. Default 1 s and 2 min.
	RetryMin, RetryMax time.Duration
	// Grace is how long sending goes on after Run was told to end. Default 5 s.
	Grace  time.Duration
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.DeadBytes = cmp.Or(o.DeadBytes, 64<<20)
	o.BatchRecords = cmp.Or(o.BatchRecords, 256)
	o.BatchBytes = cmp.Or(o.BatchBytes, 1<<20)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.RetryMin = cmp.Or(o.RetryMin, time.Second)
	o.RetryMax = max(cmp.Or(o.RetryMax, 2*time.Minute), o.RetryMin)
	o.Grace = cmp.Or(o.Grace, 5*time.Second)
	if o.Keep == nil {
		o.Keep = func(Record) bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With(slog.String("export", o.Name))
	return o
}

// Exporter brings records from one source to one destination.
type Exporter struct {
	opt   Options
	stats figures
}

// New returns an exporter. It does nothing until Run.
func New(opt Options) (*Exporter, error) {
	if opt.Name == "" || opt.Source == nil || opt.Destination == nil || opt.Redactor == nil || opt.Dir == "" {
		return nil, errors.New("export: name, source, destination, redactor and directory are required")
	}
	return &Exporter{opt: opt.withDefaults()}, nil
}

// Run sends until ctx ends, then for Grace more what the queue still has. It
// fails only when it cannot work at all: the directory is in other hands or
// broken. What is not sent by then is sent by the next Run.
func (e *Exporter) Run(ctx context.Context) error {
	q, err := queue.Open(queue.Options{
		Dir: filepath.Join(e.opt.Dir, "queue"), Bytes: e.opt.QueueBytes, Start: e.opt.Start, Logger: e.opt.Logger,
	})
	if err != nil {
		return fmt.Errorf("export %s: %w", e.opt.Name, err)
	}
	e.stats.attach(q)
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.opt.Grace, cancel) })
	defer stop()
	s := sender{Exporter: e, queue: q, dead: deadLetters{file: filepath.Join(e.opt.Dir, "dead.jsonl"), limit: e.opt.DeadBytes}}
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		e.fill(ctx, q, &s.dead)
	}()
	s.run(ctx, sending)
	<-filled
	err = q.Close()
	if n := q.Stats().Entries; n > 0 {
		e.opt.Logger.Info("export ends; the rest is sent next time", slog.Uint64("queued", n))
	}
	return err
}

// fill brings what the source has into the queue until ctx ends.
func (e *Exporter) fill(ctx context.Context, q *queue.Queue, dead *deadLetters) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := e.pull(ctx, q, dead)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, queue.ErrMoved) {
			err = nil // the queue lost a part: go on from there
		}
		e.stats.sourceOutcome(e.opt.Logger, err)
		timer.Reset(e.opt.Poll)
	}
}

// pull takes what the source has now.
func (e *Exporter) pull(ctx context.Context, q *queue.Queue, dead *deadLetters) error {
	b := filling{Exporter: e, queue: q, dead: dead, after: q.Last()}
	b.seen = b.after
	for r, err := range e.opt.Source.Follow(ctx, b.after) {
		if err == nil {
			err = b.add(ctx, r)
		}
		if err != nil {
			return errors.Join(err, b.flush(ctx))
		}
	}
	return b.flush(ctx)
}

// filling gathers records for one write to the queue.
type filling struct {
	*Exporter
	queue   *queue.Queue
	dead    *deadLetters
	after   int64 // the queue has everything up to here
	seen    int64
	entries []queue.Entry
	bytes   int64
}

func (b *filling) add(ctx context.Context, r Record) error {
	if r.Missed > 0 && b.seen >= 0 { // from the very beginning there is no claim to everything
		b.stats.missed(b.opt.Logger, r.Missed, b.seen, r.Position)
	}
	b.seen = r.Position
	if !b.opt.Keep(r) {
		return nil
	}
	body, err := json.Marshal(redacted(b.opt.Redactor, r))
	if err != nil {
		// It cannot be written anywhere: only its place can be told.
		b.stats.dropped(b.opt.Logger, r.Position, err)
		return nil
	}
	if int64(len(body)) > b.queue.MaxEntry() {
		reason := fmt.Sprintf("%d bytes are more than the queue takes", len(body))
		b.stats.died(b.opt.Logger, 1, reason, b.dead.add(reason, body))
		return nil
	}
	b.entries, b.bytes = append(b.entries, queue.Entry{Position: r.Position, Body: body}), b.bytes+int64(len(body))
	if len(b.entries) >= b.opt.BatchRecords || b.bytes >= b.opt.BatchBytes {
		return b.flush(ctx)
	}
	return nil
}

// redacted is the one place where secrets are taken out: nothing that has not passed
// it reaches the disk or a format.
func redacted(x *redact.Redactor, r Record) Record {
	if r.Session != nil {
		s := x.Session(*r.Session)
		r.Session = &s
	}
	if r.Finding != nil {
		f := x.Finding(*r.Finding)
		r.Finding = &f
	}
	return r
}

// flush writes to the queue, waiting while it is full.
func (b *filling) flush(ctx context.Context) error {
	for len(b.entries) > 0 {
		err := b.queue.Put(b.after, b.entries...)
		b.stats.fullness(b.opt.Logger, errors.Is(err, queue.ErrFull))
		switch {
		case err == nil:
			b.after = b.entries[len(b.entries)-1].Position
			b.stats.queued(len(b.entries))
			b.entries, b.bytes = nil, 0
		case !errors.Is(err, queue.ErrFull):
			return err
		default:
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-b.queue.Room():
			}
		}
	}
	if b.seen > b.after {
		err := b.queue.Skip(b.after, b.seen)
		b.after = b.seen
		return err
	}
	return nil
}

// backoff is the pause between attempts.
type backoff struct{ min, max, next time.Duration }

// pause returns how long to wait now, and doubles what comes next.
func (b *backoff) pause() time.Duration {
	b.next = min(max(b.next, b.min), b.max)
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.max)
	return d
}

func (b *backoff) reset() { b.next = 0 }
