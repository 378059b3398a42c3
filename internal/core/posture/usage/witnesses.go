package usage

import (
	"cmp"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Witnesses remembers when the witnesses watched, and when not.
type Witnesses struct {
	of    map[source]*record
	hosts map[string]string // by node, the name of the machine
	// keptFrom and keptTo bound what is known: what came before is no longer kept,
	// and after it nobody watched. Zero means no bound.
	keptFrom, keptTo time.Time
}

// NewWitnesses knows of none yet.
func NewWitnesses() *Witnesses {
	return &Witnesses{of: map[source]*record{}, hosts: map[string]string{}}
}

// Kept says from when until when all is kept that was seen; a zero time is no bound.
func (w *Witnesses) Kept(from, to time.Time) { w.keptFrom, w.keptTo = from, to }

type source struct {
	node    string
	witness event.Witness
}

// record is what a witness of one node said of itself.
type record struct {
	states []state
	losses []Gap
	floor  time.Time // what was before is forgotten
}

type state struct {
	at, from time.Time
	up       bool
	why      string
}

// recordMax bounds the states, and the losses, that are remembered of one witness.
const recordMax = 1 << 14

// Observe takes note of what a witness says of itself, in the order in which it says it,
// which need not be that of its times: that it has seen nothing for a while is known when
// the while is over. Of all else it takes no note.
func (w *Witnesses) Observe(o event.Observation) {
	switch o := o.(type) {
	case event.WitnessState:
		s := state{at: o.Time, from: o.From, up: o.Up && !o.Partial, why: o.Reason}
		if o.Partial {
			s.why = "it is a selection, and what it does not tell may have happened"
		}
		w.record(o.Header).state(s)
	case event.Loss:
		w.record(o.Header).lose(Gap{From: o.From, To: o.Time, Why: "records were lost"})
	case event.Host:
		if o.Hostname != "" {
			w.hosts[o.Node] = o.Hostname
		}
	}
}

func (w *Witnesses) record(h event.Header) *record {
	k := source{h.Node, h.Witness}
	if w.of[k] == nil {
		w.of[k] = &record{}
	}
	return w.of[k]
}

func (r *record) state(s state) {
	r.states = append(r.states, s)
	if n := len(r.states); n > recordMax {
		r.floor = r.states[n/2].at
		r.states = slices.Delete(r.states, 0, n/2)
	}
}

func (r *record) lose(g Gap) {
	if n := len(r.losses); n > 0 && !g.From.After(r.losses[n-1].To) && !g.From.Before(r.losses[n-1].From) {
		r.losses[n-1].To = later(r.losses[n-1].To, g.To)
		return
	}
	r.losses = append(r.losses, g)
	if n := len(r.losses); n > recordMax {
		r.floor = later(r.floor, r.losses[n/2].From)
		r.losses = slices.Delete(r.losses, 0, n/2)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Gap is a time in which a witness did not watch.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Why  string    `json:"why,omitempty"`
}

// Watched is how much of a time a witness watched.
type Watched struct {
	Witness event.Witness `json:"witness"`
	// Node is where it watches; absent for the host itself and for a whole cluster.
	Node string `json:"node,omitempty"`
	// Seconds is for how long, and Of of how long a time.
	Seconds int64 `json:"seconds"`
	Of      int64 `json:"of_seconds"`
	// Gaps are the longest times in which it did not, in order; GapsTotal counts all.
	Gaps      []Gap `json:"gaps,omitempty"`
	GapsTotal int   `json:"gaps_total"`
}

// Any reports whether it watched at all.
func (w *Watched) Any() bool { return w.Seconds > 0 }

// gapsMax bounds Watched.Gaps.
const gapsMax = 8

// nobody is the node of a host of which no witness told.
const nobody = "\x00"

// node finds the node by which the observations of a machine go: none on the machine
// itself, its own name where several come together. It is nobody when there are no
// such observations.
func (w *Witnesses) node(machine string) string {
	for node, name := range w.hosts {
		if name == machine {
			return node
		}
	}
	for k := range w.of {
		if k.node == machine && machine != "" {
			return machine
		}
	}
	if len(w.hosts) == 0 { // nobody said which machine it is
		return ""
	}
	return nobody
}

// watched says when a witness watched a node.
func (w *Witnesses) watched(k source, in Window) Watched {
	return w.summary(k, w.blind(w.of[k], in), in)
}

// everywhere says when all of a witness's feeds watched, on whatever nodes: each of
// several API servers has a log of its own.
func (w *Witnesses) everywhere(name event.Witness, in Window) Watched {
	var all []Gap
	heard := false
	for k, r := range w.of {
		if k.witness == name {
			heard = true
			all = append(all, w.blind(r, in)...)
		}
	}
	if !heard {
		all = w.blind(nil, in)
	}
	return w.summary(source{witness: name}, all, in)
}

// blind lists when a witness did not watch, in any order.
func (w *Witnesses) blind(r *record, in Window) []Gap {
	from, to := in.From, in.To
	if r == nil {
		return []Gap{{from, to, "no word of it"}}
	}
	var out []Gap
	add := func(g Gap) {
		g.From, g.To = later(g.From, from), earlier(g.To, to)
		if g.From.Before(g.To) {
			out = append(out, g)
		}
	}
	dark, why := true, "no word of it yet"
	since := from
	for _, s := range r.states {
		switch {
		case s.up && dark:
			dark = false
			end := s.from
			if end.IsZero() {
				end = s.at
			}
			add(Gap{since, end, why})
		case !s.up && !dark:
			dark, since, why = true, s.at, s.why
		}
	}
	if dark {
		add(Gap{since, to, why})
	}
	for _, g := range r.losses {
		add(g)
	}
	if f := later(r.floor, w.keptFrom); !f.IsZero() {
		add(Gap{from, f, "no longer kept"})
	}
	if !w.keptTo.IsZero() {
		add(Gap{w.keptTo, to, "nobody watched any more"})
	}
	return out
}

// summary merges gaps and adds up what is between them.
func (w *Witnesses) summary(k source, gaps []Gap, in Window) Watched {
	slices.SortFunc(gaps, func(a, b Gap) int {
		return cmp.Or(a.From.Compare(b.From), b.To.Compare(a.To), cmp.Compare(a.Why, b.Why))
	})
	var merged []Gap
	for _, g := range gaps {
		if n := len(merged); n > 0 && !g.From.After(merged[n-1].To) {
			merged[n-1].To = later(merged[n-1].To, g.To)
			continue
		}
		merged = append(merged, g)
	}
	span := in.To.Sub(in.From)
	left := span
	for _, g := range merged {
		left -= g.To.Sub(g.From)
	}
	out := Watched{Witness: k.witness, Node: k.node, Seconds: int64(left / time.Second), Of: int64(span / time.Second), GapsTotal: len(merged)}
	slices.SortStableFunc(merged, func(a, b Gap) int { return cmp.Compare(b.To.Sub(b.From), a.To.Sub(a.From)) })
	out.Gaps = merged[:min(len(merged), gapsMax)]
	slices.SortFunc(out.Gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	return out
}
