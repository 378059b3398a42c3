package docker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
)

// backlog is how many events wait here for the engine. The daemon itself lets
// 1024 wait and then drops events without a word, so it must not have to.
const backlog = 4096

// overlap is how far before the last event the daemon is asked for the past:
// events are not in strict order of their times.
const overlap = time.Minute

// subscription is one event stream.
type subscription struct {
	opened   time.Time // before the daemon was asked
	messages <-chan events.Message
	ended    <-chan error
	lost     *atomic.Uint64 // events that found no room
	cancel   func()
	done     <-chan struct{} // closed when nothing of it is left
	pid      uint32          // of the daemon, 0 when it cannot be told
	doors    []string        // see event.WitnessState.OpenDoors
	limit    string          // why pid and doors are not known
	err      error           // instead of all of the above
}

// subscribe opens the event stream from a little before since on.
func subscribe(ctx context.Context, d *daemon, since time.Time) subscription {
	s := subscription{opened: time.Now(), lost: new(atomic.Uint64)}
	if err := d.agree(ctx); err != nil {
		return subscription{err: err}
	}
	if since.IsZero() {
		since = s.opened
	}
	in, ended, cancel, err := d.events(ctx, since.Add(-overlap))
	if err != nil {
		return subscription{err: err}
	}
	s.cancel = cancel
	s.pump(in, ended)
	s.look(d)
	return s
}

// close ends the stream.
func (s *subscription) close() {
	if s.cancel != nil {
		s.cancel()
		<-s.done
	}
}

// pump takes events off the client library's hands at once, until the stream
// ends.
func (s *subscription) pump(in <-chan events.Message, ended <-chan error) {
	out, end, done := make(chan events.Message, backlog), make(chan error, 1), make(chan struct{})
	s.messages, s.ended, s.done = out, end, done
	lost := s.lost
	go func() {
		defer close(done)
		for {
			select {
			case m := <-in:
				select {
				case out <- m:
				default:
					lost.Add(1)
				}
			case err := <-ended:
				end <- fmt.Errorf("event stream ended: %w", err)
				return
			}
		}
	}()
}

// look finds out who the daemon is and by which doors one comes to it unseen.
func (s *subscription) look(d *daemon) {
	scheme, address := d.host()
	if scheme != "unix" {
		s.doors = []string{scheme + " " + address}
		return
	}
	pid, tcp, err := Listeners(address)
	if err != nil {
		s.limit = fmt.Sprintf("other doors of the daemon are not known: %v", err)
	}
	s.pid = pid
	for _, a := range tcp {
		s.doors = append(s.doors, "tcp "+a)
	}
}
