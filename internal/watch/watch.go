// Package watch is the verb that runs: it starts the witnesses, feeds what they
// see to correlation, and keeps observations and sessions in a store.
//
// Data flows one way, through three goroutines with a bounded queue before
// each:
//
//	witnesses → queue → feed (correlation) → outbox → writer (store) → delivery
//
// Nothing unbounded waits anywhere, and whatever is dropped is counted: a full
// queue makes witnesses wait (they count what the kernel or the daemon then
// loses), a store that fails makes the outbox drop the oldest observations and,
// last of all, revisions; a reader that is too slow misses live output but
// nothing in the store. A session is delivered only after the store has
// acknowledged it.
package watch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Witness is a source of observations.
type Witness interface {
	// Run gives observations to emit until ctx ends; then it returns nil or
	// ctx's error. A witness reports its own coming up as event.WitnessState.
	// emit may block and may be called from several goroutines, but not after
	// Run has returned. A witness whose Run returns before ctx ends is started
	// again, unless the error wraps ErrUnavailable.
	Run(ctx context.Context, emit func(event.Observation)) error
}

// ErrUnavailable says that a witness cannot work on this host, so that starting
// it again is of no use.
var ErrUnavailable = errors.New("not available on this host")

// Named is a witness and the name under which its state is reported.
type Named struct {
	Name    event.Witness
	Witness Witness
	// Optional says that it may never come up, which is then nothing to tell of.
	Optional bool
}

// Keeper keeps what the engine finds. Append is called from one goroutine.
type Keeper interface {
	// Append stores a batch, all of it or nothing, and returns once it is
	// durable. The result holds those revisions, as stored, that were not
	// equal to what the store already had.
	Append(ctx context.Context, observations []event.Observation, revisions []session.Revision) ([]session.Revision, error)
	// Due returns when time alone will bring something, without any record: a
	// batch with a Tick of that time, or later, is then appended. Zero means never.
	Due() time.Time
	// Running returns the sessions that run as far as the store knows. With
	// nodes also those that ended lately: more may still be heard of them.
	Running(ctx context.Context) iter.Seq2[session.Session, error]
	// Newest returns the time of the latest stored observation; false without one.
	Newest(ctx context.Context) (time.Time, bool, error)
	// Prune removes what retention no longer asks for.
	Prune(ctx context.Context) error
}

// Options configures an Engine. The zero value of a field means its default.
type Options struct {
	Witnesses []Named
	Keeper    Keeper // required by Run, unless there is a Sink
	// Sink makes the engine a node: it correlates and stores nothing, and gives
	// every observation to the sink.
	Sink      Sink
	Correlate correlate.Options
	// Deliver is given every revision that the store acknowledged, in order,
	// from one goroutine. It may be slow: then it misses revisions, which are
	// counted as undelivered.
	Deliver func([]session.Revision)
	Host    HostSource // default: the machine it runs on
	// Sensor, Pods, Admission (nil while there is nothing to tell), Counters and
	// StoreSize add to Status what only their owners know.
	Sensor    func() Sensor
	Pods      func() *Pods
	Admission func() *Admission
	Counters  func() map[string]uint64
	StoreSize func() int64
	Link      func() Link         // of a node to its collector
	Nodes     func() []NodeStatus // of a collector
	Exports   func() []Export
	Rules     func() *Rules // when there are rules
	Logger    *slog.Logger

	Queue        int           // observations waiting for correlation; default 16384
	Unsaved      int           // observations waiting for the store; default 16384
	UnsavedMax   int           // revisions waiting for the store; default 16384
	BatchDelay   time.Duration // how long the first revision of a batch waits; default 40 ms
	QuietDelay   time.Duration // how long observations wait while there is no revision; default 250 ms
	BatchSize    int           // records that end the wait; default 2048
	AppendWait   time.Duration // bound of one write; default 10 s
	StopWait     time.Duration // bound of each step of stopping; default 5 s
	PruneEvery   time.Duration // default 5 min
	RestateEvery time.Duration // how often the store is told what the witnesses said last; default 10 min
	RestartDelay time.Duration // before a dead witness's first restart, doubled up to RestartMax; default 500 ms
	RestartMax   time.Duration // default 1 min
}

func (o Options) withDefaults() Options {
	setInt := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	setInt(&o.Queue, 16384)
	setInt(&o.Unsaved, 16384)
	setInt(&o.UnsavedMax, 16384)
	setInt(&o.BatchSize, 2048)
	set(&o.BatchDelay, 40*time.Millisecond)
	set(&o.QuietDelay, 250*time.Millisecond)
	set(&o.AppendWait, 10*time.Second)
	set(&o.StopWait, 5*time.Second)
	set(&o.PruneEvery, 5*time.Minute)
	set(&o.RestateEvery, 10*time.Minute)
	set(&o.RestartDelay, 500*time.Millisecond)
	set(&o.RestartMax, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Host == nil {
		o.Host = &LocalHost{}
	}
	return o
}

// Engine watches one host. Run runs once; Status may be called at any time.
type Engine struct {
	opt      Options
	source   *source
	outbox   *outbox
	delivery *delivery
	feed     *feed
	started  time.Time
}

// New returns an engine that is not running. It does no I/O.
func New(opt Options) *Engine {
	opt = opt.withDefaults()
	e := &Engine{opt: opt, source: newSource(opt), delivery: newDelivery(opt.Deliver), started: time.Now()}
	e.outbox = newOutbox(opt, e.delivery.put)
	e.feed = newFeed(opt, e.source, e.outbox)
	return e
}

// Run watches until ctx ends and then stops in order: witnesses first, then
// what they had seen is correlated, stored and delivered, each step within
// StopWait. It returns an error only when something could not be saved.
func (e *Engine) Run(ctx context.Context) error {
	if e.opt.Sink != nil {
		return e.ship(ctx)
	}
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := start(func() { e.outbox.run(writing) })
	delivered := start(e.delivery.run)
	sourced := start(func() { e.source.run(ctx) })

	e.feed.run(ctx, sourced) // until the witnesses have stopped and all they said is correlated
	<-sourced
	e.outbox.close()
	timer := time.AfterFunc(e.opt.StopWait, stopWriting)
	<-written
	timer.Stop()
	e.delivery.close()
	wait(delivered, e.opt.StopWait)
	if obs, revs := e.outbox.waiting(); obs+revs > 0 {
		err := e.outbox.lastError()
		if err == nil {
			err = fmt.Errorf("the store was not done within %s", e.opt.StopWait)
		}
		return fmt.Errorf("stop watch: %d observations and %d revisions could not be stored: %w", obs, revs, err)
	}
	return nil
}

// start runs f and returns a channel that is closed when f returns.
func start(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// wait waits for done, at most for d.
func wait(done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
