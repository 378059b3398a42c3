// Package starts follows which commands have begun in the containers of a node, and says
// so to the gate of the admission webhook, which holds an exec until that of another
// can be told from it.
package starts

import (
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
)

// Starts tells the admission webhook's gate what it waits for: that a command
// has begun in a container of this node. The runtime's witness says which pod a
// container belongs to and which execs it makes, the kernel's what it was asked
// for and what runs, and the audit log what is over.
type Starts struct {
	Gate *admission.Gate

	mu         sync.Mutex
	containers map[event.ContainerID]*inPod    // guarded by mu
	pods       map[podName][]event.ContainerID // guarded by mu
	probes     map[event.ContainerID]periods   // guarded by mu; of specifications that have some
	seeing     bool                            // guarded by mu; the kernel sensor is up
}

// periods are those of a container's probes, by argv.
type periods = map[string][]time.Duration

// inPod is a container of a pod.
type inPod struct {
	admission.Command // without argv
	entrance
	rhythm
}

type podName struct{ namespace, name string }

// startsMax bounds the containers remembered. What is forgotten is not covered.
const startsMax = 16384

// New returns what has seen nothing yet, with a gate of its own.
func New(o admission.GateOptions) *Starts {
	s := &Starts{containers: map[event.ContainerID]*inPod{}, pods: map[podName][]event.ContainerID{}, probes: map[event.ContainerID]periods{}}
	o.Covered, o.Company = s.Covers, s.company
	s.Gate = admission.NewGate(o)
	return s
}

// Covers reports whether the start of a command in the pod would be seen.
func (s *Starts) Covers(namespace, pod string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seeing && len(s.pods[podName{namespace, pod}]) > 0
}

// company reports whether the kubelet runs the same command by itself just now, or
// will within lead: nothing would tell its process from another.
func (s *Starts) company(c admission.Command, now time.Time, lead time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.pods[podName{c.Namespace, c.Pod}] {
		k := s.containers[id]
		if c.Container != "" && k.Container != c.Container {
			continue
		}
		for argv, every := range s.probes[id] {
			if (c.Run || argv == joined(c.Argv)) && (k.pending(argv) || k.due(argv, every, now, lead) || k.strange(argv, every, now)) {
				return true
			}
		}
	}
	return false
}

// See looks at an observation of any witness on its way to the engine.
func (s *Starts) See(o event.Observation) {
	switch o := o.(type) {
	case event.ProcessExec:
		if o.Container != "" && o.ID == o.Entry && !slices.Equal(o.Argv.Args, runcInit) { // one that was cut settles nothing
			s.mark(o.Container, mark{at: o.Time, what: markRan, argv: joined(o.Argv.Args), process: o.ID})
		}
	case event.RuntimeRequest:
		if o.API == event.APICRI && (o.Op == event.RuntimeOpExecStream || o.Op == event.RuntimeOpExecSync) && !o.Cut {
			s.mark(o.Container, mark{at: o.Time, what: markAsked, argv: joined(o.Argv), asked: askedBy(o)})
		}
	case event.KubePod:
		s.learnProbes(o)
	case event.RuntimeContainer:
		if o.Pod != "" && !o.Sandbox {
			s.learn(o)
		}
	case event.RuntimeEvent:
		switch {
		case o.Action == event.RuntimeDelete && o.ExecID == "":
			s.forget(o.Container)
		case o.Action == event.RuntimeExecAdded && len(o.ExecID) == criExecID:
			s.mark(o.Container, mark{at: o.Time, what: markMade})
		}
	case event.WitnessState:
		if o.Witness == event.WitnessKernel {
			s.mu.Lock()
			s.seeing = o.Up
			s.mu.Unlock()
		}
	case event.KubeRequest:
		if o.Nonce != "" && o.Stage == event.KubeComplete { // whatever it started, started by now
			s.Gate.Over(o.Nonce)
		}
	}
}

// criExecID is the length of the ids that containerd draws for execs by CRI.
const criExecID = 64

// runcInit is what a runtime runs before the command itself.
var runcInit = []string{"runc", "init"}

func askedBy(o event.RuntimeRequest) askedAs {
	switch {
	case o.Op == event.RuntimeOpExecStream:
		return asStream
	case o.Timeout != nil && *o.Timeout > 0: // testbed.md §4.7
		return asProbe
	}
	return asRun
}

func (s *Starts) mark(id event.ContainerID, m mark) {
	s.mu.Lock()
	c, known := s.containers[id]
	var all []begun
	if known {
		all = c.add(m)
		if m.what == markAsked && m.asked == asProbe { // the pod's specification may be still to come
			c.beat(m.argv, m.at)
		}
	}
	s.mu.Unlock()
	for _, b := range all {
		what := c.Command
		what.Argv, what.Run = b.argv, b.run
		s.Gate.Started(what, b.at)
	}
}

func (s *Starts) learn(o event.RuntimeContainer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.containers[o.ID]; known || len(s.containers) >= startsMax {
		return
	}
	s.containers[o.ID] = &inPod{
		Command: admission.Command{Namespace: o.PodNamespace, Pod: o.Pod, Container: o.Name}, rhythm: rhythm{since: o.Time},
	}
	p := podName{o.PodNamespace, o.Pod}
	s.pods[p] = append(s.pods[p], o.ID)
}

func (s *Starts) learnProbes(o event.KubePod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range o.Containers {
		delete(s.probes, k.ID)
		if o.Deleted || k.ID == "" || len(s.probes) >= startsMax {
			continue
		}
		p := periods{}
		for _, h := range k.Hooks {
			if h.Period > 0 {
				p[joined(h.Argv)] = append(p[joined(h.Argv)], time.Duration(h.Period))
			}
		}
		if len(p) > 0 {
			s.probes[k.ID] = p
		}
	}
}

func (s *Starts) forget(id event.ContainerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.containers[id]
	if !known {
		return
	}
	delete(s.containers, id)
	p := podName{c.Namespace, c.Pod}
	if s.pods[p] = slices.DeleteFunc(s.pods[p], func(o event.ContainerID) bool { return o == id }); len(s.pods[p]) == 0 {
		delete(s.pods, p)
	}
}
