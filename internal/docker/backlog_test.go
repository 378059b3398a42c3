package docker

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Events that find no room are counted and told as a loss; the rest is kept.
func TestBacklog(t *testing.T) {
	const extra = 100
	in, ended := make(chan events.Message), make(chan error, 1)
	s := subscription{opened: time.Now(), lost: new(atomic.Uint64), cancel: func() { ended <- errors.New("closed") }}
	s.pump(in, ended)
	for n := range backlog + extra {
		in <- events.Message{Type: "network", Action: "connect", TimeNano: int64(n)}
	}
	var told []event.Observation
	f := newFollower(New(Options{}), nil, func(o event.Observation) { told = append(told, o) })
	f.inspector = newInspector(nil)
	f.sub, f.quiet = s, s.opened
	s.close()
	f.countLoss()
	f.countLoss()
	if len(told) != 1 {
		t.Fatalf("told %v", told)
	}
	loss, ok := told[0].(event.Loss)
	if !ok || loss.Count != extra || loss.What != "events" || !loss.From.Equal(s.opened) || f.Stats().LostEvents != extra {
		t.Errorf("told %+v, stats %+v", told[0], f.Stats())
	}
	if n := len(s.messages); n != backlog {
		t.Errorf("%d events are kept", n)
	}
}
