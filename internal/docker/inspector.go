package docker

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds on questions to the daemon.
const (
	inspectors  = 4    // asked at the same time
	inspectsMax = 4096 // waiting
)

// question is something to ask the daemon: one container, one exec, or, when
// both are empty, which containers run.
type question struct {
	container, exec string
	tries           int // how often it was asked before
}

// reply is what the daemon said, or why it did not. at is when it was asked:
// what it said was true some time after that.
type reply struct {
	asked   question
	at      time.Time
	info    *containerJSON
	exec    *execJSON
	running []string
	err     error
}

// inspector asks the daemon beside the event stream, a bounded number of
// questions at a time.
type inspector struct {
	daemon    *daemon
	questions chan question
	replies   chan reply
	dropped   atomic.Uint64 // questions that found no room
}

func newInspector(d *daemon) *inspector {
	return &inspector{daemon: d, questions: make(chan question, inspectsMax), replies: make(chan reply)}
}

// ask queues a question; false when there is no room.
func (i *inspector) ask(q question) bool {
	select {
	case i.questions <- q:
		return true
	default:
		i.dropped.Add(1)
		return false
	}
}

// again asks for an exec once more in a while: the daemon says exec_start, and
// that it runs, before it has started it and knows its pid. Whoever wants that
// pid sooner listens to containerd.
func (i *inspector) again(q question) {
	if q.tries < 3 {
		q.tries++
		time.AfterFunc(time.Duration(q.tries)*100*time.Millisecond, func() { i.ask(q) })
	}
}

// run answers questions until ctx ends.
func (i *inspector) run(ctx context.Context) error {
	var g errgroup.Group
	for range inspectors {
		g.Go(func() error {
			for {
				select {
				case q := <-i.questions:
					select {
					case i.replies <- i.answer(ctx, q):
					case <-ctx.Done():
						return ctx.Err()
					}
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	return g.Wait()
}

func (i *inspector) answer(ctx context.Context, q question) reply {
	r := reply{asked: q, at: time.Now()}
	switch {
	case q.exec != "":
		r.exec, r.err = i.daemon.exec(ctx, q.exec)
	case q.container != "":
		r.info, r.err = i.daemon.container(ctx, q.container)
	default:
		r.running, r.err = i.daemon.running(ctx)
	}
	return r
}
