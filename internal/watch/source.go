package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// source runs the witnesses and puts what they see on one queue.
type source struct {
	opt     Options
	queue   chan event.Observation
	stopped chan struct{} // closed when nobody reads the queue any more
	blocked atomic.Int64  // ns that witnesses waited for room
	strays  atomic.Uint64 // observations given after the end
	stats   map[event.Witness]*witnessStats
	uids    *uidNames
}

// witnessStats is what the source itself knows of one witness.
type witnessStats struct {
	observations atomic.Uint64
	restarts     atomic.Uint64
}

func newSource(opt Options) *source {
	s := &source{
		opt: opt, queue: make(chan event.Observation, opt.Queue), stopped: make(chan struct{}),
		stats: make(map[event.Witness]*witnessStats, len(opt.Witnesses)+1),
	}
	for _, w := range opt.Witnesses {
		s.stats[w.Name] = &witnessStats{}
	}
	s.stats[event.WitnessEngine] = &witnessStats{}
	s.uids = newUIDNames(opt.Host)
	return s
}

// run runs every witness until ctx ends and all have stopped, or StopWait is
// over: one that hangs is left behind, and what it still says is dropped.
func (s *source) run(ctx context.Context) {
	var wg sync.WaitGroup
	s.emit(event.WitnessEngine, s.opt.Host.Facts())
	wg.Go(func() { s.uids.run(ctx, func(o event.Observation) { s.emit(event.WitnessEngine, o) }) })
	for _, w := range s.opt.Witnesses {
		wg.Go(func() { s.supervise(ctx, w) })
	}
	all := start(wg.Wait)
	<-ctx.Done()
	wait(all, s.opt.StopWait)
	close(s.stopped)
}

// supervise keeps one witness running. Whatever happens to it stays here.
func (s *source) supervise(ctx context.Context, w Named) {
	delay := s.opt.RestartDelay
	said := "" // why it is down, as last stated; "" after it was up
	was := !w.Optional
	for {
		began := time.Now()
		up, err := s.runOnce(ctx, w)
		was = was || up
		if ctx.Err() != nil {
			if was {
				s.down(w.Name, "Sallyport stopped")
			}
			return
		}
		if err == nil {
			err = errors.New("ended without being asked to")
		}
		if up || err.Error() != said {
			said = err.Error()
			if was {
				s.down(w.Name, said)
			}
			s.opt.Logger.Warn("witness does not see", slog.String("witness", string(w.Name)), slog.Any("error", err),
				slog.Bool("tries_again", !errors.Is(err, ErrUnavailable)))
		}
		if errors.Is(err, ErrUnavailable) {
			return
		}
		if time.Since(began) > s.opt.RestartMax {
			delay = s.opt.RestartDelay
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, s.opt.RestartMax)
		s.stats[w.Name].restarts.Add(1)
	}
}

// runOnce runs a witness and turns a panic in its own goroutine into an error:
// the other witnesses must go on. It reports whether the witness came up.
func (s *source) runOnce(ctx context.Context, w Named) (up bool, err error) {
	var came atomic.Bool
	defer func() {
		up = came.Load()
		if p := recover(); p != nil {
			s.opt.Logger.Error("witness panicked", slog.String("witness", string(w.Name)), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return false, w.Witness.Run(ctx, func(o event.Observation) {
		if state, ok := o.(event.WitnessState); ok && state.Up {
			came.Store(true)
		}
		s.emit(w.Name, o)
	})
}

func (s *source) down(name event.Witness, reason string) {
	s.emit(name, event.WitnessState{Header: event.Header{Time: time.Now().UTC(), Witness: name}, Reason: reason})
}

// emit puts o on the queue. It waits for room as long as the queue is read.
func (s *source) emit(from event.Witness, o event.Observation) {
	if !isReading(o) {
		s.stats[from].observations.Add(1)
	}
	s.uids.see(o)
	select {
	case s.queue <- o:
		return
	default:
	}
	began := time.Now()
	select {
	case s.queue <- o:
	case <-s.stopped:
		s.strays.Add(1)
	}
	s.blocked.Add(int64(time.Since(began)))
}
