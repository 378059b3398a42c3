package correlate

import (
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Fleet joins the observations of several nodes: it holds an engine for each
// Header.Node, and one for the host itself and what concerns a whole cluster,
// named "". What happens on a node goes to that node's engine; what the API
// server, our webhook and the clock measurements say goes to all of them, and
// responsible decides which one makes a session of it. A pod goes to its node's
// engine; what is known of all pods they have in common.
//
// With observations of one host only, it is that host's Engine. It is not safe
// for concurrent use.
type Fleet struct {
	opt     Options
	local   *Engine
	nodes   map[string]*member
	names   []string // of nodes, in order
	cluster memory
	pods    *pods
}

// member is a node's engine.
type member struct {
	*Engine
	waiting []session.Session // to be adopted at the node's first word
	spoke   bool              // its time has begun
}

// NewFleet returns an empty fleet, with engines for opt.Nodes.
func NewFleet(opt Options) *Fleet {
	f := &Fleet{opt: opt, nodes: map[string]*member{}, cluster: newMemory(), pods: newPods()}
	f.local = newEngine(opt, "", f.has, f.pods)
	for _, name := range opt.Nodes {
		f.member(name)
	}
	return f
}

func (f *Fleet) has(node string) bool { return f.nodes[node] != nil }

// member returns a node's engine.
func (f *Fleet) member(node string) *member {
	m := f.nodes[node]
	if m == nil {
		m = &member{Engine: newEngine(f.opt, node, f.has, f.pods)}
		f.nodes[node] = m
		f.names = slices.Sorted(maps.Keys(f.nodes))
	}
	return m
}

// Nodes returns the names of the nodes that have an engine, in order.
func (f *Fleet) Nodes() []string { return slices.Clone(f.names) }

// Observe takes one observation and returns the revisions that are due by now,
// like Engine.Observe.
func (f *Fleet) Observe(o event.Observation) []session.Revision {
	pod, isPod := o.(event.KubePod)
	if isPod {
		f.pods.apply(pod)
	}
	if node := o.Head().Node; node != "" {
		return f.observe(f.member(node), o)
	}
	if isPod {
		return f.pod(pod)
	}
	if !shared(o) {
		return f.local.Observe(o)
	}
	f.cluster.keep(o)
	out := f.local.Observe(o)
	for _, name := range f.names {
		if m := f.nodes[name]; m.spoke {
			out = append(out, m.Observe(o)...)
		}
	}
	return out
}

// pod tells the engine of its node of a pod, and the engine "", whose time it is.
func (f *Fleet) pod(o event.KubePod) []session.Revision {
	out := f.local.Observe(o)
	if m := f.nodes[o.NodeName]; m != nil && m.spoke {
		out = append(out, m.Observe(o)...)
	}
	return out
}

// observe takes a word of the node itself. With the first one its time begins,
// and it is told what the cluster said.
func (f *Fleet) observe(m *member, o event.Observation) []session.Revision {
	if !m.spoke {
		m.spoke = true
		m.advance(o.Head().Time)
		for _, said := range f.cluster.all() {
			m.apply(said)
		}
		for _, s := range m.waiting {
			m.AdoptWatched(s, m.now)
		}
		m.waiting = nil
	}
	if s, ok := o.(event.WitnessState); ok && s.Up && s.Witness == event.WitnessKernel && m.afresh(s) {
		m.seekOrphans()
	}
	return m.Observe(o)
}

// afresh reports whether a witness that is up was down before and missed
// something: it was started anew, and finds what runs.
func (m *member) afresh(s event.WitnessState) bool {
	was := m.coverage.at(s.Witness, s.Time)
	return was != nil && !was.Up && (s.From.IsZero() || s.From.After(was.Time))
}

// shared reports whether an observation without a node concerns every node.
func shared(o event.Observation) bool {
	switch o := o.(type) {
	case event.KubeRequest, event.KubeAdmission, event.Clock:
		return true
	case event.Progress:
		return ofCluster(o.Witness)
	case event.WitnessState:
		return ofCluster(o.Witness)
	case event.Loss:
		return ofCluster(o.Witness)
	}
	return false
}

func ofCluster(w event.Witness) bool {
	return w == event.WitnessAudit || w == event.WitnessAdmission || w == event.WitnessKube
}

// Flush returns what is still due at the end of the input, of all engines.
func (f *Fleet) Flush() []session.Revision {
	out := f.local.Flush()
	for _, name := range f.names {
		out = append(out, f.nodes[name].Flush()...)
	}
	return out
}

// NextDue is Engine.NextDue of the engine "".
func (f *Fleet) NextDue() (time.Time, bool) { return f.local.NextDue() }

// NodeDue is Engine.NextDue of a node's engine, by the node's clock.
func (f *Fleet) NodeDue(node string) (time.Time, bool) {
	if node == "" {
		return f.local.NextDue()
	}
	if m := f.nodes[node]; m != nil {
		return m.NextDue()
	}
	return time.Time{}, false
}

// Pending reports whether the passing of time alone, on the host itself, can
// still bring revisions. The nodes' time comes from the nodes.
func (f *Fleet) Pending() bool { return f.local.Pending() }

// Stats sums up what the engines hold and had to drop.
func (f *Fleet) Stats() Stats {
	sum := f.local.Stats()
	for _, m := range f.nodes {
		s := m.Stats()
		sum.Execs += s.Execs
		sum.Runs += s.Runs
		sum.Entries += s.Entries
		sum.Streams += s.Streams
		sum.Containers += s.Containers
		sum.Connections += s.Connections
		sum.Requests += s.Requests
		sum.Late += s.Late
	}
	return sum
}

// Adopt takes over a session of an earlier run: into the engine of its node
// (session.Target.Node), when that is one of Options.Nodes or has spoken, else
// into the engine "". A node's witnesses went on watching meanwhile, so its
// sessions go on until the node says otherwise.
func (f *Fleet) Adopt(s session.Session, now time.Time) {
	m := f.nodes[s.Target.Node]
	switch {
	case m == nil:
		f.local.Adopt(s, now)
	case m.spoke:
		m.AdoptWatched(s, m.now)
	default:
		m.waiting = append(m.waiting, s)
	}
}

// memory keeps of the cluster's observations what the engine of a node that is
// heard of later has to know: states, clocks, and the latest requests.
type memory struct {
	clocks map[string]event.Clock
	rest   []event.Observation // requests, states, losses, progress; oldest first
}

// restMax bounds the clocks, and the other observations, that are remembered.
const restMax = 1 << 12

func newMemory() memory {
	return memory{clocks: map[string]event.Clock{}}
}

func (m *memory) keep(o event.Observation) {
	switch o := o.(type) {
	case event.Clock:
		if _, known := m.clocks[o.Of]; known || len(m.clocks) < restMax {
			m.clocks[o.Of] = o
		}
	default:
		if len(m.rest) >= restMax {
			m.rest = append([]event.Observation(nil), m.rest[restMax/4:]...)
		}
		m.rest = append(m.rest, o)
	}
}

// all returns what is remembered: clocks by name, then the rest.
func (m *memory) all() []event.Observation {
	out := make([]event.Observation, 0, len(m.clocks)+len(m.rest))
	for _, key := range slices.Sorted(maps.Keys(m.clocks)) {
		out = append(out, m.clocks[key])
	}
	return append(out, m.rest...)
}
