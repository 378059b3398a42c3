package cli

import (
	"context"
	"sync"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/watch"
)

// starts tells the admission webhook's gate what it waits for: that a command
// has started in a container of this node. The runtime's witness says which
// pod a container belongs to, the kernel's what starts in it, and the audit log
// what is over.
type starts struct {
	gate *admission.Gate

	mu         sync.Mutex
	containers map[event.ContainerID]admission.Command // guarded by mu; without argv
	pods       map[podName]int                         // guarded by mu; containers of each
	seeing     bool                                    // guarded by mu; the kernel sensor is up
}

type podName struct{ namespace, name string }

// startsMax bounds the containers remembered. What is forgotten is not covered.
const startsMax = 16384

func newStarts(o admission.GateOptions) *starts {
	s := &starts{containers: map[event.ContainerID]admission.Command{}, pods: map[podName]int{}}
	o.Covered = s.covers
	s.gate = admission.NewGate(o)
	return s
}

// covers reports whether the start of a command in the pod would be seen.
func (s *starts) covers(namespace, pod string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seeing && s.pods[podName{namespace, pod}] > 0
}

// see looks at an observation of any witness on its way to the engine.
func (s *starts) see(o event.Observation) {
	switch o := o.(type) {
	case event.ProcessExec:
		if o.Container != "" && o.ID == o.Entry {
			s.started(o)
		}
	case event.RuntimeContainer:
		if o.Pod != "" && !o.Sandbox {
			s.learn(o)
		}
	case event.RuntimeEvent:
		if o.Action == event.RuntimeDelete && o.ExecID == "" {
			s.forget(o.Container)
		}
	case event.WitnessState:
		if o.Witness == event.WitnessKernel {
			s.mu.Lock()
			s.seeing = o.Up
			s.mu.Unlock()
		}
	case event.KubeRequest:
		if o.Nonce != "" && o.Stage == event.KubeComplete { // whatever it started, started by now
			s.gate.Over(o.Nonce)
		}
	}
}

func (s *starts) started(o event.ProcessExec) {
	s.mu.Lock()
	c, known := s.containers[o.Container]
	s.mu.Unlock()
	if !known {
		return
	}
	c.Argv = o.Argv.Args // one that was cut settles nothing
	s.gate.Started(c, o.Time)
}

func (s *starts) learn(o event.RuntimeContainer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.containers[o.ID]; known || len(s.containers) >= startsMax {
		return
	}
	s.containers[o.ID] = admission.Command{Namespace: o.PodNamespace, Pod: o.Pod, Container: o.Name}
	s.pods[podName{o.PodNamespace, o.Pod}]++
}

func (s *starts) forget(id event.ContainerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.containers[id]
	if !known {
		return
	}
	delete(s.containers, id)
	p := podName{c.Namespace, c.Pod}
	if s.pods[p]--; s.pods[p] <= 0 {
		delete(s.pods, p)
	}
}

// tapped is a witness whose observations somebody else sees too, before the
// engine does.
type tapped struct {
	watch.Witness
	see func(event.Observation)
}

// Run implements watch.Witness.
func (t tapped) Run(ctx context.Context, emit func(event.Observation)) error {
	return t.Witness.Run(ctx, func(o event.Observation) {
		t.see(o)
		emit(o)
	})
}
