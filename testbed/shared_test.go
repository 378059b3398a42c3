package testbed

import (
	"errors"
	"runtime"
	"testing"
)

type stopper struct{ stopped int }

func (s *stopper) Stop() error { s.stopped++; return nil }

// TestShared: what is shared is started once, also when it does not start.
func TestShared(t *testing.T) {
	s, starts := Shared[*stopper]{main: true}, 0
	start := func() (*stopper, error) { starts++; return &stopper{}, nil }
	if one, other := s.Get(t, start), s.Get(t, start); one != other || starts != 1 {
		t.Errorf("started %d times", starts)
	}
	failing, tries := Shared[*stopper]{main: true}, 0
	for range 2 {
		ended := make(chan bool)
		go func() { // Fatal ends the goroutine
			defer func() { ended <- true }()
			failing.Get(&deaf{TB: t}, func() (*stopper, error) { tries++; return nil, errors.New("no") })
		}()
		<-ended
	}
	if tries != 1 {
		t.Errorf("tried %d times", tries)
	}
}

// deaf is a test that fails without anybody's noticing.
type deaf struct{ testing.TB }

func (*deaf) Helper()      {}
func (*deaf) Fatal(...any) { runtime.Goexit() }
