package correlate_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
)

// BenchmarkProcesses is the cost of one process (fork, exec, exit) inside a
// session that already runs: what an exec storm in a container costs.
func BenchmarkProcesses(b *testing.B) {
	s := newWorld(true)
	root := s.enter([]string{"/bin/sh"}, event.Ancestor{Comm: "nsenter"})
	e := correlate.New(correlate.Options{})
	for _, o := range s.obs {
		e.Observe(o)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.obs = s.obs[:0]
		p := s.process()
		h := s.head(event.WitnessKernel)
		e.Observe(event.ProcessFork{Header: h, ID: p, Parent: root, Entry: root})
		e.Observe(event.ProcessExec{Header: h, ID: p, Parent: root, Entry: root, Argv: event.Argv{Args: []string{"/bin/true"}}})
		e.Observe(event.ProcessExit{Header: h, ID: p, Entry: root})
		s.later(500 * time.Microsecond)
	}
}

// BenchmarkExecs is the cost of one whole docker exec, fifteen facts, with
// thousands before it still open for late evidence.
func BenchmarkExecs(b *testing.B) {
	s := newWorld(true)
	e := correlate.New(correlate.Options{})
	b.ReportAllocs()
	for b.Loop() {
		s.obs = s.obs[:0]
		s.exec(1001, "/bin/id")
		for _, o := range s.obs {
			e.Observe(o)
		}
		s.later(20 * time.Millisecond)
	}
}
