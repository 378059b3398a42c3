package testbed

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// Shared is the one daemon or cluster of a test program: started by the first
// test that asks, stopped by Main. It cannot be a field of anything but a
// package's own variable: testing gives a package's tests nothing in common.
type Shared[T interface{ Stop() error }] struct {
	mu      sync.Mutex
	main    bool
	started bool
	it      T
	err     error
}

// Main runs a package's tests and then stops what Get started. m is a testing.M, or
// runs one and stops something else.
func (s *Shared[T]) Main(m interface{ Run() int }) int {
	s.main = true
	code := m.Run()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.err != nil {
		return code
	}
	if err := s.it.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// Get returns what start returned when it was first called for. The package
// needs a TestMain with Main, or nobody would stop it.
func (s *Shared[T]) Get(t testing.TB, start func() (T, error)) T {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.main {
		t.Fatal("a shared daemon needs a TestMain that calls its package's Main")
	}
	if !s.started {
		s.started = true
		s.it, s.err = start()
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.it
}
