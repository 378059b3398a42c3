package correlate_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestCrowd runs 10,000 processes in 20 s of one session: all are counted,
// a few are listed, and it is not written anew every second.
func TestCrowd(t *testing.T) {
	const n = 10_000
	s := newWorld(true)
	root := s.enter([]string{"/bin/sh"}, event.Ancestor{Comm: "nsenter"})
	for range n {
		p, h := s.process(), s.head(event.WitnessKernel)
		s.add(event.ProcessFork{Header: h, ID: p, Parent: root, Entry: root})
		s.add(event.ProcessExec{Header: h, ID: p, Parent: root, Entry: root, Argv: event.Argv{Args: []string{"/bin/true"}}})
		s.add(event.ProcessExit{Header: h, ID: p, Entry: root})
		s.later(2 * time.Millisecond)
	}
	s.leave(root)
	e := correlate.New(correlate.Options{})
	var got []session.Revision
	for _, o := range s.obs {
		got = append(got, e.Observe(o)...)
	}
	got = append(got, e.Flush()...)
	last := got[len(got)-1].Session
	if last.ProcessesTotal != n+1 || len(last.Processes) != session.MaxProcesses || last.Ended == nil {
		t.Errorf("%d processes, %d listed, ended %v; want %d, %d and ended", last.ProcessesTotal, len(last.Processes), last.Ended, n+1, session.MaxProcesses)
	}
	if len(got) > 8 {
		t.Errorf("%d revisions in 20 s", len(got))
	}
}
