package correlate

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Options tunes an Engine. The zero value of a field means its default.
type Options struct {
	// Settle is how long a new session waits for the other half before it is
	// published. Default 500 ms.
	Settle time.Duration
	// Window is how long absence must last before it counts as evidence.
	// Default 2 s.
	Window time.Duration
	// Debounce is the shortest time between two revisions of a session that
	// differ only in the process tree. Default 1 s.
	Debounce time.Duration
	// Keep is how long an ended session stays open for late evidence. Default
	// 2 min.
	Keep time.Duration
	// Late is the same for sessions in pods, whose asker is known from audit
	// logs that may come minutes later. Default 15 min, at least Keep.
	Late time.Duration
	// Nodes names the nodes that a Fleet knows from the beginning.
	Nodes []string
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&o.Settle, 500*time.Millisecond)
	set(&o.Window, 2*time.Second)
	set(&o.Debounce, time.Second)
	set(&o.Keep, 2*time.Minute)
	set(&o.Late, 15*time.Minute)
	return o
}

// Engine joins observations into sessions. It is not safe for concurrent use.
//
// Its parts own what is known. None reads one that stands below it here, and none
// knows the Engine: what has to be looked at again because a part has changed is
// for the Engine to say.
type Engine struct {
	clock
	site    site    // whose observations these are
	past    past    // what is not known any more
	adopted adopted // what an earlier engine left

	coverage coverage // what the witnesses could see
	inside   inside   // what is in the containers
	doors    doors    // who asked the services for what
	streams  streams  // what was attached and copied
	actors   actors   // who that is
	kube     kube     // what the API server was asked for

	arrivals arrivals // the commands in pods,
	cri      cri      // the requests by CRI that can be theirs,
	choices  choices  // and who can stand behind them

	agenda  agenda          // what is to be looked at, and when
	derived session.Session // room for the one that is being derived
}

// New returns an empty engine.
func New(opt Options) *Engine { return newEngine(opt, "", nil, newPods()) }

// newEngine returns an empty engine for what happens on a node. The nodes that
// are elsewhere have engines of their own, and pods are what all of them know of
// the cluster's pods.
func newEngine(opt Options, node string, elsewhere func(node string) bool, pods *pods) *Engine {
	e := &Engine{
		clock:   clock{opt: opt.withDefaults()},
		site:    newSite(node, elsewhere),
		past:    newPast(),
		adopted: newAdopted(),
		agenda:  newAgenda(),
	}
	e.coverage = newCoverage(&e.clock)
	e.inside = newInside(&e.coverage, pods)
	e.doors = newDoors(&e.clock, &e.coverage, &e.inside, &e.past)
	e.streams = newStreams(&e.coverage)
	e.actors = actors{coverage: &e.coverage, site: &e.site, inside: &e.inside, doors: &e.doors, adopted: &e.adopted}
	e.kube = newKube(&e.clock, &e.coverage, &e.site, &e.inside, pods)
	e.arrivals = newArrivals(&e.inside)
	e.cri = newCRI(&e.clock, &e.coverage, &e.inside, &e.doors, &e.arrivals)
	e.choices = choices{
		clock: &e.clock, coverage: &e.coverage, inside: &e.inside, doors: &e.doors, kube: &e.kube,
		arrivals: &e.arrivals, cri: &e.cri, chosen: map[subject]choice{},
	}
	return e
}

// Observe takes one observation and returns the revisions that are due by now.
// The returned sessions are the caller's to keep.
func (e *Engine) Observe(o event.Observation) []session.Revision {
	// A node's time is what its own stream says: it may lag behind the cluster's.
	if h := o.Head(); h.Node == e.site.node {
		e.advance(h.Time)
	}
	e.doors.tidy()
	if h := o.Head(); (h.Witness == event.WitnessKernel || h.Witness == event.WitnessContainerd) && e.now.Sub(h.Time) > criSettles/2 {
		e.doors.unsettle()
	}
	e.apply(o)
	e.changed()
	return e.due(e.now)
}

// Flush returns what is still due at the end of the input, as if enough time
// had passed for every window to close.
func (e *Engine) Flush() []session.Revision {
	e.now = e.now.Add(e.opt.Window + e.opt.Debounce)
	for _, c := range e.open() {
		e.touch(c, true)
	}
	e.changed()
	return e.due(e.now)
}

// Stats counts what the engine holds and what it had to drop.
type Stats struct {
	Execs, Runs, Entries, Streams, Containers, Connections, Requests int
	// Late counts facts about sessions that were already closed for good.
	Late uint64
}

// Stats returns the engine's current sizes.
func (e *Engine) Stats() Stats {
	return Stats{
		Execs: len(e.inside.execs.byKey), Runs: len(e.inside.runs.byKey), Entries: len(e.inside.entries.byRoot), Streams: len(e.streams.byID),
		Containers: len(e.inside.containers.byID), Connections: len(e.doors.conns.byID), Requests: len(e.doors.requests.byID), Late: e.past.late,
	}
}

// Pending reports whether the passing of time alone can still bring revisions.
func (e *Engine) Pending() bool {
	_, ok := e.NextDue()
	return ok
}

// NextDue returns the moment at which the passing of time alone may next bring
// revisions; ok is false when nothing waits for it. Whoever plays kept
// observations ticks at exactly these moments.
func (e *Engine) NextDue() (t time.Time, ok bool) {
	return e.agenda.next()
}

// changed forgets what was worked out: a fact came, went or got older. Sessions that
// one fact touches are derived together, and each asks the same questions about all
// of them. It costs next to nothing where nothing was worked out, as outside pods.
func (e *Engine) changed() {
	e.kube.changed()
	e.arrivals.changed()
	e.cri.changed()
	e.choices.changed()
	e.coverage.changed() // only now: what was worked out rests on it, too
}
