package correlate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
)

// TestContainerStaysGone: an exec that was created and never started is kept for
// longer than its container, and does not bring it back when it is forgotten.
func TestContainerStaysGone(t *testing.T) {
	s := newWorld(false)
	s.obs = s.obs[:4] // without the container that others use
	short := event.ContainerID(fmt.Sprintf("%064x", 0xdef))
	docker := func(a event.DockerAction, exec event.ExecID) {
		s.add(event.DockerEvent{Header: s.head(event.WitnessDocker), Action: a, Container: short, ExecID: exec})
	}
	runtime := func(a event.RuntimeAction) {
		s.add(event.RuntimeEvent{Header: s.head(event.WitnessContainerd), Action: a, Namespace: "moby", Container: short, PID: 4711})
	}
	docker(event.DockerCreate, "")
	runtime(event.RuntimeStart)
	docker(event.DockerStart, "")
	docker(event.DockerExecCreate, event.ExecID(fmt.Sprintf("%064x", 1)))
	s.later(time.Second)
	runtime(event.RuntimeExit)
	docker(event.DockerDie, "")
	docker(event.DockerDestroy, "")
	e := correlate.New(correlate.Options{})
	for _, o := range s.obs {
		e.Observe(o)
	}
	for _, step := range []struct {
		after             time.Duration
		containers, execs int
	}{{time.Second, 1, 1}, {time.Hour, 0, 1}, {25 * time.Hour, 0, 0}} {
		for end := s.now.Add(step.after); s.now.Before(end); {
			s.later(min(time.Minute, step.after))
			e.Observe(event.Tick{Header: s.head(event.WitnessEngine)})
		}
		if got := e.Stats(); got.Containers != step.containers || got.Execs != step.execs {
			t.Errorf("%v later: %d containers, %d execs; want %d, %d", step.after, got.Containers, got.Execs, step.containers, step.execs)
		}
	}
}
